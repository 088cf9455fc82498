/* SPDX-License-Identifier: BSD-2-Clause */
/* What the workers share of upstreams. */

#include "proxy/upstream/upstream.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "proxy/upstream/upstream_set.h"

#define IDLE_MAX 65536 /* of a worker */

static int init_upstream(struct sl_upstream *u, const struct sl_upstream_config *c)
{
	const size_t slots = sl_upstream_slots(c), bytes = slots * sizeof(*u->server);

	u->config = c;
	u->server = aligned_alloc(64, bytes);
	if (!u->server)
		return -ENOMEM;
	memset(u->server, 0, bytes);
	sl_queue_init(&u->queue);
	pthread_mutex_init(&u->eject_lock, NULL);
	u->n_servers = u->n_present = c->n_servers;
	for (uint32_t i = 0; i < slots; i++)
		u->server[i] = (struct sl_server){
			.config = i < c->n_servers ? &c->servers[i] : NULL,
			.upstream = u,
			.index = i,
			.removed = i >= c->n_servers,
		};
	return sl_upstream_set_init(u);
}

int sl_upstreams_new(const struct sl_config *c, struct sl_upstreams **ret)
{
	struct sl_upstreams *u = calloc(1, sizeof(*u));
	int r = 0;

	if (!u)
		return -ENOMEM;
	u->upstream = calloc(c->n_upstreams + 1, sizeof(*u->upstream));
	if (!u->upstream)
		r = -ENOMEM;
	for (; !r && u->n < c->n_upstreams; u->n++)
		r = init_upstream(&u->upstream[u->n], &c->upstreams[u->n]);
	if (r) {
		sl_upstreams_free(u);
		return r;
	}
	*ret = u;
	return 0;
}

void sl_upstreams_free(struct sl_upstreams *u)
{
	if (!u)
		return;
	for (size_t i = 0; i < u->n; i++) {
		if (u->upstream[i].server) {
			sl_queue_destroy(&u->upstream[i].queue);
			pthread_mutex_destroy(&u->upstream[i].eject_lock);
		}
		free(u->upstream[i].server);
		free(u->upstream[i].slot);
		free(u->upstream[i].maglev);
	}
	free(u->upstream);
	free(u);
}

uint32_t sl_upstreams_idle_max(const struct sl_config *c)
{
	uint64_t n = 0;

	for (size_t i = 0; i < c->n_upstreams; i++)
		n += (uint64_t)c->upstreams[i].pool.idle * sl_upstream_slots(&c->upstreams[i]);
	return (uint32_t)sl_min(n, (uint64_t)IDLE_MAX);
}

/* --- room --- */

/* Sequentially consistent, because a releaser that sees nobody wait relies on the waiter seeing what it
 * released. */
static uint32_t load(const uint32_t *n)
{
	return __atomic_load_n(n, __ATOMIC_SEQ_CST);
}

static void add(uint32_t *n, int by)
{
	__atomic_add_fetch(n, (uint32_t)by, __ATOMIC_SEQ_CST);
}

bool sl_server_has_room(const struct sl_server *s)
{
	uint32_t idle = load(&s->idle);

	return idle || load(&s->leased) + idle < s->upstream->config->pool.max;
}

bool sl_server_may_open(const struct sl_server *s)
{
	return load(&s->leased) + load(&s->idle) <= s->upstream->config->pool.max;
}

bool sl_server_hold(struct sl_server *s)
{
	add(&s->leased, 1);
	if (load(&s->idle) || sl_server_may_open(s))
		return true;
	sl_server_release(s); /* somebody may have found it full because of us */
	return false;
}

void sl_server_take_idle(struct sl_server *s)
{
	add(&s->idle, -1);
}

void sl_server_release(struct sl_server *s)
{
	add(&s->leased, -1);
	sl_upstream_wake(s->upstream);
}

bool sl_server_keep_idle(struct sl_server *s)
{
	uint32_t idle = __atomic_add_fetch(&s->idle, 1, __ATOMIC_SEQ_CST);

	if (idle > s->upstream->config->pool.idle || sl_server_is_removed(s)) {
		add(&s->idle, -1);
		return false;
	}
	add(&s->leased, -1);
	return true;
}

