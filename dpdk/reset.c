/* SPDX-License-Identifier: BSD-2-Clause */
/* Tells the peer of a spliced pair that it is over: one RST, with the numbers that the pair has seen.
 *
 * Its sequence number is the end of all that was sent to the peer. Where the peer expects an earlier one
 * it answers with a challenge ACK (RFC 5961, 3.2); the pair is gone then, so that comes to the stack, which
 * knows no such connection and answers with an RST that is right. */

#include <string.h>

#include <rte_mbuf.h>

#include "dpdk/splice.h"

#include <sluice/rewrite.h>

#define TTL 64

/* Of n bytes, an even number. */
static uint64_t sum(const void *at, size_t n)
{
	const uint8_t *byte = at;
	uint64_t all = 0;
	uint16_t word;

	for (size_t i = 0; i < n; i += sizeof(word)) {
		memcpy(&word, byte + i, sizeof(word));
		all += word;
	}
	return all;
}

static __be16 *put_link(uint8_t *at, const struct sl_leg *leg, int version)
{
	const __be16 type = sl_hton16(version == 4 ? ETH_P_IP : ETH_P_IPV6);
	const int tags = leg->tagging & ~SL_TAG_SERVICE;
	__be16 *next = (void *)(at + 2 * ETH_ALEN);

	memcpy(at, leg->peer_mac, ETH_ALEN);
	memcpy(at + ETH_ALEN, leg->local_mac, ETH_ALEN);
	for (int i = 0; i < tags; i++) {
		*next++ =
			sl_hton16(!i && leg->tagging & SL_TAG_SERVICE ? ETH_P_8021AD : ETH_P_8021Q);
		*next++ = leg->tag[i] & sl_hton16(0x0fff);
	}
	*next++ = type;
	return next;
}

static void put_ip4(struct iphdr *ip, const struct sl_leg *leg)
{
	*ip = (struct iphdr){
		.version = 4,
		.ihl = 5,
		.tot_len = sl_hton16(sizeof(*ip) + sizeof(struct tcphdr)),
		.frag_off = sl_hton16(0x4000), /* don't fragment */
		.ttl = TTL,
		.protocol = SL_PROTO_TCP,
	};
	memcpy(&ip->saddr, leg->local + 12, 4);
	memcpy(&ip->daddr, leg->peer + 12, 4);
	ip->check = (__u16)~sl_sum_fold16(sum(ip, sizeof(*ip)));
}

static void put_ip6(struct ipv6hdr *ip, const struct sl_leg *leg)
{
	*ip = (struct ipv6hdr){
		.version = 6,
		.payload_len = sl_hton16(sizeof(struct tcphdr)),
		.nexthdr = SL_PROTO_TCP,
		.hop_limit = TTL,
	};
	memcpy(&ip->saddr, leg->local, 16);
	memcpy(&ip->daddr, leg->peer, 16);
}

/* The prefix of a mapped IPv4 address adds 0xffff, which is 0 in one's complement. */
static void put_tcp(struct tcphdr *tcp, const struct sl_leg *leg, uint32_t seq)
{
	const uint64_t pseudo = sum(leg->local, 16) + sum(leg->peer, 16) + sl_hton16(SL_PROTO_TCP) +
				sl_hton16(sizeof(*tcp));
	*tcp = (struct tcphdr){
		.source = leg->local_port,
		.dest = leg->peer_port,
		.seq = sl_hton32(seq),
		.ack_seq = sl_hton32(leg->end),
		.doff = sizeof(*tcp) / 4,
		.rst = 1,
		.ack = 1,
	};
	tcp->check = (__u16)~sl_sum_fold16(sum(tcp, sizeof(*tcp)) + pseudo);
}

struct rte_mbuf *sl_dpdk_reset_frame(const struct sl_flow_pair *pair, int leg)
{
	const struct sl_leg *to = &pair->leg[leg], *other = &pair->leg[!leg];
	const int version = sl_is_ip4(to->peer) ? 4 : 6;
	struct rte_mbuf *m = sl_port_frame();
	uint8_t *start, *at;

	if (!m)
		return NULL;
	start = rte_pktmbuf_mtod(m, uint8_t *);
	at = (uint8_t *)put_link(start, to, version);
	if (version == 4) {
		put_ip4((void *)at, to);
		at += sizeof(struct iphdr);
	} else {
		put_ip6((void *)at, to);
		at += sizeof(struct ipv6hdr);
	}
	put_tcp((void *)at, to, other->end + other->seq_add);
	m->data_len = (uint16_t)(at + sizeof(struct tcphdr) - start);
	m->pkt_len = m->data_len;
	return m;
}
