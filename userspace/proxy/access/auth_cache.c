/* SPDX-License-Identifier: BSD-2-Clause */
/* Remembered credentials: a fixed set-associative table over fingerprints.
 *
 * The set is chosen by the fingerprint's first bytes, which are as good as random to anyone without
 * the key. Not here: making fingerprints and locking (auth.c). */

#include "proxy/access/auth_cache.h"

#include <sodium.h>
#include <string.h>

static size_t set_of(const struct sl_auth_fingerprint *f)
{
	return (f->bytes[0] | (size_t)f->bytes[1] << 8) % SL_AUTH_CACHE_SETS;
}

void sl_auth_cache_clear(struct sl_auth_cache *c)
{
	memset(c, 0, sizeof(*c));
}

bool sl_auth_cache_find(const struct sl_auth_cache *c, const struct sl_auth_fingerprint *f,
			uint64_t now_ms)
{
	size_t set = set_of(f);
	bool found = false;

	for (size_t i = 0; i < SL_AUTH_CACHE_WAYS; i++)
		if (c->entry[set][i].until_ms > now_ms &&
		    !sodium_memcmp(&c->entry[set][i].of, f, sizeof(*f)))
			found = true;
	return found;
}

void sl_auth_cache_add(struct sl_auth_cache *c, const struct sl_auth_fingerprint *f,
		       uint64_t now_ms)
{
	size_t set = set_of(f), oldest = 0;

	for (size_t i = 0; i < SL_AUTH_CACHE_WAYS; i++) {
		if (!sodium_memcmp(&c->entry[set][i].of, f, sizeof(*f))) {
			oldest = i;
			break;
		}
		if (c->entry[set][i].until_ms < c->entry[set][oldest].until_ms)
			oldest = i;
	}
	c->entry[set][oldest].of = *f;
	c->entry[set][oldest].until_ms = now_ms + SL_AUTH_CACHE_MS;
}
