/* SPDX-License-Identifier: BSD-2-Clause */
/* proxy/config_route, config_upstream: what is read, and every refusal with its place and words. */

#include "unit.h"

#include <errno.h>
#include <string.h>

#include "proxy/config/config.h"

#define HTTP "listeners:\n- {name: a, listen: \"127.0.0.1:80\", mode: http, "
#define ROUTES(t) \
	HTTP "\n   routes: [" t "]}\nupstreams:\n- {name: u, servers: [\"10.0.0.1:80\"]}\n"
#define UPSTREAM(t) HTTP "upstream: u}\nupstreams:\n- {name: u, " t "}\n"

static void routes_and_upstreams_are_read(void **state)
{
	static const char text[] = HTTP
		"routes: [{host: \"*.Example.COM.\", path: /v1/, upstream: api},\n"
		"  {path: /, upstream: app}, {upstream: app}]}\n"
		"- {name: b, listen: \"127.0.0.1:81\", mode: http, upstream: api,\n"
		"   keepalive: 30s, fast_open: 64}\n"
		"upstreams:\n"
		"- {name: app, servers: [\"10.0.0.1:80\", {address: \"app2:8080\", weight: 7}]}\n"
		"- {name: api, servers: [\"[fd00::1]:81\"], balance: round_robin,\n"
		"   pool: {idle: 0, idle_timeout: 5s, max: 9, queue: 0, queue_timeout: 1ms,\n"
		"          requests: 7, age: 0s, keepalive: 20s, fast_open: true},\n"
		"   retry: {on: [closed, timeout, 503], tries: 3, budget: 100},\n"
		"   eject: {failures: 0, ratio: 9, errors: true, time: 1s, max: 2s},\n"
		"   health: {path: \"/h?x\", host: h, status: 204, interval: 1s, timeout: 2s,\n"
		"            fall: 4, rise: 5}, slow_start: 3s}\n"
		"- {name: unused, servers: [\"10.0.0.9:80\"]}\n";
	struct sl_config_error error;
	struct sl_config *c;

	if (sl_config_parse("t", text, sizeof(text) - 1, &c, &error))
		fail_msg("%s", error.text);
	assert_int_equal(c->listeners[0].n_routes, 3);
	assert_string_equal(c->listeners[0].routes[0].host, "*.example.com");
	assert_string_equal(c->listeners[0].routes[0].path, "/v1");
	assert_int_equal(c->listeners[0].routes[0].upstream.index, 1);
	assert_string_equal(c->listeners[0].routes[1].path, "");
	assert_null(c->listeners[0].routes[2].path);
	assert_int_equal(c->listeners[0].routes[2].upstream.index, 0);
	assert_int_equal(c->listeners[1].n_routes, 1);
	assert_int_equal(c->listeners[1].routes[0].upstream.index, 1);
	assert_int_equal(c->n_upstreams, 3);
	assert_string_equal(c->upstreams[0].servers[1].host, "app2");
	assert_int_equal(c->upstreams[0].servers[1].port, 8080);
	assert_int_equal(c->upstreams[0].servers[0].weight, 1);
	assert_int_equal(c->upstreams[0].servers[1].weight, 7);
	assert_int_equal(c->upstreams[0].pool.idle, 64);
	assert_string_equal(c->upstreams[1].servers[0].host, "fd00::1");
	assert_int_equal(c->upstreams[1].pool.idle, 0);
	assert_int_equal(c->upstreams[1].pool.idle_timeout_ms, 5000);
	assert_int_equal(c->upstreams[0].pool.max, 1024);
	assert_int_equal(c->upstreams[1].pool.max, 9);
	assert_int_equal(c->upstreams[1].pool.queue_timeout_ms, 1);
	assert_int_equal(c->upstreams[1].pool.requests, 7);
	assert_int_equal(c->upstreams[1].pool.age_ms, 0);
	assert_int_equal(c->upstreams[1].pool.keepalive_ms, 20000);
	assert_true(c->upstreams[1].pool.fast_open && !c->upstreams[0].pool.fast_open);
	assert_int_equal(c->listeners[1].keepalive_ms, 30000);
	assert_int_equal(c->listeners[1].fast_open, 64);
	assert_int_equal(c->upstreams[0].eject.failures, 5);
	assert_int_equal(c->upstreams[1].eject.ratio, 9);
	assert_true(c->upstreams[1].eject.errors);
	assert_false(c->upstreams[0].health.enabled);
	assert_true(c->upstreams[1].health.enabled);
	assert_string_equal(c->upstreams[1].health.path, "/h?x");
	assert_int_equal(c->upstreams[1].health.status, 204);
	assert_int_equal(c->upstreams[1].health.rise, 5);
	assert_int_equal(c->upstreams[1].slow_start_ms, 3000);
	assert_null(c->upstreams[0].retry.on);
	assert_int_equal(c->upstreams[0].retry.tries, 2);
	assert_int_equal(c->upstreams[0].retry.budget, 20);
	assert_int_equal(c->upstreams[1].retry.n_on, 3);
	assert_int_equal(c->upstreams[1].retry.on[2], SL_RETRY_503);
	sl_config_free(c);
}

