/* SPDX-License-Identifier: BSD-2-Clause */
/* Idle upstream connections: a bounded hash table of LIFO chains, and a list by age for eviction.
 *
 * Invariant: an idle stream's events lead here, and any of them ends it: an origin that says something
 * without being asked can't be understood any more (RFC 9112 9.2 forbids to use it), and EOF is EOF.
 * A stream is also tried by a read before it is handed out, because its event may still be on the way.
 *
 * Threads: another worker only unlinks an entry, reads a byte in vain and duplicates the descriptor, all
 * under the lock; timers, memory and the old descriptor are left to the owner, which is told by a task.
 * Whatever the owner does to an entry, it asks under the lock first whether it still has it. */

#include "proxy/upstream/pool.h"

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
	struct sl_list age;   /* in oldest_first, or in taken_over */
	bool taken_over;      /* the stream is a husk */
	struct sl_task reap;
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
	sl_list_init(&p->taken_over);
	pthread_mutex_init(&p->lock, NULL);
	sl_slab_init(&p->entries, "idle upstreams", sizeof(struct idle), o->idle);
	return 0;
}

/* Takes the entry off the lists, unless another worker has. */
static bool claim(struct idle *i)
{
	struct sl_pool *p = i->pool;
	bool mine;

	pthread_mutex_lock(&p->lock);
	mine = !i->taken_over;
	if (mine) {
		sl_list_del(&i->chain);
		sl_list_del(&i->age);
	}
	pthread_mutex_unlock(&p->lock);
	return mine;
}

/* Frees the entry; its stream is the caller's. */
static struct sl_stream *release(struct idle *i)
{
	struct sl_pool *p = i->pool;
	struct sl_stream *s = i->connection.stream;

	sl_loop_disarm(p->options.loop, &i->timer);
	sl_slab_put(&p->entries, i);
	sl_count(p->options.stats->upstream_idle, -1);
	return s;
}

static void close_claimed(struct idle *i, enum sl_pool_end why)
{
	struct sl_pool *p = i->pool;
	void *group = i->group;
	struct sl_stream *s = release(i);

	s->ops->close(s, SL_CLOSE_GRACEFUL);
	if (group && p->options.on_gone)
		p->options.on_gone(group, why);
}

static void discard(struct idle *i, enum sl_pool_end why)
{
	if (claim(i))
		close_claimed(i, why);
}

/* Closing the husk's descriptor doesn't touch the connection. */
static void reap(struct sl_task *t)
{
	struct idle *i = sl_container_of(t, struct idle, reap);
	struct sl_stream *s;

	pthread_mutex_lock(&i->pool->lock);
	sl_list_del(&i->age);
	pthread_mutex_unlock(&i->pool->lock);
	s = release(i);
	s->ops->close(s, SL_CLOSE_GRACEFUL);
}

