/* SPDX-License-Identifier: BSD-2-Clause */
/* Tunnels: a CONNECT that was granted, or an upgrade that was accepted. The streams belong to an engine;
 * this file opens, watches and counts. Bytes that were read too early go to the engine with the
 * streams, in order. */

#include "proxy/conn.h"

#include <stdio.h>

#include "base/probe.h"
#include "base/util.h"

#define TICK_MAX_MS 5000
#define TICK_MIN_MS 20

uint64_t sl_tunnel_tick_ms(uint32_t timeout_ms)
{
	return sl_min(sl_max(timeout_ms / 4, (uint32_t)TICK_MIN_MS), (uint32_t)TICK_MAX_MS);
}

/* What of the next n bytes was not counted when it was read behind a head. */
static uint64_t not_early(struct sl_exchange *x, enum sl_side from, uint64_t n)
{
	uint64_t early = sl_min(x->early[from], n);

	x->early[from] -= early;
	return n - early;
}

/* Brings the statistics up to date; true if anything moved since the last time: of a spliced pair also
 * packets without bytes, such as keepalives. */
static bool account(struct sl_exchange *x)
{
	struct sl_stats *stats = &x->conn->worker->stats;
	uint64_t up, down, messages;
	bool moved;

	if (x->pair.engine)
		x->pair.engine->ops->count(&x->pair);
	messages = x->pair.from[SL_CLIENT].messages + x->pair.from[SL_UPSTREAM].messages;
	moved = messages != x->messages;
	x->messages = messages;
	up = x->pair.from[SL_CLIENT].bytes - x->counted[SL_CLIENT];
	down = x->pair.from[SL_UPSTREAM].bytes - x->counted[SL_UPSTREAM];
	x->counted[SL_CLIENT] += up;
	x->counted[SL_UPSTREAM] += down;
	sl_count(stats->client_bytes_in_total, not_early(x, SL_CLIENT, up));
	sl_count(stats->upstream_bytes_out_total, up);
	sl_count(stats->upstream_bytes_in_total, not_early(x, SL_UPSTREAM, down));
	sl_count(stats->client_bytes_out_total, down);
	return moved;
}

static void end_tunnel(struct sl_conn *c, const char *reason)
{
	struct sl_worker *w = c->worker;
	struct sl_exchange *x = c->x;

	account(x);
	x->bytes_in = x->pair.from[SL_CLIENT].bytes;
	x->bytes_out = x->pair.from[SL_UPSTREAM].bytes;
	x->reason = reason;
	if (x->pair.answered_us)
		x->first_byte_us = x->pair.answered_us - x->tunnel_us;
	sl_list_del(&x->flow);
	sl_count(w->stats.tunnels_active, -1);
	sl_histogram_add(&w->stats.tunnel_duration, sl_loop_now_us(w->loop) - x->tunnel_us);
	if (x->spliced_us)
		sl_histogram_add(&w->stats.spliced_duration,
				 sl_loop_now_us(w->loop) - x->spliced_us);
	sl_conn_close(c, SL_CLOSE_RESET); /* streams are left only if no engine took them */
}

static void pair_ended(struct sl_pair *p, enum sl_pair_end why)
{
	end_tunnel(p->owner, sl_pair_end_name(why));
}

void sl_tunnel_abort(struct sl_conn *c, const char *reason)
{
	struct sl_pair *p = &c->x->pair;

	if (p->stream[SL_CLIENT] || !c->worker->stopping)
		p->engine->ops->abort(p);
	end_tunnel(c, reason);
}

void sl_tunnel_leave(struct sl_conn *c)
{
	end_tunnel(c, "handed-over");
}

static const char *wanted_engine(const struct sl_conn *c)
{
	switch (c->listener->config->splice) {
	case SL_SPLICE_AUTO:
		return NULL;
	case SL_SPLICE_COPY:
		return "copy";
	case SL_SPLICE_SOCKMAP:
		return "sockmap";
	case SL_SPLICE_PACKET:
		return sl_conn_config(c)->transport == SL_TRANSPORT_DPDK ? "dpdk" : "packet";
	}
	return NULL;
}

static struct sl_policy policy_of(const struct sl_conn *c)
{
	const struct sl_splice_config *splice = &sl_conn_config(c)->splice;

	return (struct sl_policy){
		.wanted = wanted_engine(c),
		.after_bytes = splice->after_bytes,
		.after_ms = splice->after_ms,
		.host = c->worker->pressure.host,
		.worker = c->worker->pressure.worker,
		.prospects = &c->worker->prospects,
	};
}

void sl_tunnel_prepare(struct sl_conn *c, struct sl_connect_options *o)
{
	const struct sl_policy policy = policy_of(c);

	c->x->pair.stream[SL_CLIENT] = c->client;
	sl_policy_prepare(&c->worker->engines, &policy, &c->x->pair, &c->x->policy,
			  sl_loop_now_ms(c->worker->loop), o);
}

/* The timer serves the policy's next look, too. */
static void arm(struct sl_conn *c)
{
	uint64_t now = sl_loop_now_ms(c->worker->loop);
	uint64_t next = sl_max(c->x->policy.next_ms, now + 1) - now;

	sl_conn_arm(c, sl_min(sl_tunnel_tick_ms(sl_conn_config(c)->timeouts.tunnel), next));
}

