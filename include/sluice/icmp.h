/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#ifndef SLUICE_ICMP_H
#define SLUICE_ICMP_H

/* ICMP errors about packets of a pair: a router or the peer of one leg tells the proxy's address that a
 * packet could not be delivered, was too big or too old, and quotes its beginning. What it quotes is what
 * was sent after the rewrite; the one who must hear of it is the other peer, in its own numbers.
 *
 *	router --- error, quoting "local -> peer, seq" ---> proxy --- error, rewritten ---> other peer
 *
 * Of the quoted TCP header the first 8 bytes are translated, which is what RFC 792 promises and all that
 * receivers look at. An error counts only if the quoted sequence number was in flight (RFC 5927, 4.1):
 * who doesn't see the traffic can neither shrink a path's MTU nor abort a connection. Pure, as packet.h. */

#include <sluice/rewrite.h>

struct sl_icmp_header {
	__u8 type;
	__u8 code;
	__sum16 checksum;
	__be32 rest; /* the MTU, if any: both legs need the same headers, so that it stays */
};

/* The quoted TCP header's first 8 bytes. */
struct sl_icmp_tcp {
	__be16 source;
	__be16 dest;
	__be32 seq;
};

/* Offsets from the start of the frame. */
struct sl_icmp_error {
	__u32 seq; /* quoted; numbers of the leg on which the packet was sent */
	__u8 icmp_at;
	__u8 quote_at; /* the quoted IP header */
	__u8 tcp_at;
	__u8 reserved;
};

/* Unreachable (also: fragmentation needed), time exceeded. */
SL_INLINE int sl_is_icmp4_error(__u8 type)
{
	return type == 3 || type == 11;
}

/* Unreachable, packet too big, time exceeded. */
SL_INLINE int sl_is_icmp6_error(__u8 type)
{
	return type >= 1 && type <= 3;
}

/* `rest` is the frame's length from the outer IP header on. */
SL_INLINE int sl_parse_icmp4(struct sl_packet *p, struct sl_icmp_error *e, const void *at,
			     const void *end, __u32 rest)
{
	const struct iphdr *ip = at, *quote;
	const struct sl_icmp_header *icmp = (const void *)(ip + 1);
	__u32 total;

	quote = (const void *)(icmp + 1);
	if ((const void *)(quote + 1) > end || ip->version != 4 || ip->ihl != 5 ||
	    ip->protocol != SL_PROTO_ICMP || ip->frag_off & sl_hton16(SL_IP4_FRAGMENT) ||
	    !sl_is_icmp4_error(icmp->type))
		return 0;
	if (quote->version != 4 || quote->ihl < 5 || quote->protocol != SL_PROTO_TCP ||
	    quote->frag_off & sl_hton16(SL_IP4_OFFSET))
		return 0;
	p->version = 4;
	p->ttl = ip->ttl;
	e->icmp_at = p->l3_at + sizeof(*ip);
	e->quote_at = e->icmp_at + sizeof(*icmp);
	e->tcp_at = e->quote_at + quote->ihl * 4;
	total = sl_ntoh16(ip->tot_len);
	return total <= rest && p->l3_at + total >= e->tcp_at + sizeof(struct sl_icmp_tcp);
}

SL_INLINE int sl_parse_icmp6(struct sl_packet *p, struct sl_icmp_error *e, const void *at,
			     const void *end, __u32 rest)
{
	const struct ipv6hdr *ip = at, *quote;
	const struct sl_icmp_header *icmp = (const void *)(ip + 1);
	__u32 total;

	quote = (const void *)(icmp + 1);
	if ((const void *)(quote + 1) > end || ip->version != 6 || ip->nexthdr != SL_PROTO_ICMP6 ||
	    !sl_is_icmp6_error(icmp->type))
		return 0;
	if (quote->version != 6 || quote->nexthdr != SL_PROTO_TCP)
		return 0;
	p->version = 6;
	p->ttl = ip->hop_limit;
	e->icmp_at = p->l3_at + sizeof(*ip);
	e->quote_at = e->icmp_at + sizeof(*icmp);
	e->tcp_at = e->quote_at + sizeof(*quote);
	total = sl_ntoh16(ip->payload_len) + (__u32)sizeof(*ip);
	return total <= rest && p->l3_at + total >= e->tcp_at + sizeof(struct sl_icmp_tcp);
}

/* True if the frame of len bytes, of which [data, end) can be accessed, is an error about a TCP packet.
 * Of *p only what concerns the link, the version and the TTL is set. */
