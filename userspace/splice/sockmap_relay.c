/* SPDX-License-Identifier: BSD-2-Clause */
/* What is left to user space of a pair in the sockmap: bytes that the kernel passed, and FIN.
 *
 * Invariants:
 * - Passed bytes are written only once all bytes that were redirected before are (settled). The kernel
 *   redirects none as long as relayed differs from passed.
 * - FIN goes out once what arrived from one side is what was written to the other: shutdown(2) would
 *   overtake what the kernel still has.
 *
 * The kernel tells by no event that redirected bytes have been written, or that passed ones can be read:
 * whoever waits for that asks again (SL_SOCKMAP_LATER). */

#include <errno.h>

#include "base/util.h"
#include "splice/sockmap.h"

#define MOVES_PER_TURN 16   /* then other connections have their turn */
#define LOST_MS	       5000 /* the kernel's worker may have to wait for its CPU, but not so long */

bool sl_sockmap_in_step(const struct sl_sockmap_half *h)
{
	return __atomic_load_n(&h->flow->passed, __ATOMIC_SEQ_CST) == h->flow->relayed;
}

/* Bytes that the kernel has written to the other side. */
static int redirected(struct sl_sockmap_member *m, enum sl_side from, uint64_t *ret)
{
	struct sl_sockmap_half *to = &m->half[sl_other_side(from)];
	uint64_t written;
	int r = sl_sockmap_written(to->fd, &written);

	if (r)
		return r;
	*ret = written - to->given;
	return 0;
}

/* Bytes are missing although the other side's socket takes them, and nothing moves: the counters will
 * never agree. */
static bool are_lost(struct sl_sockmap_member *m, enum sl_side from, uint64_t done)
{
	uint64_t now = sl_loop_now_ms(m->engine->base.options.loop);
	struct sl_sockmap_half *h = &m->half[from];

	if (!h->missed_ms || h->missed_at != done ||
	    sl_sockmap_waiting(m->half[sl_other_side(from)].fd) != 0) {
		h->missed_ms = now;
		h->missed_at = done;
	}
	return now - h->missed_ms >= LOST_MS;
}

static int wait_for(struct sl_sockmap_member *m, enum sl_side from, uint64_t done)
{
	return are_lost(m, from, done) ? -EBADMSG : -EAGAIN;
}

int sl_sockmap_settle(struct sl_sockmap_member *m, enum sl_side from)
{
	struct sl_sockmap_half *h = &m->half[from];
	uint64_t done;
	int r = redirected(m, from, &done);

	if (r)
		return r;
	h->settled = done == __atomic_load_n(&h->flow->redirected, __ATOMIC_ACQUIRE);
	if (!h->settled)
		return wait_for(m, from, done);
	h->missed_ms = 0;
	return 0;
}

static enum sl_sockmap_outcome outcome_of(int r)
{
	switch (r) {
	case -EAGAIN:
		return SL_SOCKMAP_LATER;
	case -EBADMSG:
		return SL_SOCKMAP_LOST;
	default:
		return SL_SOCKMAP_TARGET_RESET;
	}
}

/* The moment that the kernel sees that all is relayed, it may redirect again, and then pass again. */
static void note_relayed(struct sl_sockmap_half *h, uint64_t n)
{
	uint64_t passed = __atomic_load_n(&h->flow->passed, __ATOMIC_SEQ_CST);
	uint64_t relayed = h->flow->relayed + n;

	if (relayed == passed)
		h->settled = false;
	__atomic_store_n(&h->flow->relayed, relayed, __ATOMIC_SEQ_CST);
}

static struct iovec next_held(struct sl_sockmap_member *m, enum sl_side from)
{
	const struct sl_sockmap_spill *spill = &m->half[from].spill;
	struct sl_buf *b = m->pair->pending[from];

	if (b)
		return (struct iovec){sl_buf_head(b), sl_buf_len(b)};
	return (struct iovec){spill->data + spill->start, spill->end - spill->start};
}

static void consume_held(struct sl_sockmap_member *m, enum sl_side from, uint32_t n)
{
	struct sl_pair *p = m->pair;

	if (!p->pending[from]) {
		sl_sockmap_spill_consume(&m->half[from], n);
		return;
	}
	sl_buf_consume(p->pending[from], n);
	if (!sl_buf_len(p->pending[from]))
		p->pending[from] = sl_buf_put(m->engine->base.options.buffers, p->pending[from]);
}

