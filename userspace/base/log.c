/* SPDX-License-Identifier: BSD-2-Clause */
/* Diagnostics: one write(2) a line, so that lines of threads never mix. */

#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define LINE_MAX_BYTES 1024

static enum sl_log_level current_level = SL_LOG_INFO;

static const char *const level_names[] = {
	[SL_LOG_ERROR] = "error",
	[SL_LOG_WARNING] = "warning",
	[SL_LOG_INFO] = "info",
	[SL_LOG_DEBUG] = "debug",
};

void sl_log_set_level(enum sl_log_level level)
{
	__atomic_store_n(&current_level, level, __ATOMIC_RELAXED);
}

enum sl_log_level sl_log_level(void)
{
	return __atomic_load_n(&current_level, __ATOMIC_RELAXED);
}

const char *sl_log_level_name(enum sl_log_level level)
{
	return level_names[level];
}

int sl_log_level_parse(const char *name, enum sl_log_level *ret)
{
	for (size_t i = 0; i < SL_ARRAY_SIZE(level_names); i++) {
		if (!strcmp(name, level_names[i])) {
			*ret = (enum sl_log_level)i;
			return 0;
		}
	}
	return -EINVAL;
}

static void escape_controls(char *text)
{
	for (char *p = text; *p; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			*p = '?';
}

void sl_log(enum sl_log_level level, const char *fmt, ...)
{
	char text[LINE_MAX_BYTES], line[LINE_MAX_BYTES + 64];
	struct timespec ts;
	struct tm tm;
	va_list ap;
	int n;

	if (level > sl_log_level())
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	escape_controls(text);
	clock_gettime(CLOCK_REALTIME, &ts);
	gmtime_r(&ts.tv_sec, &tm);
	n = snprintf(line, sizeof(line), "%04d-%02d-%02dT%02d:%02d:%02d.%03ldZ %s: %s\n",
		     tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec,
		     ts.tv_nsec / 1000000, level_names[level], text);
	if (n > 0 && write(STDERR_FILENO, line, (size_t)n) < 0)
		return; /* nowhere left to complain */
}
