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
 *   int sl_flow4_find(const struct sl_flow_key *key, struct sl_found *ret)    0: not a pair's
 *   long sl_flow4_put(key, const struct sl_flow *flow)                adds or replaces; 0: done
 *   sl_flow4_remove(key, flow)                  takes out what was put for this flow, if it is there yet
 *                                               and the same as sl_flow6_... with struct sl_flow6_key
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

SL_INLINE void sl_found_legs(struct sl_found *f)
{
	f->from = f->leg ? &f->pair->leg[1] : &f->pair->leg[0];
	f->to = f->leg ? &f->pair->leg[0] : &f->pair->leg[1];
}

SL_INLINE void sl_key4_of(const struct iphdr *ip, const struct tcphdr *tcp, struct sl_flow_key *ret)
{
	sl_copy_words(ret->src, &ip->saddr, 1);
	sl_copy_words(ret->dst, &ip->daddr, 1);
	ret->sport = tcp->source;
	ret->dport = tcp->dest;
}

SL_INLINE void sl_key6_of(const struct ipv6hdr *ip, const struct tcphdr *tcp,
			  struct sl_flow6_key *ret)
{
	sl_copy_words(ret->src, &ip->saddr, 4);
	sl_copy_words(ret->dst, &ip->daddr, 4);
	ret->sport = tcp->source;
	ret->dport = tcp->dest;
}

#endif
