/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_PROXY_UPSTREAM_H
#define SLUICE_PROXY_UPSTREAM_H

/* Upstreams, named groups of servers, as all workers share them: what is open to each server, and how
 * it did. Workers lease connections of them: lease.h. Servers that are found by name come and go:
 * upstream_set.h. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proxy/config/config.h"
#include "proxy/upstream/balance.h"
#include "proxy/upstream/maglev.h"
#include "proxy/upstream/queue.h"
#include "proxy/upstream/server_health.h"
#include "proxy/server_info.h"

struct sl_upstream;

/* Retries are paid for by requests: a bucket of credit, by worker and upstream. One retry costs 100. */
#define SL_RETRY_CREDIT_FIRST (100 * 100)

/* Counters are changed by all workers, atomically and relaxed. On a cache line of its own. */
struct sl_server {
	const struct sl_server_config
		*config; /* its slot's; stays as it is while a lease is counted, or
			  * `removed` is false; but weight and backup */
	struct sl_upstream *upstream;
	uint32_t index;	 /* in the upstream */
	uint32_t leased; /* connections in use or being opened */
	uint32_t idle;
	uint64_t reused, opened; /* leases by an idle connection, and by a new one */
	bool removed;		 /* no new leases: free for another server when nothing is open */
	struct sl_server_health health;
} __attribute__((aligned(64)));

/* What a worker has of an upstream, for itself alone. */
struct sl_upstream_desk {
	struct sl_balancer balancer; /* how it chooses a server */
	uint32_t retry_credit;	     /* what it may still send again: retry.c */
} __attribute__((aligned(64)));

struct sl_upstream {
	/* The newest configuration's; an older one lives until every worker was told of a newer one. */
	const struct sl_upstream_config *config;
	struct sl_config *keeps;  /* whose part `config` is */
	uint32_t id;		  /* its place among all */
	uint32_t users;		  /* configurations in use that have it */
	bool retired;		  /* the newest one has it not: nothing is kept idle */
	struct sl_server *server; /* SL_SERVERS_MAX; those never used are not in memory */
	size_t n_servers;	  /* those in use are among the first ones: sl_upstream_len() */
	size_t n_present;	  /* not removed */
	size_t n_left_out;	  /* found, but without a slot */
	struct sl_slot *slot;	  /* by server: what it is called */
	struct sl_maglev *maglev; /* NULL: not of SL_BALANCE_MAGLEV. Workers use it until told of
				     another one */
	struct sl_upstream_desk *desk; /* by worker */
	uint32_t n_desks;
	pthread_mutex_t eject_lock;
	struct sl_queue queue; /* of leases that found every server full */
	uint64_t waits, queue_full, queue_timeouts;
	uint64_t closed[SL_POOL_ENDS]; /* connections to its servers */
};

/* Those of every configuration in use: one name is one upstream, across configurations. The control
 * thread's; workers know them by their configuration's list. */
struct sl_upstreams {
	struct sl_upstream **upstream; /* by id; NULL: a free place */
	size_t n;
	uint32_t workers;
};

/* None yet. 0 or -ENOMEM. */
int sl_upstreams_new(uint32_t workers, struct sl_upstreams **ret);
/* After the workers. Takes NULL. */
void sl_upstreams_free(struct sl_upstreams *u);
/* A configuration's, in its order: new ones are made, those of a name in use stay as they are (until
 * upstream_set.h changes them). The list is the caller's, to be dismissed. 0 or -ENOMEM. */
int sl_upstreams_enlist(struct sl_upstreams *all, struct sl_config *c, struct sl_upstream ***ret);
/* Frees the list, and those of its n upstreams that no other list has. Takes NULL. */
void sl_upstreams_dismiss(struct sl_upstreams *all, struct sl_upstream **list, size_t n);
/* Nothing is kept idle any more, or again. Then workers are told. */
void sl_upstream_retire(struct sl_upstream *u, bool retired);

/* Most idle connections that a worker may have to all servers of a configuration. */
uint32_t sl_upstreams_idle_max(const struct sl_config *c);

/* Servers to look at; some may be removed. */
static inline size_t sl_upstream_len(const struct sl_upstream *u)
{
	return __atomic_load_n(&u->n_servers, __ATOMIC_ACQUIRE);
}

/* To be asked again after a lease was counted: before, the server may be removed, and another one put in
 * its place, at any time. */
static inline bool sl_server_is_removed(const struct sl_server *s)
{
	return __atomic_load_n(&s->removed, __ATOMIC_SEQ_CST);
}

/* True if a connection may be leased: an idle one is there, or one more may be opened. */
bool sl_server_has_room(const struct sl_server *s);

/* Counts what workers count together; relaxed. */
static inline void sl_upstream_count(uint64_t *counter)
{
	__atomic_add_fetch(counter, 1, __ATOMIC_RELAXED);
}

/* Counts a lease. False if the server is full, then it is not counted. */
bool sl_server_hold(struct sl_server *s);
/* With the lease counted: true if it is within what may be open. Else it must be an idle one's. */
bool sl_server_may_open(const struct sl_server *s);
/* A leased connection is gone. */
void sl_server_release(struct sl_server *s);
/* An idle one became leased (hold counted that already). */
void sl_server_take_idle(struct sl_server *s);
/* A leased one became idle: 0. Else it is to be closed and released: -ENOSPC, too many are idle; -ESTALE,
 * the server was removed. */
int sl_server_keep_idle(struct sl_server *s);
/* An idle one is gone. */
void sl_server_forget_idle(struct sl_server *s, enum sl_pool_end why);
/* Every server, removed ones while anything is open. In the control thread. */
void sl_upstreams_describe(const struct sl_upstreams *u, uint64_t now_ms,
			   void (*each)(void *arg, const struct sl_server_info *s), void *arg);
/* Every upstream's pool. In the control thread. */
void sl_upstreams_describe_pools(const struct sl_upstreams *u,
				 void (*each)(void *arg, const struct sl_pool_info *p), void *arg);
/* NULL: there is none. */
struct sl_server *sl_upstreams_find(struct sl_upstreams *u, const char *upstream,
				    const char *server);

/* The worker's desk takes over the table, and how servers are chosen. In the worker's thread. */
void sl_upstream_set_desk(struct sl_upstream *u, uint32_t worker);

/* Wakes who waits if there is room. */
void sl_upstream_wake(struct sl_upstream *u);

#endif
