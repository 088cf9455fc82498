/* SPDX-License-Identifier: BSD-2-Clause */
/* http/body: content of bodies in any framing, whole and in every way of arriving in pieces. */

#include "unit.h"

#include <stdio.h>
#include <string.h>

#include "http.h"
#include "http/body.h"

static struct sl_head head;

struct result {
	char content[8192];
	size_t n;
	struct sl_slice trailer;
	size_t used;
	const char *verdict; /* "end", "more" or the error */
};

/* Feeds data[0..len), at most `first` bytes of it at the beginning and then `step` more each time,
 * from copies of exactly the size. Unconsumed bytes are offered again. */
static void decode(enum sl_framing_kind kind, uint64_t length, struct sl_slice text, size_t first,
		   size_t step, struct result *r)
{
	const struct sl_framing f = {kind, length};
	size_t avail = first, used;
	struct sl_slice s;
	struct sl_body b;

	sl_body_init(&b, &f);
	*r = (struct result){.verdict = "more"};
	for (;;) {
		size_t len = avail - r->used;
		_sl_free_ char *copy = malloc(len + 1);
		enum sl_body_event e;

		memcpy(copy + 1, text.p + r->used, len);
		e = sl_body_decode(&b, copy + 1, len, &used, &s);
		assert_true(used <= len);
		r->used += used;
		if (e == SL_BODY_DATA || e == SL_BODY_TRAILER) {
			assert_true(s.p >= copy + 1 && s.p + s.len <= copy + 1 + used);
			if (e == SL_BODY_TRAILER)
				r->trailer = sl_slice(text.p + r->used - s.len, s.len);
			else
				memcpy(r->content + r->n, s.p, s.len);
			r->n += e == SL_BODY_DATA ? s.len : 0;
			assert_true(s.len > 0);
		} else if (e == SL_BODY_MORE) {
			if (avail == text.len)
				break;
			avail = sl_min(avail + step, text.len);
		} else {
			r->verdict = e == SL_BODY_END ? "end" : sl_http_error_name(b.error);
			assert_int_equal(used, e == SL_BODY_END ? 0 : used);
			break;
		}
	}
	assert_int_equal(r->n, b.content_bytes);
	assert_int_equal(sl_body_ended(&b), !strcmp(r->verdict, "end"));
}

#define END "0\r\n\r\n"

