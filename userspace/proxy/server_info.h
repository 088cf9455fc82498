/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_PROXY_SERVER_INFO_H
#define SLUICE_PROXY_SERVER_INFO_H

/* Upstreams, their servers, and listeners as operators see them. */

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"
#include "proxy/observe/stats.h"

struct sl_server_info {
	const char *upstream, *server, *state; /* all texts: until the control thread's next turn */
	const char *found_as;		       /* host and port in DNS; NULL: not found by name */
	const char *why;		       /* of the latest failure or check; NULL: none yet */
	uint64_t back_in_ms;		       /* when ejected; else 0 */
	uint32_t weight, leased, idle;
	bool up, backup;
	uint64_t requests, failures, ejections;
	uint64_t reused, opened; /* leases by an idle connection, and by a new one */
};

/* Why a connection to a server was closed. */
enum sl_pool_end {
	SL_POOL_END_SPENT,   /* not fit for another request: its response or tunnel ended it */
	SL_POOL_END_WORN,    /* it had served pool.requests, or for pool.age */
	SL_POOL_END_IDLE,    /* nobody used it for pool.idle_timeout, or until pool.age */
	SL_POOL_END_FULL,    /* too many were idle */
	SL_POOL_END_ROOM,    /* idle; its place was needed for a new one */
	SL_POOL_END_SERVER,  /* idle; the server closed it, or spoke without being asked */
	SL_POOL_END_REMOVED, /* idle; the server or its upstream was removed */
	SL_POOL_ENDS,
};
/* e.g. "idle"; static. */
const char *sl_pool_end_name(enum sl_pool_end e);

struct sl_pool_info {
	const char *upstream;
	uint32_t max, idle; /* limits of each server: connections, and idle ones among them */
	uint32_t waiting, queue, queue_timeout_ms; /* leases that wait, and the limits of that */
	uint64_t waits, queue_full, queue_timeouts;
	uint64_t closed[SL_POOL_ENDS];
};

struct sl_listener_info {
	const char *name, *mode; /* texts: as above */
	const struct sl_addr *listen;
	const char *state;    /* "up", "draining", or "drained": nothing is left */
	uint32_t connections; /* now */
	uint32_t limit;	      /* 0: the global one alone */
	struct sl_listener_stats stats;
};

/* What a drain has still to wait for. */
struct sl_drain_progress {
	const char *state; /* as above; of the whole process, too */
	bool bounded;
	uint64_t closes_in_ms; /* 0: it is closed, or not being drained */
	uint64_t ends_in_ms;   /* when bounded: then what is left is reset */
	uint64_t connections;
	uint64_t idle, tunnels; /* of these; the rest are busy with a request */
	uint64_t reset;		/* at the bound */
	uint64_t kept;		/* of the whole, then: spliced pairs, which go on in the kernel */
};

/* Which configuration is in use. */
struct sl_configuration_info {
	const char *file; /* NULL: the built-in defaults */
	uint64_t number;  /* of configurations since the start */
	uint32_t in_use;  /* configurations that some connection still goes by */
	uint64_t refused; /* reloads that were refused */
};

#endif
