/* SPDX-License-Identifier: BSD-2-Clause */
/* See tcp_options.h. Options are added behind those that are there (and what they are padded with), in
 * whole words; where they would not fit, the packet stays as it is. */

#include "dpdk/tcp_options.h"

#include <rte_byteorder.h>
#include <rte_ip.h>
#include <rte_tcp.h>
#include <string.h>

#define OPTIONS_MAX 40

enum kind {
	KIND_END = 0,
	KIND_NOP = 1,
	KIND_WSCALE = 3,
	KIND_SACK_PERMITTED = 4,
	KIND_SACK = 5,
};

static size_t ip_len(const uint8_t *packet)
{
	return packet[0] >> 4 == 6 ? sizeof(struct rte_ipv6_hdr) : (packet[0] & 15) * 4u;
}

static size_t options_len(const struct rte_tcp_hdr *tcp)
{
	return (tcp->data_off >> 4) * 4u - sizeof(*tcp);
}

bool sl_tcp_look(const uint8_t *packet, size_t len, struct sl_tcp_view *ret)
{
	const struct rte_tcp_hdr *tcp;
	bool is_ip6;
	size_t at, head;

	if (len < sizeof(struct rte_ipv4_hdr))
		return false;
	is_ip6 = packet[0] >> 4 == 6;
	at = ip_len(packet);
	if (len < at + sizeof(*tcp) || packet[is_ip6 ? 6 : 9] != IPPROTO_TCP)
		return false;
	/* all but the first fragment are something else */
	if (!is_ip6 && ((packet[6] & 0x1f) || packet[7]))
		return false;
	tcp = (const void *)(packet + at);
	head = at + (tcp->data_off >> 4) * 4u;
	if (tcp->data_off >> 4 < 5 || len < head)
		return false;
	*ret = (struct sl_tcp_view){.tcp = packet + at,
				    .flags = tcp->tcp_flags,
				    .is_ip6 = is_ip6,
				    .has_payload = len > head};
	return true;
}

/* The option of that kind, or NULL. They may come from strangers. */
static const uint8_t *find(const uint8_t *option, size_t len, enum kind kind)
{
	while (len && *option != KIND_END) {
		size_t n = *option == KIND_NOP ? 1 : len > 1 ? option[1] : 0;

		if (!n || n > len || (n == 1 && *option != KIND_NOP))
			return NULL;
		if (*option == kind)
			return option;
		option += n;
		len -= n;
	}
	return NULL;
}

static const uint8_t *find_in(const uint8_t *tcp, size_t len, enum kind kind)
{
	const struct rte_tcp_hdr *head = (const void *)tcp;

	if (len < sizeof(*head) || head->data_off >> 4 < 5 || len < (head->data_off >> 4) * 4u)
		return NULL;
	return find(tcp + sizeof(*head), options_len(head), kind);
}

bool sl_tcp_permits_sack(const uint8_t *tcp, size_t len)
{
	return find_in(tcp, len, KIND_SACK_PERMITTED);
}

static uint32_t get32(const uint8_t *at)
{
	rte_be32_t v;

	memcpy(&v, at, sizeof(v));
	return rte_be_to_cpu_32(v);
}

unsigned sl_tcp_sacked(const uint8_t *tcp, size_t len, struct sl_tcp_block ret[SL_TCP_BLOCKS_MAX])
{
	const uint8_t *option = find_in(tcp, len, KIND_SACK);
	unsigned blocks, n = 0;
	uint32_t ack;

	if (!option)
		return 0;
	blocks = (option[1] - 2u) / sizeof(*ret);
	ack = get32(tcp + offsetof(struct rte_tcp_hdr, recv_ack));
	for (unsigned i = 0; i < blocks; i++) {
		const uint8_t *edges = option + 2 + i * sizeof(*ret);
		const struct sl_tcp_block b = {get32(edges), get32(edges + 4)};

		if ((int32_t)(b.left - ack) > 0 && (int32_t)(b.right - b.left) > 0)
			ret[n++] = b;
	}
	return n;
}

static void sum(uint8_t *packet)
{
	struct rte_tcp_hdr *tcp = (void *)(packet + ip_len(packet));

	tcp->cksum = 0;
	if (packet[0] >> 4 == 6) {
		tcp->cksum = rte_ipv6_udptcp_cksum((void *)packet, tcp);
		return;
	}
	((struct rte_ipv4_hdr *)packet)->hdr_checksum = 0;
	((struct rte_ipv4_hdr *)packet)->hdr_checksum = rte_ipv4_cksum((void *)packet);
	tcp->cksum = rte_ipv4_udptcp_cksum((void *)packet, tcp);
}

static void set_len(uint8_t *packet, size_t len)
{
	if (packet[0] >> 4 == 6)
		((struct rte_ipv6_hdr *)packet)->payload_len =
			rte_cpu_to_be_16((uint16_t)(len - sizeof(struct rte_ipv6_hdr)));
	else
		((struct rte_ipv4_hdr *)packet)->total_length = rte_cpu_to_be_16((uint16_t)len);
}

/* n is a multiple of 4. */
static size_t add(uint8_t *packet, size_t len, const uint8_t *options, size_t n)
{
	struct rte_tcp_hdr *tcp = (void *)(packet + ip_len(packet));

	if (options_len(tcp) + n > OPTIONS_MAX)
		return len;
	memcpy(packet + len, options, n);
	tcp->data_off += (uint8_t)(n / 4 << 4);
	set_len(packet, len + n);
	return len + n;
}

size_t sl_tcp_offer(uint8_t *packet, size_t len, bool sack, bool *ret_scaled)
{
	static const uint8_t permitted[4] = {KIND_NOP, KIND_NOP, KIND_SACK_PERMITTED, 2};
	struct rte_tcp_hdr *tcp = (void *)(packet + ip_len(packet));
	uint8_t *scale = (uint8_t *)find((const uint8_t *)(tcp + 1), options_len(tcp), KIND_WSCALE);

	*ret_scaled = scale;
	if (scale)
		scale[2] = SL_TCP_WSCALE;
	if (sack)
		len = add(packet, len, permitted, sizeof(permitted));
	sum(packet);
	return len;
}

size_t sl_tcp_report(uint8_t *packet, size_t len, const struct sl_tcp_block *block, unsigned n)
{
	uint8_t option[4 + SL_TCP_BLOCKS_MAX * sizeof(*block)] = {
		KIND_NOP, KIND_NOP, KIND_SACK, (uint8_t)(2 + n * sizeof(*block))};

	for (unsigned i = 0; i < n && i < SL_TCP_BLOCKS_MAX; i++) {
		const rte_be32_t edges[2] = {rte_cpu_to_be_32(block[i].left),
					     rte_cpu_to_be_32(block[i].right)};

		memcpy(option + 4 + i * sizeof(edges), edges, sizeof(edges));
	}
	len = add(packet, len, option, 4 + n * sizeof(*block));
	sum(packet);
	return len;
}
