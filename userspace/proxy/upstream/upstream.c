/* SPDX-License-Identifier: BSD-2-Clause */
/* What the workers share of upstreams. */

#include "proxy/upstream/upstream.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/util.h"
#include "proxy/upstream/upstream_set.h"

#define IDLE_MAX     65536 /* of a worker */
#define SERVER_BYTES (SL_SERVERS_MAX * sizeof(struct sl_server))

/* --- life --- */

static void free_upstream(struct sl_upstream *u)
{
	if (!u)
		return;
	if (u->server) {
		sl_queue_destroy(&u->queue);
		pthread_mutex_destroy(&u->eject_lock);
		munmap(u->server, SERVER_BYTES);
	}
	for (uint32_t i = 0; i < u->n_desks; i++)
		sl_balancer_destroy(&u->desk[i].balancer);
	free(u->desk);
	free(u->slot);
	free(u->maglev);
	sl_config_free(u->keeps);
	free(u);
}

/* Zeroed, and in memory only as far as it is used. */
static struct sl_server *map_servers(void)
{
	void *p = mmap(NULL, SERVER_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		       0);

	return p == MAP_FAILED ? NULL : p;
}

static int set_desks(struct sl_upstream *u, uint32_t workers)
{
	int r = 0;

	u->desk = aligned_alloc(64, workers * sizeof(*u->desk));
	if (!u->desk)
		return -ENOMEM;
	memset(u->desk, 0, workers * sizeof(*u->desk));
	u->n_desks = workers;
	for (uint32_t i = 0; i < workers && !r; i++) {
		u->desk[i].retry_credit = SL_RETRY_CREDIT_FIRST;
		r = sl_balancer_init(&u->desk[i].balancer, u->config, u->maglev, i);
	}
	return r;
}

void sl_upstream_set_desk(struct sl_upstream *u, uint32_t worker)
{
	struct sl_balancer *b = &u->desk[worker].balancer;

	b->maglev = u->maglev;
	if (u->config->balance != SL_BALANCE_MAGLEV || u->maglev)
		b->kind = u->config->balance;
}

static int new_upstream(struct sl_config *c, size_t index, uint32_t workers,
			struct sl_upstream **ret)
{
	struct sl_upstream *u = calloc(1, sizeof(*u));
	int r;

	if (!u)
		return -ENOMEM;
	u->config = &c->upstreams[index];
	u->keeps = sl_config_keep(c);
	u->server = map_servers();
	if (u->server) {
		sl_queue_init(&u->queue);
		pthread_mutex_init(&u->eject_lock, NULL);
	}
	r = u->server ? sl_upstream_set_init(u) : -ENOMEM;
	if (!r)
		r = set_desks(u, workers);
	if (r) {
		free_upstream(u);
		return r;
	}
	*ret = u;
	return 0;
}

int sl_upstreams_new(uint32_t workers, struct sl_upstreams **ret)
{
	struct sl_upstreams *all = calloc(1, sizeof(*all));

	if (!all)
		return -ENOMEM;
	all->workers = workers;
	*ret = all;
	return 0;
}

void sl_upstreams_free(struct sl_upstreams *all)
{
	if (!all)
		return;
	for (size_t i = 0; i < all->n; i++)
		free_upstream(all->upstream[i]);
	free(all->upstream);
	free(all);
}

static struct sl_upstream *find_name(const struct sl_upstreams *all, const char *name)
{
	for (size_t i = 0; i < all->n; i++)
		if (all->upstream[i] && !strcmp(all->upstream[i]->config->name, name))
			return all->upstream[i];
	return NULL;
}

