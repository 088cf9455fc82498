/* SPDX-License-Identifier: BSD-2-Clause */
/* The copy engine: the floor under all others. It takes every pair, on every transport.
 *
 * Each direction is a half. Small messages are read into a pooled buffer and written out; a direction
 * that filled several buffers in a row is bulk, and moves by splice(2) through a borrowed pipe, if
 * both streams have descriptors. Buffers and pipes are held only while they hold bytes.
 *
 * Invariants:
 * - A half's bytes are in one place at a time: its buffer, or its pipe. Order can't be lost.
 * - A half never holds more than one buffer or SL_PIPE_BYTES: the bound of a stalled pair.
 * - FIN is passed on once everything before it is written; RST at once, dropping what is held, as a
 *   reset does (RFC 9293 3.5.2).
 *
 * Idle pairs are the owner's to time out. */

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "base/slab.h"
#include "base/util.h"
#include "splice/engine.h"
#include "splice/pipes.h"

#define PIPES_MAX      256
#define BULK_AFTER     4  /* full buffers in a row */
#define BULK_UNTIL     8  /* small splices in a row */
#define MOVES_PER_TURN 16 /* then other connections have their turn */
#define RETRY_MS       10 /* no buffer was free */

struct copy_engine {
	struct sl_engine base;
	struct sl_slab pairs;
	struct sl_pipes pipes;
	struct sl_engine_totals totals;
};

/* The direction away from one side. */
struct half {
	struct sl_pipe *pipe;
	bool readable;	/* as far as known: reading may give -EAGAIN */
	bool writable;	/* the side itself, as target of the other half */
	bool ended;	/* the side sent FIN */
	bool passed_on; /* and the other side has been told */
	bool bulk;
	uint8_t streak; /* full reads, or small splices when bulk, in a row */
};

struct copy_pair {
	struct copy_engine *engine;
	struct sl_pair *pair;
	struct half half[2];
	bool fd_known;
	int fd[2]; /* once known; -1: the transport has no descriptor */
	struct sl_task more;
	struct sl_timer retry;
};

/* What moving a half came to. */
enum move {
	MOVE_BLOCKED, /* wait for an event */
	MOVE_AGAIN,   /* progress was made */
	MOVE_NO_BUFFER,
	MOVE_BROKEN_SOURCE,
	MOVE_BROKEN_TARGET,
};

static struct copy_engine *to_copy(struct sl_engine *e)
{
	return sl_container_of(e, struct copy_engine, base);
}

static void account(struct copy_pair *c, enum sl_side from, size_t bytes)
{
	if (from == SL_UPSTREAM && !c->pair->from[from].bytes)
		c->pair->answered_us = sl_loop_now_us(c->engine->base.options.loop);
	c->pair->from[from].bytes += bytes;
	c->engine->totals.bytes[from] += bytes;
}

static bool half_empty(const struct copy_pair *c, enum sl_side from)
{
	return !c->pair->pending[from] && !(c->half[from].pipe && c->half[from].pipe->held);
}

/* --- by buffer --- */

static enum move write_buffer(struct copy_pair *c, enum sl_side from)
{
	struct sl_stream *to = c->pair->stream[sl_other_side(from)];
	struct sl_buf *b = c->pair->pending[from];
	struct iovec iov = {sl_buf_head(b), sl_buf_len(b)};
	ssize_t n = to->ops->write(to, &iov, 1);

	if (n == -EAGAIN) {
		c->half[sl_other_side(from)].writable = false;
		return MOVE_BLOCKED;
	}
	if (n < 0)
		return MOVE_BROKEN_TARGET;
	account(c, from, (size_t)n);
	sl_buf_consume(b, (uint32_t)n);
	if (!sl_buf_len(b))
		c->pair->pending[from] = sl_buf_put(c->engine->base.options.buffers, b);
	return MOVE_AGAIN;
}

static void note_read(struct half *h, bool full)
{
	h->streak = full ? h->streak + 1 : 0;
	if (h->streak >= BULK_AFTER) {
		h->bulk = true;
		h->streak = 0;
	}
}

static enum move read_buffer(struct copy_pair *c, enum sl_side from)
{
	struct sl_stream *s = c->pair->stream[from];
	struct sl_buf_pool *buffers = c->engine->base.options.buffers;
	struct half *h = &c->half[from];
	struct sl_buf *b = sl_buf_get(buffers);
	ssize_t n;

