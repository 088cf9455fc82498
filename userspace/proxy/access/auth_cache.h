/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_PROXY_AUTH_CACHE_H
#define SLUICE_PROXY_AUTH_CACHE_H

/* Credentials that were found right, remembered for a while as keyed hashes.
 *
 * A fingerprint is BLAKE2b-256 (libsodium) under a random key of this process: it can't be turned
 * into a password, not compared with another process's, and nobody outside can aim at a set. The table
 * is set-associative and of fixed size; a full set gives up its oldest entry. Not thread-safe. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SL_AUTH_CACHE_SETS 1024
#define SL_AUTH_CACHE_WAYS 4
#define SL_AUTH_CACHE_MS   60000

struct sl_auth_fingerprint {
	uint8_t bytes[32];
};

struct sl_auth_cache {
	struct {
		struct sl_auth_fingerprint of;
		uint64_t until_ms; /* 0: empty */
	} entry[SL_AUTH_CACHE_SETS][SL_AUTH_CACHE_WAYS];
};

/* Forgets everything. */
void sl_auth_cache_clear(struct sl_auth_cache *c);
/* Is it there and not older than SL_AUTH_CACHE_MS? Compares in constant time. */
bool sl_auth_cache_find(const struct sl_auth_cache *c, const struct sl_auth_fingerprint *f,
			uint64_t now_ms);
void sl_auth_cache_add(struct sl_auth_cache *c, const struct sl_auth_fingerprint *f,
		       uint64_t now_ms);

#endif