static const struct {
	const char *text, *error;
} errors[] = {
	{ROUTES("{upstream: v}"), "t:3:24: there is no upstream 'v'"},
	{HTTP "upstream: v}\n", "t:2:59: there is no upstream 'v'"},
	{ROUTES("{path: /x}"),
	 "t:3:13: listeners[0].routes[0]: expected one of upstream, redirect, respond"},
	{ROUTES("{upstream: u, respond: {status: 200}}"),
	 "t:3:13: listeners[0].routes[0]: expected one of upstream, redirect, respond"},
	{ROUTES("{respond: {status: 204}}"),
	 "t:3:32: listeners[0].routes[0].respond.status: expected one of: 200, 400, 403, 404, 410, "
	 "429, 500, 503, got '204'"},
	{ROUTES("{redirect: {status: 301}}"),
	 "t:3:13: listeners[0].routes[0]: the redirect would lead to where the request came from"},
	{ROUTES("{redirect: {host: \"a b\"}}"),
	 "t:3:31: listeners[0].routes[0].redirect.host: expected a host such as app.internal or "
	 "app.internal:8080, got 'a b'"},
	{ROUTES("{upstream: u, rewrite: {path: /x}}"),
	 "t:3:13: listeners[0].routes[0]: a new path needs a path that it replaces"},
	{ROUTES("{respond: {status: 200}, rewrite: {host: x}}"),
	 "t:3:13: listeners[0].routes[0]: rewrite, request and response need an upstream"},
	{ROUTES("{upstream: u, method: \"G T\"}"),
	 "t:3:35: listeners[0].routes[0].method: expected a method such as GET, got 'G T'"},
	{ROUTES("{upstream: u, header: {name: \"a:\"}}"),
	 "t:3:42: listeners[0].routes[0].header.name: expected the name of a field such as X-Team, "
	 "got 'a:'"},
	{ROUTES("{upstream: u, request: {remove: content-length}}"),
	 "t:3:45: listeners[0].routes[0].request.remove: field content-length is sluice's to "
	 "write"},
	{ROUTES("{upstream: u, response: {set: {name: x, value: \"a\\r\\nb\"}}}"),
	 "t:3:60: listeners[0].routes[0].response.set.value: expected a string without control "
	 "characters, got 'a??b'"},
	{ROUTES(""), "t:3:12: listeners[0].routes: expected 1 to 4096 items, got 0"},
	{ROUTES("{path: x, upstream: u}"),
	 "t:3:20: listeners[0].routes[0].path: expected a path such as /v1, got 'x'"},
	{ROUTES("{path: /a/../b, upstream: u}"),
	 "t:3:20: listeners[0].routes[0].path: expected a path such as /v1, got '/a/../b'"},
	{ROUTES("{path: \"/a?b\", upstream: u}"),
	 "t:3:20: listeners[0].routes[0].path: expected a path such as /v1, got '/a?b'"},
	{ROUTES("{path: /a//b, upstream: u}"),
	 "t:3:20: listeners[0].routes[0].path: expected a path such as /v1, got '/a//b'"},
	{ROUTES("{host: \"a b\", upstream: u}"),
	 "t:3:20: listeners[0].routes[0].host: expected a host name or *.suffix, got 'a b'"},
	{ROUTES("{path: /a, upstream: u}, {path: /a/, upstream: u}"),
	 "t:3:38: the route at line 3 takes all that this one would"},
	{HTTP "upstream: u, routes: [{upstream: u}]}\n",
	 "t:2:70: listeners[0].routes: expected either routes or upstream"},
	{HTTP "routes: [{upstream: u}], upstream: u}\n",
	 "t:2:84: listeners[0].upstream: expected either routes or upstream"},
	{HTTP "limits: {connections: 1}}\n",
	 "t:2:3: listeners[0]: mode http needs routes or an upstream"},
	{HTTP "upstream: u, acl: [{deny: {}}]}\n",
	 "t:2:3: listeners[0]: acl and auth are for mode forward"},
	{"listeners:\n- {name: a, listen: \"127.0.0.1:80\", mode: forward, upstream: u}\n",
	 "t:2:3: listeners[0]: mode forward has no routes: its clients choose"},
	{UPSTREAM("servers: []"), "t:4:22: upstreams[0].servers: expected 1 to 256 items, got 0"},
	{UPSTREAM("servers: [10.0.0.1]"),
	 "t:4:23: upstreams[0].servers[0]: expected host:port such "
	 "as 10.0.0.1:80 or app.internal:80, got '10.0.0.1'"},
	{UPSTREAM("servers: [\"a:0\"]"), "t:4:23: upstreams[0].servers[0]: expected host:port such "
					 "as 10.0.0.1:80 or app.internal:80, got 'a:0'"},
	{UPSTREAM("servers: [{weight: 1}]"),
	 "t:4:23: upstreams[0].servers[0]: a server needs an address or srv"},
	{UPSTREAM("servers: [{srv: _http._tcp.a, weight: 1}]"),
	 "t:4:23: upstreams[0].servers[0]: SRV records have weights of their own"},
	{UPSTREAM("servers: [{srv: http.a}]"),
	 "t:4:29: upstreams[0].servers[0].srv: expected a name such as _http._tcp.app.internal, "
	 "got 'http.a'"},
	{UPSTREAM("servers: [{address: \"a:1\", srv: _http._tcp.a}]"),
	 "t:4:45: upstreams[0].servers[0].srv: a server has an address or is found by srv"},
	{UPSTREAM("servers: [\"a:1\"], resolve: {min: 2s, max: 1s}"),
	 "t:4:3: upstreams[0]: resolve.min is above resolve.max"},
	{UPSTREAM("servers: [\"a:1\"], resolve: {min: 0s}"),
	 "t:4:46: upstreams[0].resolve.min: expected 1ms to 1d, got '0s'"},
	{UPSTREAM("servers: [\"a:1\"], resolve: {addresses: some}"),
	 "t:4:52: upstreams[0].resolve.addresses: expected one of: all, one, got 'some'"},
	{UPSTREAM("servers: [{address: \"a:1\", weight: 0}]"),
	 "t:4:48: upstreams[0].servers[0].weight: expected 1 to 1000, got '0'"},
	{UPSTREAM("servers: [\"a:1\",\n  \"a:1\"]"),
	 "t:5:3: upstreams[0]: server a:1 is there already, at line 4"},
	{UPSTREAM("servers: [\"a:1\"], balance: best"),
	 "t:4:40: upstreams[0].balance: expected one of: round_robin, least_conn, random2, maglev, "
	 "got 'best'"},
	{UPSTREAM("servers: [\"a:1\"], retry: {on: [404]}"),
	 "t:4:44: upstreams[0].retry.on[0]: expected one of: closed, timeout, 429, 500, 502, 503, "
	 "504, got '404'"},
	{UPSTREAM("servers: [\"a:1\"], key: host"),
	 "t:4:3: upstreams[0]: a key is for balance: maglev"},
	{UPSTREAM("servers: [\"a:1\"], balance: maglev, key: \"header:\""),
	 "t:4:53: upstreams[0].key: expected one of: source, host, path, header:NAME, got "
	 "'header:'"},
	{UPSTREAM("servers: [\"a:1\"], retry: {tries: 0}"),
	 "t:4:46: upstreams[0].retry.tries: expected 1 to 10, got '0'"},
	{UPSTREAM("servers: [\"a:1\"], retry: {budget: 101}"),
	 "t:4:47: upstreams[0].retry.budget: expected 0 to 100, got '101'"},
	{UPSTREAM("servers: [\"a:1\"], pool: {max: 0}"),
	 "t:4:43: upstreams[0].pool.max: expected 1 to 1000000, got '0'"},
	{UPSTREAM("servers: [\"a:1\"]}\n- {name: u, servers: [\"b:1\"]"),
	 "t:5:3: upstreams[1]: name 'u' is taken at line 4"},
	{HTTP "upstream: u}\nupstreams:\n- {servers: [\"a:1\"]}\n",
	 "t:4:3: upstreams[0]: missing key 'name'"},
};

static void every_error_tells_its_place_and_what_was_expected(void **state)
{
	bool bad = false;

	for (size_t i = 0; i < SL_ARRAY_SIZE(errors); i++) {
		struct sl_config_error error = {""};
		struct sl_config *c = NULL;
		int r = sl_config_parse("t", errors[i].text, strlen(errors[i].text), &c, &error);

		if (r != -EINVAL || strcmp(error.text, errors[i].error)) {
			print_error(" gave: %d %s\n  not: %s\n", r, error.text, errors[i].error);
			bad = true;
		}
		sl_config_free(c);
	}
	assert_false(bad);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(routes_and_upstreams_are_read),
		cmocka_unit_test(every_error_tells_its_place_and_what_was_expected),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
