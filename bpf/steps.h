/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#ifndef SLUICE_BPF_STEPS_H
#define SLUICE_BPF_STEPS_H

/* Steps that all programs share: look a packet's pair up, count, tell the control plane. */

#include <linux/errno.h>

#include "maps.h"

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
};

/* Whose packet it is. */
struct sl_found {
	struct sl_flow_pair *pair;
	struct sl_leg *from, *to;
	__u32 id;
	__u16 generation;
	__u8 leg; /* of `from` */
};

SL_INLINE void sl_count(__u32 reason, __u32 bytes)
{
	struct sl_counter *c = bpf_map_lookup_elem(&counters, &reason);

	if (c) {
		c->packets++;
		c->bytes += bytes;
	}
}

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
	struct sl_event e = {
		.pair = f->id,
		.generation = f->generation,
		.type = type,
		.leg = f->leg,
	};

	if (bpf_ringbuf_output(&events, &e, sizeof(e), 0))
		sl_count(SL_EVENTS_LOST, 0);
}

/* False: not ours. A flow whose slot has a new owner counts as stale. */
SL_INLINE int sl_find(const struct sl_packet *p, struct sl_found *ret)
{
	struct sl_flow *flow = bpf_map_lookup_elem(&flows, &p->key);
	struct sl_flow_pair *pair;

	if (!flow)
		return 0;
	ret->id = flow->pair;
	ret->leg = flow->leg & 1;
	ret->generation = flow->generation;
	pair = bpf_map_lookup_elem(&pairs, &ret->id);
	if (!pair || pair->generation != ret->generation) {
		sl_count(SL_PASS_STALE, p->payload_len);
		return 0;
	}
	ret->pair = pair;
	ret->from = ret->leg ? &pair->leg[1] : &pair->leg[0];
	ret->to = ret->leg ? &pair->leg[0] : &pair->leg[1];
	return 1;
}

#endif
