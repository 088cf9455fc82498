/* SPDX-License-Identifier: BSD-2-Clause */
/* The sockmap engine: a BPF program sends the bytes that arrive at one socket of a pair straight to the
 * other one (docs/engines.md). User space relays what the program passes, and FIN.
 *
 * Invariants:
 * - A socket that was put in the map stays in it until it is closed: taking it out loses what the
 *   kernel holds for it. A pair that is parted is switched to "pass" instead.
 * - The buffers of a pair are of fixed size while it is carried; with so many pairs at most the kernel's
 *   memory is bounded.
 *
 * Idle pairs are the owner's to time out. */

#include <bpf/libbpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "base/util.h"
#include "splice/sockmap.h"

#define RETRY_MAX_MS 16
#define LOOSEN_MS    2000
#define BULK_BYTES   8192 /* a message, on average */

static struct sl_sockmap_engine *to_sockmap(struct sl_engine *e)
{
	return sl_container_of(e, struct sl_sockmap_engine, base);
}

/* --- the end --- */

static void sockmap_count(struct sl_pair *p);

/* Takes the pair off the engine; its sockets stay in the map, and the streams are the caller's. */
static void detach(struct sl_sockmap_member *m)
{
	struct sl_sockmap_engine *e = m->engine;
	struct sl_pair *p = SL_TAKE_PTR(m->pair);

	sl_loop_cancel(&m->more);
	sl_loop_disarm(e->base.options.loop, &m->retry);
	for (int side = 0; side < 2; side++)
		sl_sockmap_spill_free(&m->half[side]);
	p->engine = NULL;
	p->carried = NULL;
	e->totals.active--;
}

static void close_both(struct sl_pair *p, struct sl_buf_pool *buffers, enum sl_close_how how)
{
	for (int side = 0; side < 2; side++) {
		p->pending[side] = sl_buf_put(buffers, p->pending[side]);
		p->stream[side]->ops->close(p->stream[side], how);
		p->stream[side] = NULL;
	}
}

static void end_pair(struct sl_sockmap_member *m, enum sl_pair_end why)
{
	struct sl_buf_pool *buffers = m->engine->base.options.buffers;
	struct sl_pair *p = m->pair;

	sockmap_count(p);
	detach(m);
	close_both(p, buffers, why == SL_PAIR_FINISHED ? SL_CLOSE_GRACEFUL : SL_CLOSE_RESET);
	p->end = why;
	p->on_end(p, why);
}

static enum sl_pair_end reset_by(enum sl_side side)
{
	return side == SL_CLIENT ? SL_PAIR_CLIENT_RESET : SL_PAIR_UPSTREAM_RESET;
}

/* --- moving --- */

static void ask_later(struct sl_sockmap_member *m)
{
	m->retry_ms = sl_min(sl_max(m->retry_ms * 2, 1u), (uint32_t)RETRY_MAX_MS);
	sl_loop_arm(m->engine->base.options.loop, &m->retry, m->retry_ms);
}

/* False if the pair has ended. */
static bool relay_from(struct sl_sockmap_member *m, enum sl_side from, bool *ret_later)
{
	switch (sl_sockmap_relay(m, from)) {
	case SL_SOCKMAP_IDLE:
	case SL_SOCKMAP_WAITING:
		return true;
	case SL_SOCKMAP_LATER:
		*ret_later = true;
		return true;
	case SL_SOCKMAP_BUSY:
		sl_loop_defer(m->engine->base.options.loop, &m->more);
		return true;
	case SL_SOCKMAP_SOURCE_RESET:
		end_pair(m, reset_by(from));
		return false;
	case SL_SOCKMAP_TARGET_RESET:
		end_pair(m, reset_by(sl_other_side(from)));
		return false;
	case SL_SOCKMAP_LOST:
		sl_engine_break(&m->engine->base, "bytes of a pair were lost in the kernel");
		end_pair(m, SL_PAIR_FAILED);
		return false;
	case SL_SOCKMAP_OVERFLOW:
		end_pair(m, SL_PAIR_FAILED);
		return false;
	}
	return true;
}

static void relay_both(struct sl_sockmap_member *m)
{
	bool later = false;

	if (!relay_from(m, SL_CLIENT, &later) || !relay_from(m, SL_UPSTREAM, &later))
		return;
	if (m->half[SL_CLIENT].passed_on && m->half[SL_UPSTREAM].passed_on)
		end_pair(m, SL_PAIR_FINISHED);
	else if (later)
		ask_later(m);
	else
		m->retry_ms = 0;
}

static void relay_more(struct sl_task *t)
{
	relay_both(sl_container_of(t, struct sl_sockmap_member, more));
}

static void retry(struct sl_timer *t)
{
	relay_both(sl_container_of(t, struct sl_sockmap_member, retry));
}

