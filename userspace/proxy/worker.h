/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_PROXY_WORKER_H
#define SLUICE_PROXY_WORKER_H

/* A worker: one thread with everything it needs. Workers share nothing on the hot path. */

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/loop.h"
#include "base/slab.h"
#include "http/head.h"
#include "proxy/observe/access_log.h"
#include "proxy/access/auth.h"
#include "proxy/upstream/balance.h"
#include "proxy/config/config.h"
#include "proxy/farewell.h"
#include "proxy/flows.h"
#include "proxy/generation.h"
#include "proxy/access/limits.h"
#include "proxy/upstream/pool.h"
#include "proxy/names/resolve.h"
#include "proxy/route.h"
#include "proxy/observe/scopes.h"
#include "proxy/observe/stats.h"
#include "proxy/access/throttle.h"
#include "proxy/upstream/upstream.h"
#include "splice/policy.h"
#include "transport/transport.h"

struct sl_worker;

/* A configured listener as one worker has it. */
struct sl_listener {
	const struct sl_listener_config *config;
	uint32_t place; /* where the limits count it */
	struct sl_listener_stats *stats;
	struct sl_worker *worker;
	struct sl_era *era;
	struct sl_acceptor *acceptor;	/* NULL when draining, and of an earlier era */
	struct sl_auth *auth;		/* shared by the workers; NULL: none */
	const struct sl_routes *routes; /* the same; NULL: of SL_MODE_FORWARD */
	int fd;				/* that listens; the server's. -1: the transport has none */
};

/* A generation as one worker has it: eras.c. */
struct sl_era {
	struct sl_generation *generation;
	uint32_t conns; /* that use it */
	size_t n;
	struct sl_listener listener[];
};

/* What all workers use; owned by the server, read-only or with its own locks. */
struct sl_shared {
	struct sl_limits *limits;
	uint32_t connections; /* the most that limits.connections will be */
	uint32_t n_workers;
	struct sl_worker *const
		*workers; /* all, from before the first starts until all have stopped */
	int (*transport_new)(struct sl_loop *loop, uint32_t streams, struct sl_transport **ret);
	size_t stream_bytes; /* of the transport's own memory for a stream */
	/* NULL-terminated; the first takes everything. */
	const struct sl_engine_ops *const *engines;
	const struct sl_engine_report *reports; /* by engine: what its probe found at the start */
};

struct sl_worker {
	const struct sl_shared *shared;
	uint32_t index;
	pthread_t thread;
	bool started;
	struct sl_loop *loop;
	struct sl_transport *transport;
	struct sl_buf_pool buffers;
	struct sl_slab conns, exchanges;
	struct sl_resolver *resolver;
	struct sl_engines engines;
	uint8_t told_broken; /* bit i: it is known that engine i has failed */
	struct sl_pressure pressure;
	struct sl_prospects prospects;
	struct sl_pool pool;			 /* of forward listeners */
	struct sl_pool server_pool;		 /* of upstreams */
	struct sl_access_log *access_log;	 /* NULL: none */
	struct sl_era *era;			 /* the newest */
	uint64_t accept_failures, accept_pauses; /* of acceptors that ended */
	struct sl_list all_conns;
	struct sl_farewells farewells;
	struct sl_list tunnels; /* pairs, for `sluice flows`: oldest first */
	struct sl_list adopted; /* adopted.c */
	struct sl_slab adopted_slab;
	uint64_t next_id;
	uint64_t turned_ms; /* when the loop turned last, within a second: the watchdog reads it */
	uint32_t pooled_most; /* idle connections to servers that there is room for */
	/* Listeners that end, by place: answers tell that the connection ends, and no address is opened for
	 * them. */
	uint64_t ending[SL_LIMITS_PLACES / 64];
	bool all_end; /* answers of all listeners tell it */
	bool draining;
	/* When draining: another process has the listeners, so what waits there is its, and connections
	 * end with the next answer, which tells the client. */
	bool handed_over;
	bool stopping; /* spliced pairs are left to the kernel */
	struct sl_task stop;
	struct sl_timer tick;
	struct sl_head head;		   /* scratch for the parser */
	struct sl_head_limits head_limits; /* of requests and responses */
	struct sl_stats stats;
	struct sl_scopes scopes;
};

/* Creates everything but the thread, of the first generation, which it uses; it does not listen yet. 0 or
 * -errno. */
int sl_worker_new(const struct sl_shared *shared, uint32_t index, struct sl_generation *g,
		  struct sl_worker **ret);
/* Begins to listen with the first era. 0 or -errno; the failed address is logged. */
int sl_worker_listen(struct sl_worker *w);
int sl_worker_start(struct sl_worker *w);
/* Stops and joins the thread, if it runs. */
void sl_worker_stop(struct sl_worker *w);
/* Closes every connection, when all workers have stopped: they use each other's pools. Takes NULL. */
void sl_worker_free(struct sl_worker *w);

