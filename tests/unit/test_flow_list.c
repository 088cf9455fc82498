/* SPDX-License-Identifier: BSD-2-Clause */
/* Which pairs "flows" shows, in which order, and what it refuses. */

#include "unit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "proxy/observe/flow_list.h"

static int read_text(const char *arguments, struct sl_flow_filter *f, char problem[256])
{
	char text[512];
	json_t *request;
	int r;

	snprintf(text, sizeof(text), "{\"command\":\"flows\"%s}", arguments);
	request = json_loads(text, 0, NULL);
	assert_non_null(request);
	r = sl_flow_filter_read(request, f, problem, 256);
	json_decref(request);
	return r;
}

static struct sl_flow_info pair(const char *client, const char *target, const char *upstream)
{
	struct sl_flow_info p = {.id = 7, .age_ms = 5000, .engine = "copy", .listener = "egress"};

	assert_int_equal(sl_addr_parse(sl_slice_str(client), &p.client), 0);
	if (upstream)
		assert_int_equal(sl_addr_parse(sl_slice_str(upstream), &p.upstream), 0);
	snprintf(p.target, sizeof(p.target), "%s", target);
	p.from[SL_CLIENT].bytes = 1000;
	p.from[SL_UPSTREAM].bytes = 24;
	return p;
}

static void a_filter_takes_what_all_its_parts_take(void **state)
{
	static const struct {
		const char *arguments;
		bool v4, v6;
	} rows[] = {
		{"", true, true},
		{",\"source\":\"10.1.0.0/16\"", true, false},
		{",\"source\":\"10.1.2.3\"", true, false},
		{",\"source\":\"10.1.2.4\"", false, false},
		{",\"source\":\"10.1.2.3:5000\"", true, false},
		{",\"source\":\"10.1.0.0/16:5001\"", false, false},
		{",\"source\":\":5000\"", true, true},
		{",\"source\":\"2001:db8::/32\"", false, true},
		{",\"source\":\"[2001:db8::9]:5000\"", false, true},
		{",\"source\":\"[2001:db8::/32]:5000\"", false, true},
		{",\"source\":\"0.0.0.0/0\"", true, false},
		{",\"target\":\"192.0.2.0/24\"", true, false},
		{",\"target\":\"192.0.2.1:443\"", true, false},
		{",\"target\":\"192.0.2.1:80\"", false, false},
		{",\"target\":\"api.example.com\"", true, false},
		{",\"target\":\"API.example.COM:443\"", true, false},
		{",\"target\":\"*.example.com\"", true, false},
		{",\"target\":\"*.example.com:444\"", false, false},
		{",\"target\":\"example.com\"", false, false},
		{",\"target\":\":443\"", true, true},
		{",\"target\":\"2001:db8:1::7\"", false, true},
		{",\"engine\":\"copy\"", true, true},
		{",\"engine\":\"packet\"", false, false},
		{",\"listener\":\"egress\"", true, true},
		{",\"listener\":\"web\"", false, false},
		{",\"min_age_ms\":5000,\"max_age_ms\":5000", true, true},
		{",\"min_age_ms\":5001", false, false},
		{",\"max_age_ms\":4999", false, false},
		{",\"min_bytes\":1024,\"max_bytes\":1024", true, true},
		{",\"min_bytes\":1025", false, false},
		{",\"max_bytes\":1023", false, false},
		{",\"source\":\"10.1.2.3\",\"engine\":\"packet\"", false, false},
	};
	struct sl_flow_info v4 = pair("10.1.2.3:5000", "api.example.com:443", "192.0.2.1:443");
	struct sl_flow_info v6 =
		pair("[2001:db8::9]:5000", "[2001:db8:1::7]:443", "[2001:db8:1::7]:443");
	char problem[256];

	for (size_t i = 0; i < SL_ARRAY_SIZE(rows); i++) {
		struct sl_flow_filter f;

		if (read_text(rows[i].arguments, &f, problem))
			fail_msg("%s: %s", rows[i].arguments, problem);
		if (sl_flow_filter_takes(&f, &v4) != rows[i].v4)
			fail_msg("IPv4: %s", rows[i].arguments);
		if (sl_flow_filter_takes(&f, &v6) != rows[i].v6)
			fail_msg("IPv6: %s", rows[i].arguments);
	}
}

