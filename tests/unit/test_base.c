/* SPDX-License-Identifier: BSD-2-Clause */
/* base/: addresses, slabs, buffers, timers, loop, ring, histogram. */

#include "unit.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>

#include "base/addr.h"
#include "base/buffer.h"
#include "base/histogram.h"
#include "base/loop.h"
#include "base/ring.h"

static void addresses_print_as_they_were_read(void **state)
{
	static const char *const good[] = {"1.2.3.4:80", "[::1]:65535", "0.0.0.0:0", "[fe80::1]:1"};
	static const char *const bad[] = {"",	       ":80",	       "1.2.3.4", "1.2.3:80",
					  "::1:80",    "[1.2.3.4]:80", "[::1]80", "1.2.3.4:65536",
					  "1.2.3.4:x", "1.2.3.4:+1",   "[::1]:",  "01.2.3.4:1"};
	char text[SL_ADDR_STR_MAX];
	struct sl_addr a;

	for (size_t i = 0; i < SL_ARRAY_SIZE(good); i++) {
		assert_int_equal(sl_addr_parse(sl_slice_str(good[i]), &a), 0);
		assert_string_equal(sl_addr_format(&a, text), good[i]);
	}
	for (size_t i = 0; i < SL_ARRAY_SIZE(bad); i++)
		assert_true(sl_addr_parse(sl_slice_str(bad[i]), &a) < 0);
}

static void a_prefix_contains_exactly_its_addresses(void **state)
{
	static const struct {
		const char *cidr, *addr;
		bool in;
	} rows[] = {
		{"10.0.0.0/8", "10.255.0.1", true},
		{"10.0.0.0/8", "11.0.0.0", false},
		{"192.168.4.0/22", "192.168.7.255", true},
		{"192.168.4.0/22", "192.168.8.0", false},
		{"0.0.0.0/0", "8.8.8.8", true},
		{"0.0.0.0/0", "::1", false},
		{"fe80::/10", "febf::1", true},
		{"fe80::/10", "fec0::1", false},
		{"::1", "::1", true},
		{"::1", "::2", false},
	};
	struct sl_cidr c;
	struct sl_addr a;

	for (size_t i = 0; i < SL_ARRAY_SIZE(rows); i++) {
		assert_int_equal(sl_cidr_parse(sl_slice_str(rows[i].cidr), &c), 0);
		assert_int_equal(sl_addr_parse_host(sl_slice_str(rows[i].addr), 0, &a), 0);
		assert_int_equal(sl_cidr_contains(&c, &a), rows[i].in);
	}
	assert_int_equal(sl_cidr_parse(SL_SLICE("10.0.0.1/8"), &c), -EINVAL);
	assert_int_equal(sl_cidr_parse(SL_SLICE("10.0.0.0/33"), &c), -EINVAL);
	assert_int_equal(sl_cidr_parse(SL_SLICE("10.0.0.0/"), &c), -EINVAL);
}

static void a_mapped_address_is_the_ipv4_address_it_stands_for(void **state)
{
	struct sl_addr a, b;

	assert_int_equal(sl_addr_parse_host(SL_SLICE("::ffff:169.254.169.254"), 80, &a), 0);
	sl_addr_unmap(&a);
	assert_int_equal(sl_addr_parse_host(SL_SLICE("169.254.169.254"), 80, &b), 0);
	assert_true(sl_addr_eq(&a, &b));
}

static void a_slab_gives_no_more_than_its_limit(void **state)
{
	struct sl_slab s;
	void *o[3];

	sl_slab_init(&s, "test", 40, 3);
	for (int i = 0; i < 3; i++)
		assert_non_null(o[i] = sl_slab_get(&s));
	assert_null(sl_slab_get(&s));
	sl_slab_put(&s, o[1]);
	assert_non_null(o[1] = sl_slab_get(&s));
	for (int i = 0; i < 3; i++)
		sl_slab_put(&s, o[i]);
	assert_int_equal(s.used, 0);
	sl_slab_destroy(&s);
}

