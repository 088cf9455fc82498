/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#ifndef SLUICE_PACKET_H
#define SLUICE_PACKET_H

/* A TCP packet, parsed once into typed fields: Ethernet, up to two VLAN tags, IPv4 with or without
 * options, or IPv6 without extension headers, TCP. rewrite.h changes it.
 *
 * Pure: no helper, no map, no context, so that it compiles for tc, XDP, DPDK and the host alike.
 *
 * There are two ways in. sl_packet_glance() and sl_packet_parse_plain() take what nearly all packets
 * are: no VLAN tag, no IPv4 options, TCP options as real stacks send them; every offset is a constant
 * then. sl_packet_parse() takes everything. A BPF program has its steps compiled once for each: the
 * first copy is fast, the second is rarely run, and each is verified by itself (in one piece they took
 * 800,000 of the verifier's million instructions on Linux 6.18).
 *
 * Not TCP, a fragment, an IPv6 extension header, a header that is cut off or lies about lengths: the
 * packet is not ours. */

#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>

#include <sluice/flow.h>
#include <sluice/options.h>

#define SL_HEADERS_MAX	(14 + 2 * 4 + 60 + 60) /* bytes: all that the parser may look at */
#define SL_PROTO_ICMP	1
#define SL_PROTO_TCP	6
#define SL_PROTO_ICMP6	58
#define SL_IP4_FRAGMENT 0x3fff /* more fragments, or an offset */
#define SL_IP4_OFFSET	0x1fff
#define SL_TS_LAYOUT	0x0101080a /* NOP NOP TIMESTAMPS(10) */
#define SL_SACK_LAYOUT	0x01010500 /* NOP NOP SACK(len) */
#define SL_NOP_LAYOUT	0x01010101
#define SL_FAST_BLOCKS	3 /* SACK blocks beside timestamps */

enum sl_tcp_flag {
	SL_TCP_FIN = 0x01,
	SL_TCP_SYN = 0x02,
	SL_TCP_RST = 0x04,
	SL_TCP_ACK = 0x10,
	SL_TCP_ECE = 0x40,
	SL_TCP_CWR = 0x80,
};

/* A VLAN tag within a frame (802.1Q, 802.1ad); linux/if_vlan.h keeps it to the kernel. */
struct sl_vlan_tag {
	__be16 tci;
	__be16 next; /* EtherType of what follows */
};

/* How a packet's TCP options are handled. */
enum sl_option_layout {
	SL_OPTS_NONE,
	SL_OPTS_FAST, /* NOP NOP TS, and NOP NOP SACK if blocks > 0 */
	SL_OPTS_SLOW, /* anything else: see options.h */
};

/* Offsets are in bytes from the start of the frame, values in host byte order. There are no pointers:
 * a global BPF function, which is verified by itself, may get one. */
struct sl_packet {
	__u32 frame_len; /* bytes that the headers claim, from the start of the frame */
	__u32 payload_len;
	__u32 seq, ack;
	__u32 seq_end; /* after payload, SYN and FIN */
	__u32 tsval;   /* if has_ts */
	__u16 window;  /* as on the wire */
	__u16 flags;   /* enum sl_tcp_flag */
	__be16 tag[2]; /* TCI of the VLAN tags, the outer one first */
	__u8 tags;     /* how many */
	__u8 tagging;  /* as in struct sl_leg */
	__u8 l3_at;
	__u8 l4_at;
	__u8 version; /* of IP: 4 or 6 */
	__u8 ttl;     /* or hop limit */
	__u8 options_len;
	__u8 layout; /* enum sl_option_layout */
	__u8 blocks; /* of SACK, if FAST */
	__u8 has_ts;
	__u8 reserved[2];
};

enum sl_parsed {
	SL_PARSED_OTHERS, /* not ours */
	SL_PARSED_PLAIN,
	SL_PARSED_RARE, /* perhaps ours, but not plain */
};

/* Serial numbers, RFC 1982: is a later than b? */
SL_INLINE int sl_after(__u32 a, __u32 b)
{
	return (__s32)(a - b) > 0;
}

SL_INLINE int sl_is_vlan(__be16 type)
{
	return type == sl_hton16(ETH_P_8021Q) || type == sl_hton16(ETH_P_8021AD);
}

/* struct ethhdr is packed, which makes clang read it by bytes. */
SL_INLINE __be16 sl_ether_type(const void *data)
{
	return ((const __be16 *)data)[ETH_ALEN];
}

