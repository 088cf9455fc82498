/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_DPDK_ENVIRONMENT_H
#define SLUICE_DPDK_ENVIRONMENT_H

/* What <sluice/steps.h> asks of its surroundings, made of tables in memory: the counterpart of
 * bpf/environment.h. All of it is about one table at a time (here), which the functions of splice.c set
 * where they are entered; a table belongs to one thread, so its locks are none. */

#include <rte_hash.h>

#include "base/loop.h"
#include "dpdk/splice.h"

#include <sluice/compiler.h>

/* A flow lies where the hash has its key. */
struct sl_dpdk_flows {
	struct rte_hash *keys;
	struct sl_flow *at;
};

struct sl_dpdk_splice {
	struct sl_dpdk_splice_options options;
	struct sl_dpdk_flows ip4, ip6;
	struct sl_flow_pair *pairs;
	struct sl_counter counter[SL_REASON_COUNT];
};

static _Thread_local struct sl_dpdk_splice *here;

/* Nothing is sent by a connection of the stack once its pair is ACTIVE. */
static const __u32 sl_ts_slack_ms = 0;

#define sl_pair_lock(pair)   ((void)(pair))
#define sl_pair_unlock(pair) ((void)(pair))

SL_INLINE struct sl_flow_pair *sl_pair_at(const __u32 *id)
{
	return *id < here->options.pairs ? &here->pairs[*id] : NULL;
}

SL_INLINE int sl_flow_put(struct sl_dpdk_flows *f, const void *key, const struct sl_flow *flow)
{
	int at = rte_hash_add_key(f->keys, key);

	if (at < 0)
		return at;
	f->at[at] = *flow;
	return 0;
}

SL_INLINE void sl_flow_remove(struct sl_dpdk_flows *f, const void *key, const struct sl_flow *flow)
{
	int at = rte_hash_lookup(f->keys, key);

	if (at >= 0 && f->at[at].pair == flow->pair && f->at[at].generation == flow->generation)
		rte_hash_del_key(f->keys, key);
}

#define sl_flow4_put(key, flow)	   sl_flow_put(&here->ip4, key, flow)
#define sl_flow6_put(key, flow)	   sl_flow_put(&here->ip6, key, flow)
#define sl_flow4_remove(key, flow) sl_flow_remove(&here->ip4, key, flow)
#define sl_flow6_remove(key, flow) sl_flow_remove(&here->ip6, key, flow)

SL_INLINE __u32 sl_now_ms(void)
{
	return (__u32)(sl_clock_us() / 1000);
}

/* One thread writes, others read. */
SL_INLINE void sl_count_sent(enum sl_reason reason, __u32 bytes)
{
	struct sl_counter *c = &here->counter[reason];

	__atomic_store_n(&c->packets, c->packets + 1, __ATOMIC_RELAXED);
	__atomic_store_n(&c->bytes, c->bytes + bytes, __ATOMIC_RELAXED);
}

#define sl_count(reason, bytes) sl_count_sent(reason, bytes)

SL_INLINE void sl_tell_event(__u32 pair, __u16 generation, enum sl_event_type type, __u8 leg)
{
	const struct sl_event e = {
		.pair = pair, .generation = generation, .type = type, .leg = leg};

	here->options.on_event(here->options.owner, &e);
}

#include <sluice/steps.h>

/* A flow whose slot has a new owner counts as stale. */
SL_INLINE int sl_flow_find(const struct sl_dpdk_flows *f, const void *key, struct sl_found *ret)
{
	int at = rte_hash_lookup(f->keys, key);

	if (at < 0)
		return 0;
	*ret = (struct sl_found){
		.id = f->at[at].pair, .leg = f->at[at].leg & 1, .generation = f->at[at].generation};
	ret->pair = sl_pair_at(&ret->id);
	if (!ret->pair || ret->pair->generation != ret->generation) {
		sl_count(SL_PASS_STALE, 0);
		return 0;
	}
	sl_found_legs(ret);
	return 1;
}

#define sl_flow4_find(key, ret) sl_flow_find(&here->ip4, key, ret)
#define sl_flow6_find(key, ret) sl_flow_find(&here->ip6, key, ret)

#endif
