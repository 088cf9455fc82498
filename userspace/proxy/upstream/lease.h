/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_PROXY_LEASE_H
#define SLUICE_PROXY_LEASE_H

/* A lease is the right of one exchange or tunnel to one connection of one server of an upstream, from
 * asking to giving back. Asking picks a server (balance.h), then takes an idle connection of it (the
 * worker's own first, then another worker's) or connects; a server that can't be connected is followed
 * by another one, within timeouts.connect. Where all servers have as many connections as they may, it
 * waits in the upstream's bounded queue. Giving back says how the server did. */

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"
#include "proxy/dial.h"
#include "proxy/upstream/pool.h"
#include "proxy/upstream/upstream.h"

struct sl_worker;
struct sl_lease;

enum sl_lease_result {
	SL_LEASE_OK,
	SL_LEASE_NO_SERVER,	/* none may be asked, or all were. 503 */
	SL_LEASE_QUEUE_FULL,	/* 503 */
	SL_LEASE_QUEUE_TIMEOUT, /* 503 */
	SL_LEASE_CONNECT,	/* no server could be connected. 502 */
	SL_LEASE_TIMEOUT,	/* 504 */
	SL_LEASE_RESOURCES,	/* 503 */
	SL_LEASE_RESULT_COUNT,
};
/* e.g. "connect-refused"; static. For logs and metrics. */
const char *sl_lease_result_name(enum sl_lease_result r);

struct sl_lease_options {
	struct sl_worker *worker;
	struct sl_upstream *upstream;
	uint64_t hash;	 /* of the request's key, for balance: maglev */
	bool fresh;	 /* a new connection only */
	bool repeatable; /* what is written first may reach the server twice */
	/* The lease's last use failed the request: another server if there is one not tried yet. */
	bool again;
	/* Called before each attempt to connect, as in struct sl_dial_options. May be NULL. */
	void (*prepare)(struct sl_lease *l, struct sl_connect_options *o);
};

struct sl_lease_done {
	enum sl_lease_result result;
	struct sl_stream *stream; /* with SL_LEASE_OK: connected, the owner's until given back */
	unsigned events;	  /* as in struct sl_dial_done */
	bool reused;		  /* it was idle: its server may have closed it meanwhile */
};

/* Lives in its owner; zeroed is "no lease". */
struct sl_lease {
	struct sl_lease_options options;
	void (*on_done)(struct sl_lease *l, const struct sl_lease_done *done);
	struct sl_server *server; /* that is asked, or was leased; NULL: no lease */
	struct sl_server *latest; /* the same, and still set when the lease is over */
	struct sl_dial *dial;
	uint64_t deadline_ms;
	uint64_t tried[SL_SERVERS_MAX / 64];
	enum sl_lease_result failure; /* the latest */
	struct sl_pooled connection;
	bool waiting; /* in the upstream's queue, or woken */
	uint64_t waits_since_us, waited_us;
	struct sl_waiter waiter;
	struct sl_timer patience;
};

/* Starts. True: decided at once, *ret is filled, on_done is not called. False: on_done is called once,
 * from the loop. After a result other than SL_LEASE_OK there is no lease. */
bool sl_lease_start(struct sl_lease *l, const struct sl_lease_options *o,
		    void (*on_done)(struct sl_lease *l, const struct sl_lease_done *done),
		    struct sl_lease_done *ret);

/* Time in the queue since sl_lease_start(), by the loop's clock; also when the lease is over. */
uint64_t sl_lease_waited_us(const struct sl_lease *l);

enum sl_outcome {
	SL_OUTCOME_UNKNOWN,	 /* says nothing about the server: the client went away */
	SL_OUTCOME_GOOD,	 /* a complete response that says the server is well (not 5xx) */
	SL_OUTCOME_SERVER_ERROR, /* 5xx */
	SL_OUTCOME_BROKEN,	 /* no response, a malformed or a truncated one */
};

/* Ends it, whatever its state, before on_done, too. idle: the stream, fit for another request (nothing
 * unread, nothing unwritten), which the pool owns from now on; NULL: the caller has closed it, or an
 * engine has it. Nothing happens without a lease. */
void sl_lease_end(struct sl_lease *l, struct sl_stream *idle, enum sl_outcome outcome);

#endif