	if (!b)
		return MOVE_NO_BUFFER;
	n = s->ops->read(s, b->data, b->cap);
	if (n > 0) {
		b->end = (uint32_t)n;
		c->pair->pending[from] = b;
		c->pair->from[from].messages++;
		note_read(h, b->end == b->cap);
		/* A socket in the sockmap has two queues: a short read may leave one. */
		h->readable = !s->drained || c->pair->plain_io;
		return MOVE_AGAIN;
	}
	sl_buf_put(buffers, b);
	if (n == -EAGAIN || n == 0) {
		h->readable = false;
		h->ended = n == 0;
		return MOVE_BLOCKED;
	}
	return MOVE_BROKEN_SOURCE;
}

/* --- by splice(2) --- */

static enum move drain_pipe(struct copy_pair *c, enum sl_side from)
{
	struct sl_pipe *pipe = c->half[from].pipe;
	ssize_t n = splice(pipe->out, NULL, c->fd[sl_other_side(from)], NULL, pipe->held,
			   SPLICE_F_MOVE | SPLICE_F_NONBLOCK);

	if (n < 0 && errno == EAGAIN) {
		c->half[sl_other_side(from)].writable = false;
		return MOVE_BLOCKED;
	}
	if (n <= 0)
		return MOVE_BROKEN_TARGET;
	pipe->held -= (uint32_t)n;
	account(c, from, (size_t)n);
	return MOVE_AGAIN;
}

/* Small pieces cost more by splice than by copy: a direction that turned to them is not bulk. */
static void note_splice(struct half *h, size_t n, size_t small)
{
	h->streak = n < small ? h->streak + 1 : 0;
	if (h->streak >= BULK_UNTIL) {
		h->bulk = false;
		h->streak = 0;
	}
}

static enum move fill_pipe(struct copy_pair *c, enum sl_side from)
{
	struct half *h = &c->half[from];
	ssize_t n = splice(c->fd[from], NULL, h->pipe->in, NULL, SL_PIPE_BYTES,
			   SPLICE_F_MOVE | SPLICE_F_NONBLOCK);

	if (n > 0) {
		h->pipe->held += (uint32_t)n;
		c->pair->from[from].messages++;
		note_splice(h, (size_t)n, c->engine->base.options.buffers->cap);
		return MOVE_AGAIN;
	}
	if (n < 0 && errno != EAGAIN)
		return MOVE_BROKEN_SOURCE;
	if (n == 0) { /* the end, or urgent data before it: a read tells */
		h->bulk = false;
		h->streak = 0;
		return MOVE_AGAIN;
	}
	h->readable = false;
	return MOVE_BLOCKED;
}

/* Asked for late, because endpoint() costs system calls and most tunnels never turn bulk. */
static void learn_descriptors(struct copy_pair *c)
{
	for (int side = 0; side < 2 && !c->fd_known; side++) {
		struct sl_stream *s = c->pair->stream[side];
		struct sl_endpoint endpoint;

		c->fd[side] = s->ops->endpoint(s, &endpoint) < 0 ? -1 : endpoint.fd;
	}
	c->fd_known = true;
}

static bool wants_pipe(struct copy_pair *c, enum sl_side from)
{
	struct half *h = &c->half[from];

	if (!h->bulk || c->pair->plain_io || c->pair->stream[from]->urgent)
		return false;
	learn_descriptors(c);
	if (c->fd[SL_CLIENT] < 0 || c->fd[SL_UPSTREAM] < 0)
		return false;
	if (!h->pipe)
		h->pipe = sl_pipes_get(&c->engine->pipes);
	return h->pipe;
}

/* --- one direction --- */

static enum move move_once(struct copy_pair *c, enum sl_side from)
{
	struct half *h = &c->half[from];
	bool target_writable = c->half[sl_other_side(from)].writable;

	if (c->pair->pending[from])
		return target_writable ? write_buffer(c, from) : MOVE_BLOCKED;
	if (h->pipe && h->pipe->held)
		return target_writable ? drain_pipe(c, from) : MOVE_BLOCKED;
	if (!h->readable || h->ended)
		return MOVE_BLOCKED;
	return wants_pipe(c, from) ? fill_pipe(c, from) : read_buffer(c, from);
}

