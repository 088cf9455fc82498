/* SPDX-License-Identifier: BSD-2-Clause */
/* splice/talk.c and splice/pressure.c: each limit from both sides, and texts of the kernel. */

#include "unit.h"

#include "splice/pressure.h"
#include "splice/talk.h"

/* One second of a conversation that pays. */
static struct sl_talk good(void)
{
	return (struct sl_talk){.ms = 1000, .bytes = 12800, .messages = {100, 100}};
}

static void each_limit_holds_from_both_sides(void **state)
{
	static const struct {
		const char *what;
		struct sl_talk t;
		enum sl_talk_verdict enter, stay;
	} rows[] = {
		{"nothing", {.ms = 1000}, SL_TALK_IDLE, SL_TALK_PAYS},
		{"nothing for long", {.ms = 10000}, SL_TALK_IDLE, SL_TALK_IDLE},
		{"2048 bytes", {1000, 409600, {100, 100}, 0, 0, 0, 0}, SL_TALK_PAYS, SL_TALK_PAYS},
		{"2049", {1000, 409800, {100, 100}, 0, 0, 0, 0}, SL_TALK_BULK, SL_TALK_PAYS},
		{"8193", {1000, 1638600, {100, 100}, 0, 0, 0, 0}, SL_TALK_BULK, SL_TALK_BULK},
		{"20/s", {1000, 1280, {10, 10}, 0, 0, 0, 0}, SL_TALK_PAYS, SL_TALK_PAYS},
		{"19/s", {1000, 1216, {10, 9}, 0, 0, 0, 0}, SL_TALK_RARE, SL_TALK_PAYS},
		{"1/s", {1000, 64, {1, 0}, 0, 0, 0, 0}, SL_TALK_RARE, SL_TALK_RARE},
		{"a fourth", {1000, 6400, {75, 25}, 0, 0, 0, 0}, SL_TALK_PAYS, SL_TALK_PAYS},
		{"less", {1000, 6400, {76, 24}, 0, 0, 0, 0}, SL_TALK_ONE_SIDED, SL_TALK_PAYS},
		{"one", {1000, 6400, {0, 100}, 0, 0, 0, 0}, SL_TALK_ONE_SIDED, SL_TALK_ONE_SIDED},
		{"by hand",
		 {1000, 12800, {100, 100}, 6401, 0, 0, 0},
		 SL_TALK_BY_HAND,
		 SL_TALK_BY_HAND},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (sl_talk_judge(&rows[i].t, false) != rows[i].enter ||
		    sl_talk_judge(&rows[i].t, true) != rows[i].stay)
			fail_msg("%s: %s, %s", rows[i].what,
				 sl_talk_text(sl_talk_judge(&rows[i].t, false)),
				 sl_talk_text(sl_talk_judge(&rows[i].t, true)));
	}
}

static void the_place_must_have_time_to_spare(void **state)
{
	struct sl_talk t = good();

	for (t.host = 0; t.host <= 100; t.host++) {
		assert_int_equal(sl_talk_judge(&t, false) == SL_TALK_PAYS, t.host <= 20);
		assert_int_equal(sl_talk_judge(&t, true) == SL_TALK_PAYS, t.host <= 40);
	}
	t = good();
	for (t.worker = 0; t.worker <= 100; t.worker++) {
		assert_int_equal(sl_talk_judge(&t, false) == SL_TALK_PAYS, t.worker <= 70);
		assert_int_equal(sl_talk_judge(&t, true) == SL_TALK_PAYS, t.worker <= 90);
	}
	t = good();
	for (t.talkers = 0; t.talkers <= 20; t.talkers++) {
		assert_int_equal(sl_talk_judge(&t, false) == SL_TALK_PAYS, t.talkers <= 7);
		assert_int_equal(sl_talk_judge(&t, true) == SL_TALK_PAYS, t.talkers <= 15);
	}
}

static void the_kernels_pressure_is_understood(void **state)
{
	uint32_t percent = 7;

	assert_true(sl_pressure_parse_psi("some avg10=93.45 avg60=1.00 avg300=0.00 total=5\n"
					  "full avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
					  &percent));
	assert_int_equal(percent, 93);
	assert_false(sl_pressure_parse_psi("", &percent));
	assert_false(sl_pressure_parse_psi("some avg10=", &percent));
	assert_false(sl_pressure_parse_psi("some avg10=-1.00", &percent));
	assert_false(sl_pressure_parse_psi("some avg10=101.00", &percent));
	assert_false(sl_pressure_parse_psi("full avg10=1.00", &percent));
	assert_int_equal(percent, 93);
}

static void the_load_average_stands_in_for_it(void **state)
{
	static const struct {
		const char *text;
		unsigned cpus;
		uint32_t percent;
	} rows[] = {
		{"0.00 0.00 0.00 1/100 5\n", 2, 0},	{"1.00 9.99 9.99 1/100 5\n", 2, 0},
		{"1.50 0.00 0.00 1/100 5\n", 2, 25},	{"3.01 0.00 0.00 1/100 5\n", 2, 100},
		{"99999.99 0.00 0.00 1/1 5\n", 1, 100}, {"4.00 0.00 0.00 1/100 5\n", 16, 0},
	};
	uint32_t percent;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_true(sl_pressure_parse_loadavg(rows[i].text, rows[i].cpus, &percent));
		assert_int_equal(percent, rows[i].percent);
	}
	assert_false(sl_pressure_parse_loadavg("busy", 2, &percent));
	assert_false(sl_pressure_parse_loadavg("1.00", 0, &percent));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_limit_holds_from_both_sides),
		cmocka_unit_test(the_place_must_have_time_to_spare),
		cmocka_unit_test(the_kernels_pressure_is_understood),
		cmocka_unit_test(the_load_average_stands_in_for_it),
	};

	return cmocka_run_group_tests_name("talk", tests, NULL, NULL);
}
