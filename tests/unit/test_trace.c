/* SPDX-License-Identifier: BSD-2-Clause */
/* proxy/trace.h against the rules of W3C Trace Context, and what of it goes upstream. */

#include "unit.h"

#include <stdio.h>
#include <string.h>

#include "http.h"
#include "proxy/message.h"
#include "proxy/trace.h"

#define ID	 "4bf92f3577b34da6a3ce929d0e0e4736"
#define PARENT	 "00f067aa0ba902b7"
#define GOOD	 "00-" ID "-" PARENT "-01"
#define ZEROS_32 "00000000000000000000000000000000"

static const struct {
	const char *what, *value, *text; /* NULL: counts as none */
	bool sampled;
} rows[] = {
	{"sampled", GOOD, GOOD, true},
	{"not sampled", "00-" ID "-" PARENT "-00", "00-" ID "-" PARENT "-00", false},
	{"another flag stays", "00-" ID "-" PARENT "-02", "00-" ID "-" PARENT "-02", false},
	{"flags of letters", "00-" ID "-" PARENT "-ab", "00-" ID "-" PARENT "-ab", true},
	{"an even letter is not sampled", "00-" ID "-" PARENT "-0a", "00-" ID "-" PARENT "-0a",
	 false},
	{"a later version goes on as 00, with the flag that is known", "cc-" ID "-" PARENT "-ff",
	 GOOD, true},
	{"and what follows is left out", "cc-" ID "-" PARENT "-02-more", "00-" ID "-" PARENT "-00",
	 false},
	{"but it must follow a hyphen", "cc-" ID "-" PARENT "-01.more", NULL, false},
	{"version 00 has nothing behind", GOOD "-more", NULL, false},
	{"version ff is none", "ff-" ID "-" PARENT "-01", NULL, false},
	{"capitals", "00-4BF92F3577B34DA6A3CE929D0E0E4736-" PARENT "-01", NULL, false},
	{"a letter that is no digit", "00-4bf92f3577b34da6a3ce929d0e0e473g-" PARENT "-01", NULL,
	 false},
	{"trace of zeros", "00-" ZEROS_32 "-" PARENT "-01", NULL, false},
	{"parent of zeros", "00-" ID "-0000000000000000-01", NULL, false},
	{"cut", "00-" ID "-" PARENT "-0", NULL, false},
	{"no flags", "00-" ID "-" PARENT, NULL, false},
	{"other delimiters", "00_" ID "_" PARENT "_01", NULL, false},
	{"flags are digits", "00-" ID "-" PARENT "-.1", NULL, false},
	{"version is digits", ".0-" ID "-" PARENT "-01", NULL, false},
	{"empty", "", NULL, false},
};

/* As the proxy does it, in mode `pass` or `make`. Returns the head that goes on. */
static const char *forward(const char *in, bool make, struct sl_trace *t)
{
	static char out[4096];
	struct sl_forwarding f = {.pseudonym = "me", .trace = t};
	struct sl_buf_pool pool;
	struct sl_head head;
	struct sl_request r;
	struct sl_buf *b;

	sl_buf_pool_init(&pool, sizeof(out), 1);
	b = sl_buf_get(&pool);
	parse_good(true, in, &head);
	assert_int_equal(sl_request_inspect(&head, &r), SL_HTTP_OK);
	sl_trace_read(&head, t);
	if (make && !t->there)
		sl_trace_make(1, t);
	assert_true(sl_request_write(&head, &r, &f, b));
	snprintf(out, sizeof(out), "%.*s", (int)sl_buf_len(b), sl_buf_head(b));
	sl_buf_put(&pool, b);
	sl_buf_pool_destroy(&pool);
	return out;
}

