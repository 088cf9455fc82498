/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_PROXY_POOL_H
#define SLUICE_PROXY_POOL_H

/* Idle upstream connections of one worker, by whom they lead to; last in, first out. An idle connection
 * that is closed or talks is closed and never handed out. Other workers may take connections over: the
 * pool's lock is for them, and hardly ever contended. */

#include <pthread.h>

#include <stdint.h>

#include "base/loop.h"
#include "base/slab.h"
#include "base/slice.h"
#include "proxy/observe/stats.h"
#include "proxy/server_info.h"
#include "transport/transport.h"

/* Whom a connection leads to: a server of an upstream, or what a client named. */
struct sl_pool_key {
	void *group; /* the server; NULL: host and port count */
	struct sl_slice host;
	uint16_t port;
};

struct sl_pooled {
	struct sl_stream *stream;
	uint64_t born_ms;
	uint32_t requests; /* that it has carried */
};

struct sl_pool_options {
	struct sl_loop *loop;
	struct sl_stats *stats;
	uint32_t idle; /* most connections kept; one more closes the oldest */
	/* An idle connection of a group was closed. May be NULL. */
	void (*on_gone)(void *group, enum sl_pool_end why);
};

struct sl_pool {
	struct sl_pool_options options;
	struct sl_slab entries;
	struct sl_list *buckets;
	uint32_t n_buckets;
	uint64_t seed;	      /* strangers choose the names */
	pthread_mutex_t lock; /* of the lists */
	struct sl_list oldest_first;
	struct sl_list taken_over; /* husks that the owner has yet to close */
};

/* 0 or -ENOMEM. */
int sl_pool_init(struct sl_pool *p, const struct sl_pool_options *o);
/* Closes what is idle. */
void sl_pool_destroy(struct sl_pool *p);

/* Another number to keep; those that are too many stay until their time. */
void sl_pool_set_most(struct sl_pool *p, uint32_t idle);
/* Gives a stream with nothing unread and nothing unwritten; the pool owns it from now on. */
void sl_pool_put(struct sl_pool *p, const struct sl_pool_key *k, const struct sl_pooled *c,
		 uint32_t idle_timeout_ms);
/* True: *ret is the caller's again. admits (with its argument) may refuse a stream, which then stays. */
bool sl_pool_take(struct sl_pool *p, const struct sl_pool_key *k,
		  bool (*admits)(void *arg, const struct sl_stream *s), void *arg,
		  struct sl_pooled *ret);
/* Closes the group's idle connections: SL_POOL_END_REMOVED. */
void sl_pool_drop(struct sl_pool *p, const void *group);
/* The same as sl_pool_take() from another worker's thread, into that worker's transport. */
bool sl_pool_take_over(struct sl_pool *p, const struct sl_pool_key *k, struct sl_transport *to,
		       struct sl_pooled *ret);

#endif
