/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#ifndef SLUICE_STEPS_H
#define SLUICE_STEPS_H

/* The steps of splicing that BPF programs and DPDK share, beside what packet.h and rewrite.h do with a
 * packet alone: here a packet's pair is looked up; errors.h, handover.h, track.h and control.h decide.
 *
 * What they stand on is the surroundings' (bpf/environment.h, dpdk/environment.h), and defined before
 * any of them is included:
 *
 *   sl_pair_lock(pair), sl_pair_unlock(pair)    nothing of the following is called in between
 *   struct sl_flow_pair *sl_pair_at(const __u32 *id)                  NULL: no such slot
 *   struct sl_flow *sl_flow4_find(const struct sl_flow_key *key)      NULL: none
 *   long sl_flow4_put(key, const struct sl_flow *flow)                adds or replaces; 0: done
 *   sl_flow4_remove(key)                        and the same as sl_flow6_... with struct sl_flow6_key
 *   sl_count(reason, bytes), sl_count_sent(reason, bytes)  of a packet or an incident; the second is
 *                                               for what is counted all the time
 *   sl_tell_event(pair, generation, type, leg)  to the control plane: struct sl_event
 *   __u32 sl_now_ms()                           CLOCK_MONOTONIC
 *   __u32 sl_ts_slack_ms                        how far TSvals jump ahead at the flip */

#include <linux/errno.h>

#include <sluice/rewrite.h>

enum sl_action {
	SL_PASS, /* to the stack, as it is */
	SL_DROP,
	SL_SEND, /* rewrite it and send it on */
};

/* What a hook knows of a packet beside its bytes. */
struct sl_arrival {
	const struct ethhdr *eth;
	__u32 ifindex;
	__be16 tag[2]; /* TCI, the outer one first */
	__u8 tagging;  /* as in struct sl_leg */
	__u8 unsummed; /* its TCP checksum isn't whole; noted of packets before the flip */
};

/* Whose packet it is. */
struct sl_found {
	struct sl_flow_pair *pair;
	struct sl_leg *from, *to;
	__u32 id;
	__u32 leg; /* of `from` */
	__u16 generation;
};

/* Options in an unusual order, of which o->bytes holds `len`. False: malformed. */
SL_INLINE int sl_take_options(struct sl_packet *p, struct sl_options *o, __u32 len)
{
	o->len = len;
	sl_options_scan(o);
	p->has_ts = o->has_ts;
	p->tsval = sl_option_get32(o, o->ts + 2);
	return !o->bad;
}

/* Not under the lock: that allows no helper. */
SL_INLINE void sl_tell(const struct sl_found *f, enum sl_event_type type)
{
	sl_tell_event(f->id, f->generation, type, f->leg);
}

/* Packets are rewritten and sent on. */
SL_INLINE int sl_is_spliced(const struct sl_flow_pair *pair)
{
	return pair->state == SL_FLOW_ACTIVE || pair->state == SL_FLOW_CLOSED;
}

/* [data, end) is the frame that was parsed. NULL: not ours. */
SL_INLINE struct sl_flow *sl_find_flow(const struct sl_packet *p, const void *data, const void *end)
{
	const struct iphdr *ip4 = (const void *)((const __u8 *)data + (p->l3_at & 31));
	const struct ipv6hdr *ip6 = (const void *)ip4;
	const struct tcphdr *tcp = (const void *)((const __u8 *)data + (p->l4_at & 127));
	union {
		struct sl_flow_key ip4;
		struct sl_flow6_key ip6;
	} key;

	if ((const void *)(ip4 + 1) > end || (const void *)(tcp + 1) > end)
		return NULL;
	if (p->version == 4) {
		sl_copy_words(key.ip4.src, &ip4->saddr, 1);
		sl_copy_words(key.ip4.dst, &ip4->daddr, 1);
		key.ip4.sport = sl_ntoh16(tcp->source);
		key.ip4.dport = sl_ntoh16(tcp->dest);
		return sl_flow4_find(&key.ip4);
	}
	if ((const void *)(ip6 + 1) > end)
		return NULL;
	sl_copy_words(key.ip6.src, &ip6->saddr, 4);
	sl_copy_words(key.ip6.dst, &ip6->daddr, 4);
	key.ip6.sport = sl_ntoh16(tcp->source);
	key.ip6.dport = sl_ntoh16(tcp->dest);
	return sl_flow6_find(&key.ip6);
}

/* The pair of a flow, which may be NULL. False: not ours. A flow whose slot has a new owner counts as
 * stale. */
SL_INLINE int sl_found_of(const struct sl_flow *flow, struct sl_found *ret)
{
	struct sl_flow_pair *pair;
	__u32 id;

	if (!flow)
		return 0;
	id = flow->pair;
	ret->leg = flow->leg & 1;
	ret->generation = flow->generation;
	pair = sl_pair_at(&id);
	if (!pair || pair->generation != ret->generation) {
		sl_count(SL_PASS_STALE, 0);
		return 0;
	}
	ret->id = id;
	ret->pair = pair;
	ret->from = ret->leg ? &pair->leg[1] : &pair->leg[0];
	ret->to = ret->leg ? &pair->leg[0] : &pair->leg[1];
	return 1;
}

SL_INLINE int sl_find(const struct sl_packet *p, const void *data, const void *end,
		      struct sl_found *ret)
{
	return sl_found_of(sl_find_flow(p, data, end), ret);
}

#endif
