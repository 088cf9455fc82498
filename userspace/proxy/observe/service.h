/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_PROXY_SERVICE_H
#define SLUICE_PROXY_SERVICE_H

/* A small server of the control thread: few clients, one request and one answer at a time, all of it
 * bounded in bytes and time. The admin socket and the metrics address are two of them; they differ
 * in what a request is.
 *
 * A client has deadline_ms to send a whole request (from its connect, or from the last answer) and as
 * long to take the answer. Pipelined requests wait until the answer before is written. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/loop.h"

struct sl_service;

struct sl_answer {
	char *bytes; /* malloc'd; the service frees it */
	size_t len;
	bool close; /* hang up when it is written */
};

struct sl_service_options {
	uint32_t clients;     /* at once; one more is sent the refusal and closed */
	uint32_t request_max; /* bytes of one request */
	uint32_t deadline_ms;
	const char *refusal; /* static */
	/* data[0..len) is what came and was not consumed yet, 0 < len <= request_max. Returns how
	 * many bytes the answered request had, 0 to wait for more (with len == request_max that
	 * hangs up: refuse such a request here), or -errno to hang up without an answer. */
	ssize_t (*request)(void *owner, const char *data, size_t len, struct sl_answer *ret);
	void *owner;
};

/* Serves clients of a listening, non-blocking descriptor, which belongs to the service after success.
 * 0 or -errno. */
int sl_service_new(struct sl_loop *loop, int listen_fd, const struct sl_service_options *o,
		   struct sl_service **ret);
/* Hangs up on all clients. Not from within a request. Takes NULL. */
void sl_service_free(struct sl_service *s);

#endif
