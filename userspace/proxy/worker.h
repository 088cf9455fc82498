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
#include "proxy/flows.h"
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
	uint32_t index; /* in the configuration */
	struct sl_worker *worker;
	struct sl_acceptor *acceptor;	/* NULL when draining */
	struct sl_auth *auth;		/* shared by the workers; NULL: none */
	const struct sl_routes *routes; /* the same; NULL: of SL_MODE_FORWARD */
};

/* What all workers use; owned by the server, read-only or with its own locks. */
struct sl_shared {
	const struct sl_config *config;
	struct sl_limits *limits;
	struct sl_throttle *throttle;
	struct sl_access_log *access_log; /* NULL: none */
	struct sl_auth **auth;		  /* per listener, NULL: none */
	struct sl_routes **routes;	  /* per listener, NULL: none */
	struct sl_upstreams *upstreams;
	const struct sl_addr *own; /* our own addresses, for the access rules */
	size_t n_own;
	const char *pseudonym; /* in Via */
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
	struct sl_pool pool;	       /* of forward listeners */
	struct sl_pool server_pool;    /* of upstreams */
	struct sl_balancer *balancers; /* by upstream */
	uint32_t *retry_credit;	       /* by upstream: retry.c */
	struct sl_listener *listeners;
	struct sl_list all_conns;
	struct sl_list tunnels; /* pairs, for `sluice flows`: oldest first */
	struct sl_list adopted; /* adopted.c */
	struct sl_slab adopted_slab;
	uint64_t next_id;
	bool draining;
	bool stopping; /* spliced pairs are left to the kernel */
	struct sl_task stop;
	struct sl_timer tick;
	struct sl_head head;		   /* scratch for the parser */
	struct sl_head_limits head_limits; /* of requests and responses */
	struct sl_stats stats;
	struct sl_scopes scopes;
};

/* Creates everything but the thread. 0 or -errno; the failed address is logged. */
int sl_worker_new(const struct sl_shared *shared, uint32_t index, struct sl_worker **ret);
int sl_worker_start(struct sl_worker *w);
/* Stops and joins the thread, if it runs. */
void sl_worker_stop(struct sl_worker *w);
/* Closes every connection, when all workers have stopped: they use each other's pools. Takes NULL. */
void sl_worker_free(struct sl_worker *w);

/* Runs fn(w, arg) in the worker's thread and waits for it. Not from the worker's own thread. */
void sl_worker_call(struct sl_worker *w, void (*fn)(struct sl_worker *w, void *arg), void *arg);

/* The servers of an upstream (arg) changed: idle connections to removed ones are closed, its table is
 * used. In the worker's thread. */
void sl_worker_follow(struct sl_worker *w, void *arg);

/* Stops listening; idle connections close, others after their request; tunnels go on. In the
 * worker's thread. */
void sl_worker_drain(struct sl_worker *w);
/* Resets every connection but spliced pairs, which go on without the process. In the worker's thread. */
void sl_worker_abort(struct sl_worker *w);

/* How this worker chooses among an upstream's servers. */
static inline struct sl_balancer *sl_worker_balancer(struct sl_worker *w,
						     const struct sl_upstream *u)
{
	return &w->balancers[u - w->shared->upstreams->upstream];
}

/* What this worker may still send again to the upstream. */
static inline uint32_t *sl_worker_retry_credit(struct sl_worker *w, const struct sl_upstream *u)
{
	return &w->retry_credit[u - w->shared->upstreams->upstream];
}

/* Calls each for at most max pairs. In the worker's thread. */
uint32_t sl_worker_flows(struct sl_worker *w, uint32_t max,
			 void (*each)(void *arg, const struct sl_flow_info *f), void *arg);

#endif
