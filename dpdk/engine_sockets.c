/* SPDX-License-Identifier: BSD-2-Clause */
/* The handover of a pair of the kernel's sockets (kernel.h) to the table: as in the packet engine, by
 * the same code for what is asked of sockets and for what is prepared before the upstream connects.
 *
 * All frames of both connections pass this thread, so the table notes their numbers from the watch on. A pair
 * is armed, and if it is quiet at this very moment it is spliced; else it is disarmed at once, so no packet
 * flips a pair. What came before was handed to the kernel, and was worked on within the call; only where
 * receive packet steering is set up for the device may the kernel still have an ACK on its way: the
 * sockets stay for GRACE_MS, in repair mode, as whoever has no socket for it answers with an RST. */

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "dpdk/engine_private.h"
#include "dpdk/kernel.h"
#include "splice/packet_ports.h"
#include "splice/packet_state.h"

#define GRACE_MS       20
#define WATCH_ATTEMPTS 64

/* --- preparing --- */

static struct sl_dpdk_engine *to_engine(struct sl_packet_watcher *w)
{
	return sl_container_of(w, struct sl_dpdk_engine, watcher);
}

static int reach(struct sl_packet_watcher *w, const struct sl_endpoint *client,
		 const struct sl_addr *upstream, struct sl_addr *ret_source,
		 const char **ret_reason)
{
	struct sl_addr unused;
	int r = sl_kernel_route(&client->peer, &unused);

	*ret_reason = "only one of its connections goes through DPDK";
	return r ? r : sl_kernel_route(upstream, ret_source);
}

static uint16_t next_port(struct sl_dpdk_engine *e)
{
	uint16_t port = e->port_next;

	e->port_next = port == e->ports.last ? e->ports.first : (uint16_t)(port + 1);
	return port;
}

static int watch(struct sl_packet_watcher *w, struct sl_control_leg leg[2], uint32_t *ret_slot)
{
	struct sl_dpdk_engine *e = to_engine(w);

	for (int n = 0; n < WATCH_ATTEMPTS; n++) {
		struct sl_control c = {.op = SL_CONTROL_WATCH};
		uint32_t slot = sl_dpdk_slot_take(&e->slots, NULL);
		int r;

		if (slot == SL_DPDK_NO_SLOT)
			return -ENOSPC;
		leg[1].local_port = htons(next_port(e));
		memcpy(c.leg, leg, sizeof(c.leg));
		sl_dpdk_splice_pair(e->table, slot)->generation++;
		r = sl_dpdk_control(e, slot, &c);
		if (!r) {
			*ret_slot = slot;
			return 0;
		}
		sl_dpdk_slot_free(&e->slots, slot);
		if (r != -EEXIST)
			return r;
	}
	return -ENOSPC;
}

static void release(struct sl_packet_watcher *w, uint32_t slot)
{
	sl_dpdk_release(to_engine(w), slot);
}

/* --- joining --- */

static void ignore_event(struct sl_stream *s, unsigned events)
{
}

static void grace_over(struct sl_timer *t)
{
	sl_dpdk_close_streams(sl_container_of(t, struct sl_dpdk_pair, grace)->pair);
}

static int arm(struct sl_dpdk_engine *e, uint32_t slot, struct sl_control_leg leg[2],
	       const char **ret_reason)
{
	struct sl_control c = {.op = SL_CONTROL_ARM}, back = {.op = SL_CONTROL_DISARM};

	memcpy(c.leg, leg, sizeof(c.leg));
	sl_dpdk_count_up(&e->arms);
	*ret_reason = "busy: bytes are on their way";
	if (!sl_dpdk_control(e, slot, &c)) {
		if (c.ret_flipped)
			return 0;
		return sl_dpdk_control(e, slot, &back) ? -EOPNOTSUPP : -EAGAIN;
	}
	*ret_reason = c.ret_refusal ? sl_refusal_text(c.ret_refusal) : "its slot is another's";
	return -EOPNOTSUPP;
}

static void take_over(struct sl_dpdk_pair *k, struct sl_pair *p)
{
	struct sl_dpdk_engine *e = k->engine;

	sl_packet_take_slot(p);
	e->slots.slot[k->slot].pair = k;
	sl_dpdk_take_over(k, p);
	for (int side = 0; side < 2; side++)
		p->stream[side]->on_event = ignore_event;
	sl_timer_init(&k->grace, grace_over);
	sl_loop_arm(e->base.options.loop, &k->grace, GRACE_MS);
}

int sl_dpdk_join_sockets(struct sl_dpdk_engine *e, struct sl_pair *p, const char **ret_reason)
{
	struct sl_packet_sockets sockets;
	struct sl_control_leg leg[2];
	struct sl_dpdk_pair *k;
	uint32_t slot;
	int r = sl_packet_choose(p, &slot, ret_reason);

	if (r)
		return r;
	*ret_reason = "the table of spliced pairs is full";
	k = sl_dpdk_pair_new(e, slot);
	if (!k)
		return -ENOSPC;
	r = sl_packet_sample(p, &sockets, leg, ret_reason);
	if (!r)
		r = arm(e, slot, leg, ret_reason);
	if (!r) {
		take_over(k, p);
		return 0;
	}
	sl_packet_resume(&sockets);
	sl_slab_put(&e->pairs, k);
	return r;
}

/* --- start and end --- */

int sl_dpdk_open_sockets(struct sl_dpdk_engine *e, const struct sl_dpdk_engine_config *c,
			 const char **ret_reason)
{
	int r = sl_packet_claim_namespace(&e->claim);

	*ret_reason = "another sluice splices in this network namespace";
	if (r)
		return r;
	e->ports = (struct sl_packet_ports){c->port_first, c->port_last};
	r = sl_packet_choose_ports(&e->ports);
	*ret_reason = "splice.ports are ports that the kernel uses by itself: see "
		      "net.ipv4.ip_local_port_range and ip_local_reserved_ports";
	if (r)
		return r;
	e->port_next = e->ports.first;
	e->watcher = (struct sl_packet_watcher){
		.mss = c->mss, .reach = reach, .watch = watch, .release = release};
	sl_packet_watcher_init(&e->watcher, c->pairs);
	return 0;
}

void sl_dpdk_close_sockets(struct sl_dpdk_engine *e)
{
	sl_packet_watcher_destroy(&e->watcher);
	e->claim = sl_close(e->claim);
}
