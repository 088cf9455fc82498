/* SPDX-License-Identifier: BSD-2-Clause */
/* Rate limits, in a table of fixed size: sets of 8 entries, found by a keyed hash (SipHash-2-4), because
 * strangers choose the keys. The hash stands for the key: two keys that share all 64 bits would share
 * their tokens, which nobody can bring about without knowing the secret.
 *
 * Invariant: an entry whose time has come is as good as a free one. */

#include "proxy/access/rate.h"

#include <errno.h>
#include <pthread.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

#define WAYS	  8
#define LOCKS	  64
#define SECOND_US 1000000u

struct entry {
	uint64_t key;
	uint64_t full_us; /* when the bucket is full again */
};

struct sl_rates {
	uint8_t hash_key[crypto_shorthash_KEYBYTES];
	pthread_mutex_t lock[LOCKS]; /* of every LOCKS-th set */
	uint64_t forgotten;
	uint32_t sets; /* a power of two */
	struct entry (*set)[WAYS];
};

int sl_rates_new(uint32_t keys, struct sl_rates **ret)
{
	struct sl_rates *r;

	if (sodium_init() < 0)
		return -EIO;
	r = calloc(1, sizeof(*r));
	if (!r)
		return -ENOMEM;
	for (r->sets = 1; (uint64_t)r->sets * WAYS < keys;)
		r->sets *= 2;
	r->set = calloc(r->sets, sizeof(*r->set));
	if (!r->set) {
		free(r);
		return -ENOMEM;
	}
	randombytes_buf(r->hash_key, sizeof(r->hash_key));
	for (int i = 0; i < LOCKS; i++)
		pthread_mutex_init(&r->lock[i], NULL);
	*ret = r;
	return 0;
}

void sl_rates_free(struct sl_rates *r)
{
	if (!r)
		return;
	for (int i = 0; i < LOCKS; i++)
		pthread_mutex_destroy(&r->lock[i]);
	free(r->set);
	free(r);
}

static uint64_t hash(const struct sl_rates *r, uint64_t scope, const struct sl_addr *source)
{
	struct {
		uint64_t scope;
		uint64_t address;
		uint64_t family;
	} key = {.scope = scope};
	struct sl_addr plain;
	uint64_t h;

	if (source) {
		plain = *source;
		sl_addr_unmap(&plain);
		key.family = plain.family;
		if (plain.family == AF_INET6)
			memcpy(&key.address, &plain.in6.sin6_addr, sizeof(key.address));
		else
			memcpy(&key.address, &plain.in.sin_addr, sizeof(plain.in.sin_addr));
	}
	crypto_shorthash((unsigned char *)&h, (const unsigned char *)&key, sizeof(key),
			 r->hash_key);
	return h ? h : 1; /* 0: never used */
}

/* The key's entry, or the one that it gets. */
static struct entry *find(struct sl_rates *r, struct entry set[WAYS], uint64_t key, uint64_t now_us)
{
	struct entry *least = &set[0];

	for (int i = 0; i < WAYS; i++) {
		if (set[i].key == key)
			return &set[i];
		if (set[i].full_us < least->full_us)
			least = &set[i];
	}
	if (least->full_us > now_us)
		__atomic_add_fetch(&r->forgotten, 1, __ATOMIC_RELAXED);
	*least = (struct entry){.key = key, .full_us = now_us};
	return least;
}

/* A token is missing if the bucket would need longer than the time of a whole burst to fill. Rounded up,
 * so that the long-run rate is never exceeded. */
static bool take(struct entry *e, const struct sl_rate *rate, uint64_t now_us,
		 uint64_t *ret_wait_us)
{
	uint64_t interval_us = (SECOND_US + rate->per_second - 1) / rate->per_second;
	uint64_t full_us = sl_max(e->full_us, now_us) + interval_us;
	uint64_t most_us = now_us + interval_us * rate->burst;

	if (full_us > most_us) {
		*ret_wait_us = full_us - most_us;
		return false;
	}
	e->full_us = full_us;
	return true;
}

bool sl_rates_take(struct sl_rates *r, uint64_t scope, const struct sl_addr *source,
		   const struct sl_rate *rate, uint64_t now_us, uint64_t *ret_wait_us)
{
	uint64_t key = hash(r, scope, source);
	uint32_t set = (uint32_t)(key >> 32) & (r->sets - 1);
	pthread_mutex_t *lock = &r->lock[set % LOCKS];
	bool taken;

	pthread_mutex_lock(lock);
	taken = take(find(r, r->set[set], key, now_us), rate, now_us, ret_wait_us);
	pthread_mutex_unlock(lock);
	return taken;
}

uint64_t sl_rates_forgotten(const struct sl_rates *r)
{
	return __atomic_load_n(&r->forgotten, __ATOMIC_RELAXED);
}
