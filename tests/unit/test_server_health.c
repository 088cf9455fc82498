/* SPDX-License-Identifier: BSD-2-Clause */
/* proxy/server_health: who is left out, for how long, and the weight of those that are back. */

#include "unit.h"

#include "base/log.h"
#include "proxy/upstream/upstream.h"

#define NOW 1000000ull

static struct sl_server_config servers[4] = {{.address = "a:1", .host = "a", .weight = 2},
					     {.address = "b:1", .host = "b", .weight = 1},
					     {.address = "c:1", .host = "c", .weight = 1},
					     {.address = "d:1", .host = "d", .weight = 1}};
static struct sl_upstream_config upstream;
static struct sl_upstreams *all;
static struct sl_upstream **list;

static int open_upstream(void **state)
{
	static struct sl_config config;

	sl_log_set_level(SL_LOG_ERROR);
	upstream = (struct sl_upstream_config){
		.name = "u",
		.servers = servers,
		.n_servers = 4,
		.pool.max = 10,
		.eject = {.failures = 3, .ratio = 50, .time_ms = 1000, .max_ms = 3000}};
	config = (struct sl_config){.upstreams = &upstream, .n_upstreams = 1};
	assert_int_equal(sl_upstreams_new(1, &all), 0);
	return sl_upstreams_enlist(all, &config, &list);
}

static int close_upstream(void **state)
{
	sl_upstreams_dismiss(all, list, 1);
	sl_upstreams_free(all);
	return 0;
}

static struct sl_server *server(size_t i)
{
	return &list[0]->server[i];
}

static void fail_times(size_t i, int n, uint64_t now_ms)
{
	while (n--)
		sl_server_failed(server(i), now_ms, "test");
}

static void failures_in_a_row_eject_for_a_growing_time(void **state)
{
	fail_times(0, 2, NOW);
	sl_server_succeeded(server(0));
	fail_times(0, 2, NOW);
	assert_int_equal(sl_server_state(server(0), NOW), SL_SERVER_UP);
	fail_times(0, 1, NOW);
	assert_int_equal(sl_server_state(server(0), NOW + 999), SL_SERVER_EJECTED);
	assert_int_equal(sl_server_state(server(0), NOW + 1000), SL_SERVER_UP);
	fail_times(0, 3, NOW + 1000);
	assert_int_equal(sl_server_state(server(0), NOW + 2999), SL_SERVER_EJECTED);
	fail_times(0, 3, NOW + 3000);
	assert_int_equal(sl_server_state(server(0), NOW + 5999), SL_SERVER_EJECTED);
	assert_int_equal(sl_server_state(server(0), NOW + 6000), SL_SERVER_UP); /* the most */
	fail_times(0, 3, NOW + 60000); /* long after: the first time again */
	assert_int_equal(sl_server_state(server(0), NOW + 61000), SL_SERVER_UP);
}

static void at_most_half_are_ejected(void **state)
{
	size_t out = 0;

	for (size_t i = 0; i < 4; i++)
		fail_times(i, 3, NOW);
	for (size_t i = 0; i < 4; i++)
		out += sl_server_state(server(i), NOW) == SL_SERVER_EJECTED;
	assert_int_equal(out, 2);
}

static void a_share_of_failures_ejects_once_there_are_enough(void **state)
{
	upstream.eject.failures = 0;
	fail_times(0, 1, NOW); /* begins the window */
	for (int i = 0; i < 9; i++) {
		sl_server_succeeded(server(0));
		fail_times(0, 1, NOW + 1);
	}
	assert_int_equal(sl_server_state(server(0), NOW + 1), SL_SERVER_UP); /* 19 requests */
	fail_times(0, 1, NOW + 2);
	assert_int_equal(sl_server_state(server(0), NOW + 2), SL_SERVER_EJECTED);
}

static void weight_grows_with_time_after_a_server_came_up(void **state)
{
	upstream.slow_start_ms = 1000;
	assert_int_equal(sl_server_weight(server(0), NOW), 200);
	sl_server_set_down(server(0), true, NOW, "test");
	assert_int_equal(sl_server_state(server(0), NOW), SL_SERVER_DOWN);
	sl_server_set_down(server(0), false, NOW, "test");
	assert_int_equal(sl_server_weight(server(0), NOW), 1);
	assert_int_equal(sl_server_weight(server(0), NOW + 500), 100);
	assert_int_equal(sl_server_weight(server(0), NOW + 1000), 200);
}

static void a_drained_server_stays_so_whatever_else_happens(void **state)
{
	sl_server_set_drained(server(0), true, NOW);
	sl_server_set_down(server(0), false, NOW, "test");
	sl_server_succeeded(server(0));
	assert_int_equal(sl_server_state(server(0), NOW), SL_SERVER_DRAINED);
	sl_server_set_drained(server(0), false, NOW);
	assert_int_equal(sl_server_state(server(0), NOW), SL_SERVER_UP);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, open_upstream, close_upstream)
	const struct CMUnitTest tests[] = {
		TEST(failures_in_a_row_eject_for_a_growing_time),
		TEST(at_most_half_are_ejected),
		TEST(a_share_of_failures_ejects_once_there_are_enough),
		TEST(weight_grows_with_time_after_a_server_came_up),
		TEST(a_drained_server_stays_so_whatever_else_happens),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
