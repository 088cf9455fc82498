/* SPDX-License-Identifier: BSD-2-Clause */
/* The packet engine: a pair that is quiet leaves its sockets, and from then on a BPF program rewrites
 * its packets (docs/engines.md).
 *
 * A pair is prepared (packet_prepare.c), then joined: its slot is armed, and if the kernel finds it quiet
 * at this very moment it is spliced. Its sockets stay for GRACE_MS, because a packet may be on its way
 * to them, and are closed silently then. A busy pair is not waited for: it goes back, and comes again.
 *
 * Invariants:
 * - Until the kernel says ACTIVE nothing of the pair has changed.
 * - Bytes in a receive queue after that would be lost: both ends are reset, and it is counted.
 *
 * There is no way back (part). */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/util.h"
#include "splice/packet.h"
#include "splice/pins.h"

#define GRACE_MS 20

static struct sl_packet_engine *to_packet(struct sl_engine *e)
{
	return sl_container_of(e, struct sl_packet_engine, base);
}

static void grace_over(struct sl_timer *t);

struct sl_packet_pair *sl_packet_pair_new(struct sl_packet_engine *e, uint32_t slot)
{
	struct sl_packet_pair *k = sl_slab_get(&e->pairs);

	if (!k)
		return NULL;
	k->engine = e;
	k->slot = slot;
	k->sockets.fd[0] = k->sockets.fd[1] = -1;
	sl_timer_init(&k->grace, grace_over);
	return k;
}

void sl_packet_pair_free(struct sl_packet_pair *k)
{
	struct sl_packet_engine *e = k->engine;

	sl_loop_disarm(e->base.options.loop, &k->grace);
	sl_slab_put(&e->pairs, k);
}

void sl_packet_pair_start(struct sl_packet_pair *k, struct sl_pair *p)
{
	struct sl_packet_engine *e = k->engine;

	k->pair = p;
	p->engine = &e->base;
	p->carried = k;
	e->totals.joined++;
	e->totals.active++;
}

/* --- the end --- */

/* They are in repair mode: nothing goes out. */
static void close_streams(struct sl_pair *p)
{
	for (int side = 0; side < 2; side++) {
		struct sl_stream *s = SL_TAKE_PTR(p->stream[side]);

		if (s)
			s->ops->close(s, SL_CLOSE_SILENT);
	}
}

/* Takes the pair off the engine. Its slot has been taken care of. */
static void detach(struct sl_packet_pair *k)
{
	struct sl_pair *p = k->pair;

	p->engine = NULL;
	p->carried = NULL;
	k->engine->totals.active--;
	sl_packet_pair_free(k);
}

static void packet_count(struct sl_pair *p);

/* The pair is DEAD. Its sockets, if they are still there, don't know the numbers any more. */
static void reset_ends(struct sl_packet_pair *k)
{
	struct sl_flow_pair pair;
	int r = sl_packet_read(k->slot, &pair);

	close_streams(k->pair);
	if (!r)
		sl_packet_reset_peers(&pair);
	sl_packet_release(k->slot);
}

static void end_pair(struct sl_packet_pair *k, enum sl_pair_end why)
{
	struct sl_pair *p = k->pair;

	packet_count(p);
	close_streams(p);
	if (why == SL_PAIR_FAILED)
		reset_ends(k);
	else
		sl_packet_release_later(k->slot);
	detach(k);
	p->end = why;
	p->on_end(p, why);
}

/* A check failed after the flip: neither end may believe that all is well. */
static void fail(struct sl_packet_pair *k)
{
	struct sl_control c = {.op = SL_CONTROL_FAIL};

	sl_packet_control(k->slot, &c);
	end_pair(k, SL_PAIR_FAILED);
}

static bool lost_bytes(const struct sl_packet_pair *k)
{
	return sl_packet_has_unread(k->sockets.fd[SL_CLIENT]) ||
	       sl_packet_has_unread(k->sockets.fd[SL_UPSTREAM]);
}

static void grace_over(struct sl_timer *t)
{
	struct sl_packet_pair *k = sl_container_of(t, struct sl_packet_pair, grace);

	if (lost_bytes(k))
		fail(k);
	else
		close_streams(k->pair);
}

static void grace_event(struct sl_stream *s, unsigned events)
{
	struct sl_packet_pair *k = s->owner;

	if (lost_bytes(k))
		fail(k);
}

