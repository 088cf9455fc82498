/* SPDX-License-Identifier: BSD-2-Clause */
/* tests/fake_transport: what tests of its users rely on. */

#include "unit.h"

#include <errno.h>
#include <string.h>

#include "../fake_transport.h"

struct end {
	struct sl_stream *stream;
	unsigned events, calls;
};

struct fixture {
	struct sl_loop *loop;
	struct sl_transport *t;
	struct sl_acceptor *acceptor;
	struct end a, b; /* b is also what the acceptor accepts */
};

static void note_event(struct sl_stream *s, unsigned events)
{
	struct end *e = s->owner;

	e->events |= events;
	e->calls++;
}

static void take(struct end *e, struct sl_stream *s)
{
	*e = (struct end){.stream = s};
	s->on_event = note_event;
	s->owner = e;
}

static void note_accept(struct sl_acceptor *a, struct sl_stream *s)
{
	struct fixture *f = a->owner;

	take(&f->b, s);
}

static void turns(struct fixture *f)
{
	for (int i = 0; i < 6; i++)
		assert_int_equal(sl_loop_turn(f->loop, 2), 0);
}

static unsigned events_of(struct fixture *f, struct end *e)
{
	unsigned events;

	turns(f);
	events = e->events;
	e->events = 0;
	return events;
}

static void open_fixture(struct fixture *f, const struct fake_options *o)
{
	memset(f, 0, sizeof(*f));
	assert_int_equal(sl_loop_new(&f->loop), 0);
	assert_int_equal(fake_transport_new(f->loop, o, &f->t), 0);
}

static void open_pair(struct fixture *f, const struct fake_options *o)
{
	struct sl_stream *a, *b;

	open_fixture(f, o);
	assert_int_equal(fake_pair(f->t, &a, &b), 0);
	take(&f->a, a);
	take(&f->b, b);
	assert_true(events_of(f, &f->a) & SL_WRITABLE);
	assert_true(events_of(f, &f->b) & SL_WRITABLE);
}

static void close_end(struct end *e, enum sl_close_how how)
{
	if (e->stream)
		e->stream->ops->close(e->stream, how);
	e->stream = NULL;
}

static void close_fixture(struct fixture *f)
{
	close_end(&f->a, SL_CLOSE_RESET);
	close_end(&f->b, SL_CLOSE_RESET);
	if (f->acceptor)
		f->t->ops->unlisten(f->acceptor);
	f->t->ops->destroy(f->t);
	sl_loop_free(f->loop);
}

static ssize_t put(struct end *e, const char *p, size_t len)
{
	struct iovec iov[2] = {{(void *)p, len / 2}, {(void *)(p + len / 2), len - len / 2}};

	return e->stream->ops->write(e->stream, iov, 2);
}

static ssize_t get(struct end *e, char *buf, size_t len)
{
	return e->stream->ops->read(e->stream, buf, len);
}

static struct sl_addr addr_of(const char *text)
{
	struct sl_addr a;

	assert_int_equal(sl_addr_parse(sl_slice_str(text), &a), 0);
	return a;
}

static void start_connect(struct fixture *f, const char *to)
{
	struct sl_connect_options o = {.addr = addr_of(to)};
	struct sl_stream *s;

	assert_int_equal(f->t->ops->connect(f->t, &o, &s), 0);
	take(&f->a, s);
}

static void listen_on(struct fixture *f, const char *at)
{
	struct sl_listen_options o = {.addr = addr_of(at)};

	assert_int_equal(f->t->ops->listen(f->t, &o, note_accept, f, &f->acceptor), 0);
}

static void bytes_arrive_in_order_through_a_small_window(void **state)
{
	struct fixture f;
	char in[1000], out[1000];
	size_t sent = 0, received = 0;

	open_pair(&f, &(struct fake_options){.window = 7});
	for (size_t i = 0; i < sizeof(in); i++)
		in[i] = (char)(i * 31 + i / 256);
	while (received < sizeof(in)) {
		ssize_t n = sent < sizeof(in) ? put(&f.a, in + sent, sizeof(in) - sent) : 0;

		assert_true(n == -EAGAIN || (n >= 0 && n <= 7));
		sent += n > 0 ? (size_t)n : 0;
		n = get(&f.b, out + received, sizeof(out) - received);
		assert_true(n == -EAGAIN || n > 0);
		received += n > 0 ? (size_t)n : 0;
	}
	assert_memory_equal(in, out, sizeof(in));
	close_fixture(&f);
}

static void a_full_window_tells_when_there_is_room_again(void **state)
{
	struct fixture f;
	char buf[8];

	open_pair(&f, &(struct fake_options){.window = 4});
	assert_int_equal(put(&f.a, "abcdef", 6), 4);
	assert_int_equal(events_of(&f, &f.b), SL_READABLE);
	assert_int_equal(get(&f.b, buf, 1), 1);
	assert_int_equal(events_of(&f, &f.a), 0); /* it was not told to wait */
	assert_int_equal(put(&f.a, "e", 1), 1);
	assert_int_equal(put(&f.a, "f", 1), -EAGAIN);
	assert_int_equal(get(&f.b, buf, sizeof(buf)), 4);
	assert_memory_equal(buf, "bcde", 4);
	assert_int_equal(events_of(&f, &f.a), SL_WRITABLE);
	close_fixture(&f);
}

