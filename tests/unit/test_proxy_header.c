/* SPDX-License-Identifier: BSD-2-Clause */
/* proxy/proxy_header: both versions read strictly, and written. */

#include "unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/proxy_header.h"

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"
#define IP4	  "\xc0\0\2\1\xc6\x33\x64\2\xdc\4\1\xbb"

static enum sl_proxy_result read_exact(struct sl_slice s, struct sl_proxy_header *ret)
{
	char *copy = malloc(s.len + !s.len);
	enum sl_proxy_result r;

	memcpy(copy, s.p, s.len);
	r = sl_proxy_header_read(sl_slice(copy, s.len), ret);
	free(copy);
	return r;
}

/* "src dst", or "-" if the connection's own addresses count. */
static const char *addresses(const struct sl_proxy_header *h, char *out, size_t size)
{
	char src[SL_ADDR_STR_MAX], dst[SL_ADDR_STR_MAX];

	if (h->src.family == AF_UNSPEC)
		return "-";
	snprintf(out, size, "%s %s", sl_addr_format(&h->src, src), sl_addr_format(&h->dst, dst));
	return out;
}

static void headers_are_read_or_refused(void **state)
{
	static const struct {
		struct sl_slice text;
		const char *want; /* NULL: malformed */
	} rows[] = {
		{SL_SLICE("PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n"),
		 "192.0.2.1:56324 198.51.100.2:443"},
		{SL_SLICE("PROXY TCP6 2001:db8::1 ::2 1 65535\r\n"), "[2001:db8::1]:1 [::2]:65535"},
		{SL_SLICE("PROXY TCP4 1.2.3.4 1.2.3.5 0 0\r\n"), "1.2.3.4:0 1.2.3.5:0"},
		{SL_SLICE("PROXY UNKNOWN\r\n"), "-"},
		{SL_SLICE("PROXY UNKNOWN whatever there is\r\n"), "-"},
		{SL_SLICE("PROXY TCP4 1.2.3.4 1.2.3.5 1 2\n"), NULL},
		{SL_SLICE("PROXY TCP4 1.2.3.4 1.2.3.5 1\r\n"), NULL},
		{SL_SLICE("PROXY TCP4 1.2.3.4 1.2.3.5 1 2 3\r\n"), NULL},
		{SL_SLICE("PROXY TCP4  1.2.3.4 1.2.3.5 1 2\r\n"), NULL},
		{SL_SLICE("PROXY TCP4 1.2.3.4 1.2.3.5 1 2 \r\n"), NULL},
		{SL_SLICE("PROXY TCP4 1.2.3.4 1.2.3.5 01 2\r\n"), NULL},
		{SL_SLICE("PROXY TCP4 1.2.3.4 1.2.3.5 1 65536\r\n"), NULL},
		{SL_SLICE("PROXY TCP4 1.2.3.4 1.2.3.5 -1 2\r\n"), NULL},
		{SL_SLICE("PROXY TCP4 ::1 ::2 1 2\r\n"), NULL},
		{SL_SLICE("PROXY TCP6 1.2.3.4 1.2.3.5 1 2\r\n"), NULL},
		{SL_SLICE("PROXY TCP4 a b 1 2\r\n"), NULL},
		{SL_SLICE("PROXY UDP4 1.2.3.4 1.2.3.5 1 2\r\n"), NULL},
		{SL_SLICE("PROXY tcp4 1.2.3.4 1.2.3.5 1 2\r\n"), NULL},
		{SL_SLICE("PROXY \r\n"), NULL},
		{SL_SLICE("PROXYTCP4 "), NULL},
		{SL_SLICE("GET / HTTP/1.1\r\n"), NULL},
		{SL_SLICE(SIGNATURE "\x21\x11\0\x0c" IP4), "192.0.2.1:56324 198.51.100.2:443"},
		{SL_SLICE(SIGNATURE "\x21\x11\0\x13" IP4 "\4\0\4abcd"),
		 "192.0.2.1:56324 198.51.100.2:443"},
		{SL_SLICE(SIGNATURE "\x21\x21\0\x24\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\1"
				    "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\2\0\1\xff\xff"),
		 "[2001:db8::1]:1 [::2]:65535"},
		{SL_SLICE(SIGNATURE "\x20\0\0\0"), "-"},
		{SL_SLICE(SIGNATURE "\x20\x11\0\5abcde"), "-"},
		{SL_SLICE(SIGNATURE "\x21\0\0\3abc"), "-"},
		{SL_SLICE(SIGNATURE "\x11\x11\0\x0c" IP4), NULL},
		{SL_SLICE(SIGNATURE "\x22\x11\0\x0c" IP4), NULL},
		{SL_SLICE(SIGNATURE "\x21\x12\0\x0c" IP4), NULL},
		{SL_SLICE(SIGNATURE "\x21\x41\0\x0c" IP4), NULL},
		{SL_SLICE(SIGNATURE "\x21\x11\0\x0b" IP4), NULL},
		{SL_SLICE(SIGNATURE "\x21\x11\0\x0e" IP4 "\4\0"), NULL},
		{SL_SLICE(SIGNATURE "\x21\x11\0\x10" IP4 "\4\0\2a"), NULL},
	};

	for (size_t i = 0; i < SL_ARRAY_SIZE(rows); i++) {
		struct sl_proxy_header h = {0};
		enum sl_proxy_result r = read_exact(rows[i].text, &h);
		char text[2 * SL_ADDR_STR_MAX];

		if (r != (rows[i].want ? SL_PROXY_OK : SL_PROXY_MALFORMED))
			fail_msg("row %zu: %d", i, (int)r);
		if (!rows[i].want)
			continue;
		assert_string_equal(addresses(&h, text, sizeof(text)), rows[i].want);
	}
}

