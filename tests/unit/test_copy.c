/* SPDX-License-Identifier: BSD-2-Clause */
/* splice/copy.c over the transport in memory, and over real sockets where splice(2) is used. */

#include "unit.h"

#include <errno.h>
#include <string.h>

#include "../fake_transport.h"
#include "splice/engine.h"
#include "splice/pipes.h"
#include "transport/socket.h"

/* Outer ends, which the test plays, and inner ends, which the engine gets. */
struct fixture {
	struct sl_loop *loop;
	struct sl_transport *transport;
	struct sl_engine *engine;
	struct sl_buf_pool buffers;
	struct sl_stream *outer[2], *inner[2];
	struct sl_acceptor *acceptor;
	struct sl_pair pair;
	enum sl_pair_end ended;
	unsigned events[2];
};

static void pair_ended(struct sl_pair *p, enum sl_pair_end why)
{
	struct fixture *f = p->owner;

	f->ended = why;
}

static void outer_event(struct sl_stream *s, unsigned events)
{
	struct fixture *f = s->owner;

	f->events[s == f->outer[1]] |= events;
}

static void create(struct fixture *f, uint32_t buffers)
{
	const struct sl_engine_options o = {.loop = f->loop, .buffers = &f->buffers, .pairs = 2};

	sl_buf_pool_init(&f->buffers, 4096, buffers);
	assert_int_equal(sl_copy_engine.create(&o, &f->engine), 0);
}

static void join(struct fixture *f)
{
	const char *why;

	for (int side = 0; side < 2; side++) {
		f->outer[side]->on_event = outer_event;
		f->outer[side]->owner = f;
		f->pair.stream[side] = f->inner[side];
	}
	f->pair.on_end = pair_ended;
	f->pair.owner = f;
	assert_int_equal(sl_copy_engine.join(f->engine, &f->pair, &why), 0);
}

static void open_fake(struct fixture *f, const struct fake_options *o, uint32_t buffers)
{
	memset(f, 0, sizeof(*f));
	assert_int_equal(sl_loop_new(&f->loop), 0);
	assert_int_equal(fake_transport_new(f->loop, o, &f->transport), 0);
	create(f, buffers);
	for (int side = 0; side < 2; side++)
		assert_int_equal(fake_pair(f->transport, &f->outer[side], &f->inner[side]), 0);
}

static void turns(struct fixture *f, int n)
{
	for (int i = 0; i < n; i++)
		assert_int_equal(sl_loop_turn(f->loop, 0), 0);
}

static void close_all(struct fixture *f)
{
	if (f->pair.engine)
		sl_copy_engine.abort(&f->pair);
	for (int side = 0; side < 2; side++)
		if (f->outer[side])
			f->outer[side]->ops->close(f->outer[side], SL_CLOSE_RESET);
	if (f->acceptor)
		f->transport->ops->unlisten(f->acceptor);
	turns(f, 4);
	assert_int_equal(f->buffers.slab.used, 0);
	sl_copy_engine.destroy(f->engine);
	f->transport->ops->destroy(f->transport);
	sl_buf_pool_destroy(&f->buffers);
	sl_loop_free(f->loop);
}

static ssize_t put(struct fixture *f, int side, const void *p, size_t len)
{
	struct iovec iov = {(void *)p, len};

	return f->outer[side]->ops->write(f->outer[side], &iov, 1);
}

static ssize_t get(struct fixture *f, int side, void *p, size_t len)
{
	return f->outer[side]->ops->read(f->outer[side], p, len);
}

static unsigned char byte_at(int side, size_t at)
{
	return (unsigned char)((at * 2654435761u >> 16) + (size_t)side * 101);
}

/* Sends `total` bytes each way, content by position, FIN behind them, and checks what arrives. */
static void exchange(struct fixture *f, size_t total)
{
	size_t sent[2] = {0}, got[2] = {0};
	unsigned char out[3000], in[3000];
	bool eof[2] = {false}, done[2] = {false};

	for (int round = 0; !(eof[0] && eof[1]); round++) {
		assert_true(round < 2000000);
		for (int side = 0; side < 2; side++) {
			size_t len = sl_min(sizeof(out), total - sent[side]);
			ssize_t n;

			for (size_t i = 0; i < len; i++)
				out[i] = byte_at(side, sent[side] + i);
			n = len ? put(f, side, out, len) : 0;
			sent[side] += n > 0 ? (size_t)n : 0;
			if (sent[side] == total && !done[side]) {
				done[side] = true;
				f->outer[side]->ops->finish(f->outer[side]);
			}
			while ((n = get(f, side, in, sizeof(in))) > 0) {
				for (ssize_t i = 0; i < n; i++)
					assert_int_equal(in[i], byte_at(1 - side, got[side]++));
			}
			eof[side] |= n == 0;
		}
		assert_int_equal(sl_loop_turn(f->loop, 0), 0);
	}
	assert_int_equal(got[0], total);
	assert_int_equal(got[1], total);
	turns(f, 4);
	assert_int_equal(f->ended, SL_PAIR_FINISHED);
	assert_int_equal(f->pair.from[SL_CLIENT].bytes, total);
	assert_int_equal(f->pair.from[SL_UPSTREAM].bytes, total);
}

