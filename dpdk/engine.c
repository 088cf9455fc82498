/* SPDX-License-Identifier: BSD-2-Clause */
/* The dpdk engine. A pair is joined in one step: the ports, the table and this are one thread's, so between
 * the look at both connections and the flip no packet can come.
 *
 * Invariants:
 * - Until the table says ACTIVE nothing of the pair has changed.
 * - A pair that is carried has no streams, or only for a moment still (engine_sockets.c); its end comes from
 *   the table (note_event), within a burst, and is told at the end of the loop's turn.
 *
 * There is no way back (part), and no pair outlives the process: whoever forgets one resets its ends. */

#include "dpdk/engine.h"

#include <errno.h>
#include <stdlib.h>

#include "dpdk/engine_private.h"
#include "dpdk/lcore.h"

#define COOL_MS 250

static struct sl_dpdk_engine_config config = {.pairs = 65536, .time_wait_ms = 60000};

/* --- the table --- */

int sl_dpdk_control(struct sl_dpdk_engine *e, uint32_t slot, struct sl_control *c)
{
	c->pair = slot;
	c->generation = sl_dpdk_splice_pair(e->table, slot)->generation;
	return sl_dpdk_splice_control(e->table, c);
}

void sl_dpdk_release(struct sl_dpdk_engine *e, uint32_t slot)
{
	struct sl_control c = {.op = SL_CONTROL_RELEASE};

	sl_dpdk_control(e, slot, &c);
	sl_dpdk_slot_free(&e->slots, slot);
}

static void cool(struct sl_timer *t)
{
	struct sl_dpdk_engine *e = sl_container_of(t, struct sl_dpdk_engine, cool);
	uint64_t now = sl_loop_now_ms(e->base.options.loop);
	uint32_t slot;

	while ((slot = sl_dpdk_slot_cooled(&e->slots, now)) != SL_DPDK_NO_SLOT)
		sl_dpdk_release(e, slot);
	if (e->slots.n_cooling)
		sl_loop_arm(e->base.options.loop, t, COOL_MS);
}

/* Late packets are still rewritten; a SYN on the same addresses begins anew. */
static void release_later(struct sl_dpdk_engine *e, uint32_t slot)
{
	struct sl_loop *l = e->base.options.loop;

	sl_dpdk_slot_cool(&e->slots, slot, sl_loop_now_ms(l) + config.time_wait_ms);
	if (!sl_timer_armed(&e->cool))
		sl_loop_arm(l, &e->cool, COOL_MS);
}

/* --- pairs --- */

struct sl_dpdk_pair *sl_dpdk_pair_new(struct sl_dpdk_engine *e, uint32_t slot)
{
	struct sl_dpdk_pair *k = sl_slab_get(&e->pairs);

	if (!k)
		return NULL;
	k->engine = e;
	k->slot = slot;
	sl_list_init(&k->ended);
	sl_timer_init(&k->grace, NULL);
	return k;
}

void sl_dpdk_take_over(struct sl_dpdk_pair *k, struct sl_pair *p)
{
	struct sl_dpdk_engine *e = k->engine;

	k->pair = p;
	for (int side = 0; side < 2; side++)
		k->before[side] = p->from[side];
	p->engine = &e->base;
	p->carried = k;
	e->totals.joined++;
	e->totals.active++;
}

void sl_dpdk_close_streams(struct sl_pair *p)
{
	for (int side = 0; side < 2; side++) {
		struct sl_stream *s = SL_TAKE_PTR(p->stream[side]);

		if (s)
			s->ops->close(s, SL_CLOSE_SILENT);
	}
}

/* --- the end --- */

static void count_side(struct sl_dpdk_pair *k, int side, const struct sl_leg *leg)
{
	struct sl_pair_count *from = &k->pair->from[side];
	uint64_t bytes = k->before[side].bytes + leg->bytes;

	k->engine->totals.bytes[side] += bytes - from->bytes;
	from->bytes = bytes;
	from->messages = k->before[side].messages + leg->packets;
}