static void pair_event(void *pair, const struct sl_event *event)
{
	struct sl_packet_pair *k = pair;

	if (!k->pair)
		return;
	if (event->type == SL_EVENT_CLOSED)
		end_pair(k, SL_PAIR_FINISHED);
	else if (event->type == SL_EVENT_RESET)
		end_pair(k, event->leg ? SL_PAIR_UPSTREAM_RESET : SL_PAIR_CLIENT_RESET);
	else if (event->type == SL_EVENT_FAILED)
		end_pair(k, SL_PAIR_FAILED);
}

/* --- joining --- */

/* Not quiet at this moment: back to watching, unless a packet was faster and has spliced it. */
static int disarm(uint32_t slot, const char **ret_reason)
{
	struct sl_control c = {.op = SL_CONTROL_DISARM};
	int r = sl_packet_control(slot, &c);

	if (!r && c.ret && (c.ret_state == SL_FLOW_ACTIVE || c.ret_state == SL_FLOW_CLOSED))
		return 0;
	*ret_reason = "busy: bytes are on their way";
	return r || c.ret ? -EOPNOTSUPP : -EAGAIN;
}

static int sample_and_arm(struct sl_packet_pair *k, struct sl_pair *p, const char **ret_reason)
{
	struct sl_control c = {.op = SL_CONTROL_ARM};
	int r = sl_packet_sample(p, &k->sockets, c.leg, ret_reason);

	if (!r)
		r = sl_packet_choose_outputs(k->slot, k->sockets.mss, c.leg, ret_reason);
	if (r)
		return r;
	sl_packet_count_arm();
	r = sl_packet_control(k->slot, &c);
	if (r || c.ret) {
		*ret_reason = c.ret_refusal ? sl_refusal_text(c.ret_refusal)
					    : "the control program failed";
		return -EOPNOTSUPP;
	}
	return c.ret_flipped ? 0 : disarm(k->slot, ret_reason);
}

static int arm(struct sl_packet_pair *k, struct sl_pair *p, const char **ret_reason)
{
	int r = sample_and_arm(k, p, ret_reason);

	if (r)
		sl_packet_resume(&k->sockets);
	return r;
}

/* The kernel carries it. */
static void take_over(struct sl_packet_pair *k, struct sl_pair *p)
{
	struct sl_packet_engine *e = k->engine;

	sl_packet_take_slot(p);
	sl_packet_own(&e->inbox, k->slot, k);
	for (int side = 0; side < 2; side++) {
		k->before[side] = p->from[side];
		p->stream[side]->on_event = grace_event;
		p->stream[side]->owner = k;
	}
	sl_packet_pair_start(k, p);
	sl_loop_arm(e->base.options.loop, &k->grace, GRACE_MS);
}

static int try_join(struct sl_packet_engine *e, struct sl_pair *p, const char **ret_reason)
{
	struct sl_packet_pair *k;
	uint32_t slot;
	int r = sl_packet_choose(p, &slot, ret_reason);

	if (r)
		return r;
	k = sl_packet_pair_new(e, slot);
	if (!k)
		return -ENOSPC;
	r = arm(k, p, ret_reason);
	if (r)
		sl_packet_pair_free(k);
	else
		take_over(k, p);
	return r;
}

static int packet_join(struct sl_engine *engine, struct sl_pair *p, const char **ret_reason)
{
	int r = try_join(to_packet(engine), p, ret_reason);

	if (r == -EOPNOTSUPP) {
		to_packet(engine)->totals.refused++;
		sl_packet_count_refusal(*ret_reason);
		sl_packet_unprepare(p);
	}
	return r;
}

/* --- preparing --- */

static int reach(struct sl_packet_watcher *w, const struct sl_endpoint *client,
		 const struct sl_addr *upstream, struct sl_addr *ret_source,
		 const char **ret_reason)
{
	struct sl_way way;
	int r = sl_packet_reach(&client->peer, &client->local, &way, ret_reason);

	if (!r)
		r = sl_packet_reach(upstream, NULL, &way, ret_reason);
	if (!r)
		*ret_source = way.source;
	return r;
}

static int watch(struct sl_packet_watcher *w, struct sl_control_leg leg[2], uint32_t *ret_slot)
{
	struct sl_packet_engine *e = sl_container_of(w, struct sl_packet_engine, watcher);

	return sl_packet_watch(&e->inbox, leg, ret_slot);
}

static void release(struct sl_packet_watcher *w, uint32_t slot)
{
	sl_packet_release(slot);
}