static void bytes_arrive_whole_and_in_order_whatever_the_transport_does(void **state)
{
	static const struct fake_options options[] = {{.window = 1},
						      {.window = 100, .split_events = true},
						      {.spurious_events = true},
						      {0}};
	static const struct fake_faults faults[] = {
		{0}, {.read_max = 1}, {.write_max = 7}, {.eagain_every_second = true}};

	for (size_t i = 0; i < SL_ARRAY_SIZE(options); i++) {
		for (size_t k = 0; k < SL_ARRAY_SIZE(faults); k++) {
			struct fixture f;

			open_fake(&f, &options[i], 8);
			fake_set_faults(f.inner[0], &faults[k]);
			fake_set_faults(f.inner[1], &faults[k]);
			join(&f);
			exchange(&f, 20000);
			close_all(&f);
		}
	}
}

static void early_bytes_come_first(void **state)
{
	struct fixture f;
	char text[16];

	open_fake(&f, NULL, 8);
	f.pair.pending[SL_CLIENT] = sl_buf_get(&f.buffers);
	sl_buf_append_str(f.pair.pending[SL_CLIENT], "early ");
	put(&f, SL_CLIENT, "late", 4);
	join(&f);
	turns(&f, 4);
	assert_int_equal(get(&f, SL_UPSTREAM, text, sizeof(text)), 10);
	assert_memory_equal(text, "early late", 10);
	close_all(&f);
}

static void half_close_leaves_the_other_direction_open(void **state)
{
	struct fixture f;
	char text[16];

	open_fake(&f, NULL, 8);
	join(&f);
	put(&f, SL_CLIENT, "bye", 3);
	f.outer[SL_CLIENT]->ops->finish(f.outer[SL_CLIENT]);
	turns(&f, 4);
	assert_int_equal(get(&f, SL_UPSTREAM, text, sizeof(text)), 3);
	assert_int_equal(get(&f, SL_UPSTREAM, text, sizeof(text)), 0);
	put(&f, SL_UPSTREAM, "still here", 10);
	turns(&f, 4);
	assert_int_equal(get(&f, SL_CLIENT, text, sizeof(text)), 10);
	assert_int_equal(f.ended, SL_PAIR_OPEN);
	f.outer[SL_UPSTREAM]->ops->finish(f.outer[SL_UPSTREAM]);
	turns(&f, 4);
	assert_int_equal(f.ended, SL_PAIR_FINISHED);
	close_all(&f);
}

static void a_reset_is_passed_on_as_a_reset(void **state)
{
	for (int side = 0; side < 2; side++) {
		struct fixture f;

		open_fake(&f, NULL, 8);
		join(&f);
		turns(&f, 2);
		f.outer[side]->ops->close(SL_TAKE_PTR(f.outer[side]), SL_CLOSE_RESET);
		turns(&f, 4);
		assert_int_equal(f.ended,
				 side == SL_CLIENT ? SL_PAIR_CLIENT_RESET : SL_PAIR_UPSTREAM_RESET);
		assert_int_equal(fake_peer_closed(f.outer[1 - side]), SL_CLOSE_RESET);
		close_all(&f);
	}
}

static void a_stalled_reader_holds_one_buffer_and_stops_the_writer(void **state)
{
	struct fixture f;
	char chunk[1000] = {0};
	size_t accepted = 0;
	ssize_t n;

	open_fake(&f, NULL, 8);
	join(&f);
	for (int i = 0; i < 1000; i++) {
		n = put(&f, SL_CLIENT, chunk, sizeof(chunk));
		accepted += n > 0 ? (size_t)n : 0;
		turns(&f, 1);
	}
	assert_int_equal(f.buffers.slab.used, 1);
	assert_true(accepted <= 2 * 16384 + 4096);
	close_all(&f);
}