/* FIN goes out behind the last byte; the second one when the pair is closed, right after this. */
static void pass_end_on(struct copy_pair *c, enum sl_side from)
{
	struct half *h = &c->half[from];
	struct sl_stream *to = c->pair->stream[sl_other_side(from)];

	if (!h->ended || h->passed_on || !half_empty(c, from))
		return;
	h->passed_on = true;
	if (!c->half[sl_other_side(from)].passed_on)
		to->ops->finish(to); /* an error here shows up as an event of its own */
}

static enum move move_half(struct copy_pair *c, enum sl_side from)
{
	enum move m = MOVE_AGAIN;

	for (int i = 0; i < MOVES_PER_TURN && m == MOVE_AGAIN; i++)
		m = move_once(c, from);
	if (c->half[from].pipe && !c->half[from].pipe->held)
		c->half[from].pipe = sl_pipes_put(&c->engine->pipes, c->half[from].pipe);
	pass_end_on(c, from);
	return m;
}

/* --- the pair --- */

/* Takes the pair off the engine; the streams are the caller's to close or keep. */
static void detach(struct copy_pair *c)
{
	struct copy_engine *e = c->engine;
	struct sl_pair *p = c->pair;

	for (int side = 0; side < 2; side++)
		c->half[side].pipe = sl_pipes_put(&e->pipes, c->half[side].pipe);
	sl_loop_cancel(&c->more);
	sl_loop_disarm(e->base.options.loop, &c->retry);
	p->engine = NULL;
	p->carried = NULL;
	e->totals.active--;
	sl_slab_put(&e->pairs, c);
}

static void close_both(struct sl_pair *p, struct sl_buf_pool *buffers, enum sl_close_how how)
{
	for (int side = 0; side < 2; side++) {
		p->pending[side] = sl_buf_put(buffers, p->pending[side]);
		p->stream[side]->ops->close(p->stream[side], how);
		p->stream[side] = NULL;
	}
}

static void end_pair(struct copy_pair *c, enum sl_pair_end why)
{
	struct sl_buf_pool *buffers = c->engine->base.options.buffers;
	struct sl_pair *p = c->pair;

	detach(c);
	close_both(p, buffers, why == SL_PAIR_FINISHED ? SL_CLOSE_GRACEFUL : SL_CLOSE_RESET);
	p->end = why;
	p->on_end(p, why);
}

static enum sl_pair_end reset_by(enum sl_side side)
{
	return side == SL_CLIENT ? SL_PAIR_CLIENT_RESET : SL_PAIR_UPSTREAM_RESET;
}

/* False if the pair has ended. */
static bool move_from(struct copy_pair *c, enum sl_side from)
{
	struct sl_loop *loop = c->engine->base.options.loop;

	switch (move_half(c, from)) {
	case MOVE_AGAIN:
		sl_loop_defer(loop, &c->more);
		return true;
	case MOVE_NO_BUFFER:
		sl_loop_arm(loop, &c->retry, RETRY_MS);
		return true;
	case MOVE_BLOCKED:
		return true;
	case MOVE_BROKEN_SOURCE:
		end_pair(c, reset_by(from));
		return false;
	case MOVE_BROKEN_TARGET:
		end_pair(c, reset_by(sl_other_side(from)));
		return false;
	}
	return true;
}

static void move_both(struct copy_pair *c)
{
	if (!move_from(c, SL_CLIENT) || !move_from(c, SL_UPSTREAM))
		return;
	if (c->half[SL_CLIENT].passed_on && c->half[SL_UPSTREAM].passed_on)
		end_pair(c, SL_PAIR_FINISHED);
}

static void move_more(struct sl_task *t)
{
	move_both(sl_container_of(t, struct copy_pair, more));
}

static void retry(struct sl_timer *t)
{
	move_both(sl_container_of(t, struct copy_pair, retry));
}

/* A broken side whose bytes can't be delivered anyway need not be read to its end; one that was read to
 * its end won't tell by another read. */
static bool is_reset(const struct copy_pair *c, enum sl_side side, unsigned events)
{
	bool deliverable = !c->half[side].ended && half_empty(c, side) &&
			   c->half[sl_other_side(side)].writable;

	return events & SL_ERROR && !deliverable;
}

