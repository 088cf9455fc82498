/* SPDX-License-Identifier: BSD-2-Clause */
/* http/head: what is a head and what is refused, whole and in every way of arriving in pieces. */

#include "unit.h"

#include <stdio.h>
#include <string.h>

#include "http.h"

struct row {
	bool request;
	const char *verdict;
	struct sl_slice text;
};

#define FIELD_64 "x234567890123456789012345678901234567890123456789012345678901234"
#define BYTES_500                                                      \
	FIELD_64 FIELD_64 FIELD_64 FIELD_64 FIELD_64 FIELD_64 FIELD_64 \
		"0123456789012345678901234567890123456789012345678901"

static const struct row rows[] = {
	{true, "ok", TEXT("GET / HTTP/1.1\r\n\r\n")},
	{true, "ok", TEXT("\r\nGET / HTTP/1.1\r\n\r\n")},
	{true, "ok", TEXT("get /a?b=c#d HTTP/1.0\r\nHost:x\r\nEmpty:\r\nE2: \t \r\n\r\n")},
	{true, "ok", TEXT("M!#$%&'*+-.^_`|~9 * HTTP/1.1\r\nA: \xff\x80 tab\tin \r\n\r\n")},
	{true, "ok", TEXT("POST http://h/ HTTP/1.1\r\nA: 1\r\nB: 2\r\nC: 3\r\nD: 4\r\n\r\nbody")},
	{true, "bad-method", TEXT("G@T / HTTP/1.1\r\n\r\n")},
	{true, "bad-method", TEXT("GET\0 / HTTP/1.1\r\n\r\n")},
	{true, "bad-method", TEXT("\x16\x03\x01\x02")},
	{true, "bad-start-line", TEXT(" GET / HTTP/1.1\r\n\r\n")},
	{true, "bad-start-line", TEXT("GET  / HTTP/1.1\r\n\r\n")},
	{true, "bad-method", TEXT("GET\t/ HTTP/1.1\r\n\r\n")},
	{true, "bad-start-line", TEXT("GET /\r\n\r\n")},
	{true, "bad-start-line", TEXT("GET\r\n\r\n")},
	{true, "bad-start-line", TEXT("\r\n\r\nGET / HTTP/1.1\r\n\r\n")},
	{true, "bad-target", TEXT("GET /\x80 HTTP/1.1\r\n\r\n")},
	{true, "bad-target", TEXT("GET /\x01 HTTP/1.1\r\n\r\n")},
	{true, "bad-target", TEXT("GET /\t HTTP/1.1\r\n\r\n")},
	{true, "bad-start-line", TEXT("GET /  HTTP/1.1\r\n\r\n")},
	{true, "bad-start-line", TEXT("GET / http/1.1\r\n\r\n")},
	{true, "bad-start-line", TEXT("GET / HTTP/1.1 \r\n\r\n")},
	{true, "bad-start-line", TEXT("GET / HTTP/1.10\r\n\r\n")},
	{true, "bad-start-line", TEXT("GET / HTTP/1\r\n\r\n")},
	{true, "bad-start-line", TEXT("GET /a b HTTP/1.1\r\n\r\n")},
	{true, "bad-version", TEXT("GET / HTTP/1.2\r\n\r\n")},
	{true, "bad-version", TEXT("GET / HTTP/0.9\r\n\r\n")},
	{true, "bad-version", TEXT("GET / HTTP/2.0\r\n\r\n")},
	{true, "http2-preface", TEXT("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")},
	{true, "bare-lf", TEXT("GET / HTTP/1.1\n\n")},
	{true, "bare-lf", TEXT("\nGET / HTTP/1.1\r\n\r\n")},
	{true, "bare-lf", TEXT("GET / HTTP/1.1\r\nA: b\nC: d\r\n\r\n")},
	{true, "bare-lf", TEXT("GET / HTTP/1.1\r\nA: b\r\n\n")},
	{true, "bare-lf", TEXT("GET / HTTP/1.1\r\nA\n\r\n")},
	{true, "bare-cr", TEXT("GET / HTTP/1.1\rA: b\r\n\r\n")},
	{true, "bare-cr", TEXT("GET / HTTP/1.1\r\nA: b\rc\r\n\r\n")},
	{true, "bare-cr", TEXT("GET / HTTP/1.1\r\nA: b\r\r\n\r\n")},
	{true, "bare-cr", TEXT("GET / HTTP/1.1\r\n\rA: b\r\n\r\n")},
	{true, "bare-cr", TEXT("\rGET / HTTP/1.1\r\n\r\n")},
	{true, "bad-field-name", TEXT("GET / HTTP/1.1\r\nA : b\r\n\r\n")},
	{true, "bad-field-name", TEXT("GET / HTTP/1.1\r\n: b\r\n\r\n")},
	{true, "bad-field-name", TEXT("GET / HTTP/1.1\r\nno colon\r\n\r\n")},
	{true, "bad-field-name", TEXT("GET / HTTP/1.1\r\nnocolon\r\n\r\n")},
	{true, "bad-field-name", TEXT("GET / HTTP/1.1\r\nA\0: b\r\n\r\n")},
	{true, "bad-field-name", TEXT("GET / HTTP/1.1\r\nA\x80: b\r\n\r\n")},
	{true, "bad-field-value", TEXT("GET / HTTP/1.1\r\nA: b\0c\r\n\r\n")},
	{true, "bad-field-value", TEXT("GET / HTTP/1.1\r\nA: \x0b\r\n\r\n")},
	{true, "bad-field-value", TEXT("GET / HTTP/1.1\r\nA: \x7f\r\n\r\n")},
	{true, "bad-field-value",
	 TEXT("GET / HTTP/1.1\r\nTransfer-Encoding: \x0b"
	      "chunked\r\n\r\n")},
	{true, "obs-fold", TEXT("GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n")},
	{true, "obs-fold", TEXT("GET / HTTP/1.1\r\nA: b\r\n\tc\r\n\r\n")},
	{true, "obs-fold", TEXT("GET / HTTP/1.1\r\n A: b\r\n\r\n")},
	{true, "start-line-too-long", TEXT("GET /" FIELD_64 FIELD_64 " HTTP/1.1\r\n\r\n")},
	{true, "start-line-too-long", TEXT("GET /" FIELD_64 FIELD_64)},
	{true, "start-line-too-long", TEXT("\r\nGET /" FIELD_64 FIELD_64)},
	{true, "head-too-large", TEXT("GET / HTTP/1.1\r\nA: " BYTES_500 "\r\n\r\n")},
	{true, "head-too-large", TEXT("GET / HTTP/1.1\r\nA: " BYTES_500)},
	{true, "bad-field-name", TEXT("GET / HTTP/1.1\r\n@: " BYTES_500)},
	{true, "too-many-fields", TEXT("GET / HTTP/1.1\r\nA:\r\nB:\r\nC:\r\nD:\r\nE:\r\n\r\n")},
	{true, "more", TEXT("")},
	{true, "more", TEXT("\r")},
	{true, "more", TEXT("GET / HTTP/1.1\r\nA: b\r\n\r")},
	{false, "ok", TEXT("HTTP/1.1 200 OK\r\n\r\n")},
	{false, "ok", TEXT("HTTP/1.0 999 \r\nA: b\r\n\r\n")},
	{false, "ok", TEXT("HTTP/1.1 100\r\n\r\n")},
	{false, "ok", TEXT("HTTP/1.1 404 nicht \xc3\xbc\tda\r\n\r\n")},
	{false, "bad-status", TEXT("HTTP/1.1 099 x\r\n\r\n")},
	{false, "bad-status", TEXT("HTTP/1.1 20 x\r\n\r\n")},
	{false, "bad-status", TEXT("HTTP/1.1 2000 x\r\n\r\n")},
	{false, "bad-status", TEXT("HTTP/1.1 +20 x\r\n\r\n")},
	{false, "bad-status", TEXT("HTTP/1.1 20\r\n\r\n")},
	{false, "bad-status", TEXT("HTTP/1.1  200 OK\r\n\r\n")},
	{false, "bad-start-line", TEXT("HTTP/1.1\r\n\r\n")},
	{false, "bad-start-line", TEXT("ICY 200 OK\r\n\r\n")},
	{false, "bad-start-line", TEXT("\r\nHTTP/1.1 200 OK\r\n\r\n")},
	{false, "bad-start-line", TEXT("HTTP/1.1 200 a\0b\r\n\r\n")},
	{false, "bad-version", TEXT("HTTP/2.0 200 OK\r\n\r\n")},
	{false, "bare-lf", TEXT("HTTP/1.1 200 OK\n\n")},
	{false, "bare-lf", TEXT("HTTP/1.1 20\n\n")},
	{false, "bare-cr", TEXT("HTTP/1.1 200 O\rK\r\n\r\n")},
	{false, "obs-fold", TEXT("HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n")},
	{false, "more", TEXT("HTTP/1.1 200")},
};

