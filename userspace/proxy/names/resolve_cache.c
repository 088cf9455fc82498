/* SPDX-License-Identifier: BSD-2-Clause */
/* A chained hash table with a list in order of use. Invariant: every entry is in one bucket and in
 * `recent`, and there are at most `limit`. Expired entries leave when they are met or evicted; there
 * is no timer. Entries are allocated to measure: most answers hold one or two addresses. */

#include "proxy/names/resolve_cache.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct entry {
	struct sl_list in_bucket, in_recent;
	uint64_t hash;
	uint64_t expires_ms;
	int error;
	uint8_t n_addrs, name_len;
	struct sl_addr addr[]; /* the name stands behind the last */
};

static char *entry_name(struct entry *e)
{
	return (char *)&e->addr[e->n_addrs];
}

int sl_resolve_cache_init(struct sl_resolve_cache *c, uint32_t limit)
{
	uint32_t n = 16;

	while (n < limit && n < 1u << 20)
		n *= 2;
	memset(c, 0, sizeof(*c));
	sl_list_init(&c->recent);
	c->buckets = reallocarray(NULL, n, sizeof(*c->buckets));
	if (!c->buckets)
		return -ENOMEM;
	for (uint32_t i = 0; i < n; i++)
		sl_list_init(&c->buckets[i]);
	c->n_buckets = n;
	c->limit = limit;
	return 0;
}

static void drop(struct sl_resolve_cache *c, struct entry *e)
{
	sl_list_del(&e->in_bucket);
	sl_list_del(&e->in_recent);
	c->used--;
	free(e);
}

void sl_resolve_cache_destroy(struct sl_resolve_cache *c)
{
	if (!c->buckets)
		return;
	while (!sl_list_empty(&c->recent))
		drop(c, sl_list_entry(c->recent.next, struct entry, in_recent));
	free(SL_TAKE_PTR(c->buckets));
}

static struct entry *find(struct sl_resolve_cache *c, uint64_t hash, struct sl_slice name)
{
	struct sl_list *bucket = &c->buckets[hash & (c->n_buckets - 1)], *pos;

	sl_list_for_each (pos, bucket) {
		struct entry *e = sl_list_entry(pos, struct entry, in_bucket);

		if (e->hash == hash && sl_slice_eq(sl_slice(entry_name(e), e->name_len), name))
			return e;
	}
	return NULL;
}

int sl_resolve_cache_get(struct sl_resolve_cache *c, uint64_t hash, struct sl_slice name,
			 uint64_t now_ms, struct sl_addrs *ret)
{
	struct entry *e = find(c, hash, name);

	if (!e)
		return -EAGAIN;
	if (now_ms >= e->expires_ms) {
		drop(c, e);
		return -EAGAIN;
	}
	sl_list_del(&e->in_recent);
	sl_list_add(&c->recent, &e->in_recent);
	if (e->error)
		return e->error;
	ret->n = e->n_addrs;
	memcpy(ret->addr, e->addr, e->n_addrs * sizeof(e->addr[0]));
	return 0;
}

void sl_resolve_cache_put(struct sl_resolve_cache *c, uint64_t hash, struct sl_slice name,
			  uint64_t expires_ms, int error, const struct sl_addrs *addrs)
{
	size_t n_addrs = error ? 0 : addrs->n;
	struct entry *e = find(c, hash, name);

	if (e)
		drop(c, e);
	if (!c->limit)
		return;
	e = malloc(sizeof(*e) + n_addrs * sizeof(e->addr[0]) + name.len);
	if (!e)
		return;
	if (c->used >= c->limit)
		drop(c, sl_list_entry(c->recent.prev, struct entry, in_recent));
	*e = (struct entry){.hash = hash,
			    .expires_ms = expires_ms,
			    .error = error,
			    .n_addrs = (uint8_t)n_addrs,
			    .name_len = (uint8_t)name.len};
	if (n_addrs)
		memcpy(e->addr, addrs->addr, n_addrs * sizeof(e->addr[0]));
	memcpy(entry_name(e), name.p, name.len);
	sl_list_add(&c->buckets[hash & (c->n_buckets - 1)], &e->in_bucket);
	sl_list_add(&c->recent, &e->in_recent);
	c->used++;
}