/* Steps over the Ethernet header and the tags. NULL: cut off. */
SL_INLINE void *sl_parse_link(struct sl_packet *p, void *data, const void *end, __be16 *ret_type)
{
	struct sl_vlan_tag *tag = (void *)((struct ethhdr *)data + 1);
	__be16 type;

	if ((const void *)tag > end)
		return NULL;
	type = sl_ether_type(data);
	p->tagging = type == sl_hton16(ETH_P_8021AD) ? SL_TAG_SERVICE : 0;
	p->tags = 0;
	p->tag[0] = p->tag[1] = 0;
	for (int i = 0; i < 2 && sl_is_vlan(type); i++, tag++) {
		if ((const void *)(tag + 1) > end)
			return NULL;
		p->tag[i] = tag->tci;
		type = tag->next;
		p->tags++;
	}
	p->tagging |= p->tags;
	p->l3_at = sizeof(struct ethhdr) + p->tags * sizeof(*tag);
	*ret_type = type;
	return tag;
}

/* Whether an address of a leg is an IPv4 one. */
SL_INLINE int sl_is_ip4(const __u8 *address)
{
	const __be32 *word = (const __be32 *)address;

	return !word[0] && !word[1] && word[2] == sl_hton32(0xffff);
}

SL_INLINE void sl_copy_words(void *to, const void *from, int words)
{
	for (int i = 0; i < words; i++)
		((__u32 *)to)[i] = ((const __u32 *)from)[i];
}

/* Each steps over its header; *ret_len is what follows it, in bytes, as the header claims. `rest`
 * is the length of the frame from the header on: what counts where the field is 0 (BIG TCP). */
SL_INLINE void *sl_parse_ip4(struct sl_packet *p, void *at, const void *end, __u32 rest,
			     __u32 *ret_len)
{
	struct iphdr *ip = at;
	__u32 total, header;

	if ((const void *)(ip + 1) > end || ip->version != 4 || ip->protocol != SL_PROTO_TCP ||
	    ip->frag_off & sl_hton16(SL_IP4_FRAGMENT))
		return NULL;
	header = ip->ihl * 4;
	total = ip->tot_len ? sl_ntoh16(ip->tot_len) : rest;
	if (header < sizeof(*ip) || total < header)
		return NULL;
	p->version = 4;
	p->ttl = ip->ttl;
	*ret_len = total - header;
	p->l4_at = p->l3_at + header;
	return (__u8 *)at + header;
}

SL_INLINE void *sl_parse_ip6(struct sl_packet *p, void *at, const void *end, __u32 rest,
			     __u32 *ret_len)
{
	struct ipv6hdr *ip = at;

	if ((const void *)(ip + 1) > end || ip->version != 6 || ip->nexthdr != SL_PROTO_TCP)
		return NULL;
	p->version = 6;
	p->ttl = ip->hop_limit;
	*ret_len = ip->payload_len ? sl_ntoh16(ip->payload_len) : rest - (__u32)sizeof(*ip);
	p->l4_at = p->l3_at + sizeof(*ip);
	return ip + 1;
}

/* Recognises NOP NOP TS, alone or before NOP NOP SACK: what Linux, BSD and Windows send. */
SL_INLINE void sl_parse_options(struct sl_packet *p, const __be32 *word, const void *end)
{
	__u32 sack, blocks;

	p->layout = p->options_len ? SL_OPTS_SLOW : SL_OPTS_NONE;
	p->has_ts = p->blocks = 0;
	if (p->options_len < 12 || (const void *)(word + 3) > end ||
	    word[0] != sl_hton32(SL_TS_LAYOUT))
		return;
	if (p->options_len > 12) {
		if ((const void *)(word + 4) > end)
			return;
		sack = sl_ntoh32(word[3]) ^ SL_SACK_LAYOUT;
		blocks = (sack - 2) / 8;
		if (sack < 10 || sack % 8 != 2 || blocks > SL_FAST_BLOCKS ||
		    p->options_len != 16 + blocks * 8)
			return;
		p->blocks = blocks;
	}
	p->tsval = sl_ntoh32(word[1]);
	p->has_ts = 1;
	p->layout = SL_OPTS_FAST;
}

