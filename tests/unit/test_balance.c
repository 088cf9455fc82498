/* SPDX-License-Identifier: BSD-2-Clause */
/* proxy/balance: who is chosen, and how evenly. */

#include "unit.h"

#include <string.h>
#include <xxhash.h>

#include "proxy/upstream/balance.h"

#define SERVERS 10

static struct sl_server_config servers[SERVERS];

static struct sl_upstream_config upstream(size_t n)
{
	return (struct sl_upstream_config){.servers = servers, .n_servers = n};
}

static void round_robin_is_smooth_by_weight(void **state)
{
	const struct sl_upstream_config u = upstream(3);
	const struct sl_candidate c[] = {{0, 5, 0}, {1, 1, 0}, {2, 1, 0}};
	struct sl_balancer b;
	char got[15] = "";

	assert_int_equal(sl_balancer_init(&b, &u, NULL, 0), 0);
	for (size_t i = 0; i < 14; i++)
		got[i] = (char)('a' + c[sl_balancer_choose(&b, c, 3, 0)].server);
	assert_string_equal(got, "aabacaaaabacaa");
	sl_balancer_destroy(&b);
}

static void a_server_that_comes_and_goes_gets_its_share_and_no_more(void **state)
{
	const struct sl_upstream_config u = upstream(2);
	const struct sl_candidate c[] = {{0, 1, 0}, {1, 1, 0}};
	struct sl_balancer b;
	unsigned count[2] = {0};

	assert_int_equal(sl_balancer_init(&b, &u, NULL, 1), 0);
	assert_int_equal(sl_balancer_choose(&b, c, 2, 0), 1); /* its turn */
	for (int i = 0; i < 1000; i++)
		assert_int_equal(sl_balancer_choose(&b, c, 1, 0), 0);
	for (int i = 0; i < 100; i++)
		count[sl_balancer_choose(&b, c, 2, 0)]++;
	assert_in_range(count[1], 49, 51);
	sl_balancer_destroy(&b);
}

static void the_least_loaded_is_chosen_by_weight_and_equal_ones_in_turn(void **state)
{
	struct sl_upstream_config u = upstream(3);
	const struct sl_candidate uneven[] = {{0, 1, 3}, {1, 1, 1}, {2, 4, 4}};
	const struct sl_candidate even[] = {{0, 1, 0}, {1, 1, 0}, {2, 1, 0}};
	struct sl_balancer b;
	unsigned count[3] = {0};

	u.balance = SL_BALANCE_LEAST_CONN;
	assert_int_equal(sl_balancer_init(&b, &u, NULL, 0), 0);
	for (int i = 0; i < 5; i++)
		assert_int_equal(sl_balancer_choose(&b, uneven, 3, 0), 2);
	for (int i = 0; i < 30; i++)
		count[sl_balancer_choose(&b, even, 3, 0)]++;
	for (int i = 0; i < 3; i++)
		assert_int_equal(count[i], 10);
	sl_balancer_destroy(&b);
}

static void of_two_random_ones_the_less_loaded_is_chosen(void **state)
{
	struct sl_upstream_config u = upstream(3);
	const struct sl_candidate c[] = {{0, 1, 9}, {1, 1, 0}, {2, 1, 0}};
	const struct sl_candidate weighted[] = {{0, 9, 0}, {1, 1, 0}};
	struct sl_balancer b;
	unsigned count[3] = {0};

	u.balance = SL_BALANCE_RANDOM2;
	assert_int_equal(sl_balancer_init(&b, &u, NULL, 0), 0);
	assert_int_equal(sl_balancer_choose(&b, c, 1, 0), 0);
	for (int i = 0; i < 3000; i++)
		count[sl_balancer_choose(&b, c, 3, 0)]++;
	assert_true(count[0] < 30);
	assert_in_range(count[1], 1200, 1800);
	count[0] = count[1] = 0;
	for (int i = 0; i < 1000; i++)
		count[sl_balancer_choose(&b, weighted, 2, 0)]++;
	assert_true(count[0] > count[1]);
	sl_balancer_destroy(&b);
}

