/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#ifndef SLUICE_FIND_H
#define SLUICE_FIND_H

/* The flow of a packet, and the pair that it belongs to. */

#include <sluice/steps.h>

/* [data, end) is the frame that was parsed. False: not ours. */
SL_INLINE int sl_find(const struct sl_packet *p, const void *data, const void *end,
		      struct sl_found *ret)
{
	const struct iphdr *ip4 = (const void *)((const __u8 *)data + (p->l3_at & 31));
	const struct ipv6hdr *ip6 = (const void *)ip4;
	const struct tcphdr *tcp = (const void *)((const __u8 *)data + (p->l4_at & 127));
	union {
		struct sl_flow_key ip4;
		struct sl_flow6_key ip6;
	} key;

	if ((const void *)(ip4 + 1) > end || (const void *)(tcp + 1) > end)
		return 0;
	if (p->version == 4) {
		sl_key4_of(ip4, tcp, &key.ip4);
		return sl_flow4_find(&key.ip4, ret);
	}
	if ((const void *)(ip6 + 1) > end)
		return 0;
	sl_key6_of(ip6, tcp, &key.ip6);
	return sl_flow6_find(&key.ip6, ret);
}

#endif