static void a_half_closed_stream_still_receives(void **state)
{
	struct fixture f;
	char buf[8];

	open_pair(&f, NULL);
	assert_int_equal(put(&f.a, "last", 4), 4);
	assert_int_equal(f.a.stream->ops->finish(f.a.stream), 0);
	assert_int_equal(f.a.stream->ops->finish(f.a.stream), 0);
	assert_int_equal(put(&f.a, "x", 1), -EPIPE);
	assert_int_equal(events_of(&f, &f.b), SL_READABLE | SL_HANGUP);
	assert_int_equal(get(&f.b, buf, sizeof(buf)), 4);
	assert_int_equal(get(&f.b, buf, sizeof(buf)), 0);
	assert_int_equal(put(&f.b, "answer", 6), 6);
	assert_int_equal(get(&f.a, buf, sizeof(buf)), 6);
	close_fixture(&f);
}

static void a_reset_comes_behind_what_had_arrived(void **state)
{
	struct fixture f;
	char buf[8];

	open_pair(&f, NULL);
	assert_int_equal(put(&f.a, "abc", 3), 3);
	close_end(&f.a, SL_CLOSE_RESET);
	assert_int_equal(events_of(&f, &f.b), SL_READABLE | SL_WRITABLE | SL_HANGUP | SL_ERROR);
	assert_int_equal(fake_peer_closed(f.b.stream), SL_CLOSE_RESET);
	assert_int_equal(get(&f.b, buf, sizeof(buf)), 3);
	assert_int_equal(get(&f.b, buf, sizeof(buf)), -ECONNRESET);
	assert_int_equal(put(&f.b, "x", 1), -ECONNRESET);
	close_fixture(&f);
}

static void closing_with_unread_input_resets(void **state)
{
	struct fixture f;

	open_pair(&f, NULL);
	assert_int_equal(put(&f.a, "abc", 3), 3);
	close_end(&f.b, SL_CLOSE_GRACEFUL);
	assert_int_equal(fake_peer_closed(f.a.stream), SL_CLOSE_RESET);
	close_fixture(&f);
}

static void bytes_to_a_closed_stream_bring_a_reset(void **state)
{
	struct fixture f;
	char buf[8];

	open_pair(&f, NULL);
	assert_int_equal(put(&f.a, "bye", 3), 3);
	close_end(&f.a, SL_CLOSE_GRACEFUL);
	assert_int_equal(events_of(&f, &f.b), SL_READABLE | SL_HANGUP);
	assert_int_equal(get(&f.b, buf, sizeof(buf)), 3);
	assert_int_equal(get(&f.b, buf, sizeof(buf)), 0);
	assert_int_equal(put(&f.b, "x", 1), 1);
	assert_true(events_of(&f, &f.b) & SL_ERROR);
	assert_int_equal(put(&f.b, "x", 1), -ECONNRESET);
	close_fixture(&f);
}

static void a_silent_close_is_not_seen(void **state)
{
	struct fixture f;
	char buf[8];

	open_pair(&f, NULL);
	close_end(&f.a, SL_CLOSE_SILENT);
	assert_int_equal(events_of(&f, &f.b), 0);
	assert_int_equal(get(&f.b, buf, sizeof(buf)), -EAGAIN);
	assert_int_equal(put(&f.b, "x", 1), -EAGAIN);
	close_fixture(&f);
}

static void a_connect_reaches_the_acceptor(void **state)
{
	struct fixture f;
	char buf[8];

	open_fixture(&f, NULL);
	listen_on(&f, "10.0.0.1:80");
	start_connect(&f, "10.0.0.1:80");
	assert_null(f.b.stream);
	assert_int_equal(events_of(&f, &f.a), SL_CONNECTED | SL_WRITABLE);
	assert_int_equal(events_of(&f, &f.b), SL_WRITABLE);
	assert_true(sl_addr_eq(&f.a.stream->local, &f.b.stream->peer));
	assert_true(sl_addr_eq(&f.a.stream->peer, &f.b.stream->local));
	assert_int_equal(put(&f.a, "hello", 5), 5);
	assert_int_equal(get(&f.b, buf, sizeof(buf)), 5);
	assert_int_equal(f.acceptor->stats.accepted, 1);
	close_fixture(&f);
}

