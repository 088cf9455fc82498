/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_SPLICE_PACKET_PORTS_H
#define SLUICE_SPLICE_PACKET_PORTS_H

#include <stdint.h>

struct sl_packet_ports {
	uint16_t first, last;
};

/* Source ports for upstreams. *ports as configured (first 0: not), then as chosen. The kernel doesn't
 * know that a spliced pair's port is taken, so it must never hand one out by itself: ports are outside
 * net.ipv4.ip_local_port_range, or in net.ipv4.ip_local_reserved_ports. -EADDRNOTAVAIL: none are left;
 * -EADDRINUSE: those configured are not so. Changes no setting. */
int sl_packet_choose_ports(struct sl_packet_ports *ports);

/* The same for settings given as text. */
int sl_packet_choose_ports_from(const char *range, const char *reserved,
				struct sl_packet_ports *ports);

/* Claims the network namespace: two processes that splice in one, each with pins of its own, would
 * choose the same ports. *ret_fd holds the claim. -EADDRINUSE: another process has it. */
int sl_packet_claim_namespace(int *ret_fd);

#endif
