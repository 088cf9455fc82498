/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_DPDK_STACK_H
#define SLUICE_DPDK_STACK_H

/* IP over the ports, by lwIP: an interface for each port; ARP, neighbour discovery, ICMP echo. lwIP is
 * one in a process and not thread-safe: all calls come from the worker's thread, or before it starts.
 *
 * lwIP's headers and those of the system define the same names differently: only stack*.c and
 * stream*.c may include lwIP's, and then nothing of <netinet/ip6.h>. */

#include <net/ethernet.h>
#include <stdbool.h>
#include <stdint.h>

#include "dpdk/port.h"

/* What frames were dropped for, and what the stack had to do. */
struct sl_stack_stats {
	uint64_t frames;	 /* that came to the stack */
	uint64_t not_ours;	 /* for somebody else */
	uint64_t malformed;	 /* cut off, or claiming to come from us */
	uint64_t no_memory;	 /* received or to be sent */
	uint64_t half_open_lost; /* handshakes given up for newer ones */
};

/* Interfaces for the ports that are open. 0 or -errno. */
int sl_stack_start(void);
/* Connections and interfaces are gone; nothing is sent. */
void sl_stack_stop(void);

/* Takes the frame. */
void sl_stack_input(struct sl_port *p, struct rte_mbuf *frame);
/* Timers of ARP, ND, reassembly: at least every 250 ms. */
void sl_stack_tick(void);

/* An address of a port, whatever the port number says. */
bool sl_stack_is_own(const struct sl_addr *a);
/* The port and the link address that packets to a peer leave by. 0, -ENETUNREACH, or -EAGAIN: the
 * neighbour is not known at this moment. */
int sl_stack_next_hop(const struct sl_addr *peer, struct sl_port **ret_port,
		      uint8_t ret_mac[ETH_ALEN]);

void sl_stack_stats(struct sl_stack_stats *ret);

#endif
