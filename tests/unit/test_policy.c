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
	struct sl_prospects prospects;
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

/* The pair is a new one. */
static void prepare(struct fixture *f, uint64_t now_ms)
{
	struct sl_connect_options o = {.addr.in = {.sin_family = AF_INET, .sin_port = 443}};

	f->state = (struct sl_policy_state){0};
	sl_policy_prepare(&f->engines, &f->policy, &f->pair, &f->state, now_ms, &o);
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
	struct fixture f;

	open_fixture(&f, "sockmap");
	prepare(&f, 1000);
	assert_int_equal(f.packet.prepared, 0);
	assert_int_equal(f.sockmap.prepared, 1);

	open_fixture(&f, NULL);
	f.packet.prepare_answer = -EOPNOTSUPP;
	prepare(&f, 1000);
	assert_int_equal(f.packet.prepared, 1);
	assert_int_equal(f.sockmap.prepared, 1);
	sl_policy_forget(&f.engines, &f.pair);
	assert_int_equal(f.packet.forgotten, 1);
	assert_int_equal(f.sockmap.forgotten, 1);
}

/* An engine that must prepare, and tunnels that end before it has anything from that. */
static void open_for_short_ones(struct fixture *f, const char *wanted)
{
	open_fixture(f, wanted);
	f->policy.prospects = &f->prospects;
	f->packet.ops.prepares = true;
	for (int i = 0; i < 2 * SL_PROSPECTS_START; i++)
		prepare(f, 1000);
}

static void what_was_in_vain_is_spared(void **state)
{
	struct fixture f;

	open_for_short_ones(&f, NULL);
	assert_int_equal(f.packet.prepared, SL_PROSPECTS_START);
	assert_int_equal(f.sockmap.prepared, SL_PROSPECTS_START);
	start(&f);
	assert_string_equal(f.state.reason, "auto: tunnels to there end early");
	review_at(&f, 1049);
	review_at(&f, 100000);
	assert_int_equal(f.packet.joined, 0);

	open_for_short_ones(&f, "packet");
	assert_int_equal(f.packet.prepared, 2 * SL_PROSPECTS_START);
}

static void a_tunnel_that_lives_speaks_for_the_next_ones(void **state)
{
	struct fixture f;

	open_for_short_ones(&f, NULL);
	f.policy.after_ms = 10;
	f.engines.engine[2] = NULL;
	start(&f);
	move_bytes(&f, 10);
	review_at(&f, 1010); /* it talks */
	prepare(&f, 1010);
	assert_int_equal(f.packet.prepared, SL_PROSPECTS_START);
	f.pair.from[SL_CLIENT].bytes = 0;
	start(&f);
	review_at(&f, 1010); /* it rests, and is old enough */
	assert_int_equal(f.packet.joined, 0);
	for (int i = 0; i < 2 * SL_PROSPECTS_EARN; i++)
		prepare(&f, 1010);
	assert_int_equal(f.packet.prepared, SL_PROSPECTS_START + SL_PROSPECTS_EARN);
}

static void a_pair_that_is_spliced_pays_for_others(void **state)
{
	struct fixture f;

	open_for_short_ones(&f, NULL);
	f.policy.after_ms = 10;
	f.prospects = (struct sl_prospects){0};
	for (int i = 0; i < SL_PROSPECTS_START; i++)
		prepare(&f, 1000);
	start(&f);
	review_at(&f, 1010);
	assert_int_equal(f.packet.joined, 1);
	f.packet.prepared = 0;
	for (int i = 0; i < 2 * SL_PROSPECTS_EARN; i++)
		prepare(&f, 1010);
	assert_int_equal(f.packet.prepared, SL_PROSPECTS_EARN);
}

static void time_gives_another_chance(void **state)
{
	struct fixture f;

	open_for_short_ones(&f, NULL);
	prepare(&f, 1000 + 1000 / SL_PROSPECTS_PER_S);
	assert_int_equal(f.packet.prepared, SL_PROSPECTS_START + 1);
	prepare(&f, 1000 + 1000 / SL_PROSPECTS_PER_S);
	assert_int_equal(f.packet.prepared, SL_PROSPECTS_START + 1);
	for (int i = 0; i < 1000; i++)
		prepare(&f, 1000000);
	assert_int_equal(f.packet.prepared, 2 * SL_PROSPECTS_START + 1);
}

