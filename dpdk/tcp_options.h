/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_DPDK_TCP_OPTIONS_H
#define SLUICE_DPDK_TCP_OPTIONS_H

/* TCP options of a packet (IPv4 or IPv6 without extension headers) that lie in one piece of memory: what is
 * there, and what is added to segments without payload. Pure; checksums are made anew. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SL_TCP_WSCALE	  7 /* windows of 8 MB, in steps of 128 bytes */
#define SL_TCP_BLOCKS_MAX 4 /* of a selective acknowledgement: the room for options holds no more */
#define SL_TCP_MORE	  40 /* bytes that a packet may grow by */

/* Bytes that have arrived out of order: [left, right). */
struct sl_tcp_block {
	uint32_t left, right;
};

/* What there is to know of a segment. */
struct sl_tcp_view {
	const uint8_t *tcp;
	uint8_t flags; /* as in the header: FIN 1, SYN 2, RST 4, ACK 16 */
	bool is_ip6;
	bool has_payload;
};

/* False: it is no TCP segment, or not all of it is here. */
bool sl_tcp_look(const uint8_t *packet, size_t len, struct sl_tcp_view *ret);
/* Whether the options of a TCP header, of which `len` bytes are here, permit selective acknowledgements. */
bool sl_tcp_permits_sack(const uint8_t *tcp, size_t len);

/* What a TCP header's selective acknowledgement says has arrived beyond its acknowledgement. Returns how
 * many blocks; those below it are left out (RFC 2883). */
unsigned sl_tcp_sacked(const uint8_t *tcp, size_t len, struct sl_tcp_block ret[SL_TCP_BLOCKS_MAX]);

/* A SYN of our own. A window scale that it offers becomes SL_TCP_WSCALE; permission for selective
 * acknowledgements is added. Returns the new length; *ret_scaled: it offers a window scale. There is room
 * for SL_TCP_MORE bytes behind the packet, which is one that sl_tcp_look() takes. */
size_t sl_tcp_offer(uint8_t *packet, size_t len, bool sack, bool *ret_scaled);
/* A pure ACK gets n blocks, 1 to SL_TCP_BLOCKS_MAX. As above. */
size_t sl_tcp_report(uint8_t *packet, size_t len, const struct sl_tcp_block *block, unsigned n);

#endif