static struct sl_head one, two;

/* Parses the first len bytes from a copy of exactly that size, as a growing buffer would be. */
static enum sl_parse feed(const struct row *r, size_t len, size_t *scanned, char **copy,
			  struct sl_head *h)
{
	*copy = realloc(*copy, len + 1);
	memcpy(*copy + 1, r->text.p, len);
	return (r->request ? sl_head_parse_request
			   : sl_head_parse_response)(*copy + 1, len, scanned, &test_limits, h);
}

static const char *whole(const struct row *r, char **copy, struct sl_head *h)
{
	size_t scanned = 0;

	return verdict(feed(r, r->text.len, &scanned, copy, h), h);
}

static void heads_are_accepted_or_refused_for_the_stated_reason(void **state)
{
	_sl_free_ char *copy = NULL;

	for (size_t i = 0; i < SL_ARRAY_SIZE(rows); i++) {
		const char *got = whole(&rows[i], &copy, &one);

		if (strcmp(got, rows[i].verdict))
			fail_msg("%s instead of %s: %s", got, rows[i].verdict, rows[i].text.p);
	}
}

static void assert_same_slice(struct sl_slice a, const char *a_base, struct sl_slice b,
			      const char *b_base)
{
	assert_int_equal(a.len, b.len);
	if (a.len)
		assert_int_equal(a.p - a_base, b.p - b_base);
}

