/* SPDX-License-Identifier: BSD-2-Clause */
/* Connection limits: atomic counters, and a hash table of sources only where sources are limited.
 * Strangers choose what goes into the table, so it hashes with SipHash-2-4 under a random key.
 *
 * Invariant: the table has as many entries as connections are allowed, and every entry stands for at
 * least one admitted connection, so it can't be full when the total limit was passed. */

#include "proxy/access/limits.h"

#include <errno.h>
#include <pthread.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

struct source {
	struct sl_addr key;
	uint32_t count;
	uint32_t next; /* in its bucket, or in the free list; index + 1, 0 ends */
};

/* Of a listener's name. */
struct place {
	char *name; /* NULL: free */
	uint32_t users;
	uint32_t count;			 /* of connections */
	struct sl_listener_stats *stats; /* by worker */
};

struct sl_limits {
	uint32_t most, most_by_source; /* connections; most_by_source 0: no limit */
	uint32_t room;		       /* the most that `most` may be */
	uint32_t total;
	uint32_t n_workers;
	struct place place[SL_LIMITS_PLACES];
	pthread_mutex_t lock; /* of what follows */
	uint8_t hash_key[crypto_shorthash_KEYBYTES];
	struct source *source;
	uint32_t *bucket;
	uint32_t n_buckets; /* a power of two */
	uint32_t free;
};

static int init_sources(struct sl_limits *l)
{
	uint32_t n = l->room;

	for (l->n_buckets = 16; l->n_buckets < n;)
		l->n_buckets *= 2;
	if (sodium_init() < 0)
		return -EIO;
	randombytes_buf(l->hash_key, sizeof(l->hash_key));
	l->source = calloc(n, sizeof(*l->source));
	l->bucket = calloc(l->n_buckets, sizeof(*l->bucket));
	if (!l->source || !l->bucket) {
		free(SL_TAKE_PTR(l->source));
		free(SL_TAKE_PTR(l->bucket));
		return -ENOMEM;
	}
	for (uint32_t i = 0; i < n; i++)
		l->source[i].next = i + 1 < n ? i + 2 : 0;
	l->free = 1;
	return 0;
}

int sl_limits_new(const struct sl_config *c, uint32_t workers, struct sl_limits **ret)
{
	struct sl_limits *l = calloc(1, sizeof(*l));
	int r;

	if (!l)
		return -ENOMEM;
	l->room = c->limits.connections;
	l->n_workers = workers;
	pthread_mutex_init(&l->lock, NULL);
	r = sl_limits_change(l, c);
	if (r) {
		sl_limits_free(l);
		return r;
	}
	*ret = l;
	return 0;
}

static void close_place(struct place *p)
{
	free(SL_TAKE_PTR(p->name));
	free(SL_TAKE_PTR(p->stats));
}

void sl_limits_free(struct sl_limits *l)
{
	if (!l)
		return;
	pthread_mutex_destroy(&l->lock);
	for (size_t i = 0; i < SL_LIMITS_PLACES; i++)
		close_place(&l->place[i]);
	free(l->source);
	free(l->bucket);
	free(l);
}

/* The table of sources stays when there is no such limit any more: some are counted in it. */
int sl_limits_change(struct sl_limits *l, const struct sl_config *c)
{
	int r = 0;

	pthread_mutex_lock(&l->lock);
	if (c->limits.connections_per_source && !l->source)
		r = init_sources(l);
	pthread_mutex_unlock(&l->lock);
	if (r < 0)
		return r;
	__atomic_store_n(&l->most, sl_min(c->limits.connections, l->room), __ATOMIC_RELAXED);
	__atomic_store_n(&l->most_by_source, c->limits.connections_per_source, __ATOMIC_RELAXED);
	return 0;
}

/* --- places --- */

static struct place *find_place(struct sl_limits *l, const char *name)
{
	struct place *free = NULL;

	for (size_t i = 0; i < SL_LIMITS_PLACES; i++) {
		struct place *p = &l->place[i];

		if (p->name && !strcmp(p->name, name))
			return p;
		if (!p->name && !free)
			free = p;
	}
	return free;
}

static int open_place(struct place *p, const char *listener, uint32_t workers)
{
	const size_t bytes = workers * sizeof(*p->stats);

	p->name = strdup(listener);
	p->stats = aligned_alloc(64, bytes);
	if (!p->name || !p->stats) {
		close_place(p);
		return -ENOMEM;
	}
	memset(p->stats, 0, bytes);
	return 0;
}

int sl_limits_place(struct sl_limits *l, const char *listener, uint32_t *ret)
{
	struct place *p = find_place(l, listener);

	if (!p)
		return -ENOSPC;
	if (!p->name && open_place(p, listener, l->n_workers) < 0)
		return -ENOMEM;
	p->users++;
	*ret = (uint32_t)(p - l->place);
	return 0;
}