SL_INLINE int sl_icmp_parse(struct sl_packet *p, struct sl_icmp_error *e, void *data,
			    const void *end, __u32 len)
{
	const struct sl_icmp_tcp *tcp;
	__be16 type;
	void *at = sl_parse_link(p, data, end, &type);
	int ok = 0;

	if (at && type == sl_hton16(ETH_P_IP))
		ok = sl_parse_icmp4(p, e, at, end, len - p->l3_at);
	else if (at && type == sl_hton16(ETH_P_IPV6))
		ok = sl_parse_icmp6(p, e, at, end, len - p->l3_at);
	if (!ok)
		return 0;
	tcp = (const void *)((const __u8 *)data + (e->tcp_at & 127));
	if ((const void *)(tcp + 1) > end)
		return 0;
	e->seq = sl_ntoh32(tcp->seq);
	return 1;
}

/* `to` is the leg whose peer sent the quoted packet, `from` the one on which it got stuck. */
SL_INLINE int sl_icmp_in_flight(const struct sl_icmp_error *e, const struct sl_leg *from,
				const struct sl_leg *to)
{
	__u32 flight = to->end + to->seq_add - from->ack;

	/* Not by sl_after(): a number half the space away is neither before nor after. */
	return flight < 1u << 31 && e->seq - from->ack <= flight;
}

/* Puts `words` of both addresses in place of source and destination. */
SL_INLINE void sl_put_addresses(__be32 *at, const __u8 *src, const __u8 *dst, int words, __u64 *sum)
{
	const __be32 *s = (const __be32 *)src, *d = (const __be32 *)dst;

	for (int i = 0; i < words; i++) {
		sl_put32(&at[i], s[4 - words + i], sum);
		sl_put32(&at[words + i], d[4 - words + i], sum);
	}
}

SL_INLINE void sl_icmp_rewrite_tcp(struct sl_icmp_tcp *tcp, const struct sl_icmp_error *e,
				   const struct sl_leg *to, __u64 *sum)
{
	sl_put16(&tcp->source, to->peer_port, sum);
	sl_put16(&tcp->dest, to->local_port, sum);
	sl_put32(&tcp->seq, sl_hton32(e->seq - to->seq_add), sum);
}

SL_INLINE int sl_icmp_rewrite4(struct sl_change *c, const struct sl_packet *p)
{
	struct iphdr *ip = (void *)(c->data + (p->l3_at & 31)), *quote;
	struct sl_icmp_header *icmp = (void *)(ip + 1);
	const struct sl_leg *to = c->to;
	__u64 outer = 0, inner = 0, sum;

	quote = (void *)(icmp + 1);
	if ((const void *)(quote + 1) > c->end)
		return 0;
	sl_put_addresses(&ip->saddr, to->local, to->peer, 1, &outer);
	ip->ttl--;
	ip->check = sl_csum_update(ip->check, outer + sl_hton16(0xffff - 0x100));
	sl_put_addresses(&quote->saddr, to->peer, to->local, 1, &inner);
	sum = inner + c->sums.tcp;
	sl_put16(&quote->check, sl_csum_update(quote->check, inner), &sum);
	icmp->checksum = sl_csum_update(icmp->checksum, sum);
	return 1;
}

/* The pseudo header of ICMPv6 has the outer addresses. */
SL_INLINE int sl_icmp_rewrite6(struct sl_change *c, const struct sl_packet *p)
{
	struct ipv6hdr *ip = (void *)(c->data + (p->l3_at & 31)), *quote;
	struct sl_icmp_header *icmp = (void *)(ip + 1);
	const struct sl_leg *to = c->to;
	__u64 sum = c->sums.tcp;

	quote = (void *)(icmp + 1);
	if ((const void *)(quote + 1) > c->end)
		return 0;
	sl_put_addresses(ip->saddr.s6_addr32, to->local, to->peer, 4, &sum);
	sl_put_addresses(quote->saddr.s6_addr32, to->peer, to->local, 4, &sum);
	ip->hop_limit--;
	c->sums.ip = sl_hton16(0xffff - 1);
	icmp->checksum = sl_csum_update(icmp->checksum, sum);
	return 1;
}

/* Makes the error one to the peer of c->to, about what that has sent. The link is the caller's. False if
 * the frame ends early, as sl_rewrite(). */
SL_INLINE int sl_icmp_rewrite(const struct sl_packet *p, const struct sl_icmp_error *e,
			      struct sl_change *c)
{
	struct sl_icmp_tcp *tcp = (void *)(c->data + (e->tcp_at & 127));

	if ((const void *)(tcp + 1) > c->end)
		return 0;
	sl_icmp_rewrite_tcp(tcp, e, c->to, &c->sums.tcp);
	return p->version == 4 ? sl_icmp_rewrite4(c, p) : sl_icmp_rewrite6(c, p);
}

#endif
