/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_SPLICE_PACKET_H
#define SLUICE_SPLICE_PACKET_H

/* The parts of the packet engine, not for others (they use packet_config.h and engine.h):
 *
 * packet.c          the engine's operations: joining, the grace, the end
 * packet_adopt.c    pairs that an earlier process left
 * packet_reset.c    tells the peers of a pair without sockets that it is over
 * packet_outputs.c  how packets leave
 * packet_addr.c     addresses as the maps hold them
 * packet_figures.c  what is counted beside the engine's totals
 *
 * packet_prepare.h (before the upstream connects: source address and port, a watched slot) and packet_state.h
 * (reads sockets) serve the dpdk engine, too.
 *
 * What the workers' instances share (packet_shared.h): packet_open.c opens the pinned programs and maps,
 * packet_slots.c has slots and ports, packet_events.c events and the scan for lost ones. */

#include <stdbool.h>
#include <stdint.h>

#include <sluice/flow.h>

#include "base/addr.h"
#include "base/loop.h"
#include "base/slab.h"
#include "splice/devices.h"
#include "splice/engine.h"
#include "splice/packet_prepare.h"
#include "splice/packet_state.h"

#define SL_PACKET_INBOX 1024

/* Where an instance gets its events; one per worker. */
struct sl_packet_inbox {
	struct sl_loop *loop;
	/* In the worker's thread. pair: what was given to sl_packet_own(). */
	void (*on_event)(void *pair, const struct sl_event *event);
	/* The rest is packet_events.c's. */
	struct sl_task task;
	bool posted;
	uint32_t n; /* what finds no room is lost, and found again by the scan */
	struct sl_event event[SL_PACKET_INBOX];
};

/* Opens what the workers share, once per process: takes what `sluice load` pinned, or loads and
 * attaches to every device that is up. The answer is remembered. */
int sl_packet_open(const char **ret_reason);
/* sl_packet_open() was successful. The first one to register also reads the events of all. */
void sl_packet_register(struct sl_packet_inbox *inbox);
/* After the last one all is closed but the pins. */
void sl_packet_unregister(struct sl_packet_inbox *inbox);

/* Takes a slot and a source port, written to leg[1].local_port, and starts to watch. -ENOSPC: no
 * slot or port is free; or as SL_CONTROL_WATCH. */
int sl_packet_watch(struct sl_packet_inbox *inbox, struct sl_control_leg leg[2],
		    uint32_t *ret_slot);
/* The slot's pair is spliced, and `pair` is told what happens to it. The slot was watched, or left by
 * an earlier process; false if it is neither. */
bool sl_packet_own(struct sl_packet_inbox *inbox, uint32_t slot, void *pair);
/* Stops to watch, or forgets a dead pair; the slot is free. */
void sl_packet_release(uint32_t slot);
/* The same after the configured time_wait: late packets of a closed pair are still translated. */
void sl_packet_release_later(uint32_t slot);
/* Leaves a pair to the kernel. */
void sl_packet_abandon(uint32_t slot);
/* How many slots there are; and whether a slot's pair was left by an earlier process. */
uint32_t sl_packet_slots(void);
/* The MSS that upstreams are to be told. */
uint16_t sl_packet_mss(void);
bool sl_packet_is_left(uint32_t slot);

/* Fills in pair and generation, and runs the control program. 0 with the answer in c->ret, or -errno of
 * the call itself. */
int sl_packet_control(uint32_t slot, struct sl_control *c);
/* 0, -ESTALE if it isn't the slot's pair any more, or -errno. */
int sl_packet_read(uint32_t slot, struct sl_flow_pair *ret);

/* --- packet_addr.c --- */

void sl_packet_set_peer(struct sl_control_leg *l, const struct sl_addr *a);
void sl_packet_set_local(struct sl_control_leg *l, const struct sl_addr *a);
struct sl_addr sl_packet_get_peer(const struct sl_leg *l);
struct sl_addr sl_packet_get_local(const struct sl_leg *l);

/* --- packet_outputs.c --- */

/* As sl_devices_reach(). */
int sl_packet_reach(const struct sl_addr *to, const struct sl_addr *from, struct sl_way *ret,
		    const char **ret_reason);
/* Decides how packets leave to both peers: output and ifindex of leg[]. mss: what each leg's peer was
 * told. 0; -EAGAIN: not all is known yet; -EOPNOTSUPP: in no way that works. */
int sl_packet_choose_outputs(uint32_t slot, const uint16_t mss[2], struct sl_control_leg leg[2],
			     const char **ret_reason);

/* --- packet_reset.c --- */

/* Sends an RST to both peers, from the proxy's addresses. The pair is DEAD or its slot is released, and
 * the proxy's sockets are closed. 0, or the first -errno; the peers then learn it by the answer to their
 * next packet. 12 system calls for each. */
int sl_packet_reset_peers(const struct sl_flow_pair *pair);

/* --- the engine's own objects --- */

struct sl_packet_engine {
	struct sl_engine base;
	struct sl_packet_inbox inbox;
	struct sl_packet_watcher watcher;
	struct sl_slab pairs;
	struct sl_engine_totals totals;
};

/* A spliced pair. */
struct sl_packet_pair {
	struct sl_packet_engine *engine;
	struct sl_pair *pair;
	uint32_t slot;
	struct sl_packet_sockets sockets; /* while the streams are there */
	struct sl_pair_count before[2];
	struct sl_timer grace;
};

/* A new one for p, carried by the engine from now on; NULL if there is no room. */
struct sl_packet_pair *sl_packet_pair_new(struct sl_packet_engine *e, uint32_t slot);
void sl_packet_pair_start(struct sl_packet_pair *k, struct sl_pair *p);
/* One that was not started. */
void sl_packet_pair_free(struct sl_packet_pair *k);

/* --- packet_figures.c --- */

/* A pair stays copied for good; the reason is static. */
void sl_packet_count_refusal(const char *reason);
void sl_packet_count_arm(void);

/* --- packet_adopt.c --- */

/* Takes this instance's share of the pairs that an earlier process left. */
void sl_packet_adopt(struct sl_packet_engine *e);

#endif