static void stream_event(struct sl_stream *s, unsigned events)
{
	struct sl_sockmap_member *m = s->owner;
	enum sl_side side = s == m->pair->stream[SL_CLIENT] ? SL_CLIENT : SL_UPSTREAM;
	struct sl_sockmap_half *to = &m->half[sl_other_side(side)];

	if (events & SL_ERROR) {
		end_pair(m, reset_by(side));
		return;
	}
	if (events & SL_HANGUP)
		m->half[side].ended = true;
	if (events & SL_WRITABLE && to->blocked) {
		to->blocked = false;
		s->ops->watch(s, 0);
	}
	m->retry_ms = 0;
	relay_both(m);
}

static int pass_event(void *context, void *data, size_t len)
{
	struct sl_sockmap_engine *e = context;
	const struct sl_sockmap_event *event = data;
	struct sl_sockmap_member *m;

	if (len < sizeof(*event) || event->slot >= 2 * e->maps.pairs)
		return 0;
	m = e->member[event->slot / 2];
	if (m && m->pair && (uint32_t)e->maps.flow[event->slot].cookie == event->cookie)
		sl_loop_defer(e->base.options.loop, &m->more);
	return 0;
}

static void ring_event(struct sl_io *io, uint32_t events)
{
	ring_buffer__consume(sl_container_of(io, struct sl_sockmap_engine, io)->maps.ring);
}

/* --- joining --- */

/* It comes back, or is over. */
static void stay_fixed(struct sl_sockmap_member *m)
{
	if (SL_TAKE_PTR(m->left))
		sl_loop_disarm(m->engine->base.options.loop, &m->loosen);
}

static void adopt(struct sl_sockmap_engine *e, struct sl_pair *p)
{
	struct sl_sockmap_member *m = p->member;

	stay_fixed(m);
	m->pair = p;
	m->retry_ms = 0;
	sl_task_init(&m->more, relay_more);
	sl_timer_init(&m->retry, retry);
	p->engine = &e->base;
	p->carried = m;
	for (int side = 0; side < 2; side++) {
		m->half[side].blocked = false;
		m->half[side].counted = m->half[side].flow->messages;
		p->stream[side]->on_event = stream_event;
		p->stream[side]->owner = m;
		p->stream[side]->ops->watch(p->stream[side], 0);
	}
	sl_sockmap_kick(m->half[SL_CLIENT].fd);
	sl_sockmap_kick(m->half[SL_UPSTREAM].fd);
	e->totals.joined++;
	e->totals.active++;
	sl_loop_defer(e->base.options.loop, &m->more);
}

static int sockmap_join(struct sl_engine *engine, struct sl_pair *p, const char **ret_reason)
{
	struct sl_sockmap_engine *e = to_sockmap(engine);
	int r = sl_sockmap_enter(e, p, ret_reason);

	if (!r)
		adopt(e, p);
	else if (r != -EAGAIN)
		e->totals.refused++;
	return r;
}

/* --- parting --- */

static void look_later(struct sl_sockmap_member *m)
{
	const struct sl_pair_count *from = m->left->from;

	m->bytes_left = from[SL_CLIENT].bytes + from[SL_UPSTREAM].bytes;
	m->messages_left = from[SL_CLIENT].messages + from[SL_UPSTREAM].messages;
	sl_loop_arm(m->engine->base.options.loop, &m->loosen, LOOSEN_MS);
}

/* Bulk needs buffers that grow. A conversation doesn't, and could not come back with them. */
static void loosen(struct sl_timer *t)
{
	struct sl_sockmap_member *m = sl_container_of(t, struct sl_sockmap_member, loosen);
	uint64_t bytes = m->bytes_left, messages = m->messages_left;

	look_later(m);
	if (m->bytes_left - bytes <= (m->messages_left - messages) * BULK_BYTES)
		return;
	sl_loop_disarm(m->engine->base.options.loop, t);
	for (int side = 0; side < 2; side++)
		sl_sockmap_free_buffers(m->half[side].fd);
}

static int sockmap_part(struct sl_pair *p)
{
	struct sl_sockmap_member *m = p->carried;
	int r;

	/* The end of a side can't be told by reading as long as the kernel holds bytes: we tell it. */
	if (m->half[SL_CLIENT].ended || m->half[SL_UPSTREAM].ended)
		return -EOPNOTSUPP;
	r = sl_sockmap_leave(m);
	if (r)
		return r;
	sockmap_count(p);
	m->engine->totals.parted++;
	detach(m);
	m->left = p;
	sl_timer_init(&m->loosen, loosen);
	look_later(m);
	for (int side = 0; side < 2; side++) {
		struct sl_stream *s = p->stream[side];

		s->ops->watch(s, SL_READABLE | SL_WRITABLE);
	}
	return 0;
}

static void sockmap_abort(struct sl_pair *p)
{
	struct sl_sockmap_member *m = p->carried;
	struct sl_buf_pool *buffers = m->engine->base.options.buffers;

	sockmap_count(p);
	detach(m);
	close_both(p, buffers, SL_CLOSE_RESET);
	p->end = SL_PAIR_FAILED;
}

