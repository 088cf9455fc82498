/* SPDX-License-Identifier: BSD-2-Clause */
/* Workers: set up, run, drain, tear down. */

#include "proxy/worker.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "proxy/adopted.h"
#include "proxy/conn.h"

#define TICK_MS		   1000
#define BUFFER_SLACK	   2048 /* what the proxy adds to a head */
#define BUFFER_MIN	   (16 * 1024)
#define BUFFERS_KEPT_BYTES (1024 * 1024)
/* Idle connections to servers of configurations to come. */
#define POOLED_SLACK	   4096
/* Connections over the limit that may be told so at once. */
#define REFUSALS_MAX	   512

static void count_memory(struct sl_worker *w)
{
	size_t streams = (w->conns.used * 2) * w->shared->stream_bytes;

	__atomic_store_n(&w->stats.own_bytes,
			 sl_slab_bytes(&w->conns) + sl_slab_bytes(&w->exchanges) +
				 sl_slab_bytes(&w->adopted_slab) + sl_slab_bytes(&w->buffers.slab) +
				 streams,
			 __ATOMIC_RELAXED);
	__atomic_store_n(&w->stats.buffers_in_use, w->buffers.slab.used, __ATOMIC_RELAXED);
	__atomic_store_n(&w->stats.idle_connection_bytes,
			 w->conns.object_size + w->shared->stream_bytes, __ATOMIC_RELAXED);
}

/* NULL: no worker's instance has failed. */
static const char *find_broken(const struct sl_shared *shared, size_t i)
{
	const struct sl_engine *e;
	const char *why = NULL;

	for (uint32_t k = 0; k < shared->n_workers && !why; k++) {
		e = shared->workers[k]->engines.engine[i];
		why = e ? sl_engine_broken(e) : NULL;
	}
	return why;
}

/* What fails in one worker would fail in the others. */
static void check_engines(struct sl_worker *w)
{
	const char *why;

	for (size_t i = 1; i < w->engines.n; i++) {
		struct sl_engine *e = w->engines.engine[i];

		why = e ? find_broken(w->shared, i) : NULL;
		if (!why || w->told_broken & 1u << i)
			continue;
		w->told_broken |= (uint8_t)(1u << i);
		sl_engine_break(e, why);
		if (!w->index)
			sl_warning("engine %s: takes no more pairs: %s", e->ops->name, why);
	}
}

static void tick(struct sl_timer *t)
{
	struct sl_worker *w = sl_container_of(t, struct sl_worker, tick);

	__atomic_store_n(&w->turned_ms, sl_loop_now_ms(w->loop), __ATOMIC_RELAXED);
	check_engines(w);
	sl_worker_count_acceptors(w);
	if (sl_slab_bytes(&w->buffers.slab) > BUFFERS_KEPT_BYTES)
		sl_slab_trim(&w->buffers.slab); /* a burst's: tunnels that are spliced need none */
	count_memory(w);
	sl_loop_arm(w->loop, &w->tick, TICK_MS);
}

/* --- set-up --- */

static uint32_t most_conns(const struct sl_shared *s)
{
	return s->connections + REFUSALS_MAX;
}

static uint32_t buffer_bytes(const struct sl_config *c)
{
	return sl_max((uint32_t)BUFFER_MIN, c->limits.head + BUFFER_SLACK);
}

static void set_limits(struct sl_worker *w, const struct sl_limits_config *limits)
{
	uint64_t buffers =
		limits->memory / w->shared->n_workers / (sizeof(struct sl_buf) + w->buffers.cap);

	w->buffers.slab.limit = (uint32_t)sl_min(buffers, (uint64_t)UINT32_MAX);
	w->head_limits = (struct sl_head_limits){
		.head_bytes = limits->head,
		.start_line_bytes = limits->start_line,
		.fields = limits->headers,
	};
}

static void init_memory(struct sl_worker *w, const struct sl_config *c)
{
	sl_buf_pool_init(&w->buffers, buffer_bytes(c), UINT32_MAX);
	set_limits(w, &c->limits);
	sl_slab_init(&w->conns, "connections", sizeof(struct sl_conn), most_conns(w->shared));
	sl_slab_init(&w->exchanges, "exchanges", sizeof(struct sl_exchange), most_conns(w->shared));
	sl_list_init(&w->all_conns);
	sl_list_init(&w->tunnels);
	sl_list_init(&w->adopted);
	sl_slab_init(&w->adopted_slab, "adopted tunnels", sl_adopted_size(), UINT32_MAX);
}

