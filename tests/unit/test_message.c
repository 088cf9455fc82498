/* SPDX-License-Identifier: BSD-2-Clause */
/* proxy/message.h: what goes on of a head and of a body. */

#include "unit.h"

#include <stdio.h>
#include <string.h>

#include "http.h"
#include "proxy/message.h"

#define CAP 4096

static struct sl_buf_pool pool;

static struct sl_buf *buffer(const char *content)
{
	struct sl_buf *b = sl_buf_get(&pool);

	assert_true(sl_buf_append_str(b, content));
	return b;
}

static void assert_content(const struct sl_buf *b, const char *want)
{
	if (sl_buf_len(b) != strlen(want) || memcmp(b->data + b->start, want, strlen(want)))
		fail_msg("\n--- got\n%.*s\n--- instead of\n%s", (int)sl_buf_len(b),
			 b->data + b->start, want);
}

struct request_row {
	const char *what, *in, *out; /* out NULL: inspect refuses */
	enum sl_forwarded forwarded;
	bool trust;
};

static const struct request_row requests[] = {
	{"absolute form becomes origin form, the target wins over Host",
	 "GET http://a.example/x?y HTTP/1.1\r\nHost: b.example\r\nA: 1\r\n\r\n",
	 "GET /x?y HTTP/1.1\r\nHost: a.example\r\nA: 1\r\nVia: 1.1 me\r\n\r\n", 0, 0},
	{"a target without path gets one",
	 "GET http://a.example:81?q HTTP/1.1\r\nHost: a.example:81\r\n\r\n",
	 "GET /?q HTTP/1.1\r\nHost: a.example:81\r\nVia: 1.1 me\r\n\r\n", 0, 0},
	{"OPTIONS without path asks for the server",
	 "OPTIONS http://a.example HTTP/1.1\r\nHost: a.example\r\n\r\n",
	 "OPTIONS * HTTP/1.1\r\nHost: a.example\r\nVia: 1.1 me\r\n\r\n", 0, 0},
	{"hop-by-hop fields end here",
	 "GET http://a/ HTTP/1.1\r\nHost: a\r\nConnection: X-Mine, close\r\nX-Mine: 1\r\n"
	 "Keep-Alive: 5\r\nProxy-Connection: keep-alive\r\nTE: gzip\r\nUpgrade: h2c\r\n"
	 "Proxy-Authorization: Basic eDp5\r\nB: 2\r\n\r\n",
	 "GET / HTTP/1.1\r\nHost: a\r\nB: 2\r\nVia: 1.1 me\r\n\r\n", 0, 0},
	{"naming Host, Via or Content-Length in Connection removes nothing",
	 "POST http://a/ HTTP/1.1\r\nHost: a\r\nConnection: host, via, content-length\r\n"
	 "Via: 1.0 x\r\nContent-Length: 3\r\n\r\n",
	 "POST / HTTP/1.1\r\nHost: a\r\nVia: 1.0 x\r\nContent-Length: 3\r\nVia: 1.1 me\r\n\r\n", 0,
	 0},
	{"repeated equal Content-Length becomes one",
	 "POST http://a/ HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n",
	 "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nVia: 1.1 me\r\n\r\n", 0, 0},
	{"HTTP/1.0 goes on as 1.1 and says so in Via", "GET http://a/ HTTP/1.0\r\n\r\n",
	 "GET / HTTP/1.1\r\nHost: a\r\nVia: 1.0 me\r\n\r\n", 0, 0},
	{"an upgrade is asked for again",
	 "GET http://a/ HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
	 "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
	 "Via: 1.1 me\r\n\r\n",
	 0, 0},
	{"an upgrade to HTTP/2 is not",
	 "GET http://a/ HTTP/1.1\r\nHost: a\r\nConnection: upgrade, http2-settings\r\n"
	 "Upgrade: h2c\r\nHTTP2-Settings: x\r\n\r\n",
	 "GET / HTTP/1.1\r\nHost: a\r\nVia: 1.1 me\r\n\r\n", 0, 0},
	{"TE: trailers survives, as an option of this hop",
	 "GET http://a/ HTTP/1.1\r\nHost: a\r\nConnection: TE\r\nTE: trailers\r\n\r\n",
	 "GET / HTTP/1.1\r\nHost: a\r\nConnection: TE\r\nTE: trailers\r\nVia: 1.1 me\r\n\r\n", 0,
	 0},
	{"chunked stays chunked, Expect is forwarded",
	 "PUT http://a/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n"
	 "Expect: 100-Continue\r\n\r\n",
	 "PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nTransfer-Encoding: chunked\r\n"
	 "Via: 1.1 me\r\n\r\n",
	 0, 0},
	{"Max-Forwards counts down for OPTIONS",
	 "OPTIONS http://a/x HTTP/1.1\r\nHost: a\r\nMax-Forwards: 3\r\n\r\n",
	 "OPTIONS /x HTTP/1.1\r\nHost: a\r\nMax-Forwards: 2\r\nVia: 1.1 me\r\n\r\n", 0, 0},
	{"and means nothing for GET",
	 "GET http://a/x HTTP/1.1\r\nHost: a\r\nMax-Forwards: 3\r\n\r\n",
	 "GET /x HTTP/1.1\r\nHost: a\r\nMax-Forwards: 3\r\nVia: 1.1 me\r\n\r\n", 0, 0},
	{"what a client says of forwarding is replaced",
	 "GET http://a/ HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 6.6.6.6\r\nForwarded: "
	 "for=6\r\nX-Forwarded-Proto: https\r\n\r\n",
	 "GET / HTTP/1.1\r\nHost: a\r\nForwarded: for=10.0.0.9;proto=http\r\n"
	 "X-Forwarded-For: 10.0.0.9\r\nX-Forwarded-Proto: http\r\nVia: 1.1 me\r\n\r\n",
	 SL_FORWARDED_BOTH, false},
	{"unless it is trusted",
	 "GET http://a/ HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n",
	 "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 10.0.0.9\r\n"
	 "X-Forwarded-Proto: http\r\nVia: 1.1 me\r\n\r\n",
	 SL_FORWARDED_XFF, true},
	{"a trusted client's scheme stands alone",
	 "GET http://a/ HTTP/1.1\r\nHost: a\r\nX-Forwarded-Proto: https\r\n\r\n",
	 "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Proto: https\r\nX-Forwarded-For: 10.0.0.9\r\n"
	 "Via: 1.1 me\r\n\r\n",
	 SL_FORWARDED_XFF, true},
	{"Forwarded has the scheme in it; what else the client says of it is not passed on",
	 "GET http://a/ HTTP/1.1\r\nHost: a\r\nX-Forwarded-Proto: https\r\n\r\n",
	 "GET / HTTP/1.1\r\nHost: a\r\nForwarded: for=10.0.0.9;proto=http\r\nVia: 1.1 me\r\n\r\n",
	 SL_FORWARDED_RFC7239, false},
	{"CONNECT with content is refused",
	 "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\nContent-Length: 5\r\n\r\n", NULL, 0, 0},
	{"CONNECT with a coding is refused",
	 "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\nTransfer-Encoding: chunked\r\n\r\n", NULL, 0, 0},
	{"two lengths are refused",
	 "POST http://a/ HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n",
	 NULL, 0, 0},
	{"a length and a coding are refused",
	 "POST http://a/ HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked"
	 "\r\n\r\n",
	 NULL, 0, 0},
};

