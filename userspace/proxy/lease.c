/* SPDX-License-Identifier: BSD-2-Clause */
/* Leases: from an upstream to a connection of one of its servers.
 *
 * Invariant: while l->server is set, it is counted in that server's `leased`. A server is tried once a
 * lease. */

#include "proxy/lease.h"

#include "base/util.h"
#include "proxy/worker.h"

const char *sl_lease_result_name(enum sl_lease_result r)
{
	static const char *const names[SL_LEASE_RESULT_COUNT] = {
		[SL_LEASE_OK] = "ok",
		[SL_LEASE_NO_SERVER] = "no-server",
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

static void hold(struct sl_lease *l, struct sl_server *s)
{
	l->server = s;
	__atomic_add_fetch(&s->leased, 1, __ATOMIC_RELAXED);
}

static void let_go(struct sl_lease *l)
{
	__atomic_sub_fetch(&l->server->leased, 1, __ATOMIC_RELAXED);
	l->server = NULL;
}

/* --- which server --- */

static size_t find_candidates(const struct sl_lease *l, struct sl_candidate *c)
{
	const struct sl_upstream *u = l->options.upstream;
	size_t n = 0;

	for (uint32_t i = 0; i < u->n_servers; i++)
		if (!was_tried(l, i))
			c[n++] = (struct sl_candidate){
				.server = i,
				.weight = u->server[i].config->weight,
			};
	return n;
}

/* NULL: none is left. */
static struct sl_server *pick(struct sl_lease *l, size_t *ret_others)
{
	struct sl_upstream *u = l->options.upstream;
	struct sl_candidate c[SL_SERVERS_MAX];
	struct sl_balancer *b = sl_worker_balancer(l->options.worker, u);
	size_t n = find_candidates(l, c);

	if (!n)
		return NULL;
	*ret_others = n - 1;
	return &u->server[c[sl_balancer_choose(b, c, n)].server];
}

/* --- a connection of it --- */

static bool admits_all(void *arg, const struct sl_stream *s)
{
	return true;
}

static bool take_idle(struct sl_lease *l, struct sl_server *s, struct sl_lease_done *ret)
{
	const struct sl_pool_key key = {.group = s};

	if (l->options.fresh ||
	    !sl_pool_take(&l->options.worker->server_pool, &key, admits_all, NULL, &l->connection))
		return false;
	__atomic_sub_fetch(&s->idle, 1, __ATOMIC_RELAXED);
	*ret = (struct sl_lease_done){.stream = l->connection.stream, .reused = true};
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

static void dial_done(void *owner, const struct sl_dial_done *done)
{
	struct sl_lease *l = owner;
	struct sl_worker *w = l->options.worker;
	struct sl_lease_done lease = {0};

	l->dial = NULL;
	if (done->result == SL_DIAL_OK) {
		l->connection = (struct sl_pooled){.stream = done->stream,
						   .born_ms = sl_loop_now_ms(w->loop)};
		lease = (struct sl_lease_done){.stream = done->stream, .events = done->events};
		l->on_done(l, &lease);
		return;
	}
	l->failure = result_of(done->result);
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

static int dial(struct sl_lease *l, uint32_t timeout_ms)
{
	const struct sl_server_config *s = l->server->config;
	const struct sl_dial_options o = {
		.transport = l->options.worker->transport,
		.resolver = l->options.worker->resolver,
		.host = sl_slice_str(s->host),
		.port = s->port,
		.timeout_ms = timeout_ms,
		.trusted = true,
	};

	return sl_dial_start(&o, dial_done, l, &l->dial);
}

/* Asks one server after another. True: decided, *ret. */
static bool ask_servers(struct sl_lease *l, struct sl_lease_done *ret)
{
	struct sl_server *s;
	uint32_t timeout_ms;
	size_t others = 0;

	while ((s = pick(l, &others))) {
		hold(l, s);
		mark_tried(l, s);
		if (take_idle(l, s, ret))
			return true;
		timeout_ms = try_ms(l, others);
		if (timeout_ms && !dial(l, timeout_ms))
			return false;
		l->failure = timeout_ms ? SL_LEASE_RESOURCES : SL_LEASE_TIMEOUT;
		let_go(l);
	}
	*ret = (struct sl_lease_done){.result = l->failure};
	return true;
}

bool sl_lease_start(struct sl_lease *l, const struct sl_lease_options *o,
		    void (*on_done)(struct sl_lease *l, const struct sl_lease_done *done),
		    struct sl_lease_done *ret)
{
	const struct sl_worker *w = o->worker;

	*l = (struct sl_lease){
		.options = *o,
		.on_done = on_done,
		.deadline_ms = sl_loop_now_ms(w->loop) + w->shared->config->timeouts.connect,
		.failure = SL_LEASE_NO_SERVER,
	};
	if (o->avoid && o->upstream->n_servers > 1)
		mark_tried(l, o->avoid);
	return ask_servers(l, ret);
}

/* --- giving back --- */

static void keep(struct sl_lease *l, struct sl_stream *stream)
{
	const struct sl_upstream_pool_config *pool = &l->server->upstream->config->pool;
	const struct sl_pool_key key = {.group = l->server};

	if (__atomic_add_fetch(&l->server->idle, 1, __ATOMIC_RELAXED) > pool->idle) {
		__atomic_sub_fetch(&l->server->idle, 1, __ATOMIC_RELAXED);
		stream->ops->close(stream, SL_CLOSE_GRACEFUL);
		return;
	}
	l->connection.stream = stream;
	l->connection.requests++;
	sl_pool_put(&l->options.worker->server_pool, &key, &l->connection, pool->idle_timeout_ms);
}

void sl_lease_end(struct sl_lease *l, struct sl_stream *idle, enum sl_outcome outcome)
{
	if (!l->server)
		return;
	sl_dial_cancel(SL_TAKE_PTR(l->dial));
	if (idle)
		keep(l, idle);
	let_go(l);
}