void sl_server_forget_idle(struct sl_server *s)
{
	add(&s->idle, -1);
	sl_upstream_wake(s->upstream);
}

void sl_upstream_wake(struct sl_upstream *u)
{
	if (!sl_queue_len(&u->queue))
		return;
	for (size_t i = 0; i < sl_upstream_len(u); i++) {
		if (sl_server_is_removed(&u->server[i]) || !sl_server_has_room(&u->server[i]))
			continue;
		sl_queue_wake_first(&u->queue);
		return;
	}
}

/* --- for operators --- */

static void describe(const struct sl_server *s, uint64_t now_ms, struct sl_server_info *ret)
{
	const struct sl_server_health *h = &s->health;
	enum sl_server_state state = sl_server_state(s, now_ms);
	uint64_t until = __atomic_load_n(&h->ejected_until_ms, __ATOMIC_RELAXED);

	*ret = (struct sl_server_info){
		.upstream = s->upstream->config->name,
		.server = s->config->address,
		.found_as = s->config->found_as,
		.state = sl_server_state_name(state),
		.why = __atomic_load_n(&h->why, __ATOMIC_RELAXED),
		.back_in_ms = state == SL_SERVER_EJECTED && until > now_ms ? until - now_ms : 0,
		.weight = s->config->weight,
		.leased = load(&s->leased),
		.idle = load(&s->idle),
		.up = state == SL_SERVER_UP,
		.backup = s->config->backup,
		.requests = __atomic_load_n(&h->requests, __ATOMIC_RELAXED),
		.failures = __atomic_load_n(&h->failures, __ATOMIC_RELAXED),
		.ejections = __atomic_load_n(&h->ejected_total, __ATOMIC_RELAXED),
		.reused = __atomic_load_n(&s->reused, __ATOMIC_RELAXED),
		.opened = __atomic_load_n(&s->opened, __ATOMIC_RELAXED),
	};
}

void sl_upstreams_describe(const struct sl_upstreams *u, uint64_t now_ms,
			   void (*each)(void *arg, const struct sl_server_info *s), void *arg)
{
	struct sl_server_info info;

	for (size_t i = 0; i < u->n; i++)
		for (size_t k = 0; k < u->upstream[i].n_servers; k++) {
			const struct sl_server *s = &u->upstream[i].server[k];

			describe(s, now_ms, &info);
			if (!sl_server_is_removed(s) || info.leased || info.idle)
				each(arg, &info);
		}
}

void sl_upstreams_describe_pools(const struct sl_upstreams *u,
				 void (*each)(void *arg, const struct sl_pool_info *p), void *arg)
{
	for (size_t i = 0; i < u->n; i++) {
		const struct sl_upstream *up = &u->upstream[i];
		const struct sl_upstream_pool_config *c = &up->config->pool;
		const struct sl_pool_info info = {
			.upstream = up->config->name,
			.max = c->max,
			.idle = c->idle,
			.waiting = sl_queue_len(&up->queue),
			.queue = c->queue,
			.queue_timeout_ms = c->queue_timeout_ms,
			.waits = __atomic_load_n(&up->waits, __ATOMIC_RELAXED),
			.queue_full = __atomic_load_n(&up->queue_full, __ATOMIC_RELAXED),
			.queue_timeouts = __atomic_load_n(&up->queue_timeouts, __ATOMIC_RELAXED),
		};

		each(arg, &info);
	}
}

struct sl_server *sl_upstreams_find(struct sl_upstreams *u, const char *upstream,
				    const char *server)
{
	for (size_t i = 0; i < u->n; i++) {
		struct sl_upstream *up = &u->upstream[i];

		if (strcmp(up->config->name, upstream))
			continue;
		for (size_t k = 0; k < up->n_servers; k++)
			if (!up->server[k].removed &&
			    !strcmp(up->server[k].config->address, server))
				return &up->server[k];
	}
	return NULL;
}