static bool is_wanted(const struct sl_config *c, enum sl_splice_choice engine)
{
	for (size_t i = 0; i < c->n_listeners; i++)
		if (c->listeners[i].splice == engine)
			return true;
	return false;
}

/* Where an engine for conversations is chosen by "auto" alone, few pairs get there: maps take memory. */
static uint32_t most_pairs(const struct sl_worker *w, const struct sl_engine_ops *ops)
{
	uint32_t all = most_conns(w->shared);

	if (!ops->for_talk || is_wanted(sl_worker_config(w), SL_SPLICE_SOCKMAP))
		return all;
	return sl_min(all, (uint32_t)SL_POLICY_TALKERS);
}

static int create_engines(struct sl_worker *w)
{
	struct sl_engine_options o = {
		.loop = w->loop,
		.buffers = &w->buffers,
		.index = w->index,
		.instances = w->shared->n_workers,
		.adopt = sl_adopted_new,
		.owner = w,
	};
	int r;

	for (size_t i = 0; w->shared->engines[i] && i < SL_ENGINES_MAX; i++) {
		w->engines.n = i + 1;
		if (!w->shared->reports[i].available)
			continue;
		o.pairs = most_pairs(w, w->shared->engines[i]);
		r = w->shared->engines[i]->create(&o, &w->engines.engine[i]);
		if (r < 0)
			return r;
	}
	return 0;
}

static void server_connection_gone(void *group, enum sl_pool_end why)
{
	sl_server_forget_idle(group, why);
}

static int create_pools(struct sl_worker *w, const struct sl_config *c)
{
	const struct sl_pool_options named = {
		.loop = w->loop, .stats = &w->stats, .idle = c->pool.idle};
	const struct sl_pool_options servers = {.loop = w->loop,
						.stats = &w->stats,
						.idle = sl_upstreams_idle_max(c),
						.on_gone = server_connection_gone};
	int r = sl_pool_init(&w->pool, &named);

	return r ? r : sl_pool_init(&w->server_pool, &servers);
}

static int set_up(struct sl_worker *w)
{
	const struct sl_config *c = sl_worker_config(w);
	uint32_t streams;
	int r;

	w->pooled_most = sl_upstreams_idle_max(c) + POOLED_SLACK;
	streams = most_conns(w->shared) * 2 + c->pool.idle + w->pooled_most;
	r = sl_loop_new(&w->loop);
	if (!r)
		sl_farewells_init(&w->farewells, w->loop);
	if (!r)
		r = w->shared->transport_new(w->loop, streams, &w->transport);
	if (!r)
		r = sl_resolver_new(w->loop, &c->resolver, &w->resolver);
	if (!r)
		r = create_pools(w, c);
	return r ? r : create_engines(w);
}

int sl_worker_new(const struct sl_shared *shared, uint32_t index, struct sl_generation *g,
		  struct sl_worker **ret)
{
	struct sl_worker *w = aligned_alloc(64, (sizeof(*w) + 63) & ~(size_t)63);
	int r;

	if (!w)
		return -ENOMEM;
	memset(w, 0, sizeof(*w));
	w->shared = shared;
	w->index = index;
	sl_timer_init(&w->tick, tick);
	init_memory(w, g->config);
	w->era = sl_era_new(w, g);
	r = w->era ? set_up(w) : -ENOMEM;
	if (r < 0) {
		sl_worker_free(w);
		return r;
	}
	count_memory(w);
	w->turned_ms = sl_loop_now_ms(w->loop);
	sl_loop_arm(w->loop, &w->tick, TICK_MS);
	*ret = w;
	return 0;
}

void sl_worker_set_limits(struct sl_worker *w)
{
	const struct sl_config *c = sl_worker_config(w);
	uint32_t pooled = sl_min(sl_upstreams_idle_max(c), w->pooled_most);

	set_limits(w, &c->limits);
	sl_pool_set_most(&w->server_pool, pooled);
}