static void an_idle_pair_holds_no_buffer(void **state)
{
	struct fixture f;
	char text[16];

	open_fake(&f, NULL, 8);
	join(&f);
	put(&f, SL_CLIENT, "x", 1);
	turns(&f, 4);
	assert_int_equal(get(&f, SL_UPSTREAM, text, sizeof(text)), 1);
	assert_int_equal(f.buffers.slab.used, 0);
	close_all(&f);
}

/* The pool is empty when the bytes come, and refilled later: they must still arrive. */
static void a_pair_without_buffers_waits_for_one(void **state)
{
	struct fixture f;
	struct sl_buf *taken;
	char text[16];

	open_fake(&f, NULL, 1);
	join(&f);
	turns(&f, 2);
	taken = sl_buf_get(&f.buffers);
	put(&f, SL_CLIENT, "x", 1);
	turns(&f, 4);
	assert_int_equal(get(&f, SL_UPSTREAM, text, sizeof(text)), -EAGAIN);
	sl_buf_put(&f.buffers, taken);
	for (int i = 0; i < 100 && get(&f, SL_UPSTREAM, text, sizeof(text)) != 1; i++) {
		assert_true(i < 99);
		assert_int_equal(sl_loop_turn(f.loop, 5), 0);
	}
	close_all(&f);
}

static void a_parted_pair_gives_back_streams_and_unwritten_bytes(void **state)
{
	static const struct fake_options narrow = {.window = 4};
	struct fixture f;

	open_fake(&f, &narrow, 8);
	join(&f);
	put(&f, SL_CLIENT, "abcd", 4);
	turns(&f, 4);
	put(&f, SL_CLIENT, "efgh", 4);
	turns(&f, 4);
	assert_int_equal(sl_copy_engine.part(&f.pair), 0);
	assert_null(f.pair.engine);
	assert_ptr_equal(f.pair.stream[SL_CLIENT], f.inner[SL_CLIENT]);
	assert_int_equal(sl_buf_len(f.pair.pending[SL_CLIENT]), 4);
	assert_memory_equal(sl_buf_head(f.pair.pending[SL_CLIENT]), "efgh", 4);
	f.pair.pending[SL_CLIENT] = sl_buf_put(&f.buffers, f.pair.pending[SL_CLIENT]);
	for (int side = 0; side < 2; side++)
		f.inner[side]->ops->close(f.inner[side], SL_CLOSE_RESET);
	close_all(&f);
}

static void a_full_engine_refuses_and_says_why(void **state)
{
	struct fixture f;
	struct sl_pair extra[2] = {0};
	const char *why = NULL;

	open_fake(&f, NULL, 8);
	join(&f);
	extra[0] = extra[1] = f.pair;
	assert_int_equal(sl_copy_engine.join(f.engine, &extra[0], &why), 0);
	assert_int_equal(sl_copy_engine.join(f.engine, &extra[1], &why), -ENOSPC);
	assert_non_null(why);
	assert_int_equal(sl_copy_engine.part(&extra[0]), 0);
	close_all(&f);
}

/* --- real sockets: bulk goes through pipes --- */

static void take_accepted(struct sl_acceptor *a, struct sl_stream *s)
{
	struct fixture *f = a->owner;
	int side = f->inner[0] ? 1 : 0;

	f->inner[side] = s;
	s->on_event = outer_event;
	s->owner = f;
}

static void open_sockets(struct fixture *f)
{
	struct sl_listen_options listen = {.backlog = 2};
	struct sl_connect_options connect = {0};

	memset(f, 0, sizeof(*f));
	assert_int_equal(sl_loop_new(&f->loop), 0);
	assert_int_equal(sl_socket_transport_new(f->loop, 8, &f->transport), 0);
	create(f, 8);
	sl_addr_parse(SL_SLICE("127.0.0.1:0"), &listen.addr);
	assert_int_equal(
		f->transport->ops->listen(f->transport, &listen, take_accepted, f, &f->acceptor),
		0);
	connect.addr = f->acceptor->local;
	for (int side = 0; side < 2; side++) {
		assert_int_equal(
			f->transport->ops->connect(f->transport, &connect, &f->outer[side]), 0);
		f->outer[side]->on_event = outer_event;
		f->outer[side]->owner = f;
		for (int i = 0; i < 1000 && !f->inner[side]; i++)
			sl_loop_turn(f->loop, 1);
		assert_non_null(f->inner[side]);
	}
	turns(f, 2);
}