static void a_pair_that_is_still_connecting_has_no_target_address(void **state)
{
	struct sl_flow_info p = pair("10.1.2.3:5000", "192.0.2.1:443", NULL);
	struct sl_flow_filter f;
	char problem[256];

	assert_int_equal(read_text(",\"target\":\"192.0.2.1\"", &f, problem), 0);
	assert_false(sl_flow_filter_takes(&f, &p));
	assert_int_equal(read_text(",\"target\":\":443\"", &f, problem), 0);
	assert_true(sl_flow_filter_takes(&f, &p));
}

static void what_makes_no_sense_is_refused_with_words(void **state)
{
	static const char *const rows[][2] = {
		{",\"source\":\"example.com\"", "source: expected an address"},
		{",\"source\":\"\"", "source: expected an address"},
		{",\"source\":\"10.0.0.1/8\"", "source: expected an address"},
		{",\"source\":\"10.0.0.0/33\"", "source: expected an address"},
		{",\"source\":\"10.0.0.0/\"", "source: expected an address"},
		{",\"source\":\"10.0.0\"", "source: expected an address"},
		{",\"source\":\"10.0.0.1:0\"", "source: a port is 1 to 65535"},
		{",\"source\":\"10.0.0.1:65536\"", "source: a port is 1 to 65535"},
		{",\"source\":\":\"", "source: expected an address"},
		{",\"source\":7", "Expected string"},
		{",\"target\":\"10.0.0.300\"", "target: expected a name"},
		{",\"target\":\"10.0.0.0/33\"", "target: expected a name"},
		{",\"target\":\"a b\"", "target: expected a name"},
		{",\"target\":\"*\"", "target: expected a name"},
		{",\"target\":\"*.*.x\"", "target: expected a name"},
		{",\"target\":\"x:http\"", "target: expected a name"},
		{",\"engine\":\"warp\"", "engine: expected copy"},
		{",\"listener\":\"\"", "listener: expected"},
		{",\"sort\":\"size\"", "sort: expected age"},
		{",\"max\":0", "max must be 1 to 100000"},
		{",\"max\":100001", "max must be 1 to 100000"},
		{",\"scan\":0", "scan must be 1 to 1000000"},
		{",\"min_age_ms\":-1", "age: numbers below 0"},
		{",\"min_age_ms\":2,\"max_age_ms\":1", "age: the least is more than the most"},
		{",\"min_bytes\":2,\"max_bytes\":1", "bytes: the least is more than the most"},
		{",\"most\":1", "1 object item(s) left unpacked: most"},
	};

	for (size_t i = 0; i < SL_ARRAY_SIZE(rows); i++) {
		struct sl_flow_filter f;
		char problem[256] = "";

		if (read_text(rows[i][0], &f, problem) != -EINVAL || !strstr(problem, rows[i][1]))
			fail_msg("%s: \"%s\"", rows[i][0], problem);
	}
}

static void a_name_that_fills_its_field_is_kept_whole(void **state)
{
	char name[300], arguments[330], problem[256];
	struct sl_flow_filter f;

	memset(name, 'a', sizeof(name));
	name[255] = 0;
	snprintf(arguments, sizeof(arguments), ",\"target\":\"%s\"", name);
	assert_int_equal(read_text(arguments, &f, problem), 0);
	assert_int_equal(strlen(f.target.name), 255);
	memset(name, 'a', 256);
	name[256] = 0;
	snprintf(arguments, sizeof(arguments), ",\"target\":\"%s\"", name);
	assert_int_equal(read_text(arguments, &f, problem), -EINVAL);
}