static void assert_same_head(const struct sl_head *a, const char *a_base, const struct sl_head *b,
			     const char *b_base)
{
	assert_int_equal(a->method, b->method);
	assert_int_equal(a->status, b->status);
	assert_int_equal(a->minor, b->minor);
	assert_int_equal(a->len, b->len);
	assert_int_equal(a->n_fields, b->n_fields);
	assert_same_slice(a->method_token, a_base, b->method_token, b_base);
	assert_same_slice(a->target, a_base, b->target, b_base);
	assert_same_slice(a->reason, a_base, b->reason, b_base);
	for (unsigned i = 0; i < a->n_fields; i++) {
		assert_int_equal(a->field[i].id, b->field[i].id);
		assert_same_slice(a->field[i].name, a_base, b->field[i].name, b_base);
		assert_same_slice(a->field[i].value, a_base, b->field[i].value, b_base);
	}
}

/* Feeds up to each of the cuts in turn until there is a verdict. */
static enum sl_parse feed_pieces(const struct row *r, size_t step, size_t first, char **copy,
				 struct sl_head *h)
{
	size_t scanned = 0;
	enum sl_parse p = SL_PARSE_MORE;

	for (size_t len = first; p == SL_PARSE_MORE; len = sl_min(len + step, r->text.len)) {
		p = feed(r, len, &scanned, copy, h);
		if (p == SL_PARSE_MORE)
			assert_int_equal(scanned, len);
		if (len == r->text.len)
			break;
	}
	return p;
}

static void no_way_of_arriving_in_pieces_changes_the_outcome(void **state)
{
	_sl_free_ char *copy_whole = NULL, *copy_parts = NULL;

	for (size_t i = 0; i < SL_ARRAY_SIZE(rows); i++) {
		const struct row *r = &rows[i];
		const char *want = whole(r, &copy_whole, &one), *got;

		for (size_t cut = 0; cut <= r->text.len; cut++) {
			/* cut 0 stands for byte by byte */
			got = verdict(feed_pieces(r, cut ? r->text.len : 1, cut, &copy_parts, &two),
				      &two);
			if (strcmp(got, want))
				fail_msg("cut at %zu: %s instead of %s: %s", cut, got, want,
					 r->text.p);
			if (!strcmp(want, "ok"))
				assert_same_head(&one, copy_whole, &two, copy_parts);
		}
	}
}

static void a_head_is_cut_into_slices_of_the_buffer(void **state)
{
	const char *text = "\r\nPATCH http://h:1/p?q HTTP/1.1\r\nhost:  a b \t\r\nX:\r\n\r\n";

	parse_good(true, text, &one);
	assert_int_equal(one.method, SL_METHOD_PATCH);
	assert_slice(one.method_token, "PATCH");
	assert_slice(one.target, "http://h:1/p?q");
	assert_int_equal(one.minor, 1);
	assert_int_equal(one.n_fields, 2);
	assert_slice(one.field[0].name, "host");
	assert_slice(one.field[0].value, "a b");
	assert_int_equal(one.field[0].id, SL_FIELD_HOST);
	assert_slice(one.field[1].value, "");
	assert_ptr_equal(sl_head_find(&one, SL_FIELD_HOST), &one.field[0]);
	assert_null(sl_head_find(&one, SL_FIELD_VIA));
	parse_good(false, "HTTP/1.0 301 Moved there\r\nVia: x\r\n\r\n", &one);
	assert_int_equal(one.status, 301);
	assert_slice(one.reason, "Moved there");
	assert_int_equal(one.minor, 0);
	assert_int_equal(one.method, SL_METHOD_OTHER);
}