static enum sl_sockmap_outcome write_held(struct sl_sockmap_member *m, enum sl_side from)
{
	struct sl_stream *to = m->pair->stream[sl_other_side(from)];
	struct sl_sockmap_half *h = &m->half[from];
	struct iovec iov = next_held(m, from);
	ssize_t n;

	if (h->blocked)
		return SL_SOCKMAP_WAITING;
	n = to->ops->write(to, &iov, 1);
	if (n == -EAGAIN) {
		h->blocked = true;
		return to->ops->watch(to, SL_WRITABLE) ? SL_SOCKMAP_TARGET_RESET
						       : SL_SOCKMAP_WAITING;
	}
	if (n < 0)
		return SL_SOCKMAP_TARGET_RESET;
	m->half[sl_other_side(from)].given += (uint64_t)n;
	consume_held(m, from, (uint32_t)n);
	note_relayed(h, (uint64_t)n);
	return SL_SOCKMAP_BUSY;
}

/* Nothing to read, or a seeming end, although bytes were passed: they are in the kernel's queue. */
static enum sl_sockmap_outcome read_passed(struct sl_sockmap_member *m, enum sl_side from)
{
	struct sl_buf_pool *buffers = m->engine->base.options.buffers;
	struct sl_pair *p = m->pair;
	struct sl_stream *s = p->stream[from];
	struct sl_buf *b = sl_buf_get(buffers);
	ssize_t n;

	if (!b)
		return SL_SOCKMAP_LATER;
	n = s->ops->read(s, b->data, b->cap);
	if (n <= 0) {
		sl_buf_put(buffers, b);
		return n == 0 || n == -EAGAIN ? SL_SOCKMAP_LATER : SL_SOCKMAP_SOURCE_RESET;
	}
	b->end = (uint32_t)n;
	p->pending[from] = b;
	p->from[from].messages++;
	m->half[from].taken += (uint64_t)n;
	return SL_SOCKMAP_BUSY;
}

static enum sl_sockmap_outcome relay_once(struct sl_sockmap_member *m, enum sl_side from)
{
	struct sl_sockmap_half *h = &m->half[from];
	bool holds = m->pair->pending[from] || h->spill.data;
	int r;

	if (h->flow->overflow)
		return SL_SOCKMAP_OVERFLOW;
	if (!holds && sl_sockmap_in_step(h))
		return SL_SOCKMAP_IDLE;
	if (!h->settled) {
		r = sl_sockmap_settle(m, from);
		if (r)
			return outcome_of(r);
	}
	return holds ? write_held(m, from) : read_passed(m, from);
}

static enum sl_sockmap_outcome pass_end_on(struct sl_sockmap_member *m, enum sl_side from)
{
	struct sl_stream *to = m->pair->stream[sl_other_side(from)];
	struct sl_sockmap_half *h = &m->half[from];
	uint64_t arrived, done;
	bool closed;
	int r;

	if (!h->ended || h->passed_on)
		return SL_SOCKMAP_IDLE;
	r = sl_sockmap_arrived(h->fd, &arrived, &closed);
	/* Closed before it was told our end: no FIN, but a reset that someone else took note of. */
	if (r || (closed && !m->half[sl_other_side(from)].passed_on))
		return SL_SOCKMAP_SOURCE_RESET;
	r = redirected(m, from, &done);
	if (!r && arrived - 1 - h->taken != done)
		r = wait_for(m, from, done);
	if (r)
		return outcome_of(r);
	h->passed_on = true;
	to->ops->finish(to); /* an error here shows up as an event of its own */
	return SL_SOCKMAP_IDLE;
}

enum sl_sockmap_outcome sl_sockmap_relay(struct sl_sockmap_member *m, enum sl_side from)
{
	enum sl_sockmap_outcome o = SL_SOCKMAP_BUSY;

	for (int i = 0; i < MOVES_PER_TURN && o == SL_SOCKMAP_BUSY; i++)
		o = relay_once(m, from);
	if ((o == SL_SOCKMAP_WAITING || o == SL_SOCKMAP_LATER) && m->half[from].flow->heavy)
		sl_sockmap_spill(&m->half[from], m->pair->stream[from]);
	return o == SL_SOCKMAP_IDLE ? pass_end_on(m, from) : o;
}
