/* SPDX-License-Identifier: BSD-2-Clause */
/* Leases: from an upstream to a connection of one of its servers.
 *
 * Invariants: while l->server is set, it is counted in that server's `leased`. A server is tried once a
 * lease. A lease waits, dials, or has its connection.
 *
 * Who comes while others wait joins the queue behind them. Room that appears wakes one waiter; a waiter
 * that finds it taken goes back to the front. */

#include "proxy/upstream/lease.h"

#include <errno.h>
#include <string.h>

#include "base/util.h"
#include "proxy/worker.h"

const char *sl_lease_result_name(enum sl_lease_result r)
{
	static const char *const names[SL_LEASE_RESULT_COUNT] = {
		[SL_LEASE_OK] = "ok",
		[SL_LEASE_NO_SERVER] = "no-server",
		[SL_LEASE_QUEUE_FULL] = "queue-full",
		[SL_LEASE_QUEUE_TIMEOUT] = "queue-timeout",
		[SL_LEASE_CONNECT] = "connect-refused",
		[SL_LEASE_TIMEOUT] = "connect-timeout",
		[SL_LEASE_RESOURCES] = "connect-resources",
	};

	return r < SL_LEASE_RESULT_COUNT && names[r] ? names[r] : "unknown";
}

static bool was_tried(const struct sl_lease *l, size_t server)
{
	return l->tried[server / 64] >> (server % 64) & 1;
}

static void mark_tried(struct sl_lease *l, const struct sl_server *s)
{
	l->tried[s->index / 64] |= 1ull << (s->index % 64);
}

/* What failed before is tried again only if nothing else is left. */
static void avoid_tried(struct sl_lease *l, const struct sl_lease *before)
{
	const struct sl_upstream *u = l->options.upstream;
	uint64_t now_ms = sl_loop_now_ms(l->options.worker->loop);

	memcpy(l->tried, before->tried, sizeof(l->tried));
	mark_tried(l, before->latest);
	for (size_t i = 0; i < sl_upstream_len(u); i++)
		if (!was_tried(l, i) && sl_server_state(&u->server[i], now_ms) <= SL_SERVER_EJECTED)
			return;
	memset(l->tried, 0, sizeof(l->tried));
}

static void let_go(struct sl_lease *l)
{
	sl_server_release(SL_TAKE_PTR(l->server));
}

/* Its connection is closed, or an engine's. */
static void count_end(struct sl_lease *l, enum sl_pool_end why)
{
	sl_upstream_count(&l->options.upstream->closed[why]);
	l->connection = (struct sl_pooled){0};
}

/* --- which server --- */

struct choice {
	size_t n;     /* of candidates */
	size_t full;  /* servers that would be candidates with more room */
	size_t tries; /* servers that are left to try */
	struct sl_candidate candidate[SL_SERVERS_MAX];
};

static void add_candidates(const struct sl_lease *l, enum sl_server_state state, bool backup,
			   struct choice *c)
{
	const struct sl_upstream *u = l->options.upstream;
	uint64_t now_ms = sl_loop_now_ms(l->options.worker->loop);

	for (uint32_t i = 0; i < sl_upstream_len(u); i++) {
		const struct sl_server *s = &u->server[i];

		if (was_tried(l, i) || sl_server_state(s, now_ms) != state ||
		    __atomic_load_n(&s->config->backup, __ATOMIC_RELAXED) != backup)
			continue;
		if (!sl_server_has_room(s)) {
			c->full++;
			continue;
		}
		c->candidate[c->n++] = (struct sl_candidate){
			.server = i,
			.weight = sl_server_weight(s, now_ms),
			.load = __atomic_load_n(&s->leased, __ATOMIC_RELAXED),
		};
	}
}

/* Backup servers only where no other is left: not for those that are merely full. Ejected ones only when
 * those have failed, too: what failed before may be well again. */
static void find_candidates(const struct sl_lease *l, struct choice *c)
{
	c->n = c->full = 0;
	add_candidates(l, SL_SERVER_UP, false, c);
	if (!c->n && !c->full)
		add_candidates(l, SL_SERVER_UP, true, c);
	if (!c->n && !c->full)
		add_candidates(l, SL_SERVER_EJECTED, false, c);
	c->tries = c->n + c->full;
}

static struct sl_server *pick(struct sl_lease *l, const struct choice *c)
{
	struct sl_upstream *u = l->options.upstream;
	struct sl_balancer *b = &u->desk[l->options.worker->index].balancer;

	size_t i = sl_balancer_choose(b, c->candidate, c->n, l->options.hash);