static void every_beginning_waits_for_more(void **state)
{
	static const struct sl_slice whole[] = {
		SL_SLICE("PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n"),
		SL_SLICE(SIGNATURE "\x21\x11\0\x13" IP4 "\4\0\4abcd"),
	};
	struct sl_proxy_header h;

	for (size_t i = 0; i < SL_ARRAY_SIZE(whole); i++) {
		char more[128];

		for (size_t len = 0; len < whole[i].len; len++)
			assert_int_equal(read_exact(sl_slice(whole[i].p, len), &h), SL_PROXY_MORE);
		memcpy(more, whole[i].p, whole[i].len);
		memcpy(more + whole[i].len, "hello\r\n", 7);
		assert_int_equal(read_exact(sl_slice(more, whole[i].len + 7), &h), SL_PROXY_OK);
		assert_int_equal(h.len, whole[i].len);
	}
}

static void lengths_are_bounded(void **state)
{
	struct sl_proxy_header h;
	char line[120];

	memset(line, 'x', sizeof(line));
	memcpy(line, "PROXY UNKNOWN ", 14);
	assert_int_equal(read_exact(sl_slice(line, 106), &h), SL_PROXY_MORE);
	assert_int_equal(read_exact(sl_slice(line, 107), &h), SL_PROXY_MALFORMED);
	memcpy(line + 105, "\r\n", 2);
	assert_int_equal(read_exact(sl_slice(line, 107), &h), SL_PROXY_OK);
	assert_int_equal(read_exact(SL_SLICE(SIGNATURE "\x21\x11\x03\xf1"), &h),
			 SL_PROXY_TOO_LARGE);
	assert_int_equal(read_exact(SL_SLICE(SIGNATURE "\x21\x11\x03\xf0"), &h), SL_PROXY_MORE);
}

