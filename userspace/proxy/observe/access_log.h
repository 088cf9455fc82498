/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_PROXY_ACCESS_LOG_H
#define SLUICE_PROXY_ACCESS_LOG_H

/* Access log: one record per finished request or tunnel. Workers push binary records into bounded
 * rings (one per worker, base/ring.h) and never wait; one thread formats and writes. Strings come from
 * strangers: every format escapes control characters, quotes and non-ASCII, so that one record is
 * always one line and parses back. The value of Proxy-Authorization is not part of a record, and
 * userinfo in targets and referers is taken out here. */

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/slice.h"
#include "proxy/config/config.h"

struct sl_access_log;

/* Strings longer than these are cut, with the cut marked by "...". */
#define SL_ACCESS_TARGET_MAX 1024
#define SL_ACCESS_STRING_MAX 256
#define SL_ACCESS_MARK_LEN   3

/* What a worker knows when a request is over. Slices are borrowed for the call. */
struct sl_access_record {
	uint64_t start_us;	/* wall clock (CLOCK_REALTIME) of the head's first byte */
	uint64_t duration_us;	/* until the last byte */
	uint64_t queue_us;	/* waited for a connection of a full upstream */
	uint64_t connect_us;	/* spent on the upstream connect; 0 when reused or none */
	uint64_t first_byte_us; /* request sent to response head; 0 if there was none */
	uint64_t bytes_in;	/* body or tunnel bytes from the client */
	uint64_t bytes_out;	/* to the client */
	struct sl_addr client;
	struct sl_addr upstream;  /* AF_UNSPEC if none was connected */
	uint16_t status;	  /* sent to the client; 0 if nothing was */
	bool failed;		  /* 5xx, or an end that was not clean: see `always` */
	bool sampled;		  /* by its trace's flag */
	bool http;		  /* else bytes that passed: no protocol is shown */
	uint8_t minor;		  /* HTTP/1.minor */
	uint8_t reused;		  /* upstream connection came from the pool */
	struct sl_slice listener; /* name */
	struct sl_slice method;
	struct sl_slice target; /* as received */
	struct sl_slice host;	/* asked for, by name or address, without port; or empty */
	struct sl_slice user;	/* authenticated, or empty */
	struct sl_slice engine; /* tunnels: who carried it last; or empty */
	struct sl_slice reason; /* why it ended: "done", "client-reset", "connect-refused", ... */
	struct sl_slice referer, user_agent; /* for CLF combined */
	struct sl_slice group, server;	     /* upstream and server by name; or empty */
	struct sl_slice trace_id, span_id;   /* hex digits; or empty */
};

/* Opens the file (0640, append) and starts the thread. workers: number of producers. -errno. *c is
 * not needed after the call. */
int sl_access_log_open(const struct sl_access_log_config *c, uint32_t workers,
		       struct sl_access_log **ret);
/* Writes out what the rings hold, then closes; gives up on a file that fails, and after a second on
 * one that blocks. Workers push no more. Takes NULL. */
void sl_access_log_close(struct sl_access_log *l);
/* Opens the path again (after rotation). Async: the thread does it. */
void sl_access_log_reopen(struct sl_access_log *l);
/* From worker thread `worker` (< workers); takes NULL. Sampling happens here, and the rules of what is
 * always logged: a record that is left out counts as logged. False if dropped because the ring is full. */
bool sl_access_log_push(struct sl_access_log *l, uint32_t worker, const struct sl_access_record *r);
/* From any thread; they take NULL. */
uint64_t sl_access_log_dropped(const struct sl_access_log *l);
uint64_t sl_access_log_written(const struct sl_access_log *l); /* whole records */
uint64_t sl_access_log_failed(const struct sl_access_log *l);  /* write(2) errors */

#endif