static void a_trimmed_slab_holds_nothing_and_goes_on(void **state)
{
	struct sl_slab s;
	void *o;

	sl_slab_init(&s, "test", 40, 1);
	assert_non_null(o = sl_slab_get(&s));
	memset(o, 'x', 40);
	sl_slab_trim(&s);
	assert_int_equal(((char *)o)[39], 'x');
	sl_slab_put(&s, o);
	sl_slab_trim(&s);
	assert_int_equal(sl_slab_bytes(&s), 0);
	assert_non_null(o = sl_slab_get(&s));
	assert_null(sl_slab_get(&s));
	sl_slab_put(&s, o);
	sl_slab_destroy(&s);
}

static void a_buffer_refuses_what_does_not_fit(void **state)
{
	struct sl_buf_pool p;
	struct sl_buf *b;

	sl_buf_pool_init(&p, 8, 1);
	b = sl_buf_get(&p);
	assert_null(sl_buf_get(&p));
	assert_true(sl_buf_append_str(b, "abcdef"));
	assert_false(sl_buf_append_str(b, "xyz"));
	assert_false(sl_buf_printf(b, "%d", 100));
	sl_buf_consume(b, 4);
	sl_buf_compact(b);
	assert_int_equal(sl_buf_room(b), 6);
	assert_memory_equal(sl_buf_head(b), "ef", 2);
	assert_null(sl_buf_put(&p, b));
	sl_buf_pool_destroy(&p);
}

static void numbers_are_appended_as_printf_would(void **state)
{
	static const uint64_t numbers[] = {0, 9, 10, 15, 16, 200, 65536, UINT64_MAX};
	char expected[32];
	struct sl_buf_pool p;
	struct sl_buf *b;

	sl_buf_pool_init(&p, 20, 1);
	b = sl_buf_get(&p);
	for (size_t i = 0; i < SL_ARRAY_SIZE(numbers); i++) {
		for (unsigned base = 10; base <= 16; base += 6) {
			int n = snprintf(expected, sizeof(expected), base == 10 ? "%lu" : "%lx",
					 numbers[i]);

			assert_true(sl_buf_append_number(b, numbers[i], base));
			assert_int_equal(sl_buf_len(b), n);
			assert_memory_equal(sl_buf_head(b), expected, n);
			sl_buf_consume(b, (uint32_t)n);
		}
	}
	assert_true(sl_buf_append_str(b, "19 characters here:"));
	assert_false(sl_buf_append_number(b, 10, 10));
	assert_int_equal(sl_buf_len(b), 19);
	sl_buf_put(&p, b);
	sl_buf_pool_destroy(&p);
}

struct test_timer {
	struct sl_timer timer;
	struct sl_wheel *wheel;
	uint64_t fired_at;
	unsigned fired;
};

static void note_firing(struct sl_timer *t)
{
	struct test_timer *tt = sl_container_of(t, struct test_timer, timer);

	tt->fired++;
	tt->fired_at = tt->wheel->now_ms;
}

/* Random delays over all levels, the wheel advanced in random steps and by its own hints. */
static void every_timer_fires_once_and_on_its_tick(void **state)
{
	enum { N = 2000 };
	struct sl_wheel *w = malloc(sizeof(*w));
	struct test_timer *t = calloc(N, sizeof(*t));
	unsigned seed = 7;

	sl_wheel_init(w, 12345);
	for (int i = 0; i < N; i++) {
		t[i].wheel = w;
		sl_timer_init(&t[i].timer, note_firing);
		sl_wheel_arm(w, &t[i].timer,
			     12345 + (uint64_t)rand_r(&seed) % (i % 5 ? 5000 : 20000000));
	}
	for (int i = 0; i < N; i += 10)
		sl_wheel_cancel(w, &t[i].timer);
	while (w->armed) {
		int64_t next = sl_wheel_next_ms(w);

		assert_true(next > 0);
		sl_wheel_advance(w, w->now_ms + (uint64_t)next);
	}
	for (int i = 0; i < N; i++) {
		assert_int_equal(t[i].fired, i % 10 ? 1 : 0);
		if (i % 10)
			assert_int_equal(t[i].fired_at, sl_max(t[i].timer.due_ms, (uint64_t)12346));
	}
	free(t);
	free(w);
}

