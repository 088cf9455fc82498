/* SPDX-License-Identifier: BSD-2-Clause */
/* proxy/limits: connections in all, by listener, by source. */

#include "unit.h"

#include <pthread.h>
#include <string.h>

#include "proxy/access/limits.h"

static struct sl_listener_config listeners[2] = {{.connections = 0}, {.connections = 2}};

static struct sl_config config(uint32_t total, uint32_t per_source)
{
	return (struct sl_config){
		.limits = {.connections = total, .connections_per_source = per_source},
		.listeners = listeners,
		.n_listeners = 2,
	};
}

/* Of a listener, which is its place here. */
static enum sl_limit_verdict admit(struct sl_limits *l, uint32_t listener, const struct sl_addr *a)
{
	bool by_source;

	return sl_limits_admit(l, listener, listeners[listener].connections, a, &by_source);
}

static struct sl_addr addr(const char *host)
{
	struct sl_addr a;

	assert_int_equal(sl_addr_parse_host(sl_slice_str(host), 1234, &a), 0);
	return a;
}

static void the_total_and_the_listener_limit_hold(void **state)
{
	struct sl_config c = config(3, 0);
	struct sl_addr a = addr("10.0.0.1");
	struct sl_limits *l;

	assert_int_equal(sl_limits_new(&c, 2, &l), 0);
	assert_int_equal(admit(l, 1, &a), SL_LIMIT_OK);
	assert_int_equal(admit(l, 1, &a), SL_LIMIT_OK);
	assert_int_equal(admit(l, 1, &a), SL_LIMIT_LISTENER);
	assert_int_equal(admit(l, 0, &a), SL_LIMIT_OK);
	assert_int_equal(admit(l, 0, &a), SL_LIMIT_TOTAL);
	sl_limits_release(l, 1, NULL);
	assert_int_equal(admit(l, 1, &a), SL_LIMIT_OK);
	sl_limits_free(l);
}

static void an_ipv6_source_is_its_64_bit_prefix(void **state)
{
	struct sl_config c = config(100, 2);
	struct sl_addr a = addr("2001:db8::1"), b = addr("2001:db8::2:3"),
		       other = addr("2001:db8:0:1::1");
	struct sl_limits *l;

	assert_int_equal(sl_limits_new(&c, 2, &l), 0);
	assert_int_equal(admit(l, 0, &a), SL_LIMIT_OK);
	assert_int_equal(admit(l, 0, &b), SL_LIMIT_OK);
	assert_int_equal(admit(l, 0, &a), SL_LIMIT_SOURCE);
	assert_int_equal(admit(l, 0, &other), SL_LIMIT_OK);
	sl_limits_release(l, 0, &b);
	assert_int_equal(admit(l, 0, &a), SL_LIMIT_OK);
	sl_limits_free(l);
}

/* As many different sources as connections, twice over: every entry must come back. */
static void entries_of_sources_are_reused(void **state)
{
	enum { N = 300 };
	struct sl_config c = config(N, 1);
	struct sl_limits *l;
	struct sl_addr a = addr("10.0.0.0");

	assert_int_equal(sl_limits_new(&c, 2, &l), 0);
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < N; i++) {
			a.in.sin_addr.s_addr = (uint32_t)(i * 65537 + round);
			assert_int_equal(admit(l, 0, &a), SL_LIMIT_OK);
			assert_int_not_equal(admit(l, 0, &a), SL_LIMIT_OK);
		}
		for (int i = 0; i < N; i++) {
			a.in.sin_addr.s_addr = (uint32_t)(i * 65537 + round);
			sl_limits_release(l, 0, &a);
		}
	}
	sl_limits_free(l);
}

static void a_source_is_an_address_or_a_prefix(void **state)
{
	static const struct {
		const char *first, *second;
		enum sl_limit_verdict verdict;
	} rows[] = {
		{"10.0.0.1", "10.0.0.1", SL_LIMIT_SOURCE},
		{"10.0.0.1", "10.0.0.2", SL_LIMIT_OK},
		{"10.0.0.1", "::ffff:10.0.0.1", SL_LIMIT_SOURCE},
		{"::ffff:10.0.0.1", "::ffff:10.0.0.2", SL_LIMIT_OK},
		{"2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff", SL_LIMIT_SOURCE},
		{"2001:db8::1", "2001:db8:0:1::1", SL_LIMIT_OK},
		{"10.0.0.1", "a00:1::", SL_LIMIT_OK}, /* the same bytes */
	};

	for (size_t i = 0; i < SL_ARRAY_SIZE(rows); i++) {
		struct sl_addr a = addr(rows[i].first), b = addr(rows[i].second);
		struct sl_config c = config(10, 1);
		struct sl_limits *l;

		assert_int_equal(sl_limits_new(&c, 2, &l), 0);
		assert_int_equal(admit(l, 0, &a), SL_LIMIT_OK);
		assert_int_equal(admit(l, 0, &b), rows[i].verdict);
		sl_limits_release(l, 0, &a);
		assert_int_equal(admit(l, 0, &a), SL_LIMIT_OK);
		sl_limits_free(l);
	}
}