static void run_request(const struct request_row *row, struct sl_head *h)
{
	struct sl_forwarding f = {
		.pseudonym = "me", .forwarded = row->forwarded, .forwarded_trust = row->trust};
	struct sl_buf *out = buffer("");
	struct sl_request r;

	parse_good(true, row->in, h);
	sl_addr_parse_host(SL_SLICE("10.0.0.9"), 1, &f.client);
	if (!row->out) {
		if (sl_request_inspect(h, &r) == SL_HTTP_OK)
			fail_msg("accepted: %s", row->what);
	} else {
		assert_int_equal(sl_request_inspect(h, &r), SL_HTTP_OK);
		assert_true(sl_request_write(h, &r, &f, out));
		assert_content(out, row->out);
	}
	sl_buf_put(&pool, out);
}

static void requests_go_on_as_the_table_says(void **state)
{
	struct sl_head *h = malloc(sizeof(*h));

	for (size_t i = 0; i < SL_ARRAY_SIZE(requests); i++)
		run_request(&requests[i], h);
	free(h);
}

static void a_head_that_does_not_fit_is_not_written_in_part(void **state)
{
	struct sl_head *h = malloc(sizeof(*h));
	struct sl_forwarding f = {.pseudonym = "me"};
	struct sl_buf *out = buffer("");
	struct sl_request r;

	parse_good(true, "GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", h);
	assert_int_equal(sl_request_inspect(h, &r), SL_HTTP_OK);
	for (uint32_t cap = 0; cap < strlen("GET / HTTP/1.1\r\nHost: a\r\nVia: 1.1 me\r\n\r\n");
	     cap++) {
		out->start = out->end = 0;
		out->cap = cap;
		assert_false(sl_request_write(h, &r, &f, out));
	}
	out->cap = CAP;
	sl_buf_put(&pool, out);
	free(h);
}