/* --- consistent hashing --- */

#define KEYS 20000

static struct sl_maglev *table(size_t n, uint32_t weight_of_first)
{
	static const char *const names[SERVERS] = {
		"10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80", "10.0.0.4:80", "10.0.0.5:80",
		"10.0.0.6:80", "10.0.0.7:80", "10.0.0.8:80", "10.0.0.9:80", "10.0.0.10:80",
	};
	struct sl_maglev_server s[SERVERS];
	struct sl_maglev *m;

	for (size_t i = 0; i < n; i++)
		s[i] = (struct sl_maglev_server){names[i], i ? 1 : weight_of_first};
	assert_int_equal(sl_maglev_new(s, n, &m), 0);
	return m;
}

static uint64_t key_of(unsigned i)
{
	return XXH3_64bits(&i, sizeof(i));
}

static void keys_are_spread_by_weight(void **state)
{
	struct sl_maglev *even = table(SERVERS, 1), *uneven = table(SERVERS, 3);
	unsigned count[SERVERS] = {0}, first = 0;

	for (unsigned i = 0; i < KEYS; i++) {
		count[sl_maglev_lookup(even, key_of(i))]++;
		first += !sl_maglev_lookup(uneven, key_of(i));
	}
	for (size_t i = 0; i < SERVERS; i++)
		assert_in_range(count[i], KEYS / SERVERS * 85 / 100, KEYS / SERVERS * 115 / 100);
	assert_in_range(first, KEYS * 3 / 12 * 9 / 10, KEYS * 3 / 12 * 11 / 10);
	free(even);
	free(uneven);
}

static void removing_one_of_ten_servers_moves_few_keys(void **state)
{
	struct sl_maglev *ten = table(SERVERS, 1), *nine = table(SERVERS - 1, 1);
	unsigned moved = 0;

	for (unsigned i = 0; i < KEYS; i++)
		moved += sl_maglev_lookup(ten, key_of(i)) != sl_maglev_lookup(nine, key_of(i));
	print_message("one of ten removed: %.1f %% of keys moved\n", 100.0 * moved / KEYS);
	assert_true(moved < KEYS * 12 / 100);
	free(ten);
	free(nine);
}

static void a_server_that_is_down_moves_only_its_own_keys(void **state)
{
	struct sl_upstream_config u = upstream(SERVERS);
	struct sl_maglev *m = table(SERVERS, 1);
	struct sl_candidate all[SERVERS], up[SERVERS - 1];
	unsigned count[SERVERS] = {0};
	struct sl_balancer b;

	u.balance = SL_BALANCE_MAGLEV;
	assert_int_equal(sl_balancer_init(&b, &u, m, 0), 0);
	for (uint32_t i = 0; i < SERVERS; i++)
		all[i] = (struct sl_candidate){i, 1, 0};
	for (uint32_t i = 0; i < SERVERS - 1; i++)
		up[i] = all[i < 4 ? i : i + 1];
	for (unsigned i = 0; i < KEYS; i++) {
		uint32_t before = all[sl_balancer_choose(&b, all, SERVERS, key_of(i))].server;
		uint32_t after = up[sl_balancer_choose(&b, up, SERVERS - 1, key_of(i))].server;

		if (before != 4)
			assert_int_equal(after, before);
		else
			count[after]++;
	}
	for (size_t i = 0; i < SERVERS; i++)
		if (i != 4)
			assert_in_range(count[i], KEYS / 90 / 2, KEYS / 90 * 3 / 2);
	sl_balancer_destroy(&b);
	free(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(round_robin_is_smooth_by_weight),
		cmocka_unit_test(a_server_that_comes_and_goes_gets_its_share_and_no_more),
		cmocka_unit_test(the_least_loaded_is_chosen_by_weight_and_equal_ones_in_turn),
		cmocka_unit_test(of_two_random_ones_the_less_loaded_is_chosen),
		cmocka_unit_test(keys_are_spread_by_weight),
		cmocka_unit_test(removing_one_of_ten_servers_moves_few_keys),
		cmocka_unit_test(a_server_that_is_down_moves_only_its_own_keys),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
