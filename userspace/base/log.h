/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_BASE_LOG_H
#define SLUICE_BASE_LOG_H

/* Diagnostics on stderr, one line each, for the operator (the access log is proxy/observe/access_log.h).
 * Thread-safe; rate-limited by the caller's good sense: nothing per request or per packet. Control
 * characters in arguments are escaped, so a line is always one line. */

#include "base/util.h"

enum sl_log_level {
	SL_LOG_ERROR,
	SL_LOG_WARNING,
	SL_LOG_INFO,
	SL_LOG_DEBUG,
};

void sl_log_set_level(enum sl_log_level level);
enum sl_log_level sl_log_level(void);
/* -EINVAL for an unknown name ("error", "warning", "info", "debug"). */
int sl_log_level_parse(const char *name, enum sl_log_level *ret);
const char *sl_log_level_name(enum sl_log_level level);
void sl_log(enum sl_log_level level, const char *fmt, ...) SL_PRINTF(2, 3);

#define sl_error(...)	sl_log(SL_LOG_ERROR, __VA_ARGS__)
#define sl_warning(...) sl_log(SL_LOG_WARNING, __VA_ARGS__)
#define sl_info(...)	sl_log(SL_LOG_INFO, __VA_ARGS__)
#define sl_debug(...)	sl_log(SL_LOG_DEBUG, __VA_ARGS__)

#endif