static void methods_are_case_sensitive(void **state)
{
	parse_good(true, "CONNECT a:1 HTTP/1.1\r\n\r\n", &one);
	assert_int_equal(one.method, SL_METHOD_CONNECT);
	parse_good(true, "connect a:1 HTTP/1.1\r\n\r\n", &one);
	assert_int_equal(one.method, SL_METHOD_OTHER);
	parse_good(true, "GETS / HTTP/1.1\r\n\r\n", &one);
	assert_int_equal(one.method, SL_METHOD_OTHER);
}

/* Each limit at exactly its value and one above. */
static void limits_hold_to_the_byte(void **state)
{
	const char text[] = "GET /123 HTTP/1.1\r\nA: b\r\nC: d\r\n\r\n";
	const struct sl_head_limits exact = {sizeof(text) - 1, 17, 2};
	const struct {
		struct sl_head_limits limits;
		enum sl_http_error error;
	} over[] = {
		{{exact.head_bytes - 1, 17, 2}, SL_HTTP_HEAD_TOO_LARGE},
		{{exact.head_bytes, 16, 2}, SL_HTTP_START_LINE_TOO_LONG},
		{{exact.head_bytes, 17, 1}, SL_HTTP_TOO_MANY_FIELDS},
	};
	size_t scanned = 0;

	assert_int_equal(sl_head_parse_request(text, sizeof(text) - 1, &scanned, &exact, &one),
			 SL_PARSE_DONE);
	for (size_t i = 0; i < SL_ARRAY_SIZE(over); i++) {
		scanned = 0;
		assert_int_equal(sl_head_parse_request(text, sizeof(text) - 1, &scanned,
						       &over[i].limits, &one),
				 SL_PARSE_BAD);
		assert_int_equal(one.error, over[i].error);
	}
}

static void a_start_line_is_refused_when_its_line_is_whole(void **state)
{
	const char text[] = "GET /x HTTP/1.1 \r\n";
	size_t scanned = 0;

	for (size_t len = 0; len < sizeof(text) - 1; len++)
		if (sl_head_parse_request(text, len, &scanned, &test_limits, &one) == SL_PARSE_BAD)
			return;
	assert_int_equal(
		sl_head_parse_request(text, sizeof(text) - 1, &scanned, &test_limits, &one),
		SL_PARSE_BAD);
}

static void every_error_has_a_name_and_a_status_of_its_kind(void **state)
{
	for (int e = 0; e < SL_HTTP_ERROR_COUNT; e++) {
		unsigned status = sl_http_error_status(e);

		assert_non_null(sl_http_error_name(e));
		assert_true(e == SL_HTTP_OK ? status == 200 : status >= 400 && status <= 505);
		for (int other = 0; other < e; other++)
			assert_string_not_equal(sl_http_error_name(e), sl_http_error_name(other));
	}
	assert_int_equal(sl_http_error_status(SL_HTTP_START_LINE_TOO_LONG), 414);
	assert_int_equal(sl_http_error_status(SL_HTTP_BAD_EXPECT), 417);
	assert_int_equal(sl_http_error_status(SL_HTTP_TOO_MANY_FIELDS), 431);
	assert_int_equal(sl_http_error_status(SL_HTTP_UNKNOWN_TRANSFER_ENCODING), 501);
	assert_int_equal(sl_http_error_status(SL_HTTP_BAD_VERSION), 505);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(heads_are_accepted_or_refused_for_the_stated_reason),
		cmocka_unit_test(no_way_of_arriving_in_pieces_changes_the_outcome),
		cmocka_unit_test(a_head_is_cut_into_slices_of_the_buffer),
		cmocka_unit_test(methods_are_case_sensitive),
		cmocka_unit_test(limits_hold_to_the_byte),
		cmocka_unit_test(a_start_line_is_refused_when_its_line_is_whole),
		cmocka_unit_test(every_error_has_a_name_and_a_status_of_its_kind),
	};

	return cmocka_run_group_tests_name("http-head", tests, NULL, NULL);
}