static int packet_prepare(struct sl_engine *engine, struct sl_pair *p, struct sl_connect_options *o)
{
	return sl_packet_prepare(&to_packet(engine)->watcher, p, o);
}

/* --- ops --- */

/* What it opens is what create() uses, so that it stays open. */
static void packet_probe(struct sl_engine_report *ret)
{
	struct sl_engine_report report = {0};
	const char *reason;

	report.available = !sl_packet_open(&reason);
	strncpy(report.reason, reason, sizeof(report.reason) - 1);
	*ret = report;
}

static int packet_create(const struct sl_engine_options *o, struct sl_engine **ret)
{
	struct sl_packet_engine *e;
	const char *unused;
	int r = sl_packet_open(&unused);

	if (r)
		return r;
	e = calloc(1, sizeof(*e));
	if (!e)
		return -ENOMEM;
	e->base = (struct sl_engine){.ops = &sl_packet_engine, .options = *o};
	e->watcher = (struct sl_packet_watcher){
		.mss = sl_packet_mss(), .reach = reach, .watch = watch, .release = release};
	sl_packet_watcher_init(&e->watcher, o->pairs);
	sl_slab_init(&e->pairs, "spliced pairs", sizeof(struct sl_packet_pair), sl_packet_slots());
	e->inbox.loop = o->loop;
	e->inbox.on_event = pair_event;
	sl_packet_register(&e->inbox);
	sl_packet_adopt(e);
	*ret = &e->base;
	return 0;
}

static void packet_destroy(struct sl_engine *engine)
{
	if (!engine)
		return;
	sl_packet_unregister(&to_packet(engine)->inbox);
	sl_packet_watcher_destroy(&to_packet(engine)->watcher);
	sl_slab_destroy(&to_packet(engine)->pairs);
	free(to_packet(engine));
}

/* A pair that is still spliced is left to the kernel. */
static void packet_forget(struct sl_engine *engine, struct sl_pair *p)
{
	sl_packet_unprepare(p);
	if (p->engine == engine) {
		struct sl_packet_pair *k = p->carried;

		sl_packet_abandon(k->slot);
		detach(k);
	}
}

static int packet_part(struct sl_pair *p)
{
	return -EOPNOTSUPP;
}

static void packet_abort(struct sl_pair *p)
{
	struct sl_control c = {.op = SL_CONTROL_KILL};
	struct sl_packet_pair *k = p->carried;

	packet_count(p);
	sl_packet_control(k->slot, &c);
	reset_ends(k);
	detach(k);
	p->end = SL_PAIR_FAILED;
}

static void count_side(struct sl_packet_pair *k, int side, const struct sl_leg *leg)
{
	struct sl_pair_count *from = &k->pair->from[side];
	uint64_t bytes = k->before[side].bytes + leg->bytes;

	k->engine->totals.bytes[side] += bytes - from->bytes;
	from->bytes = bytes;
	from->messages = k->before[side].messages + leg->packets;
}

static void packet_count(struct sl_pair *p)
{
	struct sl_packet_pair *k = p->carried;
	struct sl_flow_pair pair;

	if (sl_packet_read(k->slot, &pair))
		return;
	for (int side = 0; side < 2; side++)
		count_side(k, side, &pair.leg[side]);
}

static void packet_totals(const struct sl_engine *e, struct sl_engine_totals *ret)
{
	const struct sl_packet_engine *k = sl_container_of(e, struct sl_packet_engine, base);

	ret->joined = __atomic_load_n(&k->totals.joined, __ATOMIC_RELAXED);
	ret->refused = __atomic_load_n(&k->totals.refused, __ATOMIC_RELAXED);
	ret->parted = __atomic_load_n(&k->totals.parted, __ATOMIC_RELAXED);
	ret->active = __atomic_load_n(&k->totals.active, __ATOMIC_RELAXED);
	for (int side = 0; side < 2; side++)
		ret->bytes[side] = __atomic_load_n(&k->totals.bytes[side], __ATOMIC_RELAXED);
}

const struct sl_engine_ops sl_packet_engine = {
	.name = "packet",
	.prepares = true,
	.probe = packet_probe,
	.create = packet_create,
	.destroy = packet_destroy,
	.prepare = packet_prepare,
	.forget = packet_forget,
	.join = packet_join,
	.part = packet_part,
	.abort = packet_abort,
	.count = packet_count,
	.totals = packet_totals,
};
