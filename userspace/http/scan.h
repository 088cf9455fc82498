/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_HTTP_SCAN_H
#define SLUICE_HTTP_SCAN_H

/* How long is the run of allowed bytes at p? The inner loop of head parsing. */

#include <stdbool.h>
#include <stddef.h>

enum sl_scan_class {
	SL_SCAN_TOKEN,	/* tchar (RFC 9110 5.6.2) */
	SL_SCAN_VALUE,	/* field value: SP, HTAB, visible ASCII, obs-text (RFC 9110 5.5) */
	SL_SCAN_TARGET, /* visible ASCII */
	SL_SCAN_COUNT,
};

/* The number of leading bytes of p[0..len) that belong to the class. Never reads p[len]. */
size_t sl_scan(enum sl_scan_class c, const char *p, size_t len);

/* The implementations behind it; all give the same answer. sl_scan_simd() may only be called where
 * sl_scan_has_simd(). */
size_t sl_scan_scalar(enum sl_scan_class c, const char *p, size_t len);
size_t sl_scan_simd(enum sl_scan_class c, const char *p, size_t len);
bool sl_scan_has_simd(void);

#endif
