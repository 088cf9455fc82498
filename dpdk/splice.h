/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_DPDK_SPLICE_H
#define SLUICE_DPDK_SPLICE_H

/* The table of spliced pairs, and what is done with their packets (lcore.h: sl_splice_burst). States,
 * numbers and reasons are those of the packet engine (sluice/flow.h), and so are the steps: what BPF
 * programs do at tc and XDP is done here to mbufs.
 *
 * A table has room for options.pairs pairs in either family, and never evicts. It belongs to one
 * thread; counters may be read from any. */

#include <stdint.h>

#include "dpdk/port.h"

#include <sluice/flow.h>

#define SL_DPDK_PAIRS_MAX (1u << 22)

struct sl_dpdk_splice;
struct rte_mbuf;

struct sl_dpdk_splice_options {
	uint32_t pairs; /* slots: 1 to SL_DPDK_PAIRS_MAX */
	/* Within a burst or a control call: notes it, and acts later. */
	void (*on_event)(void *owner, const struct sl_event *e);
	void *owner;
};

/* After rte_eal_init(). 0, -EINVAL or -ENOMEM. */
int sl_dpdk_splice_new(const struct sl_dpdk_splice_options *o, struct sl_dpdk_splice **ret);
/* Takes NULL. */
void sl_dpdk_splice_free(struct sl_dpdk_splice *s);

/* What the packet engine's control program does (struct sl_control); the answer is in c->ret too. */
int sl_dpdk_splice_control(struct sl_dpdk_splice *s, struct sl_control *c);
/* The slot's pair, to read and to fill in before it is armed; NULL: no such slot. */
struct sl_flow_pair *sl_dpdk_splice_pair(struct sl_dpdk_splice *s, uint32_t slot);
/* Adds the table's counters to ret. */
void sl_dpdk_splice_count(const struct sl_dpdk_splice *s, struct sl_counter ret[SL_REASON_COUNT]);

/* A port as a leg's ifindex: never 0. */
static inline uint32_t sl_dpdk_ifindex(const struct sl_port *port)
{
	return sl_port_index(port) + 1;
}

static inline struct sl_port *sl_dpdk_port(const struct sl_leg *leg)
{
	return sl_port_get(leg->ifindex - 1);
}

/* --- reset.c --- */

/* An RST to the peer of pair->leg[leg], as the proxy's next segment. The caller owns it. NULL: no memory. */
struct rte_mbuf *sl_dpdk_reset_frame(const struct sl_flow_pair *pair, int leg);

#endif
