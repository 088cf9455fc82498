/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_PROXY_LIMITS_H
#define SLUICE_PROXY_LIMITS_H

/* How many client connections the process has: in all, by listener, by source address. Shared by the
 * workers; any thread may call. */

#include <stdint.h>

#include "base/addr.h"
#include "proxy/config/config.h"

struct sl_limits;

enum sl_limit_verdict {
	SL_LIMIT_OK,
	SL_LIMIT_TOTAL,
	SL_LIMIT_LISTENER,
	SL_LIMIT_SOURCE,
};

/* 0, -ENOMEM, -EIO (no randomness). c must outlive it. */
int sl_limits_new(const struct sl_config *c, struct sl_limits **ret);
/* Takes NULL. */
void sl_limits_free(struct sl_limits *l);

/* Counts a connection of that listener (by index) and source, or says which limit forbids it. An IPv6
 * source is its /64: whoever has one address has all of them. An IPv4-mapped one is its IPv4
 * address. */
enum sl_limit_verdict sl_limits_admit(struct sl_limits *l, uint32_t listener,
				      const struct sl_addr *source);
/* Undoes an SL_LIMIT_OK of the same arguments. */
void sl_limits_release(struct sl_limits *l, uint32_t listener, const struct sl_addr *source);
/* Connections of a listener now. */
uint32_t sl_limits_open(const struct sl_limits *l, uint32_t listener);

#endif
