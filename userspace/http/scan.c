/* SPDX-License-Identifier: BSD-2-Clause */
/* Runs of allowed bytes, 32 at a time where the processor has AVX2, byte by byte elsewhere.
 *
 * Both ways read the same tables. A byte is refused if low[b & 15] and high[b >> 4] share a bit:
 * each bit stands for a set of rows (high halves) that refuse the same columns (low halves), and no
 * class needs more than eight such sets. Two in-register look-ups then classify 32 bytes.
 *
 * Invariant: nothing outside p[0..len) is read; a rest shorter than a vector goes byte by byte. */

#include "http/scan.h"

#include <stdint.h>

struct scan_table {
	uint8_t low[16], high[16];
};

static const struct scan_table tables[SL_SCAN_COUNT] = {
	[SL_SCAN_TOKEN] = {{0x0b, 0x01, 0x03, 0x01, 0x01, 0x01, 0x01, 0x01, 0x03, 0x03, 0x05, 0x35,
			    0x17, 0x35, 0x05, 0x27},
			   {0x01, 0x01, 0x02, 0x04, 0x08, 0x10, 0x00, 0x20, 0x01, 0x01, 0x01, 0x01,
			    0x01, 0x01, 0x01, 0x01}},
	[SL_SCAN_VALUE] = {{0x03, 0x03, 0x03, 0x03, 0x03, 0x03, 0x03, 0x03, 0x03, 0x02, 0x03, 0x03,
			    0x03, 0x03, 0x03, 0x07},
			   {0x01, 0x02, 0x00, 0x00, 0x00, 0x00, 0x00, 0x04}},
	[SL_SCAN_TARGET] = {{0x03, 0x01, 0x01, 0x01, 0x01, 0x01, 0x01, 0x01, 0x01, 0x01, 0x01, 0x01,
			     0x01, 0x01, 0x01, 0x05},
			    {0x01, 0x01, 0x02, 0x00, 0x00, 0x00, 0x00, 0x04, 0x01, 0x01, 0x01, 0x01,
			     0x01, 0x01, 0x01, 0x01}},
};

size_t sl_scan_scalar(enum sl_scan_class c, const char *p, size_t len)
{
	const struct scan_table *t = &tables[c];
	size_t i = 0;

	while (i < len && !(t->low[p[i] & 15] & t->high[(uint8_t)p[i] >> 4]))
		i++;
	return i;
}

#ifdef __x86_64__

#include <immintrin.h>

__attribute__((target("avx2"))) size_t sl_scan_simd(enum sl_scan_class c, const char *p, size_t len)
{
	const struct scan_table *t = &tables[c];
	__m256i low = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)t->low));
	__m256i high = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)t->high));
	__m256i nibble = _mm256_set1_epi8(15), zero = _mm256_setzero_si256();
	size_t i = 0;

	for (; len - i >= 32; i += 32) {
		__m256i v = _mm256_loadu_si256((const __m256i *)(p + i));
		__m256i l = _mm256_shuffle_epi8(low, _mm256_and_si256(v, nibble));
		__m256i h = _mm256_shuffle_epi8(high,
						_mm256_and_si256(_mm256_srli_epi16(v, 4), nibble));
		__m256i good = _mm256_cmpeq_epi8(_mm256_and_si256(l, h), zero);
		uint32_t bad = ~(uint32_t)_mm256_movemask_epi8(good);

		if (bad)
			return i + (size_t)__builtin_ctz(bad);
	}
	return i + sl_scan_scalar(c, p + i, len - i);
}

bool sl_scan_has_simd(void)
{
	return __builtin_cpu_supports("avx2");
}

#else

size_t sl_scan_simd(enum sl_scan_class c, const char *p, size_t len)
{
	return sl_scan_scalar(c, p, len);
}

bool sl_scan_has_simd(void)
{
	return false;
}

#endif

size_t sl_scan(enum sl_scan_class c, const char *p, size_t len)
{
	if (len >= 32 && sl_scan_has_simd())
		return sl_scan_simd(c, p, len);
	return sl_scan_scalar(c, p, len);
}