static void what_is_written_can_be_read(void **state)
{
	static const struct {
		const char *src, *dst;
	} rows[] = {
		{"192.0.2.1:1", "198.51.100.2:65535"},
		{"[2001:db8::1]:1", "[2001:db8::2]:2"},
		{"[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
		 "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"},
		{"192.0.2.1:1", "[2001:db8::2]:2"},
	};
	char text[SL_PROXY_HEADER_MAX];

	for (size_t i = 0; i < SL_ARRAY_SIZE(rows); i++) {
		struct sl_proxy_header h = {0};
		struct sl_addr src, dst;
		size_t len;

		assert_int_equal(sl_addr_parse(sl_slice_str(rows[i].src), &src), 0);
		assert_int_equal(sl_addr_parse(sl_slice_str(rows[i].dst), &dst), 0);
		for (int version = 1; version <= 2; version++) {
			len = version == 1 ? sl_proxy_header_write_v1(text, &src, &dst)
					   : sl_proxy_header_write_v2(text, &src, &dst,
								      (struct sl_slice){0});
			assert_int_equal(read_exact(sl_slice(text, len), &h), SL_PROXY_OK);
			assert_int_equal(h.len, len);
			if (src.family != dst.family)
				assert_int_equal(h.src.family, AF_UNSPEC);
			else
				assert_true(sl_addr_eq(&h.src, &src) && sl_addr_eq(&h.dst, &dst));
		}
	}
}

static void extensions_are_passed_on_but_for_checksum_and_padding(void **state)
{
	static const char in[] = SIGNATURE "\x21\x11\0\x20" IP4 "\x02\0\x03"
					   "a.b"
					   "\x03\0\x04"
					   "crc."
					   "\x04\0\x01"
					   "."
					   "\xe0\0\0";
	static const char want[] = SIGNATURE "\x21\x11\0\x15" IP4 "\x02\0\x03"
					     "a.b"
					     "\xe0\0\0";
	char out[SL_PROXY_HEADER_MAX];
	struct sl_proxy_header h;

	assert_int_equal(sl_proxy_header_read(sl_slice(in, sizeof(in) - 1), &h), SL_PROXY_OK);
	assert_int_equal(sl_proxy_header_write_v2(out, &h.src, &h.dst, h.tlvs), sizeof(want) - 1);
	assert_memory_equal(out, want, sizeof(want) - 1);
}

/* What came fits in any case: what is written has no more than what was read. */
static void as_many_extensions_as_fit_are_passed_on(void **state)
{
	char in[SL_PROXY_HEADER_MAX + 8] = SIGNATURE "\x21\x11", out[SL_PROXY_HEADER_MAX];
	const size_t addresses = 12, value = SL_PROXY_HEADER_MAX - 16 - addresses - 3;
	struct sl_proxy_header h;
	struct sl_addr src;

	in[14] = (SL_PROXY_HEADER_MAX - 16) >> 8;
	in[15] = (char)(SL_PROXY_HEADER_MAX - 16);
	memcpy(in + 16, IP4, addresses);
	in[28] = (char)0xe0;
	in[29] = (char)(value >> 8);
	in[30] = (char)value;
	assert_int_equal(sl_proxy_header_read(sl_slice(in, SL_PROXY_HEADER_MAX), &h), SL_PROXY_OK);
	assert_int_equal(sl_proxy_header_write_v2(out, &h.src, &h.dst, h.tlvs),
			 SL_PROXY_HEADER_MAX);
	assert_memory_equal(out, in, SL_PROXY_HEADER_MAX);
	sl_addr_parse(SL_SLICE("[2001:db8::1]:1"), &src);
	assert_int_equal(sl_proxy_header_write_v2(out, &src, &src, h.tlvs), 16 + 36);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(headers_are_read_or_refused),
		cmocka_unit_test(every_beginning_waits_for_more),
		cmocka_unit_test(lengths_are_bounded),
		cmocka_unit_test(what_is_written_can_be_read),
		cmocka_unit_test(extensions_are_passed_on_but_for_checksum_and_padding),
		cmocka_unit_test(as_many_extensions_as_fit_are_passed_on),
	};

	return cmocka_run_group_tests_name("proxy-header", tests, NULL, NULL);
}
