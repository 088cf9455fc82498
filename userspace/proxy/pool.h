/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_PROXY_POOL_H
#define SLUICE_PROXY_POOL_H

/* Idle upstream connections of one worker, by the host and port that was asked for; last in, first out.
 * An idle connection that is closed or talks is closed and never handed out. */

#include <stdint.h>

#include "base/loop.h"
#include "base/slab.h"
#include "base/slice.h"
#include "proxy/stats.h"
#include "transport/transport.h"

struct sl_pool {
	struct sl_loop *loop;
	struct sl_stats *stats;
	struct sl_slab entries;
	struct sl_list *buckets;
	uint32_t n_buckets;
	uint64_t seed; /* strangers choose the names */
	uint32_t idle_timeout_ms;
	struct sl_list oldest_first;
};

/* idle: most connections kept; one more closes the oldest. 0 or -ENOMEM. */
int sl_pool_init(struct sl_pool *p, struct sl_loop *loop, struct sl_stats *stats, uint32_t idle,
		 uint32_t idle_timeout_ms);
/* Closes what is idle. */
void sl_pool_destroy(struct sl_pool *p);

/* Gives a stream with nothing unread and nothing unwritten; the pool owns it from now on. */
void sl_pool_put(struct sl_pool *p, struct sl_slice host, uint16_t port, struct sl_stream *s);
/* The caller's again, or NULL. admits (with its argument) may refuse a stream, which then stays. */
struct sl_stream *sl_pool_take(struct sl_pool *p, struct sl_slice host, uint16_t port,
			       bool (*admits)(void *arg, const struct sl_stream *s), void *arg);

#endif
