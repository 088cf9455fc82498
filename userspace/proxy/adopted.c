/* SPDX-License-Identifier: BSD-2-Clause */
/* Adopted tunnels. Nothing is known of them but what the engine tells: addresses, bytes since they were
 * spliced, their age since then. */

#include "proxy/adopted.h"

#include <stdio.h>
#include <string.h>

#include "base/util.h"
#include "proxy/conn.h"

struct adopted {
	struct sl_worker *worker;
	struct sl_pair pair;
	struct sl_list node; /* in the worker's adopted */
	struct sl_timer timer;
	struct sl_addr peer[2], local[2]; /* by enum sl_side */
	struct sl_pair_count counted[2];
	const char *engine; /* who carries it; static */
	uint64_t id;
	uint64_t start_ms; /* when it was spliced */
	uint64_t quiet_since_ms;
};

size_t sl_adopted_size(void)
{
	return sizeof(struct adopted);
}

/* Brings the statistics up to date; true if anything moved since the last time. */
static bool account(struct adopted *a)
{
	struct sl_stats *stats = &a->worker->stats;
	const struct sl_pair_count *from = a->pair.from;
	uint64_t up, down;
	bool moved;

	if (a->pair.engine)
		a->pair.engine->ops->count(&a->pair);
	up = from[SL_CLIENT].bytes - a->counted[SL_CLIENT].bytes;
	down = from[SL_UPSTREAM].bytes - a->counted[SL_UPSTREAM].bytes;
	moved = from[SL_CLIENT].messages != a->counted[SL_CLIENT].messages ||
		from[SL_UPSTREAM].messages != a->counted[SL_UPSTREAM].messages;
	memcpy(a->counted, from, sizeof(a->counted));
	sl_count(stats->client_bytes_in_total, up);
	sl_count(stats->upstream_bytes_out_total, up);
	sl_count(stats->upstream_bytes_in_total, down);
	sl_count(stats->client_bytes_out_total, down);
	return moved;
}

static uint64_t age_ms(const struct adopted *a)
{
	return sl_loop_now_ms(a->worker->loop) - a->start_ms;
}

static void log_end(struct adopted *a, const char *reason)
{
	char target[SL_ADDR_STR_MAX];
	struct sl_worker *w = a->worker;
	const struct sl_access_record r = {
		.start_us = sl_wall_us() - age_ms(a) * 1000,
		.duration_us = age_ms(a) * 1000,
		.bytes_in = a->pair.from[SL_CLIENT].bytes,
		.bytes_out = a->pair.from[SL_UPSTREAM].bytes,
		.client = a->peer[SL_CLIENT],
		.upstream = a->peer[SL_UPSTREAM],
		.status = 200,
		.minor = 1,
		.method = sl_slice_str("CONNECT"),
		.target = sl_slice_str(sl_addr_format(&a->peer[SL_UPSTREAM], target)),
		.engine = sl_slice_str(a->engine),
		.reason = sl_slice_str(reason),
	};

	if (w->access_log && !sl_access_log_push(w->access_log, w->index, &r))
		sl_count(w->stats.log_dropped_total, 1);
}

static void free_adopted(struct adopted *a)
{
	struct sl_worker *w = a->worker;

	sl_loop_disarm(w->loop, &a->timer);
	sl_list_del(&a->node);
	sl_count(w->stats.tunnels_active, -1);
	sl_count(w->stats.tunnels_adopted, -1);
	sl_slab_put(&w->adopted_slab, a);
}

static void end(struct adopted *a, const char *reason)
{
	account(a);
	sl_histogram_add(&a->worker->stats.spliced_duration, age_ms(a) * 1000);
	log_end(a, reason);
	free_adopted(a);
}

static void pair_ended(struct sl_pair *p, enum sl_pair_end why)
{
	end(p->owner, sl_pair_end_name(why));
}

static void tick(struct sl_timer *t)
{
	struct adopted *a = sl_container_of(t, struct adopted, timer);
	const uint32_t timeout = sl_worker_config(a->worker)->timeouts.tunnel;
	uint64_t now = sl_loop_now_ms(a->worker->loop);

	if (account(a))
		a->quiet_since_ms = now;
	if (now - a->quiet_since_ms < timeout) {
		sl_loop_arm(a->worker->loop, t, sl_tunnel_tick_ms(timeout));
		return;
	}
	sl_count(a->worker->stats.timeouts_tunnel_total, 1);
	a->pair.engine->ops->abort(&a->pair);
	end(a, "tunnel-timeout");
}

struct sl_pair *sl_adopted_new(void *worker, const struct sl_left_pair *left)
{
	struct sl_worker *w = worker;
	struct adopted *a = sl_slab_get(&w->adopted_slab);

	if (!a)
		return NULL;
	a->worker = w;
	a->pair.on_end = pair_ended;
	a->pair.owner = a;
	for (int side = 0; side < 2; side++) {
		a->peer[side] = left->peer[side];
		a->local[side] = left->local[side];
		a->counted[side] = left->from[side];
	}
	a->engine = left->engine;
	a->id = ((uint64_t)w->index << 48) | ++w->next_id;
	a->quiet_since_ms = sl_loop_now_ms(w->loop);
	a->start_ms = a->quiet_since_ms - left->age_ms;
	sl_list_add_tail(&w->adopted, &a->node);
	sl_count(w->stats.tunnels_active, 1);
	sl_count(w->stats.tunnels_adopted, 1);
	sl_timer_init(&a->timer, tick);
	sl_loop_arm(w->loop, &a->timer, sl_tunnel_tick_ms(sl_worker_config(w)->timeouts.tunnel));
	return &a->pair;
}

void sl_adopted_end_all(struct sl_worker *w)
{
	while (!sl_list_empty(&w->adopted)) {
		struct adopted *a = sl_list_entry(w->adopted.next, struct adopted, node);

		account(a);
		a->pair.engine->ops->forget(a->pair.engine, &a->pair);
		free_adopted(a);
	}
}

static void tell(struct adopted *a, struct sl_flow_info *ret)
{
	char target[SL_ADDR_STR_MAX];

	a->pair.engine->ops->count(&a->pair);
	*ret = (struct sl_flow_info){
		.id = a->id,
		.age_ms = age_ms(a),
		.client = a->peer[SL_CLIENT],
		.client_local = a->local[SL_CLIENT],
		.upstream = a->peer[SL_UPSTREAM],
		.upstream_local = a->local[SL_UPSTREAM],
		.from = {a->pair.from[SL_CLIENT], a->pair.from[SL_UPSTREAM]},
		.engine = a->engine,
		.reason = "adopted",
		.worker = a->worker->index,
	};
	snprintf(ret->target, sizeof(ret->target), "%s",
		 sl_addr_format(&a->peer[SL_UPSTREAM], target));
}

uint32_t sl_adopted_flows(struct sl_worker *w, uint32_t max,
			  void (*each)(void *arg, const struct sl_flow_info *f), void *arg)
{
	struct sl_flow_info info;
	struct sl_list *pos;
	uint32_t n = 0;

	sl_list_for_each (pos, &w->adopted) {
		if (n == max)
			break;
		tell(sl_list_entry(pos, struct adopted, node), &info);
		each(arg, &info);
		n++;
	}
	return n;
}
