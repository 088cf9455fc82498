/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_PROXY_MAGLEV_H
#define SLUICE_PROXY_MAGLEV_H

/* Consistent hashing with a lookup table (Eisenbud et al., "Maglev", NSDI 2016, section 3.4): servers
 * get slots by weight, and when one comes or goes few slots of the others change. The table depends on
 * names and weights only: all workers, restarts and hosts agree. */

#include <stddef.h>
#include <stdint.h>

#define SL_MAGLEV_SLOTS 65537 /* a prime, over a hundred times the most servers */

struct sl_maglev {
	uint16_t server[SL_MAGLEV_SLOTS];
};

struct sl_maglev_server {
	const char *name;
	uint32_t weight; /* > 0 */
};

/* 0 < n < 65535. 0 or -ENOMEM; *ret is freed by free(). */
int sl_maglev_new(const struct sl_maglev_server *s, size_t n, struct sl_maglev **ret);

static inline uint32_t sl_maglev_lookup(const struct sl_maglev *m, uint64_t hash)
{
	return m->server[hash % SL_MAGLEV_SLOTS];
}

#endif
