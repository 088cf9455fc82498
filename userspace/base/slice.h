/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_BASE_SLICE_H
#define SLUICE_BASE_SLICE_H

/* A slice is a borrowed, unterminated run of bytes. It owns nothing and may be empty (p may then
 * be NULL). Comparisons that ignore case fold ASCII only, whatever the locale. */

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct sl_slice {
	const char *p;
	size_t len;
};

#define SL_SLICE(literal) ((struct sl_slice){(literal), sizeof(literal) - 1})

static inline struct sl_slice sl_slice(const char *p, size_t len)
{
	return (struct sl_slice){p, len};
}

static inline struct sl_slice sl_slice_str(const char *s)
{
	return (struct sl_slice){s, s ? strlen(s) : 0};
}

static inline char sl_ascii_lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

static inline bool sl_slice_eq(struct sl_slice a, struct sl_slice b)
{
	return a.len == b.len && (!a.len || !memcmp(a.p, b.p, a.len));
}

static inline bool sl_slice_eq_nocase(struct sl_slice a, struct sl_slice b)
{
	if (a.len != b.len)
		return false;
	for (size_t i = 0; i < a.len; i++)
		if (sl_ascii_lower(a.p[i]) != sl_ascii_lower(b.p[i]))
			return false;
	return true;
}

static inline bool sl_slice_ends_nocase(struct sl_slice s, struct sl_slice tail)
{
	return s.len >= tail.len &&
	       sl_slice_eq_nocase(sl_slice(s.p + s.len - tail.len, tail.len), tail);
}

#endif