static void dpdk_count(struct sl_pair *p)
{
	struct sl_dpdk_pair *k = p->carried;
	const struct sl_flow_pair *pair = sl_dpdk_splice_pair(k->engine->table, k->slot);

	for (int side = 0; side < 2; side++)
		count_side(k, side, &pair->leg[side]);
}

static void reset_peer(const struct sl_flow_pair *pair, int leg)
{
	struct rte_mbuf *m = sl_dpdk_reset_frame(pair, leg);

	if (m)
		sl_port_send(sl_dpdk_port(&pair->leg[leg]), &m, 1);
}

/* Its packets go to the stack from now on, which resets whoever has missed this. */
static void reset_ends(struct sl_dpdk_engine *e, uint32_t slot)
{
	const struct sl_flow_pair *pair = sl_dpdk_splice_pair(e->table, slot);

	for (int leg = 0; leg < 2; leg++)
		reset_peer(pair, leg);
	sl_dpdk_count_up(&e->resets);
	sl_dpdk_release(e, slot);
}

/* Takes the pair off the engine. Its slot has been taken care of. */
static void detach(struct sl_dpdk_pair *k)
{
	struct sl_pair *p = k->pair;

	sl_list_del(&k->ended);
	sl_loop_disarm(k->engine->base.options.loop, &k->grace);
	sl_dpdk_close_streams(p);
	p->engine = NULL;
	p->carried = NULL;
	k->engine->totals.active--;
	sl_slab_put(&k->engine->pairs, k);
}

static void end_pair(struct sl_dpdk_pair *k, enum sl_pair_end why)
{
	struct sl_pair *p = k->pair;

	dpdk_count(p);
	if (why == SL_PAIR_FAILED)
		reset_ends(k->engine, k->slot);
	else
		release_later(k->engine, k->slot);
	detach(k);
	p->end = why;
	p->on_end(p, why);
}

static void tell_ended(struct sl_task *t)
{
	struct sl_dpdk_engine *e = sl_container_of(t, struct sl_dpdk_engine, tell);

	while (!sl_list_empty(&e->ended)) {
		struct sl_dpdk_pair *k = sl_list_entry(e->ended.next, struct sl_dpdk_pair, ended);

		end_pair(k, k->end);
	}
}

/* A pair ends once: after CLOSED or RESET the table tells DEAD at most. */
static void note_event(void *owner, const struct sl_event *event)
{
	struct sl_dpdk_engine *e = owner;
	struct sl_dpdk_pair *k = e->slots.slot[event->pair].pair;

	if (!k || !sl_list_empty(&k->ended))
		return;
	if (event->type == SL_EVENT_CLOSED)
		k->end = SL_PAIR_FINISHED;
	else if (event->type == SL_EVENT_RESET)
		k->end = event->leg ? SL_PAIR_UPSTREAM_RESET : SL_PAIR_CLIENT_RESET;
	else if (event->type == SL_EVENT_FAILED)
		k->end = SL_PAIR_FAILED;
	else
		return;
	sl_list_add_tail(&e->ended, &k->ended);
	sl_loop_defer(e->base.options.loop, &e->tell);
}

/* --- ops --- */

static void dpdk_probe(struct sl_engine_report *ret)
{
	*ret = (struct sl_engine_report){.available = true,
					 .reason = "packets are rewritten where they arrive"};
}

static int open_table(struct sl_dpdk_engine *e)
{
	const struct sl_dpdk_splice_options o = {
		.pairs = config.pairs, .on_event = note_event, .owner = e};
	int r = sl_dpdk_slots_init(&e->slots, config.pairs);

	return r ? r : sl_dpdk_splice_new(&o, &e->table);
}

