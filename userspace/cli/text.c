/* SPDX-License-Identifier: BSD-2-Clause */
/* Human forms of bytes, durations and strangers' strings. */

#include "cli/text.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

const char *sl_text_bytes(uint64_t n, char buf[SL_TEXT_MAX])
{
	static const char *const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	double value = (double)n / 1024;
	size_t i = 0;

	if (n < 1024) {
		snprintf(buf, SL_TEXT_MAX, "%u B", (unsigned)n);
		return buf;
	}
	while (value >= 1023.95 && i + 1 < SL_ARRAY_SIZE(units)) {
		value /= 1024;
		i++;
	}
	snprintf(buf, SL_TEXT_MAX, "%.1f %s", value, units[i]);
	return buf;
}

const char *sl_text_rate(double n, char buf[SL_TEXT_MAX])
{
	static const char units[] = "kMGT";
	size_t i = 0;

	if (n < 0)
		snprintf(buf, SL_TEXT_MAX, "-");
	else if (n < 0.05)
		snprintf(buf, SL_TEXT_MAX, "0");
	else if (n < 9.95)
		snprintf(buf, SL_TEXT_MAX, "%.1f", n);
	else if (n < 9999.5)
		snprintf(buf, SL_TEXT_MAX, "%.0f", n);
	else {
		for (n /= 1000; n >= 999.95 && i + 2 < sizeof(units); i++)
			n /= 1000;
		snprintf(buf, SL_TEXT_MAX, "%.1f%c", n, units[i]);
	}
	return buf;
}

const char *sl_text_byte_rate(double n, char buf[SL_TEXT_MAX])
{
	if (n < 0)
		snprintf(buf, SL_TEXT_MAX, "-");
	else
		sl_text_bytes((uint64_t)n, buf);
	return buf;
}

const char *sl_text_us(uint64_t us, char buf[SL_TEXT_MAX])
{
	if (!us)
		snprintf(buf, SL_TEXT_MAX, "-");
	else if (us < 1000)
		snprintf(buf, SL_TEXT_MAX, "%u us", (unsigned)us);
	else if (us < 1000000)
		snprintf(buf, SL_TEXT_MAX, us < 100000 ? "%.2f ms" : "%.0f ms", (double)us / 1e3);
	else if (us < 600000000)
		snprintf(buf, SL_TEXT_MAX, "%.2f s", (double)us / 1e6);
	else
		snprintf(buf, SL_TEXT_MAX, "%.0f m", (double)us / 60e6);
	return buf;
}

const char *sl_text_age(uint64_t ms, char buf[SL_TEXT_MAX])
{
	unsigned long long s = ms / 1000;

	if (s < 10)
		snprintf(buf, SL_TEXT_MAX, "%llu.%llus", s, (unsigned long long)ms / 100 % 10);
	else if (s < 60)
		snprintf(buf, SL_TEXT_MAX, "%llus", s);
	else if (s < 3600)
		snprintf(buf, SL_TEXT_MAX, "%llum%02llus", s / 60, s % 60);
	else if (s < 86400)
		snprintf(buf, SL_TEXT_MAX, "%lluh%02llum", s / 3600, s / 60 % 60);
	else
		snprintf(buf, SL_TEXT_MAX, "%llud%02lluh", s / 86400, s / 3600 % 24);
	return buf;
}

const char *sl_text_safe(const char *s, size_t width, char *buf, size_t cap)
{
	size_t len = s ? strlen(s) : 0, n = sl_min(len, width);

	n = sl_min(n, cap - 1);
	for (size_t i = 0; i < n; i++)
		buf[i] = s[i] >= 0x20 && s[i] < 0x7f ? s[i] : '?';
	if (len > n && n >= 3)
		memset(buf + n - 3, '.', 3);
	buf[n] = 0;
	return buf;
}

struct unit {
	const char *name;
	uint64_t factor;
};

static int read_with_unit(const char *s, const struct unit *units, size_t n, uint64_t *ret)
{
	unsigned long long value;
	char *end;

	if (!isdigit((unsigned char)*s))
		return -EINVAL;
	errno = 0;
	value = strtoull(s, &end, 10);
	if (errno)
		return -ERANGE;
	for (size_t i = 0; i < n; i++) {
		if (strcmp(end, units[i].name))
			continue;
		if (value > INT64_MAX / units[i].factor)
			return -ERANGE;
		*ret = value * units[i].factor;
		return 0;
	}
	return -EINVAL;
}

int sl_text_read_bytes(const char *s, uint64_t *ret)
{
	static const struct unit units[] = {
		{"", 1}, {"k", 1 << 10}, {"m", 1 << 20}, {"g", 1 << 30}};

	return read_with_unit(s, units, SL_ARRAY_SIZE(units), ret);
}

int sl_text_read_ms(const char *s, uint64_t *ret)
{
	static const struct unit units[] = {
		{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}};

	return read_with_unit(s, units, SL_ARRAY_SIZE(units), ret);
}