static const struct {
	const char *verdict, *content;
	struct sl_slice text;
} rows[] = {
	{"end", "", TEXT(END)},
	{"end", "", TEXT(END "next")},
	{"end", "hello", TEXT("5\r\nhello\r\n" END)},
	{"end", "hello world", TEXT("5\r\nhello\r\n6\r\n world\r\n00\r\n\r\n")},
	{"end", "0123456789abcdef", TEXT("0000010\r\n0123456789abcdef\r\n" END)},
	{"end", "0123456789", TEXT("A\r\n0123456789\r\n" END)},
	{"end", "0123456789", TEXT("a\r\n0123456789\r\n000000000000000\r\n\r\n")},
	{"end", "\r\n0\r\n", TEXT("5\r\n\r\n0\r\n\r\n" END)},
	{"end", "x", TEXT("1;a\r\nx\r\n" END)},
	{"end", "x", TEXT("1;a;b;c=d\r\nx\r\n" END)},
	{"end", "x", TEXT("1 ; \ta = \tb ;c\r\nx\r\n" END)},
	{"end", "x", TEXT("1;a=\"q\\\"\\\\;\x80 =\t\"\r\nx\r\n0;end=\"\"\r\n\r\n")},
	{"end", "x", TEXT("1;a=\"b\" ; c\r\nx\r\n" END)},
	{"end", "", TEXT("0\r\nA: b\r\nC:\r\n\r\nnext")},
	{"more", "", TEXT("")},
	{"more", "", TEXT("0\r\n")},
	{"more", "", TEXT("0\r\n\r")},
	{"more", "", TEXT("0\r\nA: b\r\n")},
	{"more", "he", TEXT("5\r\nhe")},
	{"more", "hello", TEXT("5\r\nhello\r")},
	{"bad-chunk-size", "", TEXT("\r\n")},
	{"bad-chunk-size", "", TEXT(";a\r\n")},
	{"bad-chunk-size", "", TEXT("g\r\n")},
	{"bad-chunk-size", "", TEXT(" 5\r\nhello\r\n")},
	{"bad-chunk-size", "", TEXT("-5\r\nhello\r\n")},
	{"bad-chunk-size", "", TEXT("+5\r\nhello\r\n")},
	{"bad-chunk-size", "", TEXT("0x5\r\nhello\r\n")},
	{"bad-chunk-size", "", TEXT("5_0\r\nhello\r\n")},
	{"bad-chunk-size", "", TEXT("5\0\r\nhello\r\n")},
	{"bad-chunk-size", "", TEXT("ffffffffffffffff\r\n")},
	{"bad-chunk-size", "", TEXT("10000000000000005\r\nhello\r\n")},
	{"bad-chunk-size", "", TEXT("0000000000000005\r\nhello\r\n")},
	{"bad-chunk-size", "hello", TEXT("5\r\nhello\r\n\r\n")},
	{"bare-lf", "", TEXT("5\nhello\r\n")},
	{"bare-lf", "", TEXT("5;a\nhello\r\n")},
	{"bare-lf", "", TEXT("5;a=\"\n\"\r\nhello\r\n")},
	{"bare-cr", "", TEXT("5\rhello\r\n")},
	{"bare-cr", "", TEXT("5\r\rhello\r\n")},
	{"bad-chunk-extension", "", TEXT("5 \r\nhello\r\n")},
	{"bad-chunk-extension", "", TEXT("5 5\r\nhello\r\n")},
	{"bad-chunk-extension", "", TEXT("5;\r\nhello\r\n")},
	{"bad-chunk-extension", "", TEXT("5;a;\r\nhello\r\n")},
	{"bad-chunk-extension", "", TEXT("5;a \r\nhello\r\n")},
	{"bad-chunk-extension", "", TEXT("5;a=\r\nhello\r\n")},
	{"bad-chunk-extension", "", TEXT("5;a=b \r\nhello\r\n")},
	{"bad-chunk-extension", "", TEXT("5;a b\r\nhello\r\n")},
	{"bad-chunk-extension", "", TEXT("5;a=b=c\r\nhello\r\n")},
	{"bad-chunk-extension", "", TEXT("5;a=\"b\"c\r\nhello\r\n")},
	{"bad-chunk-extension", "", TEXT("5;a=\"\x01\"\r\nhello\r\n")},
	{"bad-chunk-extension", "", TEXT("5;a=\"\\\x01\"\r\nhello\r\n")},
	{"bad-chunk-extension", "", TEXT("5;a=\"\r\n\"\r\nhello\r\n")},
	{"bad-chunk-extension", "", TEXT("5;a\0\r\nhello\r\n")},
	{"bad-chunk-data", "hello", TEXT("5\r\nhello0\r\n\r\n")},
	{"bad-chunk-data", "hello", TEXT("5\r\nhello\n0\r\n\r\n")},
	{"bad-chunk-data", "hello", TEXT("5\r\nhello\r0\r\n\r\n")},
	{"bad-trailer", "", TEXT("0\r\n\n")},
	{"bad-trailer", "", TEXT("0\r\nA: b\n\r\n")},
	{"bad-trailer", "", TEXT("0\r\nA : b\r\n\r\n")},
	{"bad-trailer", "", TEXT("0\r\n A: b\r\n\r\n")},
	{"bad-trailer", "", TEXT("0\r\nA: b\0\r\n\r\n")},
	{"bad-trailer", "", TEXT("0\r\nGET / HTTP/1.1\r\n\r\n")},
};