static void our_own_name_in_via_is_a_loop(void **state)
{
	static const struct {
		const char *fields;
		bool loops;
	} rows[] = {
		{"Via: 1.1 me\r\n", true},
		{"Via: 1.1 x, 1.0 ME (sluice)\r\n", true},
		{"Via: 1.1 x\r\nVia: HTTP/1.1  me\r\n", true},
		{"Via: 1.1 me2, 1.1 notme\r\n", false},
		{"Via: 1.1 x (me)\r\n", false},
		{"Via: me\r\n", false},
	};
	struct sl_head *h = malloc(sizeof(*h));

	for (size_t i = 0; i < SL_ARRAY_SIZE(rows); i++) {
		parse_fields(true, 1, rows[i].fields, h);
		assert_int_equal(sl_request_loops(h, "me"), rows[i].loops);
	}
	free(h);
}

static const struct {
	const char *what, *in, *out;
	enum sl_method method;
	bool chunked, close;
} responses[] = {
	{"length", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: keep-alive\r\n\r\n",
	 "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nVia: 1.1 me\r\n\r\n", SL_METHOD_GET, false,
	 false},
	{"close", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n",
	 "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\nVia: 1.1 me\r\n\r\n",
	 SL_METHOD_GET, false, true},
	{"until close, sent chunked", "HTTP/1.0 200 OK\r\n\r\n",
	 "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nVia: 1.0 me\r\n\r\n", SL_METHOD_GET,
	 true, false},
	{"a length that describes", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
	 "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nVia: 1.1 me\r\n\r\n", SL_METHOD_HEAD, false,
	 false},
	{"204 has no length", "HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\n",
	 "HTTP/1.1 204 No\r\nVia: 1.1 me\r\n\r\n", SL_METHOD_GET, false, false},
	{"a reason may be missing", "HTTP/1.1 304 \r\n\r\n", "HTTP/1.1 304 \r\nVia: 1.1 me\r\n\r\n",
	 SL_METHOD_GET, false, false},
	{"named fields end here", "HTTP/1.1 204 No\r\nConnection: a\r\nA: 1\r\nB: 2\r\n\r\n",
	 "HTTP/1.1 204 No\r\nB: 2\r\nVia: 1.1 me\r\n\r\n", SL_METHOD_GET, false, false},
	{"101 keeps its upgrade",
	 "HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
	 "HTTP/1.1 101 Go\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nVia: 1.1 me\r\n\r\n",
	 SL_METHOD_GET, false, false},
};

static void responses_go_on_as_the_table_says(void **state)
{
	struct sl_head *h = malloc(sizeof(*h));

	for (size_t i = 0; i < SL_ARRAY_SIZE(responses); i++) {
		const struct sl_response_plan plan = {responses[i].chunked, responses[i].close};
		struct sl_buf *out = buffer("");
		struct sl_response r;

		parse_good(false, responses[i].in, h);
		assert_int_equal(sl_response_inspect(h, responses[i].method, &r), SL_HTTP_OK);
		assert_true(sl_response_write(h, &r, &plan, "me", out));
		assert_content(out, responses[i].out);
		sl_buf_put(&pool, out);
	}
	free(h);
}

static const struct {
	const char *what, *in, *out;
	struct sl_framing framing;
	bool chunked, good;
} bodies[] = {
	{"length", "abcREST", "abc", {SL_FRAMING_LENGTH, 3}, false, true},
	{"chunked again, extensions gone",
	 "3;x=y\r\nabc\r\n0;z\r\n\r\n",
	 "3\r\nabc\r\n0\r\n\r\n",
	 {SL_FRAMING_CHUNKED, 0},
	 true,
	 true},
	{"trailers: forbidden ones go",
	 "1\r\na\r\n0\r\nA: 1\r\nContent-Length: 9\r\n\r\n",
	 "1\r\na\r\n0\r\nA: 1\r\n\r\n",
	 {SL_FRAMING_CHUNKED, 0},
	 true,
	 true},
	{"chunked for HTTP/1.0",
	 "3\r\nabc\r\n0\r\nA: 1\r\n\r\n",
	 "abc",
	 {SL_FRAMING_CHUNKED, 0},
	 false,
	 true},
	{"a bad size", "3\r\nabc\r\nx\r\n", "3\r\nabc\r\n", {SL_FRAMING_CHUNKED, 0}, true, false},
	{"a bad trailer", "0\r\nA : 1\r\n\r\n", "", {SL_FRAMING_CHUNKED, 0}, true, false},
};