static void copy_event(struct sl_stream *s, unsigned events)
{
	struct copy_pair *c = s->owner;
	enum sl_side side = s == c->pair->stream[SL_CLIENT] ? SL_CLIENT : SL_UPSTREAM;

	if (is_reset(c, side, events)) {
		end_pair(c, reset_by(side));
		return;
	}
	if (events & (SL_READABLE | SL_HANGUP))
		c->half[side].readable = true;
	if (events & SL_WRITABLE)
		c->half[side].writable = true;
	move_both(c);
}

/* --- ops --- */

static void copy_probe(struct sl_engine_report *ret)
{
	*ret = (struct sl_engine_report){.available = true, .reason = "user space, always there"};
}

static int copy_create(const struct sl_engine_options *o, struct sl_engine **ret)
{
	struct copy_engine *e = calloc(1, sizeof(*e));

	if (!e)
		return -ENOMEM;
	e->base = (struct sl_engine){.ops = &sl_copy_engine, .options = *o};
	sl_slab_init(&e->pairs, "copied pairs", sizeof(struct copy_pair), o->pairs);
	sl_pipes_init(&e->pipes, PIPES_MAX);
	*ret = &e->base;
	return 0;
}

static void copy_destroy(struct sl_engine *engine)
{
	if (!engine)
		return;
	sl_pipes_destroy(&to_copy(engine)->pipes);
	sl_slab_destroy(&to_copy(engine)->pairs);
	free(to_copy(engine));
}

static int copy_prepare(struct sl_engine *e, struct sl_pair *p, struct sl_connect_options *o)
{
	return 0;
}

static void copy_forget(struct sl_engine *e, struct sl_pair *p)
{
}

static int copy_join(struct sl_engine *engine, struct sl_pair *p, const char **ret_reason)
{
	struct copy_engine *e = to_copy(engine);
	struct copy_pair *c = sl_slab_get(&e->pairs);

	if (!c) {
		e->totals.refused++;
		*ret_reason = "no room for another pair";
		return -ENOSPC;
	}
	c->engine = e;
	c->pair = p;
	sl_task_init(&c->more, move_more);
	sl_timer_init(&c->retry, retry);
	for (int side = 0; side < 2; side++) {
		struct sl_stream *s = p->stream[side];

		c->half[side] = (struct half){
			.readable = !p->drained[side],
			.writable = true,
			.ended = p->input_ended[side],
		};
		p->drained[side] = false;
		s->on_event = copy_event;
		s->owner = c;
	}
	p->engine = engine;
	p->carried = c;
	e->totals.joined++;
	e->totals.active++;
	sl_loop_defer(engine->options.loop, &c->more);
	return 0;
}

static int copy_part(struct sl_pair *p)
{
	struct copy_pair *c = p->carried;

	for (int side = 0; side < 2; side++) {
		if (c->half[side].pipe && c->half[side].pipe->held)
			return -EAGAIN;
		p->input_ended[side] = c->half[side].ended;
	}
	c->engine->totals.parted++;
	detach(c);
	return 0;
}

static void copy_abort(struct sl_pair *p)
{
	struct copy_pair *c = p->carried;
	struct sl_buf_pool *buffers = c->engine->base.options.buffers;

	detach(c);
	close_both(p, buffers, SL_CLOSE_RESET);
	p->end = SL_PAIR_FAILED;
}

/* The counters are kept in place. */
static void copy_count(struct sl_pair *p)
{
}

static void copy_totals(const struct sl_engine *e, struct sl_engine_totals *ret)
{
	const struct copy_engine *c = sl_container_of(e, struct copy_engine, base);

	ret->joined = __atomic_load_n(&c->totals.joined, __ATOMIC_RELAXED);
	ret->refused = __atomic_load_n(&c->totals.refused, __ATOMIC_RELAXED);
	ret->parted = __atomic_load_n(&c->totals.parted, __ATOMIC_RELAXED);
	ret->active = __atomic_load_n(&c->totals.active, __ATOMIC_RELAXED);
	for (int side = 0; side < 2; side++)
		ret->bytes[side] = __atomic_load_n(&c->totals.bytes[side], __ATOMIC_RELAXED);
}

const struct sl_engine_ops sl_copy_engine = {
	.name = "copy",
	.probe = copy_probe,
	.create = copy_create,
	.destroy = copy_destroy,
	.prepare = copy_prepare,
	.forget = copy_forget,
	.join = copy_join,
	.part = copy_part,
	.abort = copy_abort,
	.count = copy_count,
	.totals = copy_totals,
};
