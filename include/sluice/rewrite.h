/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#ifndef SLUICE_REWRITE_H
#define SLUICE_REWRITE_H

/* The one rewrite: turns a packet that came from the peer of one leg into a packet to the peer of
 * the other. Everything it needs is in the two legs; docs/engines.md derives the formulas.
 *
 *   seq    += from.seq_add		ack, SACK edges -= to.seq_add
 *   TSval  += from.ts_add		TSecr = max(TSecr - to.ts_add, to.ts_last)
 *   window  = (window << from.peer_wscale) >> to.local_wscale
 *
 * Checksums of IPv4 are made good at once. Those of TCP are only accumulated, as the tc hook must
 * hand them to the kernel: see struct sl_sums. */

#include <sluice/packet.h>

/* What stays the same for the life of an ACTIVE pair: worked out once. */
SL_INLINE void sl_pair_prepare(struct sl_flow_pair *pair)
{
	struct sl_leg *c = &pair->leg[0], *s = &pair->leg[1];
	const __u32 *before = (const __u32 *)c->local, *after = (const __u32 *)s->local;
	__u64 sum = 0;

	for (int i = 0; i < 8; i++) /* local and peer */
		sl_sum_replace32(&sum, before[i], after[i]);
	pair->address_sum = sl_sum_fold32(sum);
	c->seq_add = s->wseq - c->exp;
	s->seq_add = c->wseq - s->exp;
}

/* Changes to the sums, as of checksum.h. */
struct sl_sums {
	__u64 pseudo; /* covered by the TCP checksum's pseudo header: addresses */
	__u64 tcp;    /* the rest of what the TCP checksum covers */
	__u64 ip;     /* IP header, addresses apart: matters to a whole-packet sum over IPv6 */
};

/* One packet's rewrite. */
struct sl_change {
	__u8 *data;	 /* the frame */
	const void *end; /* of what can be accessed */
	const struct sl_leg *from, *to;
	__u32 address_sum; /* from `from` to `to` */
	__u32 timestamps;  /* negotiated on both legs, else they mean nothing and stay */
	__u32 notes;	   /* enum sl_rewrite_note */
	struct sl_sums sums;
};

enum sl_rewrite_note {
	SL_REWRITE_CLAMPED = 1, /* the window didn't fit */
	SL_REWRITE_RAISED = 2,	/* it was rounded to 0, which would stop the peer */
};

/* What the change of addresses adds to a sum. */
SL_INLINE __u32 sl_address_sum(const struct sl_flow_pair *pair, int from)
{
	return from ? ~pair->address_sum : pair->address_sum;
}

/* The sum of the pseudo header (RFC 9293, 3.1) as the packet arrived. */
SL_INLINE __u16 sl_pseudo_sum(const struct sl_packet *p, const struct sl_leg *from)
{
	const __u32 *address = (const __u32 *)from->local;
	__u64 sum = sl_hton32(p->frame_len - p->l4_at) + (__u64)sl_hton16(SL_PROTO_TCP);

	if (p->version == 4)
		return sl_sum_fold16(sum + address[3] + address[7]);
	for (int i = 0; i < 8; i++) /* local and peer */
		sum += address[i];
	return sl_sum_fold16(sum);
}

SL_INLINE void sl_put16(__be16 *at, __be16 new, __u64 *sum)
{
	sl_sum_replace16(sum, *at, new);
	*at = new;
}

SL_INLINE void sl_put32(__be32 *at, __be32 new, __u64 *sum)
{
	sl_sum_replace32(sum, *at, new);
	*at = new;
}

/* IPv4: ECN is the low bits of the second byte. The TTL is the high byte of its word. */
SL_INLINE void sl_rewrite_ip4(struct iphdr *ip, struct sl_change *c)
{
	const struct sl_leg *to = c->to;
	struct sl_sums *sums = &c->sums;
	__be16 *first = (__be16 *)ip;

	if (!(to->flags & SL_LEG_ECN) && *first & sl_hton16(0x3))
		sl_put16(first, *first & (__be16)~sl_hton16(0x3), &sums->ip);
	ip->ttl--;
	sums->ip += sl_hton16(0xffff - 0x100);
	sl_copy_words(&ip->saddr, to->local + 12, 1);
	sl_copy_words(&ip->daddr, to->peer + 12, 1);
	ip->check = sl_csum_update(ip->check, sums->ip + sums->pseudo);
}

/* IPv6: ECN sits 4 bits higher, and no checksum covers the header. */
SL_INLINE void sl_rewrite_ip6(struct ipv6hdr *ip, struct sl_change *c)
{
	__be16 *first = (__be16 *)ip;
	struct sl_sums *sums = &c->sums;

	if (!(c->to->flags & SL_LEG_ECN))
		sl_put16(first, *first & (__be16)~sl_hton16(0x30), &sums->ip);
	ip->hop_limit--;
	sums->ip += sl_hton16(0xffff - 1);
	sl_copy_words(&ip->saddr, c->to->local, 4);
	sl_copy_words(&ip->daddr, c->to->peer, 4);
}

