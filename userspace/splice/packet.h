/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_SPLICE_PACKET_H
#define SLUICE_SPLICE_PACKET_H

/* The parts of the packet engine (packet.c), not for others. packet_slots.c is what the workers'
 * instances share: pinned programs and maps, slots, ports, events. packet_state.c reads a socket. */

#include <stdbool.h>
#include <stdint.h>

#include <sluice/flow.h>

#include "base/addr.h"
#include "base/loop.h"
#include "splice/engine.h"

#define SL_PACKET_INBOX 1024

/* Where an instance gets its events; one per worker. */
struct sl_packet_inbox {
	struct sl_loop *loop;
	/* In the worker's thread. pair: what was given to sl_packet_watch(). */
	void (*on_event)(void *pair, const struct sl_event *event);
	/* The rest is packet_slots.c's. */
	struct sl_task task;
	bool posted;
	uint32_t n; /* what finds no room is lost: the owner sees the state when it counts */
	struct sl_event event[SL_PACKET_INBOX];
};

/* Opens what the workers share, once per process: takes what `sluice load` pinned, or loads and
 * attaches to every device that is up. The answer is remembered. */
int sl_packet_open(const char **ret_reason);
/* sl_packet_open() was successful. The first one to register also reads the events of all. */
void sl_packet_register(struct sl_packet_inbox *inbox);
/* After the last one all slots that cool down are released. */
void sl_packet_unregister(struct sl_packet_inbox *inbox);

/* Takes a slot and a source port, written to leg[1].local_port, and starts to watch. -ENOSPC: no
 * slot or port is free; or as SL_CONTROL_WATCH. */
int sl_packet_watch(struct sl_packet_inbox *inbox, void *pair, struct sl_control_leg leg[2],
		    uint32_t *ret_slot);
/* Stops to watch, or forgets a dead pair; the slot is free. */
void sl_packet_release(uint32_t slot);
/* The same, a minute later: late packets of a closed pair are still translated (TIME_WAIT). */
void sl_packet_release_later(uint32_t slot);
/* Leaves a pair to the kernel. */
void sl_packet_abandon(uint32_t slot);

/* Fills in pair and generation, and runs the control program. 0 with the answer in c->ret, or -errno of
 * the call itself. */
int sl_packet_control(uint32_t slot, struct sl_control *c);
/* 0, -ESTALE if it isn't the slot's pair any more, or -errno. */
int sl_packet_read(uint32_t slot, struct sl_flow_pair *ret);
/* Whether it is this network namespace's loopback device. */
bool sl_packet_is_loopback(uint32_t ifindex);

/* IPv4 as IPv4-mapped. */
void sl_packet_set_peer(struct sl_control_leg *l, const struct sl_addr *a);
void sl_packet_set_local(struct sl_control_leg *l, const struct sl_addr *a);

/* What ARM must know of a socket. */
struct sl_packet_socket {
	int fd;
	uint32_t unread;   /* bytes in the receive queue */
	uint16_t most_in;  /* largest payload that the peer may send */
	uint16_t most_out; /* largest that it takes */
};

/* Sends the ACK that the socket delays, then reads its state into *ret_leg. 0, or -errno if the stream
 * is broken or has no socket. 11 system calls. Afterwards the socket is in repair mode: if this process
 * dies, it says nothing to its peer. */
int sl_packet_sample(struct sl_stream *s, struct sl_packet_socket *ret,
		     struct sl_control_leg *ret_leg);
/* Leaves repair mode. */
void sl_packet_resume(int fd);
/* Whether bytes wait in the socket's receive queue. */
bool sl_packet_has_unread(int fd);

#endif
