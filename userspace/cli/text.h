/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_CLI_TEXT_H
#define SLUICE_CLI_TEXT_H

/* Figures and strings for people. Each function writes into buf and returns it. */

#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"

#define SL_TEXT_MAX 32

/* "999 B", "1.5 KiB", "12.0 GiB". */
const char *sl_text_bytes(uint64_t n, char buf[SL_TEXT_MAX]);
/* "-" below 0 (not known yet), "0", "9.5", "950", "12.3k", "1.2M": so many, or so many a second. */
const char *sl_text_rate(double n, char buf[SL_TEXT_MAX]);
/* The same of bytes. */
const char *sl_text_byte_rate(double n, char buf[SL_TEXT_MAX]);
/* "-" for 0, "950 us", "1.50 ms", "12.3 s", "95 m". */
const char *sl_text_us(uint64_t us, char buf[SL_TEXT_MAX]);
/* "0.9s", "59s", "12m03s", "1h02m", "3d04h". */
const char *sl_text_age(uint64_t ms, char buf[SL_TEXT_MAX]);
/* At most width bytes of s ("..." at the end if it is longer), with '?' for what a terminal should not
 * see. cap > width. */
const char *sl_text_safe(const char *s, size_t width, char *buf, size_t cap);
/* "512", "64k", "10m", "2g" as bytes; "50ms", "10s", "5m", "1h", "2d" as milliseconds: the units of the
 * configuration. -EINVAL, or -ERANGE. */
int sl_text_read_bytes(const char *s, uint64_t *ret);
int sl_text_read_ms(const char *s, uint64_t *ret);

#endif