/* A SYN's window is never scaled (RFC 7323, 2.2). */
SL_INLINE __u32 sl_rewrite_window(const struct sl_packet *p, const struct sl_leg *from,
				  const struct sl_leg *to, __u32 *ret_notes)
{
	__u32 bytes = (__u32)p->window << (from->peer_wscale & 15);
	__u32 window = bytes >> (to->local_wscale & 15);

	if (p->flags & SL_TCP_SYN)
		return p->window;
	if (window > 65535) {
		*ret_notes |= SL_REWRITE_CLAMPED;
		return 65535;
	}
	if (bytes && !window) {
		*ret_notes |= SL_REWRITE_RAISED;
		return 1;
	}
	return window;
}

SL_INLINE void sl_rewrite_tcp(struct tcphdr *tcp, const struct sl_packet *p, struct sl_change *c)
{
	const struct sl_leg *from = c->from, *to = c->to;
	__be16 *bits = &((__be16 *)tcp)[6];
	__be16 congestion = sl_hton16(SL_TCP_ECE | SL_TCP_CWR);
	__u64 *sum = &c->sums.tcp;

	sl_put32((__be32 *)&tcp->source, *(const __be32 *)&to->local_port, sum);
	sl_put32(&tcp->seq, sl_hton32(p->seq + from->seq_add), sum);
	if (p->flags & SL_TCP_ACK)
		sl_put32(&tcp->ack_seq, sl_hton32(p->ack - to->seq_add), sum);
	sl_put16(&tcp->window, sl_hton16(sl_rewrite_window(p, from, to, &c->notes)), sum);
	if (!(to->flags & SL_LEG_ECN) && *bits & congestion && !(p->flags & SL_TCP_SYN))
		sl_put16(bits, *bits & (__be16)~congestion, sum);
}

/* An echo of the proxy's own clock maps to something the other peer never sent: it is shown its
 * last timestamp from before the flip instead. */
SL_INLINE __u32 sl_rewrite_tsecr(__u32 tsecr, const struct sl_leg *to)
{
	__u32 echo = tsecr - to->ts_add;

	return sl_after(to->ts_last, echo) ? to->ts_last : echo;
}

/* TSval, TSecr. */
SL_INLINE void sl_rewrite_ts(__be32 *ts, const struct sl_leg *from, const struct sl_leg *to,
			     struct sl_sums *sums)
{
	sl_put32(&ts[0], sl_hton32(sl_ntoh32(ts[0]) + from->ts_add), &sums->tcp);
	sl_put32(&ts[1], sl_hton32(sl_rewrite_tsecr(sl_ntoh32(ts[1]), to)), &sums->tcp);
}

/* NOP NOP SACK, the left edge, the right edge ... Where the receiver knows no SACK, NOPs take its
 * place. False if the frame ends early. */
SL_INLINE int sl_rewrite_sack(__be32 *edge, struct sl_change *c, int blocks)
{
	const struct sl_leg *to = c->to;
	__u64 *sum = &c->sums.tcp;
	__u32 sub = to->seq_add;

	for (int i = 0; i < 2 * SL_FAST_BLOCKS && i < 2 * blocks; i++, edge++) {
		if ((const void *)(edge + 1) > c->end)
			return 0;
		if (to->flags & SL_LEG_SACK)
			sl_put32(edge, sl_hton32(sl_ntoh32(*edge) - sub), sum);
		else
			sl_put32(edge, sl_hton32(SL_NOP_LAYOUT), sum);
	}
	return 1;
}

/* NOP NOP TS [NOP NOP SACK]. False if the frame ends early. */
SL_INLINE int sl_rewrite_fast_options(__be32 *word, const struct sl_packet *p, struct sl_change *c)
{
	__u64 *sum = &c->sums.tcp;

	if ((const void *)(word + 3) > c->end)
		return 0;
	if (c->timestamps)
		sl_rewrite_ts(word + 1, c->from, c->to, &c->sums);
	if (!p->blocks)
		return 1;
	if ((const void *)(word + 4) > c->end)
		return 0;
	if (!(c->to->flags & SL_LEG_SACK))
		sl_put32(&word[3], sl_hton32(SL_NOP_LAYOUT), sum);
	return sl_rewrite_sack(word + 4, c, p->blocks);
}

/* What the steps over SACK need; sl_loop takes one argument. */
struct sl_sack_change {
	struct sl_options *options;
	__u32 sub;  /* to subtract from every edge */
	__u32 keep; /* 0: overwrite the whole option with NOPs, a byte a step */
};

static inline long sl_sack_step(__u32 i, void *arg)
{
	struct sl_sack_change *c = arg;
	struct sl_options *o = c->options;
	__u32 at = o->sack + 2 + i * 4;

	if (!c->keep) {
		if (i >= o->sack_len)
			return 1;
		*sl_option_at(o, o->sack + i) = SL_OPTION_NOP;
		return 0;
	}
	if (i * 4 + 6 > o->sack_len)
		return 1;
	sl_option_put32(o, at, sl_option_get32(o, at) - c->sub);
	return 0;
}

