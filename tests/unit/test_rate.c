/* SPDX-License-Identifier: BSD-2-Clause */
/* proxy/rate: token buckets by key, in a table that may be too small. */

#include "unit.h"

#include <string.h>

#include "proxy/access/rate.h"

#define SECOND 1000000ull
#define START  (1000 * SECOND)

static struct sl_addr address(const char *text)
{
	struct sl_addr a;

	assert_int_equal(sl_addr_parse_host(sl_slice_str(text), 1234, &a), 0);
	return a;
}

static struct sl_rates *new_rates(uint32_t keys)
{
	struct sl_rates *r;

	assert_int_equal(sl_rates_new(keys, &r), 0);
	return r;
}

/* How many of `tries` at one moment get a token. */
static unsigned take(struct sl_rates *r, uint64_t scope, const char *source, struct sl_rate rate,
		     uint64_t now_us, unsigned tries)
{
	struct sl_addr a = address(source);
	unsigned taken = 0;
	uint64_t wait;

	while (tries--)
		taken += sl_rates_take(r, scope, &a, &rate, now_us, &wait);
	return taken;
}

static void a_burst_passes_then_the_rate(void **state)
{
	const struct sl_rate rate = {.per_second = 10, .burst = 5};
	struct sl_rates *r = new_rates(100);

	assert_int_equal(take(r, 0, "10.0.0.1", rate, START, 20), 5);
	assert_int_equal(take(r, 0, "10.0.0.1", rate, START + SECOND / 10, 20), 1);
	assert_int_equal(take(r, 0, "10.0.0.1", rate, START + SECOND / 10 + SECOND / 2, 20), 5);
	assert_int_equal(take(r, 0, "10.0.0.1", rate, START + 100 * SECOND, 20), 5);
	sl_rates_free(r);
}

static void the_wait_is_told_and_enough(void **state)
{
	const struct sl_rate rate = {.per_second = 4, .burst = 1};
	struct sl_rates *r = new_rates(100);
	struct sl_addr a = address("10.0.0.1");
	uint64_t wait = 0;

	assert_true(sl_rates_take(r, 0, &a, &rate, START, &wait));
	assert_false(sl_rates_take(r, 0, &a, &rate, START + 50000, &wait));
	assert_int_equal(wait, 200000);
	assert_false(sl_rates_take(r, 0, &a, &rate, START + 249999, &wait));
	assert_true(sl_rates_take(r, 0, &a, &rate, START + 250000, &wait));
	sl_rates_free(r);
}

static void the_long_run_rate_is_never_exceeded(void **state)
{
	static const uint32_t rates[] = {1, 3, 7, 999, 300000, 1000000};

	for (size_t i = 0; i < SL_ARRAY_SIZE(rates); i++) {
		const struct sl_rate rate = {.per_second = rates[i], .burst = 2};
		struct sl_rates *r = new_rates(10);
		uint64_t taken = 0, us = SECOND / rates[i] / 3 + 1;

		for (uint64_t t = 0; t < 2 * SECOND; t += us)
			taken += take(r, 0, "10.0.0.1", rate, START + t, 1);
		assert_true(taken <= 2 * (uint64_t)rates[i] + 2);
		assert_true(taken >= rates[i]);
		sl_rates_free(r);
	}
}

static void keys_are_told_apart(void **state)
{
	const struct sl_rate one = {.per_second = 1, .burst = 1};
	struct sl_rates *r = new_rates(100);
	uint64_t wait;

	assert_int_equal(take(r, 0, "10.0.0.1", one, START, 2), 1);
	assert_int_equal(take(r, 0, "10.0.0.2", one, START, 2), 1);
	assert_int_equal(take(r, 1, "10.0.0.1", one, START, 2), 1);
	assert_int_equal(take(r, 0, "::ffff:10.0.0.1", one, START, 2), 0);
	assert_int_equal(take(r, 0, "2001:db8::1", one, START, 2), 1);
	assert_int_equal(take(r, 0, "2001:db8::2", one, START, 2), 0);
	assert_int_equal(take(r, 0, "2001:db8:0:1::1", one, START, 2), 1);
	assert_true(sl_rates_take(r, 0, NULL, &one, START, &wait));
	assert_false(sl_rates_take(r, 0, NULL, &one, START, &wait));
	assert_int_equal(sl_rates_forgotten(r), 0);
	sl_rates_free(r);
}

/* A flood of keys may wash out those that hardly used their bucket, not one that is at its limit. */
static void a_flood_of_keys_frees_nobody(void **state)
{
	const struct sl_rate rate = {.per_second = 1, .burst = 50};
	struct sl_rates *r = new_rates(8);
	uint64_t wait;

	assert_int_equal(take(r, 0, "10.0.0.1", rate, START, 60), 50);
	for (uint64_t scope = 1; scope < 1000; scope++)
		assert_true(sl_rates_take(r, scope, NULL, &rate, START, &wait));
	assert_int_equal(take(r, 0, "10.0.0.1", rate, START, 60), 0);
	assert_true(sl_rates_forgotten(r) > 900);
	sl_rates_free(r);
}

static void full_buckets_make_room(void **state)
{
	const struct sl_rate rate = {.per_second = 10, .burst = 1};
	struct sl_rates *r = new_rates(8);
	uint64_t wait;

	for (uint64_t scope = 0; scope < 1000; scope++)
		assert_true(sl_rates_take(r, scope, NULL, &rate, START + scope * SECOND, &wait));
	assert_int_equal(sl_rates_forgotten(r), 0);
	sl_rates_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_burst_passes_then_the_rate),
		cmocka_unit_test(the_wait_is_told_and_enough),
		cmocka_unit_test(the_long_run_rate_is_never_exceeded),
		cmocka_unit_test(keys_are_told_apart),
		cmocka_unit_test(a_flood_of_keys_frees_nobody),
		cmocka_unit_test(full_buckets_make_room),
	};

	return cmocka_run_group_tests_name("rate", tests, NULL, NULL);
}
