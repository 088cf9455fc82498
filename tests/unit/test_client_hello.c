/* SPDX-License-Identifier: BSD-2-Clause */
/* proxy/client_hello: names out of ClientHellos, however they are cut, and what is refused. */

#include "unit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/client_hello.h"

#define HELLO_MAX 40000

/* A handshake message that is being written. */
struct text {
	uint8_t p[HELLO_MAX];
	size_t len;
};

static void add(struct text *t, const void *bytes, size_t len)
{
	assert_true(t->len + len <= HELLO_MAX);
	memcpy(t->p + t->len, bytes, len);
	t->len += len;
}

static void add_number(struct text *t, size_t n, unsigned bytes)
{
	while (bytes--)
		add(t, &(uint8_t){(uint8_t)(n >> 8 * bytes)}, 1);
}

/* Everything up to and with the extensions; 0 extensions: the field is left out. */
static void write_message(struct text *t, const struct text *extensions)
{
	static const uint8_t start[2 + 32] = {3, 3};
	static const uint8_t middle[] = {0, 0, 2, 0x13, 1, 1, 0};
	size_t rest = extensions->len ? 2 + extensions->len : 0;

	t->len = 0;
	add_number(t, 1, 1);
	add_number(t, sizeof(start) + sizeof(middle) + rest, 3);
	add(t, start, sizeof(start));
	add(t, middle, sizeof(middle));
	if (!extensions->len)
		return;
	add_number(t, extensions->len, 2);
	add(t, extensions->p, extensions->len);
}

static void write_records(struct text *t, const struct text *message, size_t piece)
{
	t->len = 0;
	for (size_t at = 0; at < message->len; at += piece) {
		size_t n = sl_min(piece, message->len - at);

		add(t, "\x16\x03\x01", 3);
		add_number(t, n, 2);
		add(t, message->p + at, n);
	}
}

static void add_extension(struct text *t, unsigned type, const void *bytes, size_t len)
{
	add_number(t, type, 2);
	add_number(t, len, 2);
	add(t, bytes, len);
}

static void add_name(struct text *t, const char *name, size_t len)
{
	add_number(t, 0, 2);
	add_number(t, len + 5, 2);
	add_number(t, len + 3, 2);
	add_number(t, 0, 1);
	add_number(t, len, 2);
	add(t, name, len);
}

static enum sl_hello_result read_text(const struct text *t, struct sl_hello *ret)
{
	char *copy = malloc(t->len + !t->len);
	enum sl_hello_result r;

	memcpy(copy, t->p, t->len);
	r = sl_hello_read(sl_slice(copy, t->len), ret);
	free(copy);
	return r;
}

static enum sl_hello_result read_name_of(const char *name, size_t len, struct sl_hello *ret)
{
	static struct text extensions, message, records;

	extensions.len = 0;
	add_extension(&extensions, 0x1a1a, "", 0);
	add_name(&extensions, name, len);
	add_extension(&extensions, 0xfe0d, "encrypted client hello", 22);
	write_message(&message, &extensions);
	write_records(&records, &message, 16384);
	return read_text(&records, ret);
}

static void names_are_read_or_refused(void **state)
{
	static const struct {
		const char *name, *want; /* NULL: malformed */
	} rows[] = {
		{"example.com", "example.com"},
		{"WWW.Example.COM", "www.example.com"},
		{"example.com.", "example.com"},
		{"xn--bcher-kva.example", "xn--bcher-kva.example"},
		{"a_b-c.d", "a_b-c.d"},
		{"localhost", "localhost"},
		{"1e100.net", "1e100.net"},
		{"", NULL},
		{".", NULL},
		{".a", NULL},
		{"a..b", NULL},
		{"a..", NULL},
		{"10.0.0.1", NULL},
		{"123", NULL},
		{"::1", NULL},
		{"[::1]", NULL},
		{"a b", NULL},
		{"a/b", NULL},
		{"*.a", NULL},
		{"a:443", NULL},
		{"a\n", NULL},
		{"b\xc3\xbc.de", NULL},
	};

	for (size_t i = 0; i < SL_ARRAY_SIZE(rows); i++) {
		const char *name = rows[i].name, *want = rows[i].want;
		struct sl_hello h = {0};
		enum sl_hello_result r = read_name_of(name, strlen(name), &h);

		if (r != (want ? SL_HELLO_NAME : SL_HELLO_MALFORMED))
			fail_msg("'%s': %s", name, sl_hello_result_name(r));
		if (want && (h.name_len != strlen(want) || memcmp(h.name, want, h.name_len)))
			fail_msg("'%s': got %.*s", name, h.name_len, h.name);
	}
}