/* Chains that entries join and leave in any order: compared with plain counts. */
static void many_sources_come_and_go_without_a_miscount(void **state)
{
	enum { SOURCES = 1000, STEPS = 100000, EACH = 3 };
	struct sl_config c = config(SOURCES * EACH, EACH);
	static uint8_t count[SOURCES];
	uint32_t random = 1;
	struct sl_limits *l;

	assert_int_equal(sl_limits_new(&c, 2, &l), 0);
	for (int step = 0; step < STEPS; step++) {
		uint32_t i = (random = random * 1664525 + 1013904223) >> 8;
		uint8_t *n = &count[i % SOURCES];
		struct sl_addr a = addr("10.0.0.0");

		a.in.sin_addr.s_addr += i % SOURCES;
		if ((i / SOURCES) % 2 && *n) {
			sl_limits_release(l, 0, &a);
			--*n;
		} else {
			assert_int_equal(admit(l, 0, &a),
					 *n < EACH ? SL_LIMIT_OK : SL_LIMIT_SOURCE);
			*n += *n < EACH;
		}
	}
	sl_limits_free(l);
}

/* A reload that begins to limit sources: who came before is not counted, and does not count as another
 * when it goes. */
static void limits_change_while_connections_are_open(void **state)
{
	struct sl_config c = config(3, 0), limited = config(3, 1);
	struct sl_addr a = addr("10.0.0.1");
	struct sl_limits *l;
	bool by_source;

	assert_int_equal(sl_limits_new(&c, 2, &l), 0);
	assert_int_equal(sl_limits_admit(l, 0, 0, &a, &by_source), SL_LIMIT_OK);
	assert_false(by_source);
	assert_int_equal(sl_limits_change(l, &limited), 0);
	assert_int_equal(sl_limits_admit(l, 0, 0, &a, &by_source), SL_LIMIT_OK);
	assert_true(by_source);
	assert_int_equal(admit(l, 0, &a), SL_LIMIT_SOURCE);
	sl_limits_release(l, 0, NULL);
	assert_int_equal(admit(l, 0, &a), SL_LIMIT_SOURCE);
	assert_int_equal(sl_limits_change(l, &c), 0);
	assert_int_equal(admit(l, 0, &a), SL_LIMIT_OK);
	sl_limits_release(l, 0, &a);
	assert_int_equal(sl_limits_change(l, &limited), 0);
	assert_int_equal(admit(l, 0, &a), SL_LIMIT_OK);
	sl_limits_free(l);
}

static void listeners_of_one_name_share_their_place(void **state)
{
	struct sl_config c = config(9, 0);
	uint32_t first, other, again;
	struct sl_limits *l;

	assert_int_equal(sl_limits_new(&c, 2, &l), 0);
	assert_int_equal(sl_limits_place(l, "web", &first), 0);
	assert_int_equal(sl_limits_place(l, "db", &other), 0);
	assert_int_equal(sl_limits_place(l, "web", &again), 0);
	assert_int_equal(first, again);
	assert_int_not_equal(first, other);
	sl_limits_leave(l, first);
	assert_int_equal(sl_limits_place(l, "new", &again), 0);
	assert_int_not_equal(first, again);
	sl_limits_leave(l, first);
	assert_int_equal(sl_limits_place(l, "newer", &again), 0);
	assert_int_equal(first, again);
	sl_limits_free(l);
}

static void *come_and_go(void *arg)
{
	struct sl_addr a = addr("10.0.0.1");

	for (int i = 0; i < 20000; i++)
		if (admit(arg, 0, &a) == SL_LIMIT_OK)
			sl_limits_release(arg, 0, &a);
	return NULL;
}

static void threads_leave_nothing_counted(void **state)
{
	struct sl_config c = config(3, 2);
	struct sl_addr a = addr("10.0.0.1");
	pthread_t thread[4];
	struct sl_limits *l;

	assert_int_equal(sl_limits_new(&c, 2, &l), 0);
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, come_and_go, l), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(thread[i], NULL);
	assert_int_equal(admit(l, 0, &a), SL_LIMIT_OK);
	assert_int_equal(admit(l, 0, &a), SL_LIMIT_OK);
	assert_int_equal(admit(l, 0, &a), SL_LIMIT_SOURCE);
	sl_limits_free(l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_total_and_the_listener_limit_hold),
		cmocka_unit_test(an_ipv6_source_is_its_64_bit_prefix),
		cmocka_unit_test(entries_of_sources_are_reused),
		cmocka_unit_test(a_source_is_an_address_or_a_prefix),
		cmocka_unit_test(many_sources_come_and_go_without_a_miscount),
		cmocka_unit_test(limits_change_while_connections_are_open),
		cmocka_unit_test(listeners_of_one_name_share_their_place),
		cmocka_unit_test(threads_leave_nothing_counted),
	};

	return cmocka_run_group_tests_name("limits", tests, NULL, NULL);
}
