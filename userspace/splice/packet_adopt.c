/* SPDX-License-Identifier: BSD-2-Clause */
/* Pairs that an earlier process left spliced: they went on without it, and become this one's.
 *
 * What the earlier process had started and not spliced ended with it: packet_open.c releases that. */

#include "base/util.h"
#include "splice/packet.h"

/* The low 32 bits of milliseconds are kept: an age is right for 49 days. */
static uint64_t age_of(const struct sl_flow_pair *pair)
{
	return (uint32_t)(sl_clock_us() / 1000) - pair->flip_ms;
}

static struct sl_pair *offer(struct sl_packet_engine *e, const struct sl_flow_pair *pair)
{
	const struct sl_engine_options *o = &e->base.options;
	struct sl_left_pair left = {.engine = e->base.ops->name, .age_ms = age_of(pair)};

	for (int side = 0; side < 2; side++) {
		const struct sl_leg *leg = &pair->leg[side];

		left.peer[side] = sl_packet_get_peer(leg);
		left.local[side] = sl_packet_get_local(leg);
		left.from[side] = (struct sl_pair_count){leg->bytes, leg->packets};
	}
	return o->adopt(o->owner, &left);
}

/* 0, or it is nobody's. */
static int take(struct sl_packet_engine *e, struct sl_packet_pair *k)
{
	struct sl_flow_pair pair;
	struct sl_pair *p;

	if (sl_packet_read(k->slot, &pair) || pair.state != SL_FLOW_ACTIVE)
		return -1;
	p = offer(e, &pair);
	if (!p)
		return -1;
	sl_packet_pair_start(k, p);
	for (int side = 0; side < 2; side++)
		p->from[side] =
			(struct sl_pair_count){pair.leg[side].bytes, pair.leg[side].packets};
	return 0;
}

static void adopt(struct sl_packet_engine *e, uint32_t slot)
{
	struct sl_packet_pair *k = sl_packet_pair_new(e, slot);

	if (!k)
		return;
	if (!sl_packet_own(&e->inbox, slot, k)) {
		sl_packet_pair_free(k);
	} else if (take(e, k)) {
		sl_packet_abandon(slot);
		sl_packet_pair_free(k);
	}
}

void sl_packet_adopt(struct sl_packet_engine *e)
{
	const struct sl_engine_options *o = &e->base.options;

	if (!o->adopt)
		return;
	for (uint32_t slot = o->index; slot < sl_packet_slots(); slot += sl_max(o->instances, 1u))
		if (sl_packet_is_left(slot))
			adopt(e, slot);
}
