/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#ifndef SLUICE_ERRORS_H
#define SLUICE_ERRORS_H

/* ICMP errors about what was sent on: whom they concern, and whether they are believed. What isn't
 * about a spliced pair passes: the stack knows its own packets. */

#include <sluice/find.h>

#include <sluice/icmp.h>

/* The peer that the quoted packet was sent to: its destination is where answers would come from. The
 * error itself must have come to the address that sent it. False: not ours. */
SL_INLINE int sl_find_quoted(const struct sl_packet *p, const struct sl_icmp_error *e,
			     const void *data, const void *end, struct sl_found *ret)
{
	const __u8 *start = data;
	const void *at = start + (p->l3_at & 31), *quoted = start + (e->quote_at & 127);
	const struct sl_icmp_tcp *tcp = (const void *)(start + (e->tcp_at & 127));
	const struct ipv6hdr *ip6 = at, *quote6 = quoted;
	const struct iphdr *ip4 = at, *quote4 = quoted;
	union {
		struct sl_flow_key ip4;
		struct sl_flow6_key ip6;
	} key;

	if ((const void *)(tcp + 1) > end || (const void *)(ip4 + 1) > end ||
	    (const void *)(quote4 + 1) > end)
		return 0;
	if (p->version == 4) {
		sl_copy_words(key.ip4.src, &quote4->daddr, 1);
		sl_copy_words(key.ip4.dst, &quote4->saddr, 1);
		key.ip4.sport = tcp->dest;
		key.ip4.dport = tcp->source;
		return ip4->daddr == quote4->saddr && sl_flow4_find(&key.ip4, ret);
	}
	if ((const void *)(ip6 + 1) > end || (const void *)(quote6 + 1) > end)
		return 0;
	for (int i = 0; i < 4; i++)
		if (ip6->daddr.s6_addr32[i] != quote6->saddr.s6_addr32[i])
			return 0;
	sl_copy_words(key.ip6.src, &quote6->daddr, 4);
	sl_copy_words(key.ip6.dst, &quote6->saddr, 4);
	key.ip6.sport = tcp->dest;
	key.ip6.dport = tcp->source;
	return sl_flow6_find(&key.ip6, ret);
}

/* SL_SEND, and *ret_found: from the leg where the packet got stuck, to the one whose peer sent it. */
SL_INLINE enum sl_action sl_judge_error(const struct sl_packet *p, const struct sl_icmp_error *e,
					const void *data, const void *end,
					struct sl_found *ret_found)
{
	if (!sl_find_quoted(p, e, data, end, ret_found) || !sl_is_spliced(ret_found->pair))
		return SL_PASS;
	if (p->ttl < 2) {
		sl_count(SL_DROP_TTL, 0);
		return SL_DROP;
	}
	if (!sl_icmp_in_flight(e, ret_found->from, ret_found->to)) {
		sl_count(SL_DROP_ICMP, 0);
		return SL_DROP;
	}
	return SL_SEND;
}

#endif
