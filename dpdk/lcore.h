/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_DPDK_LCORE_H
#define SLUICE_DPDK_LCORE_H

/* What happens to frames: a burst is fetched from each port, spliced pairs' packets are rewritten and
 * sent at once (engine.c), the rest goes to the TCP/IP stack: lwIP (stack.h) or the kernel's (kernel.h).
 * And what a stream's TCP has to tell when a pair leaves lwIP for the splice table.
 *
 * All of it belongs to the one worker's thread. */

#include <net/ethernet.h>
#include <stdbool.h>
#include <stdint.h>

#include "dpdk/port.h"

struct sl_loop;
struct sl_stream;
struct sl_dpdk_splice;

/* The stack behind the ports. */
struct sl_lcore_stack {
	/* Takes the n frames that came by a port and belong to no spliced pair. */
	void (*input)(struct sl_port *p, struct rte_mbuf **frames, unsigned n);
	/* Once a turn, after all ports. Returns how many frames it has sent by ports without being asked. */
	unsigned (*turn)(void);
	/* Whether it has work that can't wait for a frame. */
	bool (*busy)(void);
};

/* Makes the ports the loop's poller (base/loop.h). *stack stays. 0 or -errno of watching a descriptor. */
int sl_lcore_start(struct sl_loop *loop, const struct sl_lcore_stack *stack);
/* Another descriptor that ends the wait when it is readable. */
int sl_lcore_watch(int fd);
void sl_lcore_unwatch(int fd);
/* What was gathered leaves, and the ports are left alone. Idempotent; the loop is there still. */
void sl_lcore_stop(void);

/* Takes the packets of spliced pairs out of a burst of n, rewrites them and sends them by
 * sl_port_send(); packets that belong to no pair, in their order, are left in ret_rest, which has room
 * for n and may be pkts itself. Returns how many. A packet's port is rte_mbuf.port. */
unsigned sl_splice_burst(struct sl_dpdk_splice *s, struct rte_mbuf **pkts, unsigned n,
			 struct rte_mbuf **ret_rest);
/* The table that sees every frame first. NULL: none (any more). */
void sl_lcore_set_splice(struct sl_dpdk_splice *s);

/* A connection as the stack knows it. Sequence numbers in host byte order, windows in bytes. */
struct sl_dpdk_tcp {
	struct sl_port *port;	    /* that it goes through */
	uint8_t peer_mac[ETH_ALEN]; /* of the next hop */
	/* Established (or the peer has finished), all that was sent is acknowledged, nothing waits to
	 * be sent or read, and nothing is out of order. */
	bool quiet;
	bool peer_finished;		/* its FIN has arrived, and counts in rcv_nxt */
	uint32_t snd_nxt;		/* next byte that will be sent */
	uint32_t lastack;		/* highest acknowledgement that came */
	uint32_t rcv_nxt;		/* next byte that is expected */
	uint32_t announced;		/* window that the peer was told, from rcv_nxt on */
	uint32_t peer_window;		/* that the peer told */
	uint8_t snd_wscale, rcv_wscale; /* of the windows that the peer tells and is told */
	uint16_t mss;			/* largest segment that may be sent */
	uint16_t announced_mss;		/* to the peer */
};

/* Of a stream of the dpdk transport. 0; -EOPNOTSUPP: it is of another transport; -ENOTCONN; -EAGAIN: the
 * neighbour's address is not known at this moment. After it, close(SL_CLOSE_SILENT) on the stream drops the
 * connection without a packet: whoever asked carries it on, from within the same callback. */
int sl_dpdk_stream_tcp(struct sl_stream *s, struct sl_dpdk_tcp *ret);

#endif
