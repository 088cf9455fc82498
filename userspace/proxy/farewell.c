/* SPDX-License-Identifier: BSD-2-Clause */
/* Farewells: what a client over a limit costs. Closing with unread input would send RST, which can destroy
 * the last words on their way (RFC 9112 9.6), and its request may not even be there yet: so the stream is
 * kept for a while, read once, and closed. Nobody waits for the client's FIN: that would cost a
 * registration and an event.
 *
 * Invariant: a stream in the ring has sent FIN and is deaf. */

#include "proxy/farewell.h"

#include "base/util.h"

#define STAY_MS	   1000
#define READ_BYTES (16 * 1024)
#define READS_MAX  16

static void ignore_event(struct sl_stream *s, unsigned events)
{
}

static void end_first(struct sl_farewells *f)
{
	struct sl_stream *s = f->ring[f->first].stream;
	char trash[READ_BYTES];

	for (int i = 0; i < READS_MAX; i++)
		if (s->ops->read(s, trash, sizeof(trash)) <= 0 || s->drained)
			break;
	s->ops->close(s, SL_CLOSE_GRACEFUL);
	f->first = (f->first + 1) % SL_FAREWELLS_MAX;
	f->n--;
}

static void arm(struct sl_farewells *f)
{
	uint64_t now = sl_loop_now_ms(f->loop), until;

	if (!f->n)
		return;
	until = f->ring[f->first].until_ms;
	sl_loop_arm(f->loop, &f->timer, sl_max(until, now) - now);
}

static void time_over(struct sl_timer *t)
{
	struct sl_farewells *f = sl_container_of(t, struct sl_farewells, timer);
	uint64_t now = sl_loop_now_ms(f->loop);

	while (f->n && f->ring[f->first].until_ms <= now)
		end_first(f);
	arm(f);
}

void sl_farewells_init(struct sl_farewells *f, struct sl_loop *loop)
{
	f->loop = loop;
	f->stay_ms = STAY_MS;
	f->first = f->n = 0;
	sl_timer_init(&f->timer, time_over);
}

void sl_farewell(struct sl_farewells *f, struct sl_stream *s, struct sl_slice text)
{
	struct iovec iov = {(void *)text.p, text.len};

	s->deaf = s->more = true;
	s->on_event = ignore_event;
	s->ops->write(s, &iov, 1);
	s->ops->finish(s);
	if (f->n == SL_FAREWELLS_MAX)
		end_first(f);
	f->ring[(f->first + f->n) % SL_FAREWELLS_MAX] =
		(struct sl_farewell){.stream = s, .until_ms = sl_loop_now_ms(f->loop) + f->stay_ms};
	if (!f->n++)
		arm(f);
}

void sl_farewells_end(struct sl_farewells *f)
{
	if (!f->loop)
		return;
	while (f->n)
		end_first(f);
	sl_loop_disarm(f->loop, &f->timer);
}
