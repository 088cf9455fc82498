/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_PROXY_DIAL_H
#define SLUICE_PROXY_DIAL_H

/* From a host and a port to a connected stream: name resolution, access rules on every address,
 * Happy Eyeballs (RFC 8305: next address after 250 ms or at once after a failure; first to connect
 * wins, the others are closed), all within one deadline. */

#include <stdbool.h>
#include <stdint.h>

#include "base/loop.h"
#include "base/slice.h"
#include "proxy/access/acl.h"
#include "proxy/names/resolve.h"
#include "transport/transport.h"

#define SL_DIAL_HOST_MAX 255
#define SL_DIAL_RACERS	 4 /* attempts in flight at once */

enum sl_dial_result {
	SL_DIAL_OK,
	SL_DIAL_DENIED,	      /* every address was denied: verdict and rule say by what. 403 */
	SL_DIAL_NO_NAME,      /* the name does not exist. 502 */
	SL_DIAL_NAME_FAILED,  /* the resolver failed. 502 */
	SL_DIAL_NAME_TIMEOUT, /* 504 */
	SL_DIAL_REFUSED,      /* every address failed; error is the most telling errno. 502 */
	SL_DIAL_TIMEOUT,      /* 504 */
	SL_DIAL_RESOURCES,    /* no descriptor, port or memory. 503 */
	SL_DIAL_RESULT_COUNT,
};
/* e.g. "connect-refused", "dns-timeout"; static. For logs and metrics. */
const char *sl_dial_result_name(enum sl_dial_result r);

struct sl_dial_options {
	struct sl_transport *transport;
	struct sl_resolver *resolver;
	struct sl_slice host; /* name or literal address without brackets; copied */
	uint16_t port;
	uint32_t timeout_ms;
	const struct sl_acl *acl;  /* may be NULL */
	const struct sl_addr *own; /* sluice's own listening addresses, for the rules */
	size_t n_own;
	struct sl_addr src;    /* the client */
	unsigned keepalive_ms; /* as in struct sl_connect_options */
	bool fast_open;	       /* the same */
	bool trusted;	       /* the operator chose the host: no rules at all */
	/* Called before each attempt, perhaps before sl_dial_start() returns; may change all of *o
	 * but the address (an engine chooses the source port), must not cancel the dial. May be
	 * NULL. */
	void (*prepare)(void *owner, struct sl_connect_options *o);
};

struct sl_dial;

struct sl_dial_done {
	enum sl_dial_result result;
	int error;			/* positive errno of the most telling failure, or 0 */
	struct sl_stream *stream;	/* with SL_DIAL_OK: connected, the owner's from now on */
	unsigned events;		/* with SL_DIAL_OK: what came together with SL_CONNECTED
					   (e.g. SL_WRITABLE) and will not be told again */
	enum sl_acl_verdict verdict;	/* with SL_DIAL_DENIED */
	const struct sl_acl_rule *rule; /* the rule that denied, or NULL */
};

/* Starts. on_done is called once, from the loop, never before this returns; when it is called the
 * dial is gone, and *done is valid until it returns. 0, or -ENOMEM / -EINVAL (host empty or too
 * long): then nothing was started. transport, resolver, acl and own are borrowed until the end. */
int sl_dial_start(const struct sl_dial_options *o,
		  void (*on_done)(void *owner, const struct sl_dial_done *done), void *owner,
		  struct sl_dial **ret);
/* Ends it without on_done. Takes NULL. */
void sl_dial_cancel(struct sl_dial *d);

#endif