struct test_pipe {
	struct sl_io io;
	struct sl_loop *loop;
	struct test_pipe *victim;
	unsigned events;
};

static void delete_victim(struct sl_io *io, uint32_t events)
{
	struct test_pipe *p = sl_container_of(io, struct test_pipe, io);

	p->events++;
	sl_loop_del(p->loop, &p->victim->io);
}

/* Two descriptors ready in one batch, each deleting the other: only one callback may run. */
static void a_deleted_descriptor_gets_no_event_from_the_same_batch(void **state)
{
	struct test_pipe p[2] = {0};
	int fds[2][2];

	struct sl_loop *l;

	assert_int_equal(sl_loop_new(&l), 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(pipe(fds[i]), 0);
		assert_int_equal(write(fds[i][1], "x", 1), 1);
		p[i] = (struct test_pipe){.io = {.fd = fds[i][0], .on_event = delete_victim},
					  .loop = l,
					  .victim = &p[1 - i]};
		assert_int_equal(sl_loop_add(l, &p[i].io, EPOLLIN), 0);
	}
	assert_int_equal(sl_loop_turn(l, 100), 0);
	assert_int_equal(p[0].events + p[1].events, 1);
	sl_loop_del(l, &p[0].io);
	sl_loop_del(l, &p[1].io);
	for (int i = 0; i < 2; i++) {
		close(fds[i][0]);
		close(fds[i][1]);
	}
	sl_loop_free(l);
}

struct test_task {
	struct sl_task task;
	struct sl_loop *loop;
	unsigned runs;
};

static void stop_loop(struct sl_task *t)
{
	struct test_task *tt = sl_container_of(t, struct test_task, task);

	tt->runs++;
	sl_loop_stop(tt->loop);
}

static void *post_from_thread(void *arg)
{
	struct test_task *t = arg;

	sl_loop_post(t->loop, &t->task);
	return NULL;
}

static void a_task_posted_by_another_thread_wakes_the_loop(void **state)
{
	struct test_task t = {0};
	pthread_t thread;

	assert_int_equal(sl_loop_new(&t.loop), 0);
	sl_task_init(&t.task, stop_loop);
	assert_int_equal(pthread_create(&thread, NULL, post_from_thread, &t), 0);
	assert_int_equal(sl_loop_run(t.loop), 0);
	pthread_join(thread, NULL);
	assert_int_equal(t.runs, 1);
	sl_loop_free(t.loop);
}

struct counted_task {
	struct sl_task task;
	unsigned runs;
};

static void count_run(struct sl_task *t)
{
	sl_container_of(t, struct counted_task, task)->runs++;
}

static void a_posted_task_that_was_taken_back_does_not_run(void **state)
{
	struct counted_task kept = {0}, taken = {0};
	struct sl_loop *l;

	sl_task_init(&kept.task, count_run);
	sl_task_init(&taken.task, count_run);
	assert_int_equal(sl_loop_new(&l), 0);
	sl_loop_post(l, &taken.task);
	sl_loop_post(l, &kept.task);
	sl_loop_unpost(l, &taken.task);
	sl_loop_unpost(l, &taken.task);
	sl_loop_turn(l, 0);
	assert_int_equal(kept.runs, 1);
	assert_int_equal(taken.runs, 0);
	sl_loop_free(l);
}

struct test_poller {
	struct sl_poller poller;
	int may_ms;
	unsigned polls;
};

static int tell_may_wait(struct sl_poller *p)
{
	return sl_container_of(p, struct test_poller, poller)->may_ms;
}

static void count_poll(struct sl_poller *p)
{
	sl_container_of(p, struct test_poller, poller)->polls++;
}

struct test_reader {
	struct sl_io io;
	unsigned events;
};

static void count_event(struct sl_io *io, uint32_t events)
{
	sl_container_of(io, struct test_reader, io)->events++;
}