static void *worker_main(void *arg)
{
	struct sl_worker *w = arg;
	char name[16]; /* what the kernel has room for; top(1) and gdb(1) show it */
	int r;

	snprintf(name, sizeof(name), "worker %u", w->index);
	pthread_setname_np(pthread_self(), name);
	r = sl_loop_run(w->loop);

	if (r < 0)
		sl_error("worker %u: event loop: %s", w->index, strerror(-r));
	return NULL;
}

int sl_worker_start(struct sl_worker *w)
{
	int r = pthread_create(&w->thread, NULL, worker_main, w);

	w->started = !r;
	return -r;
}

void sl_worker_follow(struct sl_worker *w, void *arg)
{
	struct sl_upstream *u = arg;

	sl_upstream_set_desk(u, w->index);
	for (size_t i = 0; i < sl_upstream_len(u); i++)
		if ((u->retired || sl_server_is_removed(&u->server[i])) &&
		    __atomic_load_n(&u->server[i].idle, __ATOMIC_RELAXED))
			sl_pool_drop(&w->server_pool, &u->server[i]);
}

/* --- end --- */

static void leave_pairs_to(struct sl_worker *w, struct sl_engine *e)
{
	struct sl_list *pos, *tmp;

	sl_list_for_each_safe (pos, tmp, &w->all_conns) {
		struct sl_conn *c = sl_list_entry(pos, struct sl_conn, node);

		if (c->state == SL_CONN_TUNNEL && c->x->pair.engine == e)
			sl_tunnel_leave(c);
		else if (c->x && c->x->pair.engine != e)
			e->ops->forget(e, &c->x->pair); /* what was prepared */
	}
	sl_engine_break(e, "handed over to another process");
}

void sl_worker_leave_pairs(struct sl_worker *w)
{
	for (size_t i = 1; i < w->engines.n; i++)
		if (w->engines.engine[i] && !w->engines.engine[i]->ops->for_talk) {
			w->told_broken |= (uint8_t)(1u << i);
			leave_pairs_to(w, w->engines.engine[i]);
		}
	sl_adopted_end_all(w);
}

void sl_worker_abort(struct sl_worker *w)
{
	sl_worker_drain(w);
	w->stopping = true;
	while (!sl_list_empty(&w->all_conns))
		sl_conn_abort(sl_list_entry(w->all_conns.next, struct sl_conn, node), "stopped");
	sl_farewells_end(&w->farewells);
	sl_adopted_end_all(w);
}

/* In the caller's thread, after the worker's has ended. */
static void tear_down(struct sl_worker *w)
{
	if (w->loop && w->era)
		sl_worker_abort(w);
	sl_pool_destroy(&w->pool);
	sl_pool_destroy(&w->server_pool);
	if (w->loop)
		sl_loop_turn(w->loop, 0); /* runs what was deferred: objects are freed */
	for (size_t i = 0; i < w->engines.n; i++)
		if (w->engines.engine[i])
			w->engines.engine[i]->ops->destroy(w->engines.engine[i]);
	sl_resolver_free(w->resolver);
	if (w->transport)
		w->transport->ops->destroy(w->transport);
}

void sl_worker_stop(struct sl_worker *w)
{
	if (!w->started)
		return;
	sl_loop_stop(w->loop);
	pthread_join(w->thread, NULL);
	w->started = false;
}

void sl_worker_free(struct sl_worker *w)
{
	if (!w)
		return;
	sl_worker_stop(w);
	tear_down(w);
	sl_loop_free(w->loop);
	sl_buf_pool_destroy(&w->buffers);
	sl_slab_destroy(&w->conns);
	sl_slab_destroy(&w->exchanges);
	sl_slab_destroy(&w->adopted_slab);
	sl_worker_leave(w);
	free(w);
}

uint32_t sl_worker_flows(struct sl_worker *w, uint32_t max,
			 void (*each)(void *arg, const struct sl_flow_info *f), void *arg)
{
	struct sl_flow_info info;
	struct sl_list *pos;
	uint32_t n = 0;

	sl_list_for_each (pos, &w->tunnels) {
		if (n == max)
			return n;
		sl_tunnel_info(sl_list_entry(pos, struct sl_exchange, flow), &info);
		each(arg, &info);
		n++;
	}
	return n + sl_adopted_flows(w, max - n, each, arg);
}