	return &u->server[c->candidate[i].server];
}

/* --- a connection of it --- */

static bool admits_all(void *arg, const struct sl_stream *s)
{
	return true;
}

static bool take_over(struct sl_worker *w, const struct sl_pool_key *key, struct sl_pooled *ret)
{
	const struct sl_shared *shared = w->shared;

	for (uint32_t i = 1; i < shared->n_workers; i++) {
		struct sl_worker *other = shared->workers[(w->index + i) % shared->n_workers];

		if (!sl_pool_take_over(&other->server_pool, key, w->transport, ret))
			continue;
		sl_count(w->stats.upstream_taken_over_total, 1);
		return true;
	}
	return false;
}

/* The worker's own first. */
static bool take_idle(struct sl_lease *l)
{
	const struct sl_pool_key key = {.group = l->server};
	struct sl_worker *w = l->options.worker;

	if (!__atomic_load_n(&l->server->idle, __ATOMIC_RELAXED) ||
	    (!sl_pool_take(&w->server_pool, &key, admits_all, NULL, &l->connection) &&
	     !take_over(w, &key, &l->connection)))
		return false;
	sl_server_take_idle(l->server);
	return true;
}

static enum sl_lease_result result_of(enum sl_dial_result r)
{
	switch (r) {
	case SL_DIAL_OK:
		return SL_LEASE_OK;
	case SL_DIAL_NAME_TIMEOUT:
	case SL_DIAL_TIMEOUT:
		return SL_LEASE_TIMEOUT;
	case SL_DIAL_RESOURCES:
		return SL_LEASE_RESOURCES;
	default:
		return SL_LEASE_CONNECT;
	}
}

static bool ask_servers(struct sl_lease *l, struct sl_lease_done *ret);
static bool wait_for_room(struct sl_lease *l, struct sl_lease_done *ret);

static void dial_done(void *owner, const struct sl_dial_done *done)
{
	struct sl_lease *l = owner;
	struct sl_worker *w = l->options.worker;
	struct sl_lease_done lease = {0};

	l->dial = NULL;
	if (done->result == SL_DIAL_OK) {
		l->connection = (struct sl_pooled){.stream = done->stream,
						   .born_ms = sl_loop_now_ms(w->loop)};
		sl_upstream_count(&l->server->opened);
		lease = (struct sl_lease_done){.stream = done->stream, .events = done->events};
		l->on_done(l, &lease);
		return;
	}
	l->failure = result_of(done->result);
	if (done->result != SL_DIAL_RESOURCES)
		sl_server_failed(l->server, sl_loop_now_ms(w->loop),
				 sl_dial_result_name(done->result));
	let_go(l);
	if (ask_servers(l, &lease))
		l->on_done(l, &lease);
}

/* A server that doesn't answer must leave time for the others. */
static uint32_t try_ms(const struct sl_lease *l, size_t others)
{
	uint64_t now = sl_loop_now_ms(l->options.worker->loop);
	uint64_t left = l->deadline_ms > now ? l->deadline_ms - now : 0;

	return (uint32_t)(others ? (left + 1) / 2 : left);
}

static void prepare_attempt(void *owner, struct sl_connect_options *o)
{
	struct sl_lease *l = owner;

	l->options.prepare(l, o);
}

static int dial(struct sl_lease *l, uint32_t timeout_ms)
{
	const struct sl_upstream_pool_config *pool = &l->server->upstream->config->pool;
	const struct sl_server_config *s = l->server->config;
	const struct sl_dial_options o = {
		.transport = l->options.worker->transport,
		.resolver = l->options.worker->resolver,
		.host = sl_slice_str(s->host),
		.port = s->port,
		.timeout_ms = timeout_ms,
		.keepalive_ms = pool->keepalive_ms,
		.fast_open = pool->fast_open && l->options.repeatable,
		.trusted = true,
		.prepare = l->options.prepare ? prepare_attempt : NULL,
	};

	return sl_dial_start(&o, dial_done, l, &l->dial);
}

enum asked {
	ASKED_TAKEN,  /* an idle connection */
	ASKED_DIALS,  /* the answer comes */
	ASKED_FULL,   /* the room was taken meanwhile */
	ASKED_FAILED, /* l->failure */
	ASKED_GONE,   /* the server was removed meanwhile */
};

static enum asked open_connection(struct sl_lease *l, size_t tries)
{
	uint32_t timeout_ms = try_ms(l, tries - 1);

