/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_DPDK_ENGINE_PRIVATE_H
#define SLUICE_DPDK_ENGINE_PRIVATE_H

/* The parts of the dpdk engine: engine.c the operations and the end of pairs, engine_join.c the handover from
 * lwIP, engine_sockets.c that from the kernel's sockets, engine_figures.c what is counted beside the
 * totals. */

#include <pthread.h>

#include "base/list.h"
#include "base/loop.h"
#include "base/slab.h"
#include "base/util.h"
#include "dpdk/engine.h"
#include "dpdk/slots.h"
#include "dpdk/splice.h"
#include "splice/packet_ports.h"
#include "splice/packet_prepare.h"
#include "splice/reasons.h"

struct sl_dpdk_engine {
	struct sl_engine base;
	struct sl_dpdk_splice *table; /* NULL: broken */
	struct sl_dpdk_slots slots;
	struct sl_slab pairs;
	struct sl_list ended; /* struct sl_dpdk_pair */
	struct sl_task tell;
	struct sl_timer cool;
	struct sl_engine_totals totals;
	struct sl_refusals refusals; /* under the lock of engine_figures.c */
	uint64_t arms, resets;
	bool sockets; /* pairs are the kernel's sockets; what follows is about these */
	struct sl_packet_watcher watcher;
	struct sl_packet_ports ports; /* to upstreams */
	uint16_t port_next;
	int claim; /* of the network namespace */
};

/* A spliced pair. */
struct sl_dpdk_pair {
	struct sl_dpdk_engine *engine;
	struct sl_pair *pair;
	uint32_t slot;
	struct sl_pair_count before[2];
	struct sl_list ended;
	enum sl_pair_end end; /* not told yet */
	struct sl_timer grace;
};

static inline struct sl_dpdk_engine *sl_to_dpdk_engine(struct sl_engine *e)
{
	return sl_container_of(e, struct sl_dpdk_engine, base);
}

static inline void sl_dpdk_count_up(uint64_t *counter)
{
	__atomic_store_n(counter, *counter + 1, __ATOMIC_RELAXED);
}

/* A control call about the slot's pair. Returns c->ret. */
int sl_dpdk_control(struct sl_dpdk_engine *e, uint32_t slot, struct sl_control *c);
/* The slot's pair is gone: its packets go to the stack, and the slot is free. */
void sl_dpdk_release(struct sl_dpdk_engine *e, uint32_t slot);

/* One that is carried by nothing yet; NULL: there is no room. */
struct sl_dpdk_pair *sl_dpdk_pair_new(struct sl_dpdk_engine *e, uint32_t slot);
/* The table carries p. Its streams are the engine's to close. */
void sl_dpdk_take_over(struct sl_dpdk_pair *k, struct sl_pair *p);
/* Those that are there, without a word to their peers. */
void sl_dpdk_close_streams(struct sl_pair *p);

/* 0; or -errno with a static reason for copying all pairs. */
int sl_dpdk_open_sockets(struct sl_dpdk_engine *e, const struct sl_dpdk_engine_config *c,
			 const char **ret_reason);
void sl_dpdk_close_sockets(struct sl_dpdk_engine *e);
/* As sl_engine_ops.join. */
int sl_dpdk_join_sockets(struct sl_dpdk_engine *e, struct sl_pair *p, const char **ret_reason);

/* sl_engine_ops.join. */
int sl_dpdk_join(struct sl_engine *engine, struct sl_pair *p, const char **ret_reason);

/* The instance that figures are told of, or NULL. */
void sl_dpdk_publish(struct sl_dpdk_engine *e);
void sl_dpdk_count_refusal(struct sl_dpdk_engine *e, const char *reason);

#endif
