/* SPDX-License-Identifier: BSD-2-Clause */
/* http/scan: the vector and the scalar way agree with the grammar, and read nothing behind the end. */

#include "unit.h"

#include <string.h>
#include <sys/mman.h>

#include "http/scan.h"

#define LEN_MAX 80

static bool allowed(enum sl_scan_class c, unsigned char b)
{
	switch (c) {
	case SL_SCAN_TOKEN:
		return (b >= '0' && b <= '9') || (b >= 'a' && b <= 'z') || (b >= 'A' && b <= 'Z') ||
		       (b && strchr("!#$%&'*+-.^_`|~", b));
	case SL_SCAN_VALUE:
		return b == '\t' || (b >= ' ' && b != 0x7f);
	default:
		return b > ' ' && b < 0x7f;
	}
}

static size_t simd(enum sl_scan_class c, const char *p, size_t len)
{
	return sl_scan_has_simd() ? sl_scan_simd(c, p, len) : sl_scan_scalar(c, p, len);
}

static void every_byte_is_classed_as_the_grammar_says(void **state)
{
	char byte;

	for (int c = 0; c < SL_SCAN_COUNT; c++) {
		for (unsigned b = 0; b < 256; b++) {
			byte = (char)b;
			assert_int_equal(sl_scan_scalar(c, &byte, 1), allowed(c, (unsigned char)b));
		}
	}
}

/* A page of readable memory with an unreadable one behind it. */
static char *guarded_page(void)
{
	char *p = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert_true(p != MAP_FAILED);
	assert_int_equal(mprotect(p + 4096, 4096, PROT_NONE), 0);
	return p;
}

static void every_byte_at_every_place_of_every_length_ends_the_run_there(void **state)
{
	char *page = guarded_page();

	for (size_t len = 0; len <= LEN_MAX; len++) {
		char *p = page + 4096 - len;

		memset(p, 'a', len);
		for (int c = 0; c < SL_SCAN_COUNT; c++)
			assert_int_equal(simd(c, p, len), len);
		for (size_t at = 0; at < len; at++) {
			for (unsigned b = 0; b < 256; b++) {
				p[at] = (char)b;
				for (int c = 0; c < SL_SCAN_COUNT; c++) {
					size_t want = allowed(c, (unsigned char)b) ? len : at;

					if (sl_scan_scalar(c, p, len) != want ||
					    simd(c, p, len) != want || sl_scan(c, p, len) != want)
						fail_msg("class %d, byte %u at %zu of %zu", c, b,
							 at, len);
				}
			}
			p[at] = 'a';
		}
	}
	munmap(page, 8192);
}

static void random_runs_end_at_the_same_byte_either_way(void **state)
{
	unsigned seed = 1;
	char data[300];

	for (int round = 0; round < 20000; round++) {
		size_t start = (size_t)rand_r(&seed) % 64;
		size_t len = (size_t)rand_r(&seed) % (sizeof(data) - start);

		for (size_t i = 0; i < sizeof(data); i++)
			data[i] = rand_r(&seed) % 64 ? (char)('!' + rand_r(&seed) % 94)
						     : (char)rand_r(&seed);
		for (int c = 0; c < SL_SCAN_COUNT; c++)
			assert_int_equal(simd(c, data + start, len),
					 sl_scan_scalar(c, data + start, len));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_byte_is_classed_as_the_grammar_says),
		cmocka_unit_test(every_byte_at_every_place_of_every_length_ends_the_run_there),
		cmocka_unit_test(random_runs_end_at_the_same_byte_either_way),
	};

	return cmocka_run_group_tests_name("http-scan", tests, NULL, NULL);
}