/* Feeds n bytes at a time; collects what comes out. */
static bool move_all(struct sl_mover *m, const char *text, size_t n, struct sl_buf *collected)
{
	struct sl_buf *in = buffer(""), *out = buffer("");
	bool good = true;

	for (size_t at = 0; good && !m->complete && at < strlen(text);) {
		size_t len = sl_min(n, strlen(text) - at);

		sl_buf_compact(in);
		assert_true(sl_buf_append(in, text + at, len));
		at += len;
		good = sl_mover_move(m, in, out);
		assert_true(sl_buf_append(collected, sl_buf_head(out), sl_buf_len(out)));
		out->start = out->end = 0;
	}
	sl_buf_put(&pool, in);
	sl_buf_put(&pool, out);
	return good;
}

/* Content of a chunked encoding whose boundaries depend on the splits. */
static void assert_same_content(const struct sl_buf *got, const char *want, bool chunked, size_t n)
{
	if (!chunked || n > 100)
		assert_content(got, want);
}

static void bodies_are_moved_from_framing_to_framing(void **state)
{
	for (size_t i = 0; i < SL_ARRAY_SIZE(bodies); i++) {
		for (size_t n = 1; n < 200; n += n < 12 ? 1 : 94) {
			struct sl_buf *out = buffer("");
			struct sl_mover m;
			bool good;

			sl_mover_init(&m, &bodies[i].framing, bodies[i].chunked);
			good = move_all(&m, bodies[i].in, n, out);
			assert_int_equal(good, bodies[i].good);
			assert_int_equal(m.complete, bodies[i].good);
			assert_same_content(out, bodies[i].out, bodies[i].chunked, n);
			sl_buf_put(&pool, out);
		}
	}
}

static void a_body_until_close_is_complete_only_at_the_end(void **state)
{
	const struct sl_framing close = {SL_FRAMING_CLOSE, 0}, length = {SL_FRAMING_LENGTH, 5};
	struct sl_buf *out = buffer("");
	struct sl_mover m;

	sl_mover_init(&m, &close, true);
	assert_true(move_all(&m, "abc", 100, out));
	assert_false(m.complete);
	assert_true(sl_mover_end(&m, out));
	assert_content(out, "3\r\nabc\r\n0\r\n\r\n");

	out->start = out->end = 0;
	sl_mover_init(&m, &length, false);
	assert_true(move_all(&m, "abc", 100, out));
	assert_false(sl_mover_end(&m, out));
	sl_buf_put(&pool, out);
}

static void a_whole_buffer_is_passed_on_only_if_all_of_it_is_body(void **state)
{
	const struct sl_framing length = {SL_FRAMING_LENGTH, 5};
	struct sl_buf *in = buffer("abc"), *more = buffer("deX"), *out = buffer("");
	struct sl_mover m;

	sl_mover_init(&m, &length, false);
	assert_true(sl_mover_passes(&m, in));
	assert_false(sl_mover_passes(&m, more));
	assert_true(sl_mover_move(&m, more, out));
	assert_true(m.complete);
	assert_content(out, "de");
	assert_content(more, "X");
	sl_buf_put(&pool, in);
	sl_buf_put(&pool, more);
	sl_buf_put(&pool, out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(requests_go_on_as_the_table_says),
		cmocka_unit_test(a_head_that_does_not_fit_is_not_written_in_part),
		cmocka_unit_test(our_own_name_in_via_is_a_loop),
		cmocka_unit_test(responses_go_on_as_the_table_says),
		cmocka_unit_test(bodies_are_moved_from_framing_to_framing),
		cmocka_unit_test(a_body_until_close_is_complete_only_at_the_end),
		cmocka_unit_test(a_whole_buffer_is_passed_on_only_if_all_of_it_is_body),
	};
	int failed;

	sl_buf_pool_init(&pool, CAP, 16);
	failed = cmocka_run_group_tests_name("message", tests, NULL, NULL);
	sl_buf_pool_destroy(&pool);
	return failed;
}