/* The same for any layout, in the copy o. */
SL_INLINE void sl_rewrite_slow_options(struct sl_options *o, struct sl_change *c)
{
	const struct sl_leg *from = c->from, *to = c->to;
	__u64 before = sl_options_sum(o);

	if (o->has_ts && c->timestamps) {
		__u32 tsecr = sl_option_get32(o, o->ts + 6);

		sl_option_put32(o, o->ts + 2, sl_option_get32(o, o->ts + 2) + from->ts_add);
		sl_option_put32(o, o->ts + 6, sl_rewrite_tsecr(tsecr, to));
	}
	if (o->has_sack) {
		struct sl_sack_change sack = {
			.options = o,
			.sub = to->seq_add,
			.keep = to->flags & SL_LEG_SACK,
		};

		sl_loop(SL_OPTIONS_MAX, sl_sack_step, &sack);
	}
	sl_options_sum_change(&c->sums.tcp, before, sl_options_sum(o));
}

/* Priority and drop-eligible bits travel along, the VLAN id is the leg's. */
SL_INLINE __be16 sl_retag(__be16 tci, __be16 leg_tci)
{
	__be16 id = sl_hton16(0x0fff);

	return (__be16)((tci & (__be16)~id) | (leg_tci & id));
}

/* Both at once. The halves at the ends are what keeps words aligned where IP headers are. */
SL_INLINE void sl_rewrite_macs(void *eth, const struct sl_leg *to)
{
	const __u16 *macs = (const __u16 *)to->peer_mac;
	__u16 *out = eth;

	out[0] = macs[0];
	sl_copy_words(out + 1, macs + 1, 2);
	out[5] = macs[5];
}

/* `first` is the leg's tag that the frame's outermost one corresponds to: 1 where the hook holds
 * the outer one apart from the frame. False if the frame ends early. */
SL_INLINE int sl_rewrite_link(const struct sl_packet *p, struct sl_change *c, int first)
{
	struct ethhdr *eth = (void *)c->data;
	struct sl_vlan_tag *tag = (void *)(eth + 1);
	const struct sl_leg *to = c->to;

	if ((const void *)tag > c->end)
		return 0;
	sl_rewrite_macs(eth, to);
	if (!p->tags)
		return 1;
	if ((const void *)(tag + 2) > c->end)
		return 0;
	tag[0].tci = sl_retag(tag[0].tci, first ? to->tag[1] : to->tag[0]);
	if (p->tags > 1 && !first)
		tag[1].tci = sl_retag(tag[1].tci, to->tag[1]);
	return 1;
}

/* All but the options' slow path and the TCP checksum. False if the frame ends early, which the
 * parser excluded: to ask again is what makes the verifier believe it. The TTL must be 2 or more. */
SL_INLINE int sl_rewrite(const struct sl_packet *p, struct sl_change *c)
{
	struct ipv6hdr *ip6 = (void *)(c->data + (p->l3_at & 31));
	struct iphdr *ip4 = (void *)ip6;
	struct tcphdr *tcp = (void *)(c->data + (p->l4_at & 127));

	if ((const void *)(ip4 + 1) > c->end || (const void *)(tcp + 1) > c->end)
		return 0;
	c->sums.pseudo = c->address_sum;
	if (p->version == 4)
		sl_rewrite_ip4(ip4, c);
	else if ((const void *)(ip6 + 1) <= c->end)
		sl_rewrite_ip6(ip6, c);
	else
		return 0;
	sl_rewrite_tcp(tcp, p, c);
	return p->layout != SL_OPTS_FAST || sl_rewrite_fast_options((void *)(tcp + 1), p, c);
}

#ifndef __bpf__
/* DPDK and the host, where the frame is plain memory: the options' slow path and the checksum, too.
 * 0, or the reason for dropping it. `partial`: the TCP checksum is the pseudo header's sum. */
static inline int sl_packet_splice(const struct sl_packet *p, struct sl_change *c, int partial)
{
	struct tcphdr *tcp = (void *)(c->data + p->l4_at);
	struct sl_options o = {.len = p->options_len};

	if (p->ttl < 2)
		return SL_DROP_TTL;
	if (p->layout == SL_OPTS_SLOW) {
		if ((const __u8 *)(tcp + 1) + o.len > (const __u8 *)c->end)
			return SL_DROP_OPTIONS;
		__builtin_memcpy(o.bytes, tcp + 1, o.len);
		sl_options_scan(&o);
		if (o.bad)
			return SL_DROP_OPTIONS;
		sl_rewrite_slow_options(&o, c);
		__builtin_memcpy(tcp + 1, o.bytes, o.len);
	}
	if (!sl_rewrite(p, c) || !sl_rewrite_link(p, c, 0))
		return SL_DROP_REWRITE;
	tcp->check = partial ? sl_csum_update_partial(tcp->check, c->sums.pseudo)
			     : sl_csum_update(tcp->check, c->sums.pseudo + c->sums.tcp);
	return 0;
}
#endif

#endif
