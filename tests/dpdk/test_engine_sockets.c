/* SPDX-License-Identifier: BSD-2-Clause */
/* The dpdk engine where streams are the kernel's sockets: what is prepared before the upstream connects, on
 * fake streams. Joining takes real sockets: tests/e2e/test_dpdk_splice.py. */

#include "engine_fixture.h"

#include <sched.h>
#include <stdio.h>

static struct sl_addr upstream;

static struct sl_connect_options options(void)
{
	return (struct sl_connect_options){.addr = upstream};
}

/* The n-th pair, before its upstream is connected. Its client has a socket. */
static int prepare(int version, int n, struct sl_connect_options *ret)
{
	make_pair(version, n);
	end[CLIENT].endpoint.fd = 0;
	end[CLIENT].base.peer = end[CLIENT].endpoint.peer;
	upstream = end[SERVER].endpoint.peer;
	*ret = options();
	return engine->ops->prepare(engine, pair, ret);
}

static void connect_prepared(int version, int n)
{
	struct sl_connect_options o;

	assert_int_equal(prepare(version, n, &o), 0);
	end[SERVER].base.peer = upstream;
	end[SERVER].base.local = o.source;
}

static void forget(struct sl_pair *p)
{
	engine->ops->forget(engine, p);
}

static void the_upstream_gets_a_port_of_our_own_and_a_window_that_survives(void **state)
{
	struct sl_connect_options o[2];

	for (int i = 0; i < 2; i++) {
		assert_int_equal(prepare(4, i, &o[i]), 0);
		assert_int_not_equal(sl_addr_port(&o[i].source), 0);
		assert_true(sl_addr_eq_host(&o[i].source, &end[SERVER].endpoint.local));
		assert_int_equal(o[i].mss, 1300);
		assert_int_equal(o[i].window_clamp, SL_SPLICE_WINDOW_CLAMP);
	}
	assert_int_not_equal(sl_addr_port(&o[0].source), sl_addr_port(&o[1].source));
	assert_int_equal(figure("packet_slots", "watch"), 2);
	forget(&pairs[0]);
	forget(&pairs[1]);
	forget(&pairs[1]);
	assert_int_equal(figure("packet_slots", "free"), PAIRS);
}

static void packets_of_a_watched_pair_are_the_stack_s(void **state)
{
	for (int version = 4; version <= 6; version += 2) {
		uint64_t before = figure("packet_packets_total", "pass_watched");
		struct sl_connect_options o;
		struct frame f;

		assert_int_equal(prepare(version, version, &o), 0);
		plan.leg[1].local_port = htons(sl_addr_port(&o.source));
		for (int leg = 0; leg < 2; leg++) {
			f = segment(leg, FRAME_ACK, 10);
			assert_passed(&f);
		}
		assert_int_equal(figure("packet_packets_total", "pass_watched"), before + 2);
		forget(pair);
		assert_passed(&f);
		assert_int_equal(figure("packet_packets_total", "pass_watched"), before + 2);
	}
}

static void a_full_table_leaves_pairs_alone(void **state)
{
	struct sl_connect_options o;

	for (int i = 0; i < PAIRS; i++)
		assert_int_equal(prepare(4, i, &o), 0);
	assert_int_equal(prepare(4, PAIRS, &o), -ENOSPC);
	assert_int_equal(o.source.family, AF_UNSPEC);
	forget(&pairs[PAIRS]);
	forget(&pairs[0]);
	assert_int_equal(prepare(4, PAIRS, &o), 0);
	for (int i = 1; i <= PAIRS; i++)
		forget(&pairs[i]);
	assert_int_equal(figure("packet_slots", "free"), PAIRS);
}

static void one_that_is_refused_gives_its_slot_back(void **state)
{
	const char *reason;

	connect_prepared(4, 1);
	pair->input_ended[SL_CLIENT] = true;
	assert_int_equal(join(&reason), -EOPNOTSUPP);
	assert_string_equal(reason, "a peer has finished or reset already");
	assert_int_equal(figure("packet_slots", "free"), PAIRS);
	assert_int_equal(join(&reason), -EOPNOTSUPP);
	assert_string_equal(reason, "not prepared for when its upstream connected");
	assert_int_equal(end[CLIENT].closed + end[SERVER].closed, 0);
}

static void one_that_is_busy_keeps_it(void **state)
{
	const char *reason;

	connect_prepared(6, 2);
	end[CLIENT].endpoint.unacked = true;
	assert_int_equal(join(&reason), -EAGAIN);
	assert_string_equal(reason, "busy: bytes are not acknowledged");
	assert_int_equal(figure("packet_slots", "watch"), 1);
	forget(pair);
}

static int start_with_sockets(void **state)
{
	const struct sl_dpdk_engine_config config = {
		.pairs = PAIRS, .time_wait_ms = TIME_WAIT_MS, .sockets = true, .mss = 1300};

	return start_with(&config);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_upstream_gets_a_port_of_our_own_and_a_window_that_survives),
		cmocka_unit_test(packets_of_a_watched_pair_are_the_stack_s),
		cmocka_unit_test(a_full_table_leaves_pairs_alone),
		cmocka_unit_test(one_that_is_refused_gives_its_slot_back),
		cmocka_unit_test(one_that_is_busy_keeps_it),
	};

	/* One process in a network namespace splices. */
	if (unshare(CLONE_NEWNET) && unshare(CLONE_NEWUSER | CLONE_NEWNET)) {
		puts("1..0 # SKIP no network namespace of its own");
		return 0;
	}
	return cmocka_run_group_tests(tests, start_with_sockets, stop);
}