/* Runs fn(w, arg) in the worker's thread and waits for it. Not from the worker's own thread. */
void sl_worker_call(struct sl_worker *w, void (*fn)(struct sl_worker *w, void *arg), void *arg);

/* The same, for at most so long: -ETIMEDOUT, and it will not run. Or -ENOMEM. */
int sl_worker_ask(struct sl_worker *w, void (*fn)(struct sl_worker *w, void *arg), void *arg,
		  uint32_t bound_ms);

/* An upstream (arg) changed: idle connections to removed servers, or all if it is retired, are closed, its
 * table is used. In the worker's thread. */
void sl_worker_follow(struct sl_worker *w, void *arg);

/* Leaves spliced pairs to the kernel, and takes no more of them: another process will. In the worker's
 * thread. */
void sl_worker_leave_pairs(struct sl_worker *w);
/* Resets every connection but spliced pairs, which go on without the process. In the worker's thread. */
void sl_worker_abort(struct sl_worker *w);

/* --- worker_drain.c: all in the worker's thread, or before it starts --- */

/* Stops listening; idle connections close, others after their request; tunnels go on. */
void sl_worker_drain(struct sl_worker *w);
/* From now on answers of the listeners with that place tell that their connection ends; or not any more. */
void sl_worker_set_ending(struct sl_worker *w, uint32_t place, bool on);

/* Connections of a listener by what they do. */
struct sl_listener_load {
	uint32_t place;
	uint64_t connections, idle, tunnels; /* of the first, so many are idle, and tunnels */
};

/* Adds this worker's. It looks at every connection. */
void sl_worker_count_load(struct sl_worker *w, struct sl_listener_load *load);
/* Closes connections that have sent all and only wait for the client's FIN. */
void sl_worker_end_lingering(struct sl_worker *w);
/* Ends what is left of that listener: idle connections close, others are reset; how many. */
uint64_t sl_worker_end_conns(struct sl_worker *w, uint32_t place);

/* Answers of it are the last of their connections. */
static inline bool sl_listener_ends(const struct sl_listener *l)
{
	const struct sl_worker *w = l->worker;

	return w->draining || w->all_end || w->ending[l->place / 64] >> l->place % 64 & 1;
}

/* The newest configuration. */
static inline const struct sl_config *sl_worker_config(const struct sl_worker *w)
{
	return w->era->generation->config;
}

/* --- eras.c --- */

/* An era of g for that worker, which does not listen yet; its descriptors are to be set. NULL: no memory.
 * In any thread. */
struct sl_era *sl_era_new(struct sl_worker *w, struct sl_generation *g);
/* One that no worker has entered. Takes NULL. */
void sl_era_free(struct sl_era *era);
/* Makes it the worker's, which takes it: connections go by it from their next request on, listeners that
 * stay are not interrupted, others begin or end. 0 or -errno of a listener that could not begin: what
 * could be done was done, and the failed address is logged. In the worker's thread, or before it
 * starts. */
int sl_worker_enter(struct sl_worker *w, struct sl_era *era);
/* How the worker would listen for that listener of a configuration. */
void sl_worker_listen_options(const struct sl_worker *w, const struct sl_listener_config *c,
			      const struct sl_config *config, struct sl_listen_options *ret);
/* The same listener in another era, or NULL. */
struct sl_listener *sl_era_find(struct sl_era *era, const struct sl_listener *l);
/* A connection doesn't use it any more. */
void sl_era_leave(struct sl_worker *w, struct sl_era *era);
/* Ends the worker's own use of its era; all connections are gone. */
void sl_worker_leave(struct sl_worker *w);
/* Takes over what the era's configuration says of the worker's memory. */
void sl_worker_set_limits(struct sl_worker *w);
/* Stops listening. leave_queue: connections that wait to be accepted are left to whoever else has the
 * descriptors. */
void sl_worker_unlisten(struct sl_worker *w, bool leave_queue);
void sl_worker_count_acceptors(struct sl_worker *w);
/* Of one listener: accepts what waits, and stops listening; or begins again, by that descriptor (-1: the
 * transport has none). 0 or -errno; the failed address is logged. */
void sl_worker_close_listener(struct sl_worker *w, uint32_t place);
int sl_worker_open_listener(struct sl_worker *w, uint32_t place, int fd);

/* Calls each for at most max pairs. In the worker's thread. */
uint32_t sl_worker_flows(struct sl_worker *w, uint32_t max,
			 void (*each)(void *arg, const struct sl_flow_info *f), void *arg);

#endif