static int give_place(struct sl_upstreams *all, struct sl_upstream *u)
{
	struct sl_upstream **grown;
	size_t i = 0;

	while (i < all->n && all->upstream[i])
		i++;
	if (i == all->n) {
		grown = reallocarray(all->upstream, all->n + 1, sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		all->upstream = grown;
		all->n++;
	}
	all->upstream[i] = u;
	u->id = (uint32_t)i;
	return 0;
}

static int enlist(struct sl_upstreams *all, struct sl_config *c, size_t index,
		  struct sl_upstream **ret)
{
	struct sl_upstream *u = find_name(all, c->upstreams[index].name);
	int r;

	if (!u) {
		r = new_upstream(c, index, all->workers, &u);
		if (r < 0)
			return r;
		r = give_place(all, u);
		if (r < 0) {
			free_upstream(u);
			return r;
		}
	}
	u->users++;
	*ret = u;
	return 0;
}

int sl_upstreams_enlist(struct sl_upstreams *all, struct sl_config *c, struct sl_upstream ***ret)
{
	struct sl_upstream **list = calloc(c->n_upstreams + 1, sizeof(struct sl_upstream *));
	size_t n = 0;
	int r = list ? 0 : -ENOMEM;

	for (; !r && n < c->n_upstreams; n += !r)
		r = enlist(all, c, n, &list[n]);
	if (r < 0) {
		sl_upstreams_dismiss(all, list, n);
		return r;
	}
	*ret = list;
	return 0;
}

void sl_upstreams_dismiss(struct sl_upstreams *all, struct sl_upstream **list, size_t n)
{
	for (size_t i = 0; list && i < n; i++) {
		if (--list[i]->users)
			continue;
		all->upstream[list[i]->id] = NULL;
		free_upstream(list[i]);
	}
	free(list);
}

void sl_upstream_retire(struct sl_upstream *u, bool retired)
{
	__atomic_store_n(&u->retired, retired, __ATOMIC_SEQ_CST);
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

int sl_server_keep_idle(struct sl_server *s)
{
	uint32_t idle = __atomic_add_fetch(&s->idle, 1, __ATOMIC_SEQ_CST);
	int r = 0;

	if (sl_server_is_removed(s) || __atomic_load_n(&s->upstream->retired, __ATOMIC_SEQ_CST))
		r = -ESTALE;
	else if (idle > s->upstream->config->pool.idle)
		r = -ENOSPC;
	add(r ? &s->idle : &s->leased, -1);
	return r;
}

void sl_server_forget_idle(struct sl_server *s, enum sl_pool_end why)
{
	sl_upstream_count(&s->upstream->closed[why]);
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

const char *sl_pool_end_name(enum sl_pool_end e)
{
	static const char *const names[SL_POOL_ENDS] = {
		[SL_POOL_END_SPENT] = "spent",	   [SL_POOL_END_WORN] = "worn",
		[SL_POOL_END_IDLE] = "idle",	   [SL_POOL_END_FULL] = "full",
		[SL_POOL_END_ROOM] = "room",	   [SL_POOL_END_SERVER] = "server",
		[SL_POOL_END_REMOVED] = "removed",
	};

	return e < SL_POOL_ENDS ? names[e] : "unknown";
}

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

static void describe_all(const struct sl_upstream *u, uint64_t now_ms,
			 void (*each)(void *arg, const struct sl_server_info *s), void *arg)
{
	struct sl_server_info info;

	for (size_t i = 0; i < u->n_servers; i++) {
		const struct sl_server *s = &u->server[i];

		describe(s, now_ms, &info);
		if ((!sl_server_is_removed(s) && !u->retired) || info.leased || info.idle)
			each(arg, &info);
	}
}

void sl_upstreams_describe(const struct sl_upstreams *all, uint64_t now_ms,
			   void (*each)(void *arg, const struct sl_server_info *s), void *arg)
{
	for (size_t i = 0; i < all->n; i++)
		if (all->upstream[i])
			describe_all(all->upstream[i], now_ms, each, arg);
}

static void describe_pool(const struct sl_upstream *u,
			  void (*each)(void *arg, const struct sl_pool_info *p), void *arg)
{
	const struct sl_upstream_pool_config *c = &u->config->pool;
	struct sl_pool_info info = {
		.upstream = u->config->name,
		.max = c->max,
		.idle = c->idle,
		.waiting = sl_queue_len(&u->queue),
		.queue = c->queue,
		.queue_timeout_ms = c->queue_timeout_ms,
		.waits = __atomic_load_n(&u->waits, __ATOMIC_RELAXED),
		.queue_full = __atomic_load_n(&u->queue_full, __ATOMIC_RELAXED),
		.queue_timeouts = __atomic_load_n(&u->queue_timeouts, __ATOMIC_RELAXED),
	};

	for (int i = 0; i < SL_POOL_ENDS; i++)
		info.closed[i] = __atomic_load_n(&u->closed[i], __ATOMIC_RELAXED);
	each(arg, &info);
}

void sl_upstreams_describe_pools(const struct sl_upstreams *all,
				 void (*each)(void *arg, const struct sl_pool_info *p), void *arg)
{
	for (size_t i = 0; i < all->n; i++)
		if (all->upstream[i] && !all->upstream[i]->retired)
			describe_pool(all->upstream[i], each, arg);
}

static struct sl_server *find_server(const struct sl_upstream *u, const char *address)
{
	for (size_t i = 0; u && i < u->n_servers; i++)
		if (!u->server[i].removed && !strcmp(u->server[i].config->address, address))
			return &u->server[i];
	return NULL;
}

struct sl_server *sl_upstreams_find(struct sl_upstreams *all, const char *upstream,
				    const char *server)
{
	return find_server(find_name(all, upstream), server);
}