static void sockmap_forget(struct sl_engine *engine, struct sl_pair *p)
{
	struct sl_sockmap_member *m = SL_TAKE_PTR(p->member);

	if (!m)
		return;
	stay_fixed(m);
	sl_sockmap_free_member(m);
}

/* --- counting --- */

/* No system call: the flows are mapped. */
static void sockmap_count(struct sl_pair *p)
{
	struct sl_sockmap_member *m = p->carried;

	p->by_hand = m->half[SL_CLIENT].flow->relayed + m->half[SL_UPSTREAM].flow->relayed;
	for (int side = 0; side < 2; side++) {
		struct sl_sockmap_half *h = &m->half[side];
		uint64_t messages = __atomic_load_n(&h->flow->messages, __ATOMIC_RELAXED);
		uint64_t redirected = __atomic_load_n(&h->flow->redirected, __ATOMIC_RELAXED);
		uint64_t bytes = h->origin + redirected + h->flow->relayed;

		m->engine->totals.bytes[side] += bytes - p->from[side].bytes;
		p->from[side].bytes = bytes;
		p->from[side].messages += messages - h->counted;
		h->counted = messages;
		/* An event that found the ring buffer full is made up for here. */
		if (!sl_sockmap_in_step(h))
			sl_loop_defer(m->engine->base.options.loop, &m->more);
	}
}

static void sockmap_totals(const struct sl_engine *engine, struct sl_engine_totals *ret)
{
	const struct sl_sockmap_engine *e = sl_container_of(engine, struct sl_sockmap_engine, base);

	ret->joined = __atomic_load_n(&e->totals.joined, __ATOMIC_RELAXED);
	ret->refused = __atomic_load_n(&e->totals.refused, __ATOMIC_RELAXED);
	ret->parted = __atomic_load_n(&e->totals.parted, __ATOMIC_RELAXED);
	ret->active = __atomic_load_n(&e->totals.active, __ATOMIC_RELAXED);
	for (int side = 0; side < 2; side++)
		ret->bytes[side] = __atomic_load_n(&e->totals.bytes[side], __ATOMIC_RELAXED);
}

/* --- ops --- */

static void sockmap_destroy(struct sl_engine *engine)
{
	struct sl_sockmap_engine *e;

	if (!engine)
		return;
	e = to_sockmap(engine);
	if (e->io.index)
		sl_loop_del(e->base.options.loop, &e->io);
	sl_sockmap_add_room(-(int)e->room);
	sl_sockmap_maps_close(&e->maps);
	sl_slab_destroy(&e->members);
	free(e->member);
	free(e->free);
	free(e);
}

static int open_engine(struct sl_sockmap_engine *e, uint32_t pairs)
{
	const char *unused;
	int r = sl_sockmap_maps_open(pairs, pass_event, e, &e->maps, &unused);

	if (r)
		return r;
	sl_sockmap_add_room((int)pairs);
	e->room = pairs;
	e->member = calloc(pairs, sizeof(*e->member));
	e->free = calloc(pairs, sizeof(*e->free));
	if (!e->member || !e->free)
		return -ENOMEM;
	for (uint32_t i = pairs; i; i--)
		e->free[e->n_free++] = i - 1;
	e->io = (struct sl_io){.fd = ring_buffer__epoll_fd(e->maps.ring), .on_event = ring_event};
	return sl_loop_add(e->base.options.loop, &e->io, EPOLLIN);
}

static int sockmap_create(const struct sl_engine_options *o, struct sl_engine **ret)
{
	struct sl_sockmap_engine *e = calloc(1, sizeof(*e));
	uint32_t pairs = sl_min(o->pairs, sl_sockmap_pairs_max());
	int r;

	if (!e)
		return -ENOMEM;
	e->base = (struct sl_engine){.ops = &sl_sockmap_engine, .options = *o};
	sl_slab_init(&e->members, "pairs in the sockmap", sizeof(struct sl_sockmap_member), pairs);
	r = open_engine(e, pairs);
	if (r) {
		sockmap_destroy(&e->base);
		return r;
	}
	*ret = &e->base;
	return 0;
}

/* There is nothing to prepare: an engine that has to may. */
static int sockmap_prepare(struct sl_engine *e, struct sl_pair *p, struct sl_connect_options *o)
{
	return -EOPNOTSUPP;
}

const struct sl_engine_ops sl_sockmap_engine = {
	.name = "sockmap",
	.for_talk = true,
	.probe = sl_sockmap_test,
	.create = sockmap_create,
	.destroy = sockmap_destroy,
	.prepare = sockmap_prepare,
	.forget = sockmap_forget,
	.join = sockmap_join,
	.part = sockmap_part,
	.abort = sockmap_abort,
	.count = sockmap_count,
	.totals = sockmap_totals,
};