/* --- order --- */

static uint64_t expected_key(const char *order, const struct sl_flow_info *p)
{
	if (!strcmp(order, "age"))
		return UINT64_MAX - p->age_ms;
	if (!strcmp(order, "newest"))
		return p->age_ms;
	if (!strcmp(order, "from-client"))
		return UINT64_MAX - p->from[SL_CLIENT].bytes;
	if (!strcmp(order, "from-upstream"))
		return UINT64_MAX - p->from[SL_UPSTREAM].bytes;
	if (!strcmp(order, "source"))
		return sl_addr_port(&p->client);
	if (!strcmp(order, "target"))
		return (uint64_t)p->target[0] << 8 | (uint8_t)p->target[1];
	return UINT64_MAX - p->from[SL_CLIENT].bytes - p->from[SL_UPSTREAM].bytes;
}

/* Against a plain look at all: nothing that is left out comes before what was kept, and what was kept
 * is in order. */
static void expect_first(const char *order, unsigned max, const struct sl_flow_info *all, size_t n)
{
	struct sl_flow_filter f;
	struct sl_flow_list l = {.filter = &f};
	char arguments[64], problem[256];
	size_t before = 0;

	snprintf(arguments, sizeof(arguments), ",\"sort\":\"%s\",\"max\":%u", order, max);
	assert_int_equal(read_text(arguments, &f, problem), 0);
	for (size_t i = 0; i < n; i++)
		sl_flow_list_offer(&l, &all[i]);
	sl_flow_list_sort(&l);
	assert_int_equal(l.seen, n);
	assert_int_equal(l.matched, n);
	assert_int_equal(l.n, sl_min((size_t)max, n));
	for (size_t i = 1; i < l.n; i++) {
		uint64_t a = expected_key(order, &l.flow[i - 1]);
		uint64_t b = expected_key(order, &l.flow[i]);

		assert_true(a < b || (a == b && l.flow[i - 1].id < l.flow[i].id));
	}
	for (size_t i = 0; i < n; i++)
		before += expected_key(order, &all[i]) < expected_key(order, &l.flow[l.n - 1]);
	assert_true(before < l.n);
	free(l.flow);
}

static void the_first_are_kept_in_every_order(void **state)
{
	static const char *const orders[] = {"age",	      "newest", "bytes", "from-client",
					     "from-upstream", "source", "target"};
	struct sl_flow_info all[500];
	uint32_t random = 1;

	for (size_t i = 0; i < SL_ARRAY_SIZE(all); i++) {
		char client[32], target[8];

		random = random * 1664525 + 1013904223;
		snprintf(client, sizeof(client), "10.0.0.1:%u", 1 + (random >> 8) % 300);
		snprintf(target, sizeof(target), "%c%c", 'a' + (random >> 10) % 26,
			 'a' + (random >> 16) % 26);
		all[i] = pair(client, target, NULL);
		all[i].id = i;
		all[i].age_ms = (random >> 4) % 100;
		all[i].from[SL_CLIENT].bytes = (random >> 9) % 50;
		all[i].from[SL_UPSTREAM].bytes = (random >> 15) % 50;
	}
	for (size_t i = 0; i < SL_ARRAY_SIZE(orders); i++) {
		expect_first(orders[i], 1, all, 500);
		expect_first(orders[i], 37, all, 500);
		expect_first(orders[i], 499, all, 500);
		expect_first(orders[i], 1000, all, 500);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_filter_takes_what_all_its_parts_take),
		cmocka_unit_test(a_pair_that_is_still_connecting_has_no_target_address),
		cmocka_unit_test(what_makes_no_sense_is_refused_with_words),
		cmocka_unit_test(a_name_that_fills_its_field_is_kept_whole),
		cmocka_unit_test(the_first_are_kept_in_every_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