SL_INLINE int sl_parse_tcp(struct sl_packet *p, void *at, const void *end, __u32 len)
{
	struct tcphdr *tcp = at;
	__u32 header, bits;

	if ((const void *)(tcp + 1) > end)
		return 0;
	bits = sl_ntoh16(((__be16 *)tcp)[6]);
	header = bits >> 12 << 2;
	if (header < sizeof(*tcp) || len < header)
		return 0;
	p->options_len = header - sizeof(*tcp);
	p->payload_len = len - header;
	p->flags = bits & 0xff;
	p->seq = sl_ntoh32(tcp->seq);
	p->ack = sl_ntoh32(tcp->ack_seq);
	p->seq_end = p->seq + p->payload_len;
	if (p->flags & (SL_TCP_SYN | SL_TCP_FIN))
		p->seq_end += !!(p->flags & SL_TCP_SYN) + !!(p->flags & SL_TCP_FIN);
	p->window = sl_ntoh16(tcp->window);
	sl_parse_options(p, (const __be32 *)(tcp + 1), end);
	p->frame_len = p->l4_at + len;
	return 1;
}

/* True, and *p, if the frame is one that can be ours. [data, end) holds its headers, len is the
 * length of the frame in bytes; the caller compares p->frame_len with what there really is. */
SL_INLINE int sl_packet_parse(struct sl_packet *p, void *data, const void *end, __u32 len)
{
	__u32 l4_len;
	__be16 type;
	void *at = sl_parse_link(p, data, end, &type);

	if (!at)
		return 0;
	if (type == sl_hton16(ETH_P_IP))
		at = sl_parse_ip4(p, at, end, len - p->l3_at, &l4_len);
	else if (type == sl_hton16(ETH_P_IPV6))
		at = sl_parse_ip6(p, at, end, len - p->l3_at, &l4_len);
	else
		return 0;
	return at && sl_parse_tcp(p, at, end, l4_len);
}

/* Another protocol than TCP: whether a rare packet of it can concern a pair. */
SL_INLINE enum sl_parsed sl_glance_other(__u8 protocol)
{
	return protocol == SL_PROTO_ICMP || protocol == SL_PROTO_ICMP6 ? SL_PARSED_RARE
								       : SL_PARSED_OTHERS;
}

/* First look, enough to find the pair: *p tells where a plain packet's headers begin. A cut-off one is
 * rare: there may be more of it than the program was shown. */
SL_INLINE enum sl_parsed sl_packet_glance(struct sl_packet *p, const void *data, const void *end)
{
	const struct iphdr *ip4 = (const void *)((const struct ethhdr *)data + 1);
	const struct ipv6hdr *ip6 = (const void *)ip4;
	const struct tcphdr *tcp;
	__be16 type;

	if ((const void *)(ip4 + 1) > end)
		return SL_PARSED_RARE;
	type = sl_ether_type(data);
	p->tags = p->tagging = 0;
	p->tag[0] = p->tag[1] = 0;
	p->l3_at = sizeof(struct ethhdr);
	if (type == sl_hton16(ETH_P_IP)) {
		if (ip4->protocol != SL_PROTO_TCP)
			return sl_glance_other(ip4->protocol);
		if (ip4->ihl != 5)
			return SL_PARSED_RARE;
		p->version = 4;
		p->l4_at = sizeof(struct ethhdr) + sizeof(*ip4);
		tcp = (const void *)(ip4 + 1);
	} else if (type == sl_hton16(ETH_P_IPV6)) {
		if (ip6->nexthdr != SL_PROTO_TCP)
			return sl_glance_other(ip6->nexthdr);
		p->version = 6;
		p->l4_at = sizeof(struct ethhdr) + sizeof(*ip6);
		tcp = (const void *)(ip6 + 1);
	} else {
		return sl_is_vlan(type) ? SL_PARSED_RARE : SL_PARSED_OTHERS;
	}
	return (const void *)(tcp + 1) > end ? SL_PARSED_RARE : SL_PARSED_PLAIN;
}

/* Second look at a packet that seemed plain: as sl_packet_parse(), and its options are FAST or none. */
SL_INLINE int sl_packet_parse_plain(struct sl_packet *p, void *data, const void *end, __u32 len)
{
	void *at = (struct ethhdr *)data + 1;
	__u32 l4_len;

	len -= sizeof(struct ethhdr);
	if (p->version == 4)
		at = sl_parse_ip4(p, at, end, len, &l4_len);
	else
		at = sl_parse_ip6(p, at, end, len, &l4_len);
	return at && sl_parse_tcp(p, at, end, l4_len) && p->layout != SL_OPTS_SLOW;
}

#endif
