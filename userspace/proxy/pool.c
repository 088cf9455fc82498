/* SPDX-License-Identifier: BSD-2-Clause */
/* Idle upstream connections: a bounded hash table of LIFO chains, and a list by age for eviction.
 *
 * Invariant: an idle stream's events lead here, and any of them ends it: an origin that says something
 * without being asked can't be understood any more (RFC 9112 9.2 forbids to use it), and EOF is EOF.
 * A stream is also tried by a read before it is handed out, because its event may still be on the way. */

#include "proxy/pool.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>
#include <xxhash.h>

#define HOST_MAX 255

struct idle {
	struct sl_pool *pool;
	struct sl_pooled connection;
	void *group;
	struct sl_list chain; /* in its bucket, newest first */
	struct sl_list age;
	struct sl_timer timer;
	uint16_t port;
	uint8_t host_len;
	char host[HOST_MAX];
};

int sl_pool_init(struct sl_pool *p, const struct sl_pool_options *o)
{
	uint32_t n = 16;

	while (n < o->idle)
		n *= 2;
	*p = (struct sl_pool){
		.options = *o, .n_buckets = n, .buckets = calloc(n, sizeof(*p->buckets))};
	if (!p->buckets)
		return -ENOMEM;
	if (getrandom(&p->seed, sizeof(p->seed), 0) < 0)
		p->seed = sl_clock_us();
	for (uint32_t i = 0; i < n; i++)
		sl_list_init(&p->buckets[i]);
	sl_list_init(&p->oldest_first);
	sl_slab_init(&p->entries, "idle upstreams", sizeof(struct idle), o->idle);
	return 0;
}

/* Takes the entry out of the pool; its stream is the caller's. */
static struct sl_stream *take_out(struct idle *i)
{
	struct sl_pool *p = i->pool;
	struct sl_stream *s = i->connection.stream;

	sl_list_del(&i->chain);
	sl_list_del(&i->age);
	sl_loop_disarm(p->options.loop, &i->timer);
	sl_slab_put(&p->entries, i);
	sl_count(p->options.stats->upstream_idle, -1);
	return s;
}

static void discard(struct idle *i)
{
	struct sl_pool *p = i->pool;
	void *group = i->group;
	struct sl_stream *s = take_out(i);

	s->ops->close(s, SL_CLOSE_GRACEFUL);
	if (group && p->options.on_gone)
		p->options.on_gone(group);
}

void sl_pool_destroy(struct sl_pool *p)
{
	if (!p->buckets)
		return;
	while (!sl_list_empty(&p->oldest_first))
		discard(sl_list_entry(p->oldest_first.next, struct idle, age));
	sl_slab_destroy(&p->entries);
	free(p->buckets);
	p->buckets = NULL;
}

static struct sl_list *bucket(struct sl_pool *p, const struct sl_pool_key *k)
{
	uint64_t hash = p->seed + k->port + (uintptr_t)k->group;
	char lower[HOST_MAX];

	for (size_t i = 0; i < k->host.len; i++)
		lower[i] = sl_ascii_lower(k->host.p[i]);
	return &p->buckets[XXH3_64bits_withSeed(lower, k->host.len, hash) & (p->n_buckets - 1)];
}

static bool is_quiet(struct sl_stream *s)
{
	char byte;

	return s->ops->read(s, &byte, 1) == -EAGAIN;
}

/* An event may be late: what it tells of was read with the response. */
static void idle_event(struct sl_stream *s, unsigned events)
{
	if ((events & (SL_READABLE | SL_HANGUP | SL_ERROR)) && !is_quiet(s))
		discard(s->owner);
}

static void idle_expired(struct sl_timer *t)
{
	discard(sl_container_of(t, struct idle, timer));
}

static struct idle *new_entry(struct sl_pool *p, const struct sl_pool_key *k)
{
	if (k->host.len > HOST_MAX || !p->options.idle)
		return NULL;
	if (p->entries.used >= p->options.idle)
		discard(sl_list_entry(p->oldest_first.next, struct idle, age));
	return sl_slab_get(&p->entries);
}

void sl_pool_put(struct sl_pool *p, const struct sl_pool_key *k, const struct sl_pooled *c,
		 uint32_t idle_timeout_ms)
{
	struct idle *i = new_entry(p, k);

	if (!i) {
		c->stream->ops->close(c->stream, SL_CLOSE_GRACEFUL);
		if (k->group && p->options.on_gone)
			p->options.on_gone(k->group);
		return;
	}
	i->pool = p;
	i->connection = *c;
	i->group = k->group;
	i->port = k->port;
	i->host_len = (uint8_t)k->host.len;
	if (k->host.len)
		memcpy(i->host, k->host.p, k->host.len);
	c->stream->on_event = idle_event;
	c->stream->owner = i;
	sl_list_add(bucket(p, k), &i->chain);
	sl_list_add_tail(&p->oldest_first, &i->age);
	sl_timer_init(&i->timer, idle_expired);
	sl_loop_arm(p->options.loop, &i->timer, idle_timeout_ms);
	sl_count(p->options.stats->upstream_idle, 1);
}

static bool matches(const struct idle *i, const struct sl_pool_key *k)
{
	return i->group == k->group && i->port == k->port &&
	       sl_slice_eq_nocase(sl_slice(i->host, i->host_len), k->host);
}

bool sl_pool_take(struct sl_pool *p, const struct sl_pool_key *k,
		  bool (*admits)(void *arg, const struct sl_stream *s), void *arg,
		  struct sl_pooled *ret)
{
	struct sl_list *pos, *tmp, *head;

	if (k->host.len > HOST_MAX)
		return false;
	head = bucket(p, k);
	sl_list_for_each_safe (pos, tmp, head) {
		struct idle *i = sl_list_entry(pos, struct idle, chain);

		if (!matches(i, k) || !admits(arg, i->connection.stream))
			continue;
		if (!is_quiet(i->connection.stream)) {
			discard(i);
			continue;
		}
		*ret = i->connection;
		take_out(i);
		return true;
	}
	return false;
}