/* Another address was tried, and that one was prepared. */
static void whoever_was_prepared_in_the_end_is_offered(void **state)
{
	struct fixture f;

	open_for_short_ones(&f, NULL);
	f.pair.prepared = &f;
	start(&f);
	assert_string_equal(f.state.reason, "young");
	review_at(&f, 1050);
	assert_int_equal(f.packet.joined, 1);
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

/* --- "auto" and an engine for conversations --- */

static void open_for_talk(struct fixture *f)
{
	open_fixture(f, NULL);
	f->sockmap.ops.for_talk = true;
	f->packet.join_answer = -EOPNOTSUPP;
	start(f);
}

/* So many messages of so many bytes each way in every half second, reviewed as a worker does. */
static void talk(struct fixture *f, uint64_t from_ms, uint64_t to_ms, uint64_t messages,
		 uint64_t size)
{
	for (uint64_t now = from_ms; now < to_ms; now += 10) {
		for (int side = 0; side < 2; side++) {
			f->pair.from[side].messages += now / 10 % 50 < messages;
			f->pair.from[side].bytes += now / 10 % 50 < messages ? size : 0;
		}
		review_at(f, now);
	}
}

static void a_conversation_that_packet_refuses_goes_to_the_engine_for_it(void **state)
{
	struct fixture f;

	open_for_talk(&f);
	talk(&f, 1000, 1400, 50, 64);
	assert_ptr_equal(f.pair.engine, &f.floor.base);
	talk(&f, 1400, 5000, 50, 64);
	assert_int_equal(f.packet.joined, 1);
	assert_int_equal(f.sockmap.joined, 1);
	assert_ptr_equal(f.pair.engine, &f.sockmap.base);
	assert_string_equal(f.state.reason, "small messages to and fro");
	talk(&f, 5000, 60000, 50, 64);
	assert_int_equal(f.sockmap.parted, 0);
}

static void what_is_no_conversation_stays_in_the_floor(void **state)
{
	static const struct {
		uint64_t messages, size;
		uint32_t host, worker;
		uint64_t active;
		const char *reason; /* the packet engine's words stay unless it does talk */
	} rows[] = {
		{0, 0, 0, 0, 0, "told so"},
		{1, 64, 0, 0, 0, "told so"},
		{50, 16384, 0, 0, 0, "told so"},
		{50, 64, 21, 0, 0, "auto: the host is busy"},
		{50, 64, 0, 71, 0, "auto: the worker is busy"},
		{50, 64, 0, 0, 8, "auto: others talk already"},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct fixture f;

		open_for_talk(&f);
		f.policy.host = rows[i].host;
		f.policy.worker = rows[i].worker;
		f.sockmap.active = rows[i].active;
		talk(&f, 1000, 20000, rows[i].messages, rows[i].size);
		assert_int_equal(f.sockmap.joined, 0);
		assert_ptr_equal(f.pair.engine, &f.floor.base);
		assert_string_equal(f.state.reason, rows[i].reason);
	}
}

static void without_the_packet_engine_the_judgement_is_the_reason(void **state)
{
	struct fixture f;

	open_for_talk(&f);
	f.engines.engine[1] = NULL;
	talk(&f, 1000, 5000, 50, 16384);
	assert_string_equal(f.state.reason, "auto: bulk");
	talk(&f, 5000, 20000, 0, 0);
	assert_string_equal(f.state.reason, "auto: idle");
}

static void a_silent_pair_is_looked_at_less_and_less_often(void **state)
{
	struct fixture f;
	unsigned looks = 0;

	open_for_talk(&f);
	for (uint64_t now = 1000; now < 61000; now += 10) {
		looks += now >= f.state.next_ms;
		review_at(&f, now);
	}
	assert_in_range(looks, 10, 25);
}

static void a_conversation_that_turns_to_bulk_goes_back_and_has_to_wait(void **state)
{
	struct fixture f;

	open_for_talk(&f);
	talk(&f, 1000, 5000, 50, 64);
	assert_ptr_equal(f.pair.engine, &f.sockmap.base);
	talk(&f, 5000, 6000, 50, 65536);
	assert_ptr_equal(f.pair.engine, &f.floor.base);
	assert_string_equal(f.state.reason, "auto: bulk");
	assert_int_equal(f.sockmap.parted, 1);
	talk(&f, 6000, 6900, 50, 64);
	assert_ptr_equal(f.pair.engine, &f.floor.base);
	talk(&f, 6900, 10000, 50, 64);
	assert_ptr_equal(f.pair.engine, &f.sockmap.base);
}

/* Bulk and talk take turns every 5 seconds, for ten minutes. */
static void to_and_fro_becomes_rare(void **state)
{
	struct fixture f;

	open_for_talk(&f);
	for (uint64_t now = 1000; now < 600000; now += 10000) {
		talk(&f, now, now + 5000, 50, 64);
		talk(&f, now + 5000, now + 10000, 50, 65536);
	}
	assert_in_range(f.sockmap.parted, 3, 12);
}

static void each_way_back_has_its_cause(void **state)
{
	static const struct {
		uint64_t messages, size, by_hand;
		uint32_t host, worker;
		uint64_t active;
		const char *reason;
	} rows[] = {
		{0, 0, 0, 0, 0, 1, "auto: idle"},
		{50, 16384, 0, 0, 0, 1, "auto: bulk"},
		{50, 64, 1000000, 0, 0, 1, "auto: a peer reads slowly"},
		{50, 64, 0, 41, 0, 1, "auto: the host is busy"},
		{50, 64, 0, 0, 91, 1, "auto: the worker is busy"},
		{50, 64, 0, 0, 0, 17, "auto: others talk already"},
		{50, 64, 0, 40, 90, 16, NULL},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct fixture f;

		open_for_talk(&f);
		talk(&f, 1000, 5000, 50, 64);
		assert_ptr_equal(f.pair.engine, &f.sockmap.base);
		f.policy.host = rows[i].host;
		f.policy.worker = rows[i].worker;
		f.sockmap.active = rows[i].active;
		f.pair.by_hand += rows[i].by_hand;
		talk(&f, 5000, 16500, rows[i].messages, rows[i].size);
		assert_int_equal(f.sockmap.parted > 0, rows[i].reason != NULL);
		if (rows[i].reason && rows[i].messages == 0)
			assert_string_equal(f.state.reason, rows[i].reason);
	}
}

static void a_pause_in_a_conversation_is_forgiven(void **state)
{
	struct fixture f;

	open_for_talk(&f);
	talk(&f, 1000, 5000, 50, 64);
	for (uint64_t now = 5000; now < 100000; now += 9000) {
		talk(&f, now, now + 8000, 0, 0);
		talk(&f, now + 8000, now + 9000, 50, 64);
	}
	assert_int_equal(f.sockmap.parted, 0);
}

static void a_busy_pair_is_asked_back_until_it_comes(void **state)
{
	struct fixture f;

	open_for_talk(&f);
	talk(&f, 1000, 5000, 50, 64);
	f.sockmap.part_answer = -EAGAIN;
	talk(&f, 5000, 6000, 50, 65536);
	assert_ptr_equal(f.pair.engine, &f.sockmap.base);
	assert_string_equal(f.state.reason, "auto: bulk");
	assert_in_range(f.sockmap.parted, 10, 100);
	f.sockmap.part_answer = 0;
	talk(&f, 6000, 6100, 50, 64);
	assert_ptr_equal(f.pair.engine, &f.floor.base);
}

/* It has half closed: there is no way back. */
static void a_pair_that_can_not_come_back_is_left_alone(void **state)
{
	struct fixture f;

	open_for_talk(&f);
	talk(&f, 1000, 5000, 50, 64);
	f.sockmap.part_answer = -EOPNOTSUPP;
	talk(&f, 5000, 9000, 50, 65536);
	assert_int_equal(f.sockmap.parted, 1);
	assert_ptr_equal(f.pair.engine, &f.sockmap.base);
}

static void by_name_an_engine_for_conversations_keeps_what_it_has(void **state)
{
	struct fixture f;

	open_fixture(&f, "sockmap");
	f.sockmap.ops.for_talk = true;
	f.policy.host = f.policy.worker = 100;
	start(&f);
	review_at(&f, 1050);
	assert_ptr_equal(f.pair.engine, &f.sockmap.base);
	talk(&f, 1060, 20000, 50, 65536);
	assert_int_equal(f.sockmap.parted, 0);
	assert_string_equal(f.state.reason, "ripe");
}

static void an_engine_that_failed_gets_no_more_pairs(void **state)
{
	struct fixture f;

	open_for_talk(&f);
	sl_engine_break(&f.sockmap.base, "it lost bytes");
	talk(&f, 1000, 10000, 50, 64);
	assert_int_equal(f.sockmap.joined, 0);

	open_fixture(&f, "sockmap");
	sl_engine_break(&f.sockmap.base, "it lost bytes");
	start(&f);
	assert_string_equal(f.state.reason, "the configured engine is not available");

	open_fixture(&f, NULL); /* while the pair waits for its offer */
	start(&f);
	sl_engine_break(&f.packet.base, "it lost bytes");
	sl_engine_break(&f.sockmap.base, "it lost bytes");
	review_at(&f, 1050);
	assert_ptr_equal(f.pair.engine, &f.floor.base);
}

struct seen_figures {
	uint64_t promotions, bulk;
	unsigned n;
};

static void see_figure(void *arg, const struct sl_figure *f)
{
	struct seen_figures *seen = arg;

	seen->n++;
	if (!strcmp(f->name, "policy_promotions_total"))
		seen->promotions = f->n;
	if (f->value && !strcmp(f->value, "auto: bulk"))
		seen->bulk = f->n;
}

static void what_auto_does_is_counted_by_reason(void **state)
{
	struct seen_figures before = {0}, after = {0};
	struct fixture f;

	sl_policy_figures(see_figure, &before);
	open_for_talk(&f);
	talk(&f, 1000, 5000, 50, 64);
	talk(&f, 5000, 6000, 50, 65536);
	sl_policy_figures(see_figure, &after);
	assert_int_equal(after.promotions, before.promotions + 1);
	assert_int_equal(after.bulk, before.bulk + 1);
	assert_int_equal(after.n, SL_TALK_VERDICTS + 1);
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
		cmocka_unit_test(what_was_in_vain_is_spared),
		cmocka_unit_test(a_tunnel_that_lives_speaks_for_the_next_ones),
		cmocka_unit_test(a_pair_that_is_spliced_pays_for_others),
		cmocka_unit_test(time_gives_another_chance),
		cmocka_unit_test(whoever_was_prepared_in_the_end_is_offered),
		cmocka_unit_test(a_pair_that_nobody_takes_is_told),
		cmocka_unit_test(a_conversation_that_packet_refuses_goes_to_the_engine_for_it),
		cmocka_unit_test(what_is_no_conversation_stays_in_the_floor),
		cmocka_unit_test(without_the_packet_engine_the_judgement_is_the_reason),
		cmocka_unit_test(a_silent_pair_is_looked_at_less_and_less_often),
		cmocka_unit_test(a_conversation_that_turns_to_bulk_goes_back_and_has_to_wait),
		cmocka_unit_test(to_and_fro_becomes_rare),
		cmocka_unit_test(each_way_back_has_its_cause),
		cmocka_unit_test(a_pause_in_a_conversation_is_forgiven),
		cmocka_unit_test(a_busy_pair_is_asked_back_until_it_comes),
		cmocka_unit_test(a_pair_that_can_not_come_back_is_left_alone),
		cmocka_unit_test(by_name_an_engine_for_conversations_keeps_what_it_has),
		cmocka_unit_test(an_engine_that_failed_gets_no_more_pairs),
		cmocka_unit_test(what_auto_does_is_counted_by_reason),
	};

	return cmocka_run_group_tests_name("policy", tests, NULL, NULL);
}