/* No other worker runs any more. */
void sl_pool_destroy(struct sl_pool *p)
{
	struct idle *i;

	if (!p->buckets)
		return;
	while (!sl_list_empty(&p->oldest_first))
		discard(sl_list_entry(p->oldest_first.next, struct idle, age), SL_POOL_END_REMOVED);
	while (!sl_list_empty(&p->taken_over)) {
		i = sl_list_entry(p->taken_over.next, struct idle, age);
		sl_loop_unpost(p->options.loop, &i->reap);
		reap(&i->reap);
	}
	sl_slab_destroy(&p->entries);
	pthread_mutex_destroy(&p->lock);
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

/* An event may be late: what it tells of was read with the response. A husk's events are about bytes
 * that are not ours any more. */
static void idle_event(struct sl_stream *s, unsigned events)
{
	struct idle *i = s->owner;
	bool over;

	if (!(events & (SL_READABLE | SL_HANGUP | SL_ERROR)))
		return;
	pthread_mutex_lock(&i->pool->lock);
	over = !i->taken_over && !is_quiet(s);
	pthread_mutex_unlock(&i->pool->lock);
	if (over)
		discard(i, SL_POOL_END_SERVER);
}

static void idle_expired(struct sl_timer *t)
{
	discard(sl_container_of(t, struct idle, timer), SL_POOL_END_IDLE);
}

/* Only the owner frees entries, so what was the oldest stays valid. */
static void discard_oldest(struct sl_pool *p)
{
	struct idle *i = NULL;

	pthread_mutex_lock(&p->lock);
	if (!sl_list_empty(&p->oldest_first))
		i = sl_list_entry(p->oldest_first.next, struct idle, age);
	pthread_mutex_unlock(&p->lock);
	if (i)
		discard(i, SL_POOL_END_FULL);
}

static struct idle *new_entry(struct sl_pool *p, const struct sl_pool_key *k)
{
	if (k->host.len > HOST_MAX || !p->options.idle)
		return NULL;
	if (p->entries.used >= p->options.idle)
		discard_oldest(p);
	return sl_slab_get(&p->entries);
}

void sl_pool_put(struct sl_pool *p, const struct sl_pool_key *k, const struct sl_pooled *c,
		 uint32_t idle_timeout_ms)
{
	struct idle *i = new_entry(p, k);

	if (!i) {
		c->stream->ops->close(c->stream, SL_CLOSE_GRACEFUL);
		if (k->group && p->options.on_gone)
			p->options.on_gone(k->group, SL_POOL_END_FULL);
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
	sl_task_init(&i->reap, reap);
	sl_timer_init(&i->timer, idle_expired);
	sl_loop_arm(p->options.loop, &i->timer, idle_timeout_ms);
	sl_count(p->options.stats->upstream_idle, 1);
	pthread_mutex_lock(&p->lock);
	sl_list_add(bucket(p, k), &i->chain);
	sl_list_add_tail(&p->oldest_first, &i->age);
	pthread_mutex_unlock(&p->lock);
}

static bool matches(const struct idle *i, const struct sl_pool_key *k)
{
	return i->group == k->group && i->port == k->port &&
	       sl_slice_eq_nocase(sl_slice(i->host, i->host_len), k->host);
}

/* The newest that matches and is quiet, off the lists; others that match are broken and are put on the
 * list, off the lists, too. Under the lock. */
static struct idle *find_quiet(struct sl_pool *p, const struct sl_pool_key *k,
			       bool (*admits)(void *arg, const struct sl_stream *s), void *arg,
			       struct sl_list *broken)
{
	struct sl_list *pos, *tmp, *head = bucket(p, k);

	sl_list_for_each_safe (pos, tmp, head) {
		struct idle *i = sl_list_entry(pos, struct idle, chain);
		bool quiet;

		if (!matches(i, k) || !admits(arg, i->connection.stream))
			continue;
		quiet = is_quiet(i->connection.stream);
		if (!quiet && !broken)
			continue; /* its owner will notice */
		sl_list_del(&i->chain);
		sl_list_del(&i->age);
		if (quiet)
			return i;
		sl_list_add_tail(broken, &i->chain);
	}
	return NULL;
}

static void close_all(struct sl_list *off, enum sl_pool_end why)
{
	struct sl_list *pos, *tmp;

	sl_list_for_each_safe (pos, tmp, off) {
		sl_list_del(pos);
		close_claimed(sl_list_entry(pos, struct idle, chain), why);
	}
}

void sl_pool_drop(struct sl_pool *p, const void *group)
{
	struct sl_list *pos, *tmp, dropped;

	sl_list_init(&dropped);
	pthread_mutex_lock(&p->lock);
	sl_list_for_each_safe (pos, tmp, &p->oldest_first) {
		struct idle *i = sl_list_entry(pos, struct idle, age);

		if (i->group != group)
			continue;
		sl_list_del(&i->age);
		sl_list_del(&i->chain);
		sl_list_add_tail(&dropped, &i->chain);
	}
	pthread_mutex_unlock(&p->lock);
	close_all(&dropped, SL_POOL_END_REMOVED);
}

bool sl_pool_take(struct sl_pool *p, const struct sl_pool_key *k,
		  bool (*admits)(void *arg, const struct sl_stream *s), void *arg,
		  struct sl_pooled *ret)
{
	struct sl_list broken;
	struct idle *i;

	if (k->host.len > HOST_MAX)
		return false;
	sl_list_init(&broken);
	pthread_mutex_lock(&p->lock);
	i = find_quiet(p, k, admits, arg, &broken);
	pthread_mutex_unlock(&p->lock);
	close_all(&broken, SL_POOL_END_SERVER);
	if (!i)
		return false;
	*ret = i->connection;
	release(i);
	return true;
}

static bool admits_all(void *arg, const struct sl_stream *s)
{
	return true;
}

bool sl_pool_take_over(struct sl_pool *p, const struct sl_pool_key *k, struct sl_transport *to,
		       struct sl_pooled *ret)
{
	struct sl_stream *s = NULL;
	struct idle *i;

	pthread_mutex_lock(&p->lock);
	i = find_quiet(p, k, admits_all, NULL, NULL);
	if (i && !i->connection.stream->ops->move(i->connection.stream, to, &s)) {
		*ret = i->connection;
		ret->stream = s;
		i->taken_over = true;
		sl_list_add_tail(&p->taken_over, &i->age);
		sl_loop_post(p->options.loop, &i->reap);
	} else if (i) {
		sl_list_add(bucket(p, k), &i->chain);
		sl_list_add_tail(&p->oldest_first, &i->age);
	}
	pthread_mutex_unlock(&p->lock);
	return s;
}

void sl_pool_set_most(struct sl_pool *p, uint32_t idle)
{
	p->options.idle = idle;
	p->entries.limit = sl_max(idle, p->entries.used);
}
