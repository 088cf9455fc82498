/* SPDX-License-Identifier: BSD-2-Clause */
/* splice/policy.c: who carries a pair, from when on, and why. */

#include "unit.h"

#include <errno.h>

#include "../fake_engine.h"
#include "splice/policy.h"

struct fixture {
	struct fake_engine floor, sockmap, packet;
	struct sl_engines engines;
	struct sl_policy policy;
	struct sl_policy_state state;
	struct sl_pair pair;
};

static void open_fixture(struct fixture *f, const char *wanted)
{
	*f = (struct fixture){.policy = {.wanted = wanted, .after_bytes = 1000, .after_ms = 50}};
	fake_engine_init(&f->floor, "copy");
	fake_engine_init(&f->packet, "packet");
	fake_engine_init(&f->sockmap, "sockmap");
	f->engines = (struct sl_engines){
		.engine = {&f->floor.base, &f->packet.base, &f->sockmap.base}, .n = 3};
}

static void start(struct fixture *f)
{
	assert_int_equal(sl_policy_start(&f->engines, &f->policy, &f->pair, &f->state, 1000), 0);
}

static void review_at(struct fixture *f, uint64_t now_ms)
{
	assert_int_equal(sl_policy_review(&f->engines, &f->policy, &f->pair, &f->state, now_ms), 0);
}

static void move_bytes(struct fixture *f, uint64_t n)
{
	f->pair.from[SL_CLIENT].bytes += n;
}

static void a_pair_starts_in_the_floor_and_is_offered_when_old_and_quiet(void **state)
{
	struct fixture f;

	open_fixture(&f, NULL);
	start(&f);
	assert_ptr_equal(f.pair.engine, &f.floor.base);
	assert_string_equal(f.state.reason, "young");
	review_at(&f, 1049);
	assert_int_equal(f.packet.joined, 0);
	review_at(&f, 1050);
	assert_ptr_equal(f.pair.engine, &f.packet.base);
	assert_string_equal(f.state.reason, "ripe");
	review_at(&f, 5000);
	assert_int_equal(f.packet.joined, 1);
}

static void a_busy_pair_waits_until_it_is_big_or_quiet(void **state)
{
	struct fixture f;

	open_fixture(&f, NULL);
	start(&f);
	move_bytes(&f, 10);
	review_at(&f, 1050);
	move_bytes(&f, 10);
	review_at(&f, 1100);
	assert_ptr_equal(f.pair.engine, &f.floor.base);
	move_bytes(&f, 1000);
	review_at(&f, 1150);
	assert_ptr_equal(f.pair.engine, &f.packet.base);
}

static void never_means_never_and_the_next_engine_is_asked(void **state)
{
	struct fixture f;

	open_fixture(&f, NULL);
	f.packet.join_answer = -EOPNOTSUPP;
	start(&f);
	review_at(&f, 1050);
	assert_ptr_equal(f.pair.engine, &f.floor.base);
	assert_string_equal(f.state.reason, "told so");
	review_at(&f, 1100);
	assert_ptr_equal(f.pair.engine, &f.sockmap.base);
	assert_int_equal(f.packet.joined, 1);
}

static void not_now_is_asked_again_less_and_less_often(void **state)
{
	struct fixture f;
	unsigned asked;

	open_fixture(&f, "packet");
	f.packet.join_answer = -EAGAIN;
	start(&f);
	for (uint64_t now = 1000; now < 61000; now += 10)
		review_at(&f, now);
	asked = f.packet.joined;
	assert_in_range(asked, 10, 25);
	assert_ptr_equal(f.pair.engine, &f.floor.base);
	assert_int_equal(f.sockmap.joined, 0);
	f.packet.join_answer = 0;
	review_at(&f, 70000);
	assert_ptr_equal(f.pair.engine, &f.packet.base);
}

static void bytes_in_flight_are_no_reason_to_give_up(void **state)
{
	struct fixture f;

	open_fixture(&f, NULL);
	f.floor.part_answer = -EAGAIN;
	start(&f);
	review_at(&f, 1050);
	assert_int_equal(f.packet.joined, 0);
	assert_ptr_equal(f.pair.engine, &f.floor.base);
	f.floor.part_answer = 0;
	review_at(&f, 1200);
	assert_ptr_equal(f.pair.engine, &f.packet.base);
}

static void a_configured_engine_is_the_only_one(void **state)
{
	struct fixture f;

	open_fixture(&f, "copy");
	start(&f);
	assert_string_equal(f.state.reason, "configured");
	review_at(&f, 1000000);
	assert_ptr_equal(f.pair.engine, &f.floor.base);

	open_fixture(&f, "sockmap");
	start(&f);
	review_at(&f, 1050);
	assert_ptr_equal(f.pair.engine, &f.sockmap.base);

	open_fixture(&f, "packet");
	f.engines.engine[1] = NULL;
	start(&f);
	assert_string_equal(f.state.reason, "the configured engine is not available");
	review_at(&f, 1000000);
	assert_ptr_equal(f.pair.engine, &f.floor.base);
}

static void the_engine_that_may_get_the_pair_prepares(void **state)
{
	struct sl_connect_options o = {0};
	struct fixture f;

	open_fixture(&f, "sockmap");
	sl_policy_prepare(&f.engines, &f.policy, &f.pair, &o);
	assert_int_equal(f.packet.prepared, 0);
	assert_int_equal(f.sockmap.prepared, 1);

	open_fixture(&f, NULL);
	f.packet.prepare_answer = -EOPNOTSUPP;
	sl_policy_prepare(&f.engines, &f.policy, &f.pair, &o);
	assert_int_equal(f.packet.prepared, 1);
	assert_int_equal(f.sockmap.prepared, 1);
	sl_policy_forget(&f.engines, &f.pair);
	assert_int_equal(f.packet.forgotten, 1);
	assert_int_equal(f.sockmap.forgotten, 1);
}

/* The floor refuses to have it back: the caller must know. */
static void a_pair_that_nobody_takes_is_told(void **state)
{
	struct fixture f;

	open_fixture(&f, NULL);
	f.packet.join_answer = -EAGAIN;
	start(&f);
	f.floor.join_answer = -ENOSPC;
	assert_int_equal(sl_policy_review(&f.engines, &f.policy, &f.pair, &f.state, 1050), -ENOSPC);
	assert_null(f.pair.engine);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_pair_starts_in_the_floor_and_is_offered_when_old_and_quiet),
		cmocka_unit_test(a_busy_pair_waits_until_it_is_big_or_quiet),
		cmocka_unit_test(never_means_never_and_the_next_engine_is_asked),
		cmocka_unit_test(not_now_is_asked_again_less_and_less_often),
		cmocka_unit_test(bytes_in_flight_are_no_reason_to_give_up),
		cmocka_unit_test(a_configured_engine_is_the_only_one),
		cmocka_unit_test(the_engine_that_may_get_the_pair_prepares),
		cmocka_unit_test(a_pair_that_nobody_takes_is_told),
	};

	return cmocka_run_group_tests_name("policy", tests, NULL, NULL);
}