static void chunked_bodies_are_decoded_or_refused(void **state)
{
	static struct result r;

	for (size_t i = 0; i < SL_ARRAY_SIZE(rows); i++) {
		decode(SL_FRAMING_CHUNKED, 0, rows[i].text, rows[i].text.len, 1, &r);
		if (strcmp(r.verdict, rows[i].verdict))
			fail_msg("%s instead of %s: %s", r.verdict, rows[i].verdict,
				 rows[i].text.p);
		assert_slice(sl_slice(r.content, r.n), rows[i].content);
	}
}

static void no_way_of_cutting_a_chunked_body_changes_its_content(void **state)
{
	static struct result r, whole;

	for (size_t i = 0; i < SL_ARRAY_SIZE(rows); i++) {
		struct sl_slice text = rows[i].text;

		decode(SL_FRAMING_CHUNKED, 0, text, text.len, 1, &whole);
		for (size_t cut = 0; cut <= text.len; cut++) {
			/* cut 0 stands for byte by byte */
			decode(SL_FRAMING_CHUNKED, 0, text, cut, cut ? text.len : 1, &r);
			assert_string_equal(r.verdict, whole.verdict);
			assert_int_equal(r.n, whole.n);
			assert_memory_equal(r.content, whole.content, r.n);
			if (!strcmp(r.verdict, "end")) {
				assert_int_equal(r.used, whole.used);
				assert_true(sl_slice_eq(r.trailer, whole.trailer));
			}
		}
	}
}

static void bytes_behind_a_body_are_left_alone(void **state)
{
	static struct result r;

	decode(SL_FRAMING_CHUNKED, 0, SL_SLICE(END "next"), sizeof(END "next") - 1, 1, &r);
	assert_int_equal(r.used, sizeof(END) - 1);
	assert_slice(r.trailer, "\r\n");
	decode(SL_FRAMING_LENGTH, 3, SL_SLICE("abcnext"), 7, 1, &r);
	assert_string_equal(r.verdict, "end");
	assert_slice(sl_slice(r.content, r.n), "abc");
	assert_int_equal(r.used, 3);
	decode(SL_FRAMING_LENGTH, 0, SL_SLICE("next"), 4, 1, &r);
	assert_string_equal(r.verdict, "end");
	assert_int_equal(r.used, 0);
	decode(SL_FRAMING_NONE, 0, SL_SLICE("next"), 4, 1, &r);
	assert_string_equal(r.verdict, "end");
	assert_int_equal(r.used, 0);
}

static void other_framings_pass_bytes_through(void **state)
{
	static struct result r;

	for (size_t step = 1; step < 5; step++) {
		decode(SL_FRAMING_LENGTH, 6, SL_SLICE("abcdef"), 0, step, &r);
		assert_string_equal(r.verdict, "end");
		assert_slice(sl_slice(r.content, r.n), "abcdef");
		decode(SL_FRAMING_LENGTH, 7, SL_SLICE("abcdef"), 0, step, &r);
		assert_string_equal(r.verdict, "more");
		decode(SL_FRAMING_CLOSE, 0, SL_SLICE("abcdef"), 0, step, &r);
		assert_string_equal(r.verdict, "more");
		assert_slice(sl_slice(r.content, r.n), "abcdef");
	}
}

static void extensions_are_bounded_over_the_whole_body(void **state)
{
	static struct result r;
	static char text[3 * SL_BODY_EXTENSION_BYTES_MAX];
	size_t n = 0;

	/* 7 bytes of extension each: "a=bcd" behind ";" and the CR that ends it. */
	for (unsigned i = 0; i < SL_BODY_EXTENSION_BYTES_MAX / 7; i++)
		n += (size_t)sprintf(text + n, "1;a=bcd\r\nx\r\n");
	decode(SL_FRAMING_CHUNKED, 0, sl_slice(text, n), n, 1, &r);
	assert_string_equal(r.verdict, "more");
	n += (size_t)sprintf(text + n, "1;a=bcd\r\nx\r\n");
	decode(SL_FRAMING_CHUNKED, 0, sl_slice(text, n), n, 1, &r);
	assert_string_equal(r.verdict, "bad-chunk-extension");
}

