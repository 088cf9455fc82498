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
	struct sl_stream *stream;
	struct sl_list chain; /* in its bucket, newest first */
	struct sl_list age;
	struct sl_timer timer;
	uint16_t port;
	uint8_t host_len;
	char host[HOST_MAX];
};

int sl_pool_init(struct sl_pool *p, struct sl_loop *loop, struct sl_stats *stats, uint32_t idle,
		 uint32_t idle_timeout_ms)
{
	uint32_t n = 16;

	while (n < idle)
		n *= 2;
	*p = (struct sl_pool){.loop = loop,
			      .stats = stats,
			      .n_buckets = n,
			      .idle_timeout_ms = idle_timeout_ms,
			      .buckets = calloc(n, sizeof(*p->buckets))};
	if (!p->buckets)
		return -ENOMEM;
	if (getrandom(&p->seed, sizeof(p->seed), 0) < 0)
		p->seed = sl_clock_us();
	for (uint32_t i = 0; i < n; i++)
		sl_list_init(&p->buckets[i]);
	sl_list_init(&p->oldest_first);
	sl_slab_init(&p->entries, "idle upstreams", sizeof(struct idle), idle);
	return 0;
}

static void set_gauge(struct sl_pool *p)
{
	__atomic_store_n(&p->stats->upstream_idle, p->entries.used, __ATOMIC_RELAXED);
}

/* Takes the entry out of the pool; its stream is the caller's. */
static struct sl_stream *take_out(struct idle *i)
{
	struct sl_pool *p = i->pool;
	struct sl_stream *s = i->stream;

	sl_list_del(&i->chain);
	sl_list_del(&i->age);
	sl_loop_disarm(p->loop, &i->timer);
	sl_slab_put(&p->entries, i);
	set_gauge(p);
	return s;
}

static void discard(struct idle *i)
{
	struct sl_stream *s = take_out(i);

	s->ops->close(s, SL_CLOSE_GRACEFUL);
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

static struct sl_list *bucket(struct sl_pool *p, struct sl_slice host, uint16_t port)
{
	char lower[HOST_MAX];

	for (size_t i = 0; i < host.len; i++)
		lower[i] = sl_ascii_lower(host.p[i]);
	return &p->buckets[XXH3_64bits_withSeed(lower, host.len, p->seed + port) &
			   (p->n_buckets - 1)];
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

void sl_pool_put(struct sl_pool *p, struct sl_slice host, uint16_t port, struct sl_stream *s)
{
	struct idle *i;

	if (p->entries.limit && p->entries.used >= p->entries.limit)
		discard(sl_list_entry(p->oldest_first.next, struct idle, age));
	i = host.len <= HOST_MAX ? sl_slab_get(&p->entries) : NULL;
	if (!i) {
		s->ops->close(s, SL_CLOSE_GRACEFUL);
		return;
	}
	i->pool = p;
	i->stream = s;
	i->port = port;
	i->host_len = (uint8_t)host.len;
	memcpy(i->host, host.p, host.len);
	s->on_event = idle_event;
	s->owner = i;
	sl_list_add(bucket(p, host, port), &i->chain);
	sl_list_add_tail(&p->oldest_first, &i->age);
	sl_timer_init(&i->timer, idle_expired);
	sl_loop_arm(p->loop, &i->timer, p->idle_timeout_ms);
	set_gauge(p);
}

static bool matches(const struct idle *i, struct sl_slice host, uint16_t port)
{
	return i->port == port && sl_slice_eq_nocase(sl_slice(i->host, i->host_len), host);
}

struct sl_stream *sl_pool_take(struct sl_pool *p, struct sl_slice host, uint16_t port,
			       bool (*admits)(void *arg, const struct sl_stream *s), void *arg)
{
	struct sl_list *pos, *tmp, *head;

	if (host.len > HOST_MAX)
		return NULL;
	head = bucket(p, host, port);
	sl_list_for_each_safe (pos, tmp, head) {
		struct idle *i = sl_list_entry(pos, struct idle, chain);

		if (!matches(i, host, port) || !admits(arg, i->stream))
			continue;
		if (is_quiet(i->stream))
			return take_out(i);
		discard(i);
	}
	return NULL;
}