static void bulk_over_sockets_arrives_whole(void **state)
{
	struct fixture f;

	open_sockets(&f);
	join(&f);
	exchange(&f, 8 << 20);
	close_all(&f);
}

/* What the kernel's socket buffers take doesn't count: the pair itself may hold a pipe each way. */
static void a_stalled_bulk_pair_stays_within_its_bound(void **state)
{
	static char chunk[65536];
	struct fixture f;
	uint64_t delivered;
	size_t accepted = 0;
	ssize_t n;

	open_sockets(&f);
	join(&f);
	for (int i = 0; i < 3000; i++) {
		n = put(&f, SL_CLIENT, chunk, sizeof(chunk));
		accepted += n > 0 ? (size_t)n : 0;
		turns(&f, 1);
	}
	delivered = f.pair.from[SL_CLIENT].bytes;
	assert_true(accepted > delivered);
	/* Left over: in the engine, and in the receive buffer of its client side (at most 6 MiB). */
	assert_true(accepted - delivered <= SL_PIPE_BYTES + (6 << 20) * 2);
	assert_true(f.buffers.slab.used <= 1);
	close_all(&f);
}

/* --- what a short tunnel costs --- */

static const struct sl_transport_ops *real;
static unsigned reads, finishes;

static ssize_t counted_read(struct sl_stream *s, void *buf, size_t len)
{
	reads++;
	return real->read(s, buf, len);
}

static int counted_finish(struct sl_stream *s)
{
	finishes++;
	return real->finish(s);
}

static void passes(struct fixture *f, enum sl_side from, const char *word)
{
	char text[16];
	ssize_t n = -EAGAIN;

	put(f, from, word, strlen(word));
	for (int i = 0; i < 1000 && n == -EAGAIN; i++) {
		sl_loop_turn(f->loop, 1);
		n = get(f, sl_other_side(from), text, sizeof(text));
	}
	assert_int_equal(n, strlen(word));
	assert_memory_equal(text, word, strlen(word));
}

static void wait_for_end(struct fixture *f, enum sl_side side)
{
	char text[16];
	ssize_t n = -EAGAIN;

	for (int i = 0; i < 1000 && n == -EAGAIN; i++) {
		sl_loop_turn(f->loop, 1);
		n = get(f, side, text, sizeof(text));
	}
	assert_int_equal(n, 0);
}

/* Nothing is read in vain, and the second FIN is that of close(). */
static void a_word_each_way_takes_four_reads(void **state)
{
	struct sl_transport_ops counted;
	struct fixture f;

	open_sockets(&f);
	reads = finishes = 0;
	real = f.inner[0]->ops;
	counted = *real;
	counted.read = counted_read;
	counted.finish = counted_finish;
	f.inner[0]->ops = f.inner[1]->ops = &counted;
	f.pair.drained[SL_CLIENT] = f.pair.drained[SL_UPSTREAM] = true;
	join(&f);
	turns(&f, 2);
	passes(&f, SL_CLIENT, "word");
	passes(&f, SL_UPSTREAM, "answer");
	for (int side = 0; side < 2; side++) {
		f.outer[side]->ops->finish(f.outer[side]);
		wait_for_end(&f, side ? SL_CLIENT : SL_UPSTREAM);
	}
	turns(&f, 2);
	assert_int_equal(f.ended, SL_PAIR_FINISHED);
	assert_int_equal(reads, 4);
	assert_int_equal(finishes, 1);
	close_all(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bytes_arrive_whole_and_in_order_whatever_the_transport_does),
		cmocka_unit_test(early_bytes_come_first),
		cmocka_unit_test(half_close_leaves_the_other_direction_open),
		cmocka_unit_test(a_reset_is_passed_on_as_a_reset),
		cmocka_unit_test(a_stalled_reader_holds_one_buffer_and_stops_the_writer),
		cmocka_unit_test(an_idle_pair_holds_no_buffer),
		cmocka_unit_test(a_pair_without_buffers_waits_for_one),
		cmocka_unit_test(a_parted_pair_gives_back_streams_and_unwritten_bytes),
		cmocka_unit_test(a_full_engine_refuses_and_says_why),
		cmocka_unit_test(bulk_over_sockets_arrives_whole),
		cmocka_unit_test(a_stalled_bulk_pair_stays_within_its_bound),
		cmocka_unit_test(a_word_each_way_takes_four_reads),
	};

	return cmocka_run_group_tests_name("copy", tests, NULL, NULL);
}