static void hand_over(struct sl_conn *c)
{
	struct sl_exchange *x = c->x;

	x->early[SL_CLIENT] = c->in ? sl_buf_len(c->in) : 0;
	x->early[SL_UPSTREAM] = x->up_in ? sl_buf_len(x->up_in) : 0;
	x->pair = (struct sl_pair){
		.stream = {c->client, SL_TAKE_PTR(x->upstream)},
		.pending = {SL_TAKE_PTR(c->in), SL_TAKE_PTR(x->up_in)},
		.input_ended = {c->input_ended, x->upstream_ended},
		.drained = {!c->readable, !x->up_readable},
		.prepared = x->pair.prepared,
		.on_end = pair_ended,
		.owner = c,
	};
	c->client = NULL;
}

/* The engine refused: the streams are ours again. */
static void take_back(struct sl_conn *c)
{
	struct sl_exchange *x = c->x;

	c->client = x->pair.stream[SL_CLIENT];
	x->upstream = x->pair.stream[SL_UPSTREAM];
	c->in = x->pair.pending[SL_CLIENT];
	x->up_in = x->pair.pending[SL_UPSTREAM];
}

static void start_tunnel(struct sl_conn *c)
{
	struct sl_worker *w = c->worker;
	struct sl_exchange *x = c->x;
	const struct sl_policy policy = policy_of(c);
	uint64_t now = sl_loop_now_ms(w->loop);

	x->head = sl_buf_put(&w->buffers, x->head);
	hand_over(c);
	if (sl_policy_start(&w->engines, &policy, &x->pair, &x->policy, now) < 0) {
		take_back(c);
		sl_conn_abort(c, "resources");
		return;
	}
	x->engine = x->pair.engine->ops->name;
	x->tunnel_us = sl_loop_now_us(w->loop);
	x->quiet_since_ms = now;
	sl_list_add_tail(&w->tunnels, &x->flow);
	sl_count(w->stats.tunnels_total, 1);
	sl_count(w->stats.tunnels_active, 1);
	sl_conn_set_state(c, SL_CONN_TUNNEL);
	arm(c);
}

/* As far as the streams know them. */
static void note_locals(struct sl_exchange *x)
{
	for (int side = 0; side < 2; side++)
		if (x->pair.stream[side])
			x->local[side] = x->pair.stream[side]->local;
}

/* The first splice counts, should the pair go to and fro. */
static void note_splice(struct sl_conn *c)
{
	struct sl_worker *w = c->worker;
	struct sl_exchange *x = c->x;

	if (x->engine != x->pair.engine->ops->name)
		SL_PROBE3(flip, c->id, x->pair.engine->ops->name, x->policy.reason);
	x->engine = x->pair.engine->ops->name;
	if (x->spliced_us || x->pair.engine == w->engines.engine[0])
		return;
	x->spliced_us = sl_loop_now_us(w->loop);
	sl_histogram_add(&w->stats.splice_delay, x->spliced_us - c->head_us);
}

/* Perhaps another engine now. */
static void review(struct sl_conn *c, uint64_t now)
{
	struct sl_exchange *x = c->x;
	struct sl_policy policy;

	if (c->listener->config->splice == SL_SPLICE_AUTO)
		sl_pressure_update(&c->worker->pressure, c->worker->loop);
	policy = policy_of(c);
	if (sl_policy_review(&c->worker->engines, &policy, &x->pair, &x->policy, now) < 0) {
		x->pair.end = SL_PAIR_FAILED;
		take_back(c);
		end_tunnel(c, "resources");
		return;
	}
	if (c->state != SL_CONN_TUNNEL)
		return;
	note_splice(c);
	note_locals(x);
	arm(c);
}

void sl_tunnel_tick(struct sl_conn *c)
{
	const struct sl_timeouts_config *timeouts = &sl_conn_config(c)->timeouts;
	struct sl_exchange *x = c->x;
	uint64_t now = sl_loop_now_ms(c->worker->loop);

	if (account(x))
		x->quiet_since_ms = now;
	if (now - x->quiet_since_ms >= timeouts->tunnel) {
		sl_count(c->worker->stats.timeouts_tunnel_total, 1);
		sl_tunnel_abort(c, "tunnel-timeout");
		return;
	}
	review(c, now);
}

void sl_tunnel_open(struct sl_conn *c)
{
	int r = sl_conn_flush(c);

	if (r < 0)
		sl_conn_abort(c, "client-reset");
	else if (r > 0)
		start_tunnel(c);
}

/* Asked for once per pair: endpoint() costs system calls. */
static void learn_locals(struct sl_exchange *x)
{
	struct sl_endpoint unused;

	if (x->locals_known || !x->pair.stream[SL_CLIENT] || !x->pair.stream[SL_UPSTREAM])
		return;
	for (int side = 0; side < 2; side++)
		x->pair.stream[side]->ops->endpoint(x->pair.stream[side], &unused);
	note_locals(x);
	x->locals_known = true;
}

void sl_tunnel_info(struct sl_exchange *x, struct sl_flow_info *ret)
{
	struct sl_conn *c = x->conn;
	bool v6 = x->request.authority.ipv6_literal;

	learn_locals(x);
	if (x->pair.engine)
		x->pair.engine->ops->count(&x->pair);
	*ret = (struct sl_flow_info){
		.id = c->id,
		.age_ms = sl_loop_now_ms(c->worker->loop) - x->tunnel_us / 1000,
		.client = c->source,
		.client_local = x->local[SL_CLIENT],
		.upstream = x->upstream_addr,
		.upstream_local = x->local[SL_UPSTREAM],
		.from = {x->pair.from[SL_CLIENT], x->pair.from[SL_UPSTREAM]},
		.engine = x->engine,
		.reason = x->policy.reason,
		.listener = c->listener->config->name,
		.worker = c->worker->index,
	};
	snprintf(ret->target, sizeof(ret->target), v6 ? "[%.*s]:%u" : "%.*s:%u", (int)x->host.len,
		 x->host.p, x->port);
}
