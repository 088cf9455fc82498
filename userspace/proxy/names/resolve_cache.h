/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_PROXY_RESOLVE_CACHE_H
#define SLUICE_PROXY_RESOLVE_CACHE_H

/* Answers of the resolver, good and bad, by name; the resolver's own. Bounded: when full, the answer
 * that was used least recently makes room. Names come in lower case, without a final dot. */

#include <stdint.h>

#include "base/list.h"
#include "base/slice.h"
#include "proxy/names/resolve.h"

struct sl_resolve_cache {
	struct sl_list *buckets;
	uint32_t n_buckets; /* a power of two */
	uint32_t limit, used;
	struct sl_list recent; /* most recently used first */
};

/* limit 0: nothing is kept. 0 or -ENOMEM. */
int sl_resolve_cache_init(struct sl_resolve_cache *c, uint32_t limit);
void sl_resolve_cache_destroy(struct sl_resolve_cache *c);
/* hash: of the name, under a key that strangers don't know. 0 and *ret, a kept negative error, or
 * -EAGAIN when nothing valid is kept. */
int sl_resolve_cache_get(struct sl_resolve_cache *c, uint64_t hash, struct sl_slice name,
			 uint64_t now_ms, struct sl_addrs *ret);
/* Keeps an answer (error 0 and addrs, or an error) until expires_ms, instead of an older one.
 * Without memory nothing is kept. */
void sl_resolve_cache_put(struct sl_resolve_cache *c, uint64_t hash, struct sl_slice name,
			  uint64_t expires_ms, int error, const struct sl_addrs *addrs);

#endif