	mark_tried(l, l->server);
	if (timeout_ms && !dial(l, timeout_ms))
		return ASKED_DIALS;
	l->failure = timeout_ms ? SL_LEASE_RESOURCES : SL_LEASE_TIMEOUT;
	let_go(l);
	return ASKED_FAILED;
}

static enum asked ask(struct sl_lease *l, struct sl_server *s, size_t tries)
{
	if (!sl_server_hold(s))
		return ASKED_FULL;
	l->server = l->latest = s;
	if (sl_server_is_removed(s)) {
		let_go(l);
		return ASKED_GONE;
	}
	if (!l->options.fresh && take_idle(l))
		return ASKED_TAKEN;
	if (!sl_server_may_open(s)) { /* an idle one has to go */
		if (!take_idle(l)) {
			let_go(l);
			return ASKED_FULL;
		}
		l->connection.stream->ops->close(l->connection.stream, SL_CLOSE_GRACEFUL);
		count_end(l, SL_POOL_END_ROOM);
	}
	return open_connection(l, tries);
}

/* Asks one server after another. True: decided, *ret. */
static bool ask_servers(struct sl_lease *l, struct sl_lease_done *ret)
{
	size_t races = 0;
	struct choice c;

	for (find_candidates(l, &c); c.n; find_candidates(l, &c)) {
		switch (ask(l, pick(l, &c), c.tries)) {
		case ASKED_TAKEN:
			sl_upstream_count(&l->server->reused);
			*ret = (struct sl_lease_done){.stream = l->connection.stream,
						      .reused = true};
			return true;
		case ASKED_DIALS:
			return false;
		case ASKED_FULL: /* meanwhile: another may have room */
			if (races++ == SL_SERVERS_MAX)
				return wait_for_room(l, ret);
			break;
		case ASKED_FAILED:
		case ASKED_GONE:
			break;
		}
	}
	if (c.full)
		return wait_for_room(l, ret);
	*ret = (struct sl_lease_done){.result = l->failure};
	return true;
}

/* --- waiting --- */

uint64_t sl_lease_waited_us(const struct sl_lease *l)
{
	if (!l->waiting)
		return l->waited_us;
	return l->waited_us + sl_loop_now_us(l->options.worker->loop) - l->waits_since_us;
}

static void stop_waiting(struct sl_lease *l)
{
	l->waited_us = sl_lease_waited_us(l);
	l->waiting = false;
	sl_count(l->options.worker->stats.upstream_waiting, -1);
	sl_loop_disarm(l->options.worker->loop, &l->patience);
}

static void woken(struct sl_task *t)
{
	struct sl_lease *l = sl_container_of(t, struct sl_lease, waiter.wake);
	struct sl_worker *w = l->options.worker;
	struct sl_lease_done done = {0};
	bool decided;

	sl_queue_woken(&l->options.upstream->queue, &l->waiter);
	l->deadline_ms = sl_loop_now_ms(w->loop) + sl_worker_config(w)->timeouts.connect;
	decided = ask_servers(l, &done);
	if (!decided && !l->dial)
		return; /* it waits again */
	stop_waiting(l);
	sl_upstream_wake(l->options.upstream); /* a server that is back has room for many */
	if (decided)
		l->on_done(l, &done);
}

static void out_of_patience(struct sl_timer *t)
{
	struct sl_lease *l = sl_container_of(t, struct sl_lease, patience);
	const struct sl_lease_done done = {.result = SL_LEASE_QUEUE_TIMEOUT};

	if (sl_queue_remove(&l->options.upstream->queue, &l->waiter))
		sl_upstream_wake(l->options.upstream);
	stop_waiting(l);
	sl_count(l->options.worker->stats.upstream_queue_timeouts_total, 1);
	sl_upstream_count(&l->options.upstream->queue_timeouts);
	l->on_done(l, &done);
}

/* Whoever makes room before it is in the queue again wakes nobody. Room that it may not have, such as a
 * drained server's, must not wake it for ever. */
static void wait_again(struct sl_lease *l)
{
	struct sl_upstream *u = l->options.upstream;
	struct choice c;

	sl_queue_add_first(&u->queue, &l->waiter);
	find_candidates(l, &c);
	if (c.n)
		sl_upstream_wake(u);
}