static void a_poller_says_how_long_the_loop_waits(void **state)
{
	struct test_poller p = {.poller = {.may_wait = tell_may_wait, .poll = count_poll}};
	struct test_reader reader = {.io.on_event = count_event};
	uint64_t start_us;
	struct sl_loop *l;
	int fds[2];

	assert_int_equal(sl_loop_new(&l), 0);
	assert_int_equal(pipe(fds), 0);
	assert_int_equal(write(fds[1], "x", 1), 1);
	reader.io.fd = fds[0];
	assert_int_equal(sl_loop_add(l, &reader.io, EPOLLIN), 0);
	sl_loop_set_poller(l, &p.poller);
	for (unsigned i = 0; i < SL_LOOP_POLLS; i++)
		assert_int_equal(sl_loop_turn(l, -1), 0);
	assert_int_equal(p.polls, SL_LOOP_POLLS);
	assert_int_equal(reader.events, 1); /* descriptors have their turn all the same */

	sl_loop_del(l, &reader.io);
	p.may_ms = 20;
	start_us = sl_clock_us();
	assert_int_equal(sl_loop_turn(l, -1), 0);
	assert_true(sl_clock_us() - start_us >= 19000);
	sl_loop_set_poller(l, NULL);
	assert_int_equal(sl_loop_turn(l, 0), 0);
	assert_int_equal(p.polls, SL_LOOP_POLLS + 1);
	close(fds[0]);
	close(fds[1]);
	sl_loop_free(l);
}

static void records_leave_the_ring_as_they_went_in(void **state)
{
	struct sl_ring *r;
	char in[300], out[300];
	unsigned pushed = 0, popped = 0;

	assert_int_equal(sl_ring_new(1, &r), 0);
	while (popped < 1000) {
		size_t len = 1 + pushed % sizeof(in);

		memset(in, (int)pushed, len);
		if (pushed < 1000 && sl_ring_push(r, in, len)) {
			pushed++;
			continue;
		}
		len = sl_ring_pop(r, out, sizeof(out));
		assert_int_equal(len, 1 + popped % sizeof(in));
		assert_int_equal((unsigned char)out[len - 1], popped % 256);
		popped++;
	}
	assert_true(sl_ring_dropped(r) > 0);
	assert_int_equal(sl_ring_pop(r, out, sizeof(out)), 0);
	sl_ring_free(r);
}

static void percentiles_are_within_a_sixteenth(void **state)
{
	struct sl_histogram *h = calloc(1, sizeof(*h));
	static const double ps[] = {0.01, 0.5, 0.9, 0.99, 1.0};

	for (uint64_t us = 1; us <= 100000; us++)
		sl_histogram_add(h, us);
	for (size_t i = 0; i < SL_ARRAY_SIZE(ps); i++) {
		double exact = ps[i] * 100000;
		double got = (double)sl_histogram_percentile(h, ps[i]);

		assert_true(got >= exact && got <= exact * (1 + 1.0 / 16));
	}
	assert_int_equal(sl_histogram_count_upto(h, UINT64_MAX / 2), 100000);
	sl_histogram_add(h, UINT64_MAX); /* does not fall off the end */
	free(h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(addresses_print_as_they_were_read),
		cmocka_unit_test(a_prefix_contains_exactly_its_addresses),
		cmocka_unit_test(a_mapped_address_is_the_ipv4_address_it_stands_for),
		cmocka_unit_test(a_slab_gives_no_more_than_its_limit),
		cmocka_unit_test(a_trimmed_slab_holds_nothing_and_goes_on),
		cmocka_unit_test(a_buffer_refuses_what_does_not_fit),
		cmocka_unit_test(numbers_are_appended_as_printf_would),
		cmocka_unit_test(every_timer_fires_once_and_on_its_tick),
		cmocka_unit_test(a_deleted_descriptor_gets_no_event_from_the_same_batch),
		cmocka_unit_test(a_task_posted_by_another_thread_wakes_the_loop),
		cmocka_unit_test(a_posted_task_that_was_taken_back_does_not_run),
		cmocka_unit_test(a_poller_says_how_long_the_loop_waits),
		cmocka_unit_test(records_leave_the_ring_as_they_went_in),
		cmocka_unit_test(percentiles_are_within_a_sixteenth),
	};

	return cmocka_run_group_tests_name("base", tests, NULL, NULL);
}
