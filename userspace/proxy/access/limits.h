/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_PROXY_LIMITS_H
#define SLUICE_PROXY_LIMITS_H

/* How many client connections the process has: in all, by listener, by source address; and what workers count
 * by listener. Shared by the workers; any thread may call. */

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"
#include "proxy/config/config.h"
#include "proxy/observe/stats.h"

struct sl_limits;

#define SL_LIMITS_PLACES 1024 /* names of listeners at once */

enum sl_limit_verdict {
	SL_LIMIT_OK,
	SL_LIMIT_TOTAL,
	SL_LIMIT_LISTENER,
	SL_LIMIT_SOURCE,
};

/* limits.connections of any later configuration must not be more. 0, -ENOMEM, -EIO (no randomness). */
int sl_limits_new(const struct sl_config *c, uint32_t workers, struct sl_limits **ret);
/* Other limits; whoever is in stays. 0, -ENOMEM or -EIO: as before. */
int sl_limits_change(struct sl_limits *l, const struct sl_config *c);
/* Takes NULL. */
void sl_limits_free(struct sl_limits *l);

/* The place where a listener of that name is counted: configurations with the same name share it. One
 * thread's. 0, -ENOMEM, or -ENOSPC. Every success is undone by leaving it. */
int sl_limits_place(struct sl_limits *l, const char *listener, uint32_t *ret);
void sl_limits_leave(struct sl_limits *l, uint32_t place);
/* Where that worker counts what happens at the place; valid until everybody has left it. */
struct sl_listener_stats *sl_limits_stats(const struct sl_limits *l, uint32_t place,
					  uint32_t worker);
/* The sum of all workers. */
void sl_limits_read_stats(const struct sl_limits *l, uint32_t place, struct sl_listener_stats *ret);

/* Counts a connection of that source and a listener that may have at most so many (0: no limit of its
 * own), or says which limit forbids it. An IPv6 source is its /64: whoever has one address has all of
 * them. An IPv4-mapped one is its IPv4 address. *ret_by_source: it is counted by source, too. */
enum sl_limit_verdict sl_limits_admit(struct sl_limits *l, uint32_t place, uint32_t most,
				      const struct sl_addr *source, bool *ret_by_source);
/* Whether there is room for one more of such a listener, whoever it is. */
bool sl_limits_has_room(const struct sl_limits *l, uint32_t place, uint32_t most);
/* Undoes an SL_LIMIT_OK. source: NULL if it was not counted by source. */
void sl_limits_release(struct sl_limits *l, uint32_t place, const struct sl_addr *source);
/* Connections of a place now. */
uint32_t sl_limits_open(const struct sl_limits *l, uint32_t place);

#endif