static void a_nul_does_not_end_a_name(void **state)
{
	struct sl_hello h;

	assert_int_equal(read_name_of("good.example\0.evil.example", 25, &h), SL_HELLO_MALFORMED);
}

static void the_longest_name_has_255_bytes(void **state)
{
	char name[256];
	struct sl_hello h;

	memset(name, 'a', sizeof(name));
	assert_int_equal(read_name_of(name, 255, &h), SL_HELLO_NAME);
	assert_int_equal(h.name_len, 255);
	assert_int_equal(read_name_of(name, 256, &h), SL_HELLO_MALFORMED);
}

/* Whatever the records, and whatever has arrived of them. */
static void cuts_make_no_difference(void **state)
{
	static const size_t pieces[] = {1, 2, 3, 5, 64, 16384};
	static struct text extensions, message, records, part;
	struct sl_hello h;

	extensions.len = 0;
	add_name(&extensions, "cut.example", 11);
	write_message(&message, &extensions);
	for (size_t i = 0; i < SL_ARRAY_SIZE(pieces); i++) {
		write_records(&records, &message, pieces[i]);
		for (part.len = 0; part.len < records.len; part.len++) {
			memcpy(part.p, records.p, part.len);
			assert_int_equal(read_text(&part, &h), SL_HELLO_MORE);
		}
		assert_int_equal(read_text(&records, &h), SL_HELLO_NAME);
		add(&records, "early data", 10);
		assert_int_equal(read_text(&records, &h), SL_HELLO_NAME);
		assert_memory_equal(h.name, "cut.example", 11);
	}
}

static void a_hello_without_name_says_so(void **state)
{
	static struct text extensions, message, records;
	struct sl_hello h;

	extensions.len = 0;
	write_message(&message, &extensions);
	write_records(&records, &message, 16384);
	assert_int_equal(read_text(&records, &h), SL_HELLO_NO_NAME);
	add_extension(&extensions, 43, "\2\3\4", 3);
	write_message(&message, &extensions);
	write_records(&records, &message, 16384);
	assert_int_equal(read_text(&records, &h), SL_HELLO_NO_NAME);
}

static void a_second_name_is_refused(void **state)
{
	static struct text extensions, message, records;
	struct sl_hello h;

	extensions.len = 0;
	add_name(&extensions, "a.example", 9);
	add_name(&extensions, "b.example", 9);
	write_message(&message, &extensions);
	write_records(&records, &message, 16384);
	assert_int_equal(read_text(&records, &h), SL_HELLO_MALFORMED);

	extensions.len = 0; /* two in one extension */
	add_extension(&extensions, 0, "\0\x08\0\0\1a\0\0\1b", 10);
	write_message(&message, &extensions);
	write_records(&records, &message, 16384);
	assert_int_equal(read_text(&records, &h), SL_HELLO_MALFORMED);
}

static void what_is_not_tls_is_told_at_once(void **state)
{
	static const char *const starts[] = {
		"G",	    "GET / HTTP/1.1\r\n", "SSH-2.0-x", "\x80\x2e\x01", "\x15\x03\x01",
		"\x16\x02", "\x17\x03\x03"};
	struct sl_hello h;

	for (size_t i = 0; i < SL_ARRAY_SIZE(starts); i++)
		assert_int_equal(sl_hello_read(sl_slice_str(starts[i]), &h), SL_HELLO_NOT_TLS);
	assert_int_equal(sl_hello_read(sl_slice(NULL, 0), &h), SL_HELLO_MORE);
	assert_int_equal(sl_hello_read(SL_SLICE("\x16"), &h), SL_HELLO_MORE);
}

