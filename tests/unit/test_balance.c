/* SPDX-License-Identifier: BSD-2-Clause */
/* proxy/balance: who is chosen, and how evenly. */

#include "unit.h"

#include <string.h>

#include "proxy/balance.h"

#define SERVERS 10

static struct sl_server_config servers[SERVERS];

static struct sl_upstream_config upstream(size_t n)
{
	return (struct sl_upstream_config){.servers = servers, .n_servers = n};
}

static void round_robin_is_smooth_by_weight(void **state)
{
	const struct sl_upstream_config u = upstream(3);
	const struct sl_candidate c[] = {{0, 5}, {1, 1}, {2, 1}};
	struct sl_balancer b;
	char got[15] = "";

	assert_int_equal(sl_balancer_init(&b, &u, 0), 0);
	for (size_t i = 0; i < 14; i++)
		got[i] = (char)('a' + c[sl_balancer_choose(&b, c, 3)].server);
	assert_string_equal(got, "aabacaaaabacaa");
	sl_balancer_destroy(&b);
}

static void a_server_that_comes_and_goes_gets_its_share_and_no_more(void **state)
{
	const struct sl_upstream_config u = upstream(2);
	const struct sl_candidate c[] = {{0, 1}, {1, 1}};
	struct sl_balancer b;
	unsigned count[2] = {0};

	assert_int_equal(sl_balancer_init(&b, &u, 1), 0);
	assert_int_equal(sl_balancer_choose(&b, c, 2), 1); /* its turn */
	for (int i = 0; i < 1000; i++)
		assert_int_equal(sl_balancer_choose(&b, c, 1), 0);
	for (int i = 0; i < 100; i++)
		count[sl_balancer_choose(&b, c, 2)]++;
	assert_in_range(count[1], 49, 51);
	sl_balancer_destroy(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(round_robin_is_smooth_by_weight),
		cmocka_unit_test(a_server_that_comes_and_goes_gets_its_share_and_no_more),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
