/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_DPDK_NEIGHBOURS_H
#define SLUICE_DPDK_NEIGHBOURS_H

/* Link addresses of the hosts on the ports' wires, as they tell them: lwIP knows ten of either family. It
 * asks, and answers; here is what was heard. Learnt are hosts that ask for us or answer us (RFC 826,
 * RFC 4861); others are only brought up to date. What is heard in the name of an address that is not on
 * the wire is the caller's to leave out.
 *
 * A fixed table: who was heard of longest ago gives way. One thread. */

#include <net/ethernet.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* An IPv4 address, mapped, or an IPv6 address, on the wire of a port. */
struct sl_neighbour_at {
	uint8_t address[16];
	uint32_t port;
};

/* What a frame says of its sender. */
struct sl_neighbour_word {
	uint8_t address[16];
	uint8_t target[16]; /* whom it is for: learnt if that is us */
	uint8_t mac[ETH_ALEN];
};

enum sl_neighbour {
	SL_NEIGHBOUR_UNKNOWN,
	SL_NEIGHBOUR_KNOWN,
	SL_NEIGHBOUR_OLD, /* known, but it should be asked (once a second at most) */
};

/* False: the frame is no valid ARP packet, solicitation or advertisement (that was asked for, or replaces
 * what was known), or says nothing. */
bool sl_neighbour_read(const uint8_t *frame, size_t len, struct sl_neighbour_word *ret);
/* New ones only with `learn`. */
void sl_neighbour_heard(const struct sl_neighbour_at *at, const uint8_t mac[ETH_ALEN], bool learn,
			uint32_t now_ms);
enum sl_neighbour sl_neighbour_find(const struct sl_neighbour_at *at, uint32_t now_ms,
				    uint8_t ret_mac[ETH_ALEN]);
void sl_neighbours_forget_all(void);

#endif