static void traceparent_is_read_by_the_rules(void **state)
{
	char in[512], want[512];

	for (size_t i = 0; i < SL_ARRAY_SIZE(rows); i++) {
		const char *text = rows[i].text;
		struct sl_trace t;

		snprintf(in, sizeof(in),
			 "GET http://a/ HTTP/1.1\r\nHost: a\r\nTraceParent: %s\r\n"
			 "Tracestate: k=v\r\n\r\n",
			 rows[i].value);
		snprintf(want, sizeof(want),
			 "GET / HTTP/1.1\r\nHost: a\r\n%s%s%s%sVia: 1.1 me\r\n\r\n",
			 text ? "Tracestate: k=v\r\n" : "", text ? "traceparent: " : "",
			 text ? text : "", text ? "\r\n" : "");
		if (strcmp(forward(in, false, &t), want) || t.there != !!text ||
		    t.sampled != rows[i].sampled)
			fail_msg("%s: %s", rows[i].what, forward(in, false, &t));
	}
}

static void the_parts_are_told(void **state)
{
	struct sl_trace t;

	forward("GET http://a/ HTTP/1.1\r\nHost: a\r\ntraceparent: " GOOD "\r\n\r\n", false, &t);
	assert_true(sl_slice_eq(sl_trace_id(&t), SL_SLICE(ID)));
	assert_true(sl_slice_eq(sl_trace_parent(&t), SL_SLICE(PARENT)));
	t = (struct sl_trace){0};
	assert_int_equal(sl_trace_id(&t).len + sl_trace_parent(&t).len, 0);
}

static void two_traceparents_are_none(void **state)
{
	struct sl_trace t;
	const char *out = forward("GET http://a/ HTTP/1.1\r\nHost: a\r\ntraceparent: " GOOD
				  "\r\ntraceparent: " GOOD "\r\ntracestate: k=v\r\n\r\n",
				  false, &t);

	assert_false(t.there);
	assert_string_equal(out, "GET / HTTP/1.1\r\nHost: a\r\nVia: 1.1 me\r\n\r\n");
}

/* Hop-by-hop options must not take it off behind our back: the log would name a trace that ended. */
static void connection_does_not_remove_it(void **state)
{
	struct sl_trace t;
	const char *out = forward("GET http://a/ HTTP/1.1\r\nHost: a\r\nConnection: traceparent\r\n"
				  "traceparent: " GOOD "\r\n\r\n",
				  false, &t);

	assert_non_null(strstr(out, "\r\ntraceparent: " GOOD "\r\n"));
}

static void who_has_none_gets_a_new_one(void **state)
{
	char seen[2][SL_TRACEPARENT_LEN + 1] = {0};

	for (int i = 0; i < 2; i++) {
		struct sl_trace t, again;
		const char *out = forward("GET http://a/ HTTP/1.1\r\nHost: a\r\ntraceparent: 1\r\n"
					  "tracestate: k=v\r\n\r\n",
					  true, &t);
		char in[512];

		assert_true(t.there && !t.came && t.sampled);
		assert_null(strstr(out, "tracestate"));
		memcpy(seen[i], strstr(out, "traceparent: ") + 13, SL_TRACEPARENT_LEN);
		snprintf(in, sizeof(in),
			 "GET http://a/ HTTP/1.1\r\nHost: a\r\ntraceparent: %s\r\n\r\n", seen[i]);
		forward(in, false, &again);
		assert_true(again.there && again.sampled);
	}
	assert_string_not_equal(seen[0], seen[1]);
}

static void made_ones_are_sampled_by_their_share(void **state)
{
	static const struct {
		double sample;
		int min, max;
	} shares[] = {{0, 0, 0}, {0.25, 350, 650}, {1, 2000, 2000}};

	for (size_t i = 0; i < SL_ARRAY_SIZE(shares); i++) {
		int n = 0;

		for (int k = 0; k < 2000; k++) {
			struct sl_trace t;

			sl_trace_make(shares[i].sample, &t);
			assert_int_equal(t.text[54], t.sampled ? '1' : '0');
			n += t.sampled;
		}
		assert_in_range(n, shares[i].min, shares[i].max);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(traceparent_is_read_by_the_rules),
		cmocka_unit_test(the_parts_are_told),
		cmocka_unit_test(two_traceparents_are_none),
		cmocka_unit_test(connection_does_not_remove_it),
		cmocka_unit_test(who_has_none_gets_a_new_one),
		cmocka_unit_test(made_ones_are_sampled_by_their_share),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
