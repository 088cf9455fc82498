/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_PROXY_RATE_H
#define SLUICE_PROXY_RATE_H

/* Rate limits: how often something may happen for one key (a source at a listener, a route). A key's
 * state is the time at which its bucket of tokens will be full again: the generic cell rate algorithm of
 * ITU-T I.371, which needs no timer and no refilling. Shared by the workers; any thread may call. */

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"

/* per_second events in the long run, burst of them at once. Both 1 to 1,000,000. */
struct sl_rate {
	uint32_t per_second;
	uint32_t burst;
};

struct sl_rates;

/* Room for at least so many keys at once. Where a new one finds no room, that key is forgotten which has
 * used least of its bucket: it loses a memory that hardly limited it. 0, -ENOMEM or -EIO (no
 * randomness). */
int sl_rates_new(uint32_t keys, struct sl_rates **ret);
/* Takes NULL. */
void sl_rates_free(struct sl_rates *r);

/* Takes a token of (scope, source): scope tells limits apart; source may be NULL. An IPv6 source is its
 * /64, an IPv4-mapped one its IPv4 address. False if there is none: then *ret_wait_us is the time until
 * there is. now_us: CLOCK_MONOTONIC. */
bool sl_rates_take(struct sl_rates *r, uint64_t scope, const struct sl_addr *source,
		   const struct sl_rate *rate, uint64_t now_us, uint64_t *ret_wait_us);
/* Keys that were forgotten before their bucket was full. */
uint64_t sl_rates_forgotten(const struct sl_rates *r);

#endif