/* Without memory for the table, or ports, pairs stay copied. */
static int dpdk_create(const struct sl_engine_options *o, struct sl_engine **ret)
{
	struct sl_dpdk_engine *e = calloc(1, sizeof(*e));
	const char *reason;

	if (!e)
		return -ENOMEM;
	e->base = (struct sl_engine){.ops = &sl_dpdk_engine, .options = *o};
	sl_slab_init(&e->pairs, "spliced pairs", sizeof(struct sl_dpdk_pair), config.pairs);
	sl_list_init(&e->ended);
	sl_task_init(&e->tell, tell_ended);
	sl_timer_init(&e->cool, cool);
	e->sockets = config.sockets;
	e->claim = -1;
	reason = "no memory for the table of spliced pairs: raise dpdk's memory, or lower "
		 "splice.pairs";
	if (open_table(e) || (e->sockets && sl_dpdk_open_sockets(e, &config, &reason)))
		sl_engine_break(&e->base, reason);
	else
		sl_lcore_set_splice(e->table);
	sl_dpdk_publish(e);
	*ret = &e->base;
	return 0;
}

static void dpdk_destroy(struct sl_engine *engine)
{
	struct sl_dpdk_engine *e;

	if (!engine)
		return;
	e = sl_to_dpdk_engine(engine);
	sl_dpdk_publish(NULL);
	sl_lcore_set_splice(NULL);
	sl_loop_disarm(e->base.options.loop, &e->cool);
	sl_loop_cancel(&e->tell);
	sl_dpdk_close_sockets(e);
	sl_dpdk_splice_free(e->table);
	sl_dpdk_slots_destroy(&e->slots);
	sl_slab_destroy(&e->pairs);
	free(e);
}

/* Of lwIP's connections nothing has to be known before the upstream is connected. */
static int dpdk_prepare(struct sl_engine *engine, struct sl_pair *p, struct sl_connect_options *o)
{
	struct sl_dpdk_engine *e = sl_to_dpdk_engine(engine);

	return e->sockets ? sl_packet_prepare(&e->watcher, p, o) : 0;
}

static void dpdk_abort(struct sl_pair *p)
{
	struct sl_dpdk_pair *k = p->carried;

	dpdk_count(p);
	reset_ends(k->engine, k->slot);
	detach(k);
	p->end = SL_PAIR_FAILED;
}

/* A pair of which nobody will ask again: it can't be left to anyone. */
static void dpdk_forget(struct sl_engine *e, struct sl_pair *p)
{
	sl_packet_unprepare(p);
	if (p->engine == e)
		dpdk_abort(p);
}

static int dpdk_part(struct sl_pair *p)
{
	return -EOPNOTSUPP;
}

static void dpdk_totals(const struct sl_engine *engine, struct sl_engine_totals *ret)
{
	const struct sl_dpdk_engine *e = sl_container_of(engine, struct sl_dpdk_engine, base);

	ret->joined = __atomic_load_n(&e->totals.joined, __ATOMIC_RELAXED);
	ret->refused = __atomic_load_n(&e->totals.refused, __ATOMIC_RELAXED);
	ret->parted = 0;
	ret->active = __atomic_load_n(&e->totals.active, __ATOMIC_RELAXED);
	for (int side = 0; side < 2; side++)
		ret->bytes[side] = __atomic_load_n(&e->totals.bytes[side], __ATOMIC_RELAXED);
}

void sl_dpdk_engine_configure(const struct sl_dpdk_engine_config *c)
{
	config = *c;
}

const struct sl_engine_ops sl_dpdk_engine = {
	.name = "dpdk",
	.probe = dpdk_probe,
	.create = dpdk_create,
	.destroy = dpdk_destroy,
	.prepare = dpdk_prepare,
	.forget = dpdk_forget,
	.join = sl_dpdk_join,
	.part = dpdk_part,
	.abort = dpdk_abort,
	.count = dpdk_count,
	.totals = dpdk_totals,
};