/* As ask_servers(). */
static bool wait_for_room(struct sl_lease *l, struct sl_lease_done *ret)
{
	const struct sl_upstream_pool_config *pool = &l->options.upstream->config->pool;
	struct sl_queue *q = &l->options.upstream->queue;
	struct sl_worker *w = l->options.worker;

	if (l->waiting) { /* woken in vain */
		wait_again(l);
		return false;
	}
	sl_waiter_init(&l->waiter, w->loop, woken);
	if (!sl_queue_add(q, &l->waiter, pool->queue)) {
		sl_count(w->stats.upstream_queue_full_total, 1);
		sl_upstream_count(&l->options.upstream->queue_full);
		*ret = (struct sl_lease_done){.result = SL_LEASE_QUEUE_FULL};
		return true;
	}
	l->waiting = true;
	l->waits_since_us = sl_loop_now_us(w->loop);
	sl_count(w->stats.upstream_waits_total, 1);
	sl_upstream_count(&l->options.upstream->waits);
	sl_count(w->stats.upstream_waiting, 1);
	sl_timer_init(&l->patience, out_of_patience);
	sl_loop_arm(w->loop, &l->patience, pool->queue_timeout_ms);
	sl_upstream_wake(l->options.upstream); /* room may have come before we were in the queue */
	return false;
}

bool sl_lease_start(struct sl_lease *l, const struct sl_lease_options *o,
		    void (*on_done)(struct sl_lease *l, const struct sl_lease_done *done),
		    struct sl_lease_done *ret)
{
	const struct sl_worker *w = o->worker;
	const struct sl_lease before = *l;

	*l = (struct sl_lease){
		.options = *o,
		.on_done = on_done,
		.deadline_ms = sl_loop_now_ms(w->loop) + sl_worker_config(w)->timeouts.connect,
		.failure = SL_LEASE_NO_SERVER,
	};
	if (o->again)
		avoid_tried(l, &before);
	if (sl_queue_len(&o->upstream->queue))
		return wait_for_room(l, ret);
	return ask_servers(l, ret);
}

/* --- giving back --- */

/* Milliseconds that the connection may be idle; 0: it has served its time. */
static uint32_t idle_ms(const struct sl_lease *l)
{
	const struct sl_upstream_pool_config *pool = &l->server->upstream->config->pool;
	uint64_t age = sl_loop_now_ms(l->options.worker->loop) - l->connection.born_ms;

	if (pool->requests && l->connection.requests >= pool->requests)
		return 0;
	if (!pool->age_ms)
		return pool->idle_timeout_ms;
	return age < pool->age_ms
		       ? (uint32_t)sl_min(pool->age_ms - age, (uint64_t)pool->idle_timeout_ms)
		       : 0;
}

/* True if it is in the pool now, and no lease any more. */
static bool keep(struct sl_lease *l, struct sl_stream *stream)
{
	const struct sl_pool_key key = {.group = l->server};
	struct sl_upstream *u = l->server->upstream;
	uint32_t timeout_ms;
	int r;

	l->connection.stream = stream;
	l->connection.requests++;
	timeout_ms = idle_ms(l);
	r = timeout_ms ? sl_server_keep_idle(l->server) : -ETIME;
	if (r < 0) {
		stream->ops->close(stream, SL_CLOSE_GRACEFUL);
		count_end(l, r == -ETIME    ? SL_POOL_END_WORN
			     : r == -ENOSPC ? SL_POOL_END_FULL
					    : SL_POOL_END_REMOVED);
		return false;
	}
	l->server = NULL;
	sl_pool_put(&l->options.worker->server_pool, &key, &l->connection, timeout_ms);
	sl_upstream_wake(u);
	return true;
}

static void judge(struct sl_lease *l, enum sl_outcome outcome)
{
	uint64_t now_ms = sl_loop_now_ms(l->options.worker->loop);

	if (outcome == SL_OUTCOME_BROKEN)
		sl_server_failed(l->server, now_ms, "no whole response");
	else if (outcome == SL_OUTCOME_SERVER_ERROR && l->server->upstream->config->eject.errors)
		sl_server_failed(l->server, now_ms, "responses of 5xx");
	else if (outcome != SL_OUTCOME_UNKNOWN)
		sl_server_succeeded(l->server);
}

void sl_lease_end(struct sl_lease *l, struct sl_stream *idle, enum sl_outcome outcome)
{
	if (l->waiting) {
		stop_waiting(l);
		if (sl_queue_remove(&l->options.upstream->queue, &l->waiter))
			sl_upstream_wake(l->options.upstream);
	}
	if (!l->server)
		return;
	sl_dial_cancel(SL_TAKE_PTR(l->dial));
	judge(l, outcome);
	if (!idle && l->connection.stream)
		count_end(l, SL_POOL_END_SPENT);
	if (!idle || !keep(l, idle))
		let_go(l);
}
