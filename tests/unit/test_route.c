/* SPDX-License-Identifier: BSD-2-Clause */
/* proxy/route: which route a request takes, whatever the order in the file. */

#include "unit.h"

#include <string.h>

#include "proxy/route.h"

static struct sl_route_config routes[] = {
	{.path = "/v1"},
	{.host = "*.example.com"},
	{.host = "*.b.example.com", .path = "/x"},
	{.host = "a.example.com", .path = "/v1"},
	{.host = "a.example.com", .path = "/v1/deep"},
	{.host = "a.example.com", .path = ""},
	{.path = "/v1/deep"},
	{.host = "only.org", .path = "/p"},
};

static struct sl_head head;

static const struct {
	const char *host, *path;
	int route; /* -1: none */
} cases[] = {
	{"a.example.com", "/v1", 3},
	{"A.Example.Com.", "/v1", 3},
	{"a.example.com", "/v1/", 3},
	{"a.example.com", "/v1?q=/v1/deep", 3},
	{"a.example.com", "/v10", 5},
	{"a.example.com", "/v1/deep", 4},
	{"a.example.com", "/v1/deeper", 3},
	{"a.example.com", "/V1", 5},
	{"a.example.com", "/", 5},
	{"a.example.com", "", -1}, /* OPTIONS * */
	{"b.example.com", "/v1", 1},
	{"c.b.example.com", "/x/y", 2},
	{"d.c.b.example.com", "/x", 2},
	{"c.b.example.com", "/y", -1}, /* does not fall back to *.example.com */
	{"example.com", "/v1/x", 0},
	{"example.com", "/x", -1},
	{"xexample.com", "/v1/deep/x", 6},
	{"only.org", "/v1", -1},
	{"only.org", "/p", 7},
	{"", "/v1", 0},
	{"10.0.0.1", "/v1", 0},
	{"a.b.c.d.e.f", "/v1", 0},
};

static void precedence_does_not_depend_on_the_order(void **state)
{
	const struct sl_listener_config l = {.routes = routes, .n_routes = SL_ARRAY_SIZE(routes)};
	struct sl_routes *r;

	assert_int_equal(sl_routes_new(&l, &r), 0);
	for (size_t i = 0; i < SL_ARRAY_SIZE(cases); i++) {
		const struct sl_route_query q = {
			.host = sl_slice_str(cases[i].host),
			.path = sl_slice_str(cases[i].path),
			.head = &head,
		};
		const struct sl_route_config *got = sl_routes_find(r, &q);
		int n = got ? (int)(got - routes) : -1;

		if (n != cases[i].route)
			fail_msg("%s%s: got %d, not %d", cases[i].host, cases[i].path, n,
				 cases[i].route);
	}
	sl_routes_free(r);
	sl_routes_free(NULL);
}

static void a_default_route_takes_everything(void **state)
{
	struct sl_route_config any = {.upstream.index = 0};
	const struct sl_listener_config l = {.routes = &any, .n_routes = 1};
	struct sl_route_query q = {.path = SL_SLICE("/x"), .head = &head};
	struct sl_routes *r;

	assert_int_equal(sl_routes_new(&l, &r), 0);
	assert_ptr_equal(sl_routes_find(r, &q), &any);
	q.host = SL_SLICE("some.where");
	q.path = (struct sl_slice){0};
	assert_ptr_equal(sl_routes_find(r, &q), &any);
	sl_routes_free(r);
}

static void more_conditions_come_first(void **state)
{
	char *methods[] = {"PUT", "POST", NULL};
	struct sl_field_value beta = {"X-Beta", NULL}, one = {"x-beta", "1"};
	struct sl_route_config conditional[] = {
		{.path = "/a"},
		{.path = "/a", .header = {&beta, 1}},
		{.path = "/a", .header = {&one, 1}, .method = methods},
		{.path = "/a", .method = methods},
		{.path = "/a/b"},
	};
	const struct sl_listener_config l = {.routes = conditional, .n_routes = 5};
	struct sl_route_query q = {.path = SL_SLICE("/a"), .head = &head};
	struct sl_routes *r;

	assert_int_equal(sl_routes_new(&l, &r), 0);
	head.method_token = SL_SLICE("GET");
	assert_ptr_equal(sl_routes_find(r, &q), &conditional[0]);
	head.method_token = SL_SLICE("POST");
	assert_ptr_equal(sl_routes_find(r, &q), &conditional[3]);
	head.field[0] = (struct sl_field){.name = SL_SLICE("X-BETA"), .value = SL_SLICE("0")};
	head.n_fields = 1;
	assert_ptr_equal(sl_routes_find(r, &q), &conditional[1]); /* the first in the file */
	head.field[0].value = SL_SLICE("1");
	assert_ptr_equal(sl_routes_find(r, &q), &conditional[2]);
	q.path = SL_SLICE("/a/b");
	assert_ptr_equal(sl_routes_find(r, &q), &conditional[4]);
	head.n_fields = 0;
	sl_routes_free(r);
}

static void paths_that_a_server_may_read_otherwise_are_ambiguous(void **state)
{
	static const char *const ambiguous[] = {
		"/.",	   "/..",   "/a/..",	 "/a/../b",   "/a/./b", "/%2e",	 "/a/%2E%2e/b",
		"/a/.%2e", "/a\\b", "/a%2f../b", "/a/..%2Fb", "/..?x",	"/a/.?",
	};
	static const char *const plain[] = {
		"",	   "/",		 "/a",	  "/a.",    "/.a",  "/..a",  "/...",
		"/a..b/c", "/a?x=/../y", "/%2ea", "/a%2fb", "/a%2", "/a%2e", "/a/?\\",
	};

	for (size_t i = 0; i < SL_ARRAY_SIZE(ambiguous); i++)
		if (!sl_path_is_ambiguous(sl_slice_str(ambiguous[i])))
			fail_msg("%s is ambiguous", ambiguous[i]);
	for (size_t i = 0; i < SL_ARRAY_SIZE(plain); i++)
		if (sl_path_is_ambiguous(sl_slice_str(plain[i])))
			fail_msg("%s is plain", plain[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(precedence_does_not_depend_on_the_order),
		cmocka_unit_test(a_default_route_takes_everything),
		cmocka_unit_test(more_conditions_come_first),
		cmocka_unit_test(paths_that_a_server_may_read_otherwise_are_ambiguous),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