/* Each length is made wrong by one. */
static void lengths_must_add_up(void **state)
{
	static const size_t length_bytes[] = {
		5 + 3,			    /* message */
		5 + 4 + 34,		    /* session id */
		5 + 4 + 34 + 2,		    /* cipher suites */
		5 + 4 + 34 + 5,		    /* compression methods */
		5 + 4 + 34 + 8,		    /* extensions */
		5 + 4 + 34 + 9 + 3,	    /* server_name */
		5 + 4 + 34 + 9 + 4 + 1,	    /* its list */
		5 + 4 + 34 + 9 + 4 + 2 + 2, /* its name */
	};
	static struct text extensions, message, records;
	struct sl_hello h;

	extensions.len = 0;
	add_name(&extensions, "len.example", 11);
	write_message(&message, &extensions);
	for (size_t i = 0; i < SL_ARRAY_SIZE(length_bytes); i++) {
		for (int by = -1; by <= 1; by += 2) {
			enum sl_hello_result r;

			write_records(&records, &message, 16384);
			records.p[length_bytes[i]] = (uint8_t)(records.p[length_bytes[i]] + by);
			r = read_text(&records, &h);
			if (r != SL_HELLO_MALFORMED && r != SL_HELLO_MORE)
				fail_msg("length %zu%+d: %s", i, by, sl_hello_result_name(r));
		}
	}
}

static void records_that_are_none_are_refused(void **state)
{
	struct sl_hello h;

	assert_int_equal(sl_hello_read(SL_SLICE("\x16\x03\x01\0\0"), &h), SL_HELLO_MALFORMED);
	assert_int_equal(sl_hello_read(SL_SLICE("\x16\x03\x01\x40\x01"), &h), SL_HELLO_MALFORMED);
	assert_int_equal(sl_hello_read(SL_SLICE("\x16\x03\x01\0\1\2"), &h), SL_HELLO_MALFORMED);
	/* An alert between two pieces of the message. */
	assert_int_equal(sl_hello_read(SL_SLICE("\x16\x03\x01\0\1\1\x15\x03\x01\0\2"), &h),
			 SL_HELLO_MALFORMED);
}

static void an_endless_hello_is_refused(void **state)
{
	static struct text extensions, message, records;
	static uint8_t padding[20000];
	struct sl_hello h;

	extensions.len = 0;
	add_extension(&extensions, 21, padding, sizeof(padding));
	write_message(&message, &extensions);
	write_records(&records, &message, 16384);
	records.len = 9;
	assert_int_equal(read_text(&records, &h), SL_HELLO_TOO_LARGE);

	extensions.len = 0; /* small enough, but in records of one byte */
	add_extension(&extensions, 21, padding, 5000);
	write_message(&message, &extensions);
	write_records(&records, &message, 1);
	records.len = SL_HELLO_BYTES_MAX - 1;
	assert_int_equal(read_text(&records, &h), SL_HELLO_MORE);
	records.len = SL_HELLO_BYTES_MAX;
	assert_int_equal(read_text(&records, &h), SL_HELLO_TOO_LARGE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_are_read_or_refused),
		cmocka_unit_test(a_nul_does_not_end_a_name),
		cmocka_unit_test(the_longest_name_has_255_bytes),
		cmocka_unit_test(cuts_make_no_difference),
		cmocka_unit_test(a_hello_without_name_says_so),
		cmocka_unit_test(a_second_name_is_refused),
		cmocka_unit_test(what_is_not_tls_is_told_at_once),
		cmocka_unit_test(lengths_must_add_up),
		cmocka_unit_test(records_that_are_none_are_refused),
		cmocka_unit_test(an_endless_hello_is_refused),
	};

	return cmocka_run_group_tests_name("client-hello", tests, NULL, NULL);
}