static void trailer_sections_are_bounded(void **state)
{
	static struct result r;
	static char text[2 * SL_BODY_TRAILER_BYTES_MAX];
	size_t n = (size_t)sprintf(text, "0\r\nA: ");

	memset(text + n, 'x', SL_BODY_TRAILER_BYTES_MAX);
	/* exactly the limit: section bytes are those behind "0\r\n" */
	memcpy(text + 3 + SL_BODY_TRAILER_BYTES_MAX - 4, "\r\n\r\n", 4);
	n = 3 + SL_BODY_TRAILER_BYTES_MAX;
	decode(SL_FRAMING_CHUNKED, 0, sl_slice(text, n), n, 1, &r);
	assert_string_equal(r.verdict, "end");
	memcpy(text + n - 4, "x\r\n\r\n", 5);
	decode(SL_FRAMING_CHUNKED, 0, sl_slice(text, n + 1), n + 1, 1, &r);
	assert_string_equal(r.verdict, "bad-trailer");
	decode(SL_FRAMING_CHUNKED, 0, sl_slice(text, n), 0, 700, &r);
	assert_string_equal(r.verdict, "bad-trailer");
}

static void a_refused_body_stays_refused(void **state)
{
	const struct sl_framing f = {SL_FRAMING_CHUNKED, 0};
	struct sl_slice s;
	struct sl_body b;
	size_t used;

	sl_body_init(&b, &f);
	assert_int_equal(sl_body_decode(&b, "x", 1, &used, &s), SL_BODY_BAD);
	assert_int_equal(sl_body_decode(&b, END, 5, &used, &s), SL_BODY_BAD);
	assert_int_equal(b.error, SL_HTTP_BAD_CHUNK_SIZE);
	assert_false(sl_body_ended(&b));
}

static void trailers_are_parsed_as_fields(void **state)
{
	static char many[5 * SL_HEAD_FIELDS_MAX + 32];
	size_t n = 0;

	assert_int_equal(sl_trailer_parse(SL_SLICE("A: b\r\nHost: c\r\n\r\n"), &head), SL_HTTP_OK);
	assert_int_equal(head.n_fields, 2);
	assert_slice(head.field[0].value, "b");
	assert_int_equal(head.field[1].id, SL_FIELD_HOST);
	assert_int_equal(head.len, 17);
	assert_int_equal(sl_trailer_parse(SL_SLICE("\r\n"), &head), SL_HTTP_OK);
	assert_int_equal(head.n_fields, 0);
	assert_int_equal(sl_trailer_parse(SL_SLICE("A: b\r\n"), &head), SL_HTTP_BAD_TRAILER);
	assert_int_equal(sl_trailer_parse(SL_SLICE("\r\nA"), &head), SL_HTTP_BAD_TRAILER);
	assert_int_equal(sl_trailer_parse(SL_SLICE("A b\r\n\r\n"), &head), SL_HTTP_BAD_TRAILER);
	for (int i = 0; i <= SL_HEAD_FIELDS_MAX; i++)
		n += (size_t)sprintf(many + n, "A:\r\n");
	n += (size_t)sprintf(many + n, "\r\n");
	assert_int_equal(sl_trailer_parse(sl_slice(many, n), &head), SL_HTTP_TOO_MANY_FIELDS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(chunked_bodies_are_decoded_or_refused),
		cmocka_unit_test(no_way_of_cutting_a_chunked_body_changes_its_content),
		cmocka_unit_test(bytes_behind_a_body_are_left_alone),
		cmocka_unit_test(other_framings_pass_bytes_through),
		cmocka_unit_test(extensions_are_bounded_over_the_whole_body),
		cmocka_unit_test(trailer_sections_are_bounded),
		cmocka_unit_test(a_refused_body_stays_refused),
		cmocka_unit_test(trailers_are_parsed_as_fields),
	};

	return cmocka_run_group_tests_name("http-body", tests, NULL, NULL);
}