void sl_limits_leave(struct sl_limits *l, uint32_t place)
{
	struct place *p = &l->place[place];

	if (!--p->users)
		close_place(p);
}

struct sl_listener_stats *sl_limits_stats(const struct sl_limits *l, uint32_t place,
					  uint32_t worker)
{
	return &l->place[place].stats[worker];
}

void sl_limits_read_stats(const struct sl_limits *l, uint32_t place, struct sl_listener_stats *ret)
{
	memset(ret, 0, sizeof(*ret));
	for (uint32_t i = 0; i < l->n_workers; i++)
		sl_listener_stats_merge(ret, &l->place[place].stats[i]);
}

/* --- counters --- */

/* limit 0: none. */
static bool take(uint32_t *counter, uint32_t limit)
{
	uint32_t n = __atomic_add_fetch(counter, 1, __ATOMIC_RELAXED);

	if (!limit || n <= limit)
		return true;
	__atomic_sub_fetch(counter, 1, __ATOMIC_RELAXED);
	return false;
}

static void give(uint32_t *counter)
{
	__atomic_sub_fetch(counter, 1, __ATOMIC_RELAXED);
}

/* --- sources --- */

static struct sl_addr source_key(const struct sl_addr *source)
{
	struct sl_addr plain = *source, key = {.family = AF_UNSPEC};

	sl_addr_unmap(&plain);
	key.family = plain.family;
	if (key.family == AF_INET6)
		memcpy(&key.in6.sin6_addr, &plain.in6.sin6_addr, 8);
	else
		key.in.sin_addr = plain.in.sin_addr;
	return key;
}

/* The link that points, or would point, to the key's entry. */
static uint32_t *find_link(struct sl_limits *l, const struct sl_addr *key)
{
	uint32_t *link;
	uint64_t hash;

	crypto_shorthash((unsigned char *)&hash, (const unsigned char *)key, sizeof(*key),
			 l->hash_key);
	link = &l->bucket[hash & (l->n_buckets - 1)];

	while (*link && !sl_addr_eq_host(&l->source[*link - 1].key, key))
		link = &l->source[*link - 1].next;
	return link;
}

static bool take_source(struct sl_limits *l, const struct sl_addr *source, bool *ret_counted)
{
	uint32_t limit = __atomic_load_n(&l->most_by_source, __ATOMIC_RELAXED);
	struct sl_addr key = source_key(source);
	struct source *s;
	uint32_t *link;
	bool ok;

	*ret_counted = limit;
	if (!limit)
		return true;
	pthread_mutex_lock(&l->lock);
	link = find_link(l, &key);
	if (!*link && l->free) {
		*link = l->free;
		s = &l->source[*link - 1];
		l->free = s->next;
		*s = (struct source){.key = key};
	}
	ok = *link && l->source[*link - 1].count < limit;
	if (ok)
		l->source[*link - 1].count++;
	pthread_mutex_unlock(&l->lock);
	return ok;
}

static void give_source(struct sl_limits *l, const struct sl_addr *source)
{
	struct sl_addr key = source_key(source);
	uint32_t *link, index;

	pthread_mutex_lock(&l->lock);
	link = find_link(l, &key);
	index = *link;
	if (index && !--l->source[index - 1].count) {
		*link = l->source[index - 1].next;
		l->source[index - 1].next = l->free;
		l->free = index;
	}
	pthread_mutex_unlock(&l->lock);
}

enum sl_limit_verdict sl_limits_admit(struct sl_limits *l, uint32_t place, uint32_t most,
				      const struct sl_addr *source, bool *ret_by_source)
{
	if (!take(&l->total, __atomic_load_n(&l->most, __ATOMIC_RELAXED)))
		return SL_LIMIT_TOTAL;
	if (!take(&l->place[place].count, most)) {
		give(&l->total);
		return SL_LIMIT_LISTENER;
	}
	if (!take_source(l, source, ret_by_source)) {
		give(&l->place[place].count);
		give(&l->total);
		return SL_LIMIT_SOURCE;
	}
	return SL_LIMIT_OK;
}

bool sl_limits_has_room(const struct sl_limits *l, uint32_t place, uint32_t most)
{
	return __atomic_load_n(&l->total, __ATOMIC_RELAXED) <
		       __atomic_load_n(&l->most, __ATOMIC_RELAXED) &&
	       (!most || sl_limits_open(l, place) < most);
}

void sl_limits_release(struct sl_limits *l, uint32_t place, const struct sl_addr *source)
{
	if (source)
		give_source(l, source);
	give(&l->place[place].count);
	give(&l->total);
}

uint32_t sl_limits_open(const struct sl_limits *l, uint32_t place)
{
	return __atomic_load_n(&l->place[place].count, __ATOMIC_RELAXED);
}