static void a_connect_meets_what_the_rule_says(void **state)
{
	struct fixture f;
	struct sl_connect_options o = {.addr = addr_of("10.0.0.1:80")};
	struct sl_stream *s;

	open_fixture(&f, NULL);
	start_connect(&f, "10.0.0.1:80");
	assert_int_equal(events_of(&f, &f.a), SL_CONNECTED | SL_ERROR);
	assert_int_equal(f.a.stream->error, ECONNREFUSED);
	close_end(&f.a, SL_CLOSE_RESET);
	fake_on_connect(f.t, &(struct fake_connect_rule){.addr = o.addr, .error = EHOSTUNREACH});
	start_connect(&f, "10.0.0.1:80");
	assert_int_equal(events_of(&f, &f.a), SL_CONNECTED | SL_ERROR);
	assert_int_equal(f.a.stream->error, EHOSTUNREACH);
	close_end(&f.a, SL_CLOSE_RESET);
	fake_on_connect(f.t, &(struct fake_connect_rule){.addr = o.addr, .silent = true});
	start_connect(&f, "10.0.0.1:80");
	assert_int_equal(events_of(&f, &f.a), 0);
	fake_on_connect(f.t, &(struct fake_connect_rule){.addr = o.addr, .at_once = EMFILE});
	assert_int_equal(f.t->ops->connect(f.t, &o, &s), -EMFILE);
	assert_int_equal(fake_attempts(f.t), 3);
	assert_true(fake_attempt(f.t, 1)->closed);
	assert_false(fake_attempt(f.t, 2)->closed);
	close_fixture(&f);
}

static void faults_shorten_delay_and_break_calls(void **state)
{
	struct fixture f;
	char buf[8];

	open_pair(&f, NULL);
	fake_set_faults(f.a.stream,
			&(struct fake_faults){.write_max = 2, .eagain_every_second = true});
	assert_int_equal(put(&f.a, "abcdef", 6), 2);
	assert_int_equal(put(&f.a, "cdef", 4), -EAGAIN);
	assert_int_equal(events_of(&f, &f.a), SL_WRITABLE);
	assert_int_equal(put(&f.a, "cdef", 4), 2);
	fake_set_faults(f.b.stream, &(struct fake_faults){.read_max = 3});
	assert_int_equal(get(&f.b, buf, sizeof(buf)), 3);
	fake_set_faults(f.b.stream,
			&(struct fake_faults){.read_error = EIO, .write_error = EHOSTDOWN});
	assert_int_equal(get(&f.b, buf, sizeof(buf)), -EIO);
	assert_int_equal(put(&f.b, "x", 1), -EHOSTDOWN);
	close_fixture(&f);
}

static void events_come_together_or_one_by_one(void **state)
{
	struct fixture f;

	for (int split = 0; split < 2; split++) {
		open_pair(&f, &(struct fake_options){.split_events = split});
		f.b.calls = 0;
		assert_int_equal(put(&f.a, "x", 1), 1);
		assert_int_equal(f.a.stream->ops->finish(f.a.stream), 0);
		assert_int_equal(events_of(&f, &f.b), SL_READABLE | SL_HANGUP);
		assert_int_equal(f.b.calls, split ? 2 : 1);
		close_fixture(&f);
	}
}

static void events_that_are_not_watched_are_told_once_they_are(void **state)
{
	struct fixture f;

	open_pair(&f, NULL);
	f.b.stream->ops->watch(f.b.stream, 0);
	turns(&f);
	f.b.events = 0;
	assert_int_equal(put(&f.a, "x", 1), 1);
	turns(&f);
	assert_int_equal(f.b.events, 0);
	f.b.stream->ops->watch(f.b.stream, SL_READABLE | SL_WRITABLE);
	turns(&f);
	assert_int_equal(f.b.events, SL_READABLE | SL_WRITABLE);
	close_fixture(&f);
}

static void close_on_event(struct sl_stream *s, unsigned events)
{
	note_event(s, events);
	close_end(s->owner, SL_CLOSE_RESET);
}

static void no_event_follows_a_close_inside_an_event(void **state)
{
	struct fixture f;

	open_pair(&f, &(struct fake_options){.split_events = true, .spurious_events = true});
	f.b.stream->on_event = close_on_event;
	f.b.calls = 0;
	assert_int_equal(put(&f.a, "x", 1), 1);
	turns(&f);
	assert_int_equal(f.b.calls, 1);
	assert_int_equal(fake_open_streams(f.t), 1);
	close_fixture(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bytes_arrive_in_order_through_a_small_window),
		cmocka_unit_test(a_full_window_tells_when_there_is_room_again),
		cmocka_unit_test(a_half_closed_stream_still_receives),
		cmocka_unit_test(a_reset_comes_behind_what_had_arrived),
		cmocka_unit_test(closing_with_unread_input_resets),
		cmocka_unit_test(bytes_to_a_closed_stream_bring_a_reset),
		cmocka_unit_test(a_silent_close_is_not_seen),
		cmocka_unit_test(a_connect_reaches_the_acceptor),
		cmocka_unit_test(a_connect_meets_what_the_rule_says),
		cmocka_unit_test(faults_shorten_delay_and_break_calls),
		cmocka_unit_test(events_come_together_or_one_by_one),
		cmocka_unit_test(events_that_are_not_watched_are_told_once_they_are),
		cmocka_unit_test(no_event_follows_a_close_inside_an_event),
	};

	return cmocka_run_group_tests_name("fake-transport", tests, NULL, NULL);
}
