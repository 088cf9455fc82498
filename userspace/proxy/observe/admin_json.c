/* SPDX-License-Identifier: BSD-2-Clause */
/* JSON of statistics and flows. Strings of strangers (targets) may hold any byte: jansson wants UTF-8,
 * so each byte outside printable ASCII becomes the code point of the same number. */

#include "proxy/observe/admin_json.h"

#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "proxy/observe/process.h"

static json_t *number(uint64_t n)
{
	return json_integer((json_int_t)sl_min(n, (uint64_t)INT64_MAX));
}

static json_t *text(const char *s)
{
	char utf8[2 * sizeof(((struct sl_flow_info *)NULL)->target)], *p = utf8;

	if (!s)
		return json_null();
	for (; *s && p + 2 < utf8 + sizeof(utf8); s++) {
		unsigned char c = (unsigned char)*s;

		if (c < 0x80) {
			*p++ = (char)c;
			continue;
		}
		*p++ = (char)(0xc0 | c >> 6);
		*p++ = (char)(0x80 | (c & 0x3f));
	}
	return json_stringn(utf8, (size_t)(p - utf8));
}

static json_t *addr(const struct sl_addr *a)
{
	char buf[SL_ADDR_STR_MAX];

	return a->family == AF_UNSPEC ? json_null() : json_string(sl_addr_format(a, buf));
}

static json_t *counters(const struct sl_stats *s)
{
	json_t *o = json_object();

#define X(name, help) json_object_set_new(o, #name, number(s->name));
	SL_COUNTERS(X)
#undef X
	return o;
}

static json_t *gauges(const struct sl_stats *s)
{
	json_t *o = json_object();

#define X(name, help) json_object_set_new(o, #name, number(s->name));
	SL_GAUGES(X)
#undef X
	return o;
}

/* [[largest value, samples], ...] of buckets that hold any. */
static json_t *filled_buckets(const struct sl_histogram *h)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < SL_HISTOGRAM_BUCKETS; i++) {
		json_t *pair;

		if (!h->bucket[i])
			continue;
		pair = json_array();
		json_array_append_new(pair, number(sl_histogram_bucket_top(i)));
		json_array_append_new(pair, number(h->bucket[i]));
		json_array_append_new(list, pair);
	}
	return list;
}

static json_t *histogram(const struct sl_histogram *h, bool buckets)
{
	static const struct {
		const char *key;
		double part;
	} rows[] = {{"p50_us", .5}, {"p90_us", .9}, {"p99_us", .99}, {"p999_us", .999}};
	json_t *o = json_object();

	json_object_set_new(o, "count", number(h->count));
	json_object_set_new(o, "sum_us", number(h->sum_us));
	for (size_t i = 0; i < SL_ARRAY_SIZE(rows); i++)
		json_object_set_new(o, rows[i].key,
				    number(sl_histogram_percentile(h, rows[i].part)));
	if (buckets)
		json_object_set_new(o, "buckets", filled_buckets(h));
	return o;
}

static json_t *histograms(const struct sl_stats *s, bool buckets)
{
	json_t *o = json_object();

#define X(name, help) json_object_set_new(o, #name, histogram(&s->name, buckets));
	SL_HISTOGRAMS(X)
#undef X
	return o;
}

static json_t *resolver(const struct sl_control_source *source)
{
	struct sl_resolver_stats s = {0};

	source->resolver_stats(source->owner, &s);
	return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "asked", number(s.asked), "cached",
			 number(s.cached), "negative", number(s.negative), "joined",
			 number(s.joined), "failed", number(s.failed), "timed_out",
			 number(s.timed_out), "refused", number(s.refused));
}

static json_t *engines(const struct sl_control_source *source)
{
	struct sl_engine_totals t = {0};
	struct sl_engine_report report = {0};
	json_t *list = json_array();
	const char *name;

	for (uint32_t i = 0; source->engine(source->owner, i, &name, &report, &t); i++) {
		json_array_append_new(
			list,
			json_pack("{s:o, s:b, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "name",
				  text(name), "available", report.available, "reason",
				  text(report.reason), "joined", number(t.joined), "refused",
				  number(t.refused), "parted", number(t.parted), "active",
				  number(t.active), "bytes_from_client", number(t.bytes[SL_CLIENT]),
				  "bytes_from_upstream", number(t.bytes[SL_UPSTREAM])));
		report = (struct sl_engine_report){0};
		t = (struct sl_engine_totals){0};
	}
	return list;
}

/* {"packet_slots": {"free": 65536, ...}, "packet_arms_total": 0, ...} */
static void put_figure(void *arg, const struct sl_figure *f)
{
	json_t *root = arg, *family = json_object_get(root, f->name);

	if (!f->label) {
		json_object_set_new(root, f->name, number(f->n));
		return;
	}
	if (!family) {
		family = json_object();
		json_object_set_new(root, f->name, family);
	}
	json_object_set_new(family, f->value, number(f->n));
}

static json_t *figures(const struct sl_control_source *source)
{
	json_t *root = json_object();

	source->figures(put_figure, root);
	return root;
}

/* Where the time of a loop went, and what ran in it. */
static json_t *loop(const struct sl_loop_stats *l)
{
	const struct {
		const char *key;
		uint64_t value;
	} rows[] = {
		{"wait_us", l->wait_us},
		{"io_us", l->io_us},
		{"timer_us", l->timer_us},
		{"task_us", l->task_us},
		{"readable", l->readable},
		{"writable", l->writable},
		{"hangups", l->hangups},
		{"stale", l->stale},
		{"timers", l->timers},
		{"posted", l->posted},
		{"deferred", l->deferred},
		{"turn_p50_us", sl_histogram_percentile(&l->turn, .5)},
		{"turn_p99_us", sl_histogram_percentile(&l->turn, .99)},
	};
	json_t *o = json_object();

	for (size_t i = 0; i < SL_ARRAY_SIZE(rows); i++)
		json_object_set_new(o, rows[i].key, number(rows[i].value));
	return o;
}

static json_t *worker(const struct sl_stats *s, const struct sl_loop_stats *l)
{
	return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}",
			 "connections_accepted", number(s->connections_accepted_total),
			 "connections_done", number(s->connections_done_total),
			 "connections_active", number(s->connections_active), "requests",
			 number(s->requests_total), "own_bytes", number(s->own_bytes), "turns",
			 number(l->turns), "events", number(l->events), "busy_us",
			 number(l->busy_us), "longest_us", number(l->longest_us), "loop", loop(l));
}

static json_t *workers(const struct sl_control_source *source)
{
	uint32_t n = source->workers(source->owner);
	_sl_free_ struct sl_stats *s = aligned_alloc(64, sizeof(*s));
	json_t *list = json_array();
	struct sl_loop_stats loop;

	for (uint32_t i = 0; s && i < n; i++) {
		memset(s, 0, sizeof(*s));
		memset(&loop, 0, sizeof(loop));
		if (!source->worker_stats(source->owner, i, s, &loop))
			json_array_append_new(list, worker(s, &loop));
	}
	return list;
}

static json_t *process(void)
{
	struct sl_process p;

	sl_process_read(&p);
	return json_pack("{s:o, s:o, s:o, s:o}", "resident_bytes", number(p.resident_bytes),
			 "cpu_us", number(p.cpu_us), "open_fds", number(p.open_fds), "max_fds",
			 number(p.max_fds));
}

json_t *sl_admin_stats(const struct sl_control_source *source, bool buckets)
{
	_sl_free_ struct sl_stats *s = aligned_alloc(64, sizeof(*s));

	if (!s)
		return NULL;
	memset(s, 0, sizeof(*s));
	source->stats(source->owner, s);
	return json_pack("{s:s, s:o, s:b, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "version",
			 SLUICE_VERSION, "uptime_ms", number(source->uptime_ms(source->owner)),
			 "ready", source->ready(source->owner), "counters", counters(s), "gauges",
			 gauges(s), "histograms", histograms(s, buckets), "resolver",
			 resolver(source), "engines", engines(source), "figures", figures(source),
			 "workers", workers(source), "process", process());
}

static json_t *flow(const struct sl_flow_info *f)
{
	json_t *o = json_object();

	json_object_set_new(o, "id", number(f->id));
	json_object_set_new(o, "worker", number(f->worker));
	json_object_set_new(o, "listener", text(f->listener));
	json_object_set_new(o, "target", text(f->target));
	json_object_set_new(o, "age_ms", number(f->age_ms));
	json_object_set_new(o, "client", addr(&f->client));
	json_object_set_new(o, "client_local", addr(&f->client_local));
	json_object_set_new(o, "upstream_local", addr(&f->upstream_local));
	json_object_set_new(o, "upstream", addr(&f->upstream));
	json_object_set_new(o, "bytes_from_client", number(f->from[SL_CLIENT].bytes));
	json_object_set_new(o, "bytes_from_upstream", number(f->from[SL_UPSTREAM].bytes));
	json_object_set_new(o, "messages_from_client", number(f->from[SL_CLIENT].messages));
	json_object_set_new(o, "messages_from_upstream", number(f->from[SL_UPSTREAM].messages));
	json_object_set_new(o, "engine", text(f->engine));
	json_object_set_new(o, "reason", text(f->reason));
	return o;
}

json_t *sl_admin_flows(const struct sl_control_source *source, const struct sl_flow_filter *filter)
{
	struct sl_flow_list list = {.filter = filter};
	json_t *flows = NULL;
	uint64_t stalls;
	int total = source->flows(source->owner, filter->scan, sl_flow_list_offer, &list);

	if (total >= 0 && !list.out_of_memory) {
		flows = json_array();
		sl_flow_list_sort(&list);
		for (size_t i = 0; i < list.n; i++)
			json_array_append_new(flows, flow(&list.flow[i]));
	}
	free(list.flow);
	if (!flows)
		return NULL;
	return json_pack("{s:i, s:o, s:o, s:o, s:o}", "total", total, "seen", number(list.seen),
			 "matched", number(list.matched), "flows", flows, "stuck_workers",
			 number(source->stuck(source->owner, &stalls)));
}

static void append_server(void *arg, const struct sl_server_info *s)
{
	json_t *o = json_object();

	json_object_set_new(o, "upstream", text(s->upstream));
	json_object_set_new(o, "server", text(s->server));
	json_object_set_new(o, "found_as", text(s->found_as));
	json_object_set_new(o, "state", text(s->state));
	json_object_set_new(o, "why", text(s->why));
	json_object_set_new(o, "back_in_ms", number(s->back_in_ms));
	json_object_set_new(o, "weight", number(s->weight));
	json_object_set_new(o, "backup", json_boolean(s->backup));
	json_object_set_new(o, "leased", number(s->leased));
	json_object_set_new(o, "idle", number(s->idle));
	json_object_set_new(o, "requests", number(s->requests));
	json_object_set_new(o, "failures", number(s->failures));
	json_object_set_new(o, "ejections", number(s->ejections));
	json_array_append_new(arg, o);
}

json_t *sl_admin_servers(const struct sl_control_source *source)
{
	json_t *list = json_array();

	source->servers(source->owner, append_server, list);
	return list;
}

static json_t *refusals(const struct sl_listener_stats *s)
{
	json_t *o = json_object();

	for (int i = 0; i < SL_REFUSED_COUNT; i++)
		json_object_set_new(o, sl_refused_name((enum sl_refused)i), number(s->refused[i]));
	return o;
}

static void append_listener(void *arg, const struct sl_listener_info *l)
{
	uint64_t refused = 0;
	json_t *o = json_object();

	for (int i = 0; i < SL_REFUSED_COUNT; i++)
		refused += l->stats.refused[i];
	json_object_set_new(o, "listener", text(l->name));
	json_object_set_new(o, "mode", text(l->mode));
	json_object_set_new(o, "listen", addr(l->listen));
	json_object_set_new(o, "state", text(l->state));
	json_object_set_new(o, "connections", number(l->connections));
	json_object_set_new(o, "limit", number(l->limit));
	json_object_set_new(o, "accepted", number(l->stats.accepted));
	json_object_set_new(o, "requests", number(l->stats.requests));
	json_object_set_new(o, "refused", number(refused));
	json_object_set_new(o, "refusals", refusals(&l->stats));
	json_array_append_new(arg, o);
}

json_t *sl_admin_drain_progress(const struct sl_drain_progress *d)
{
	uint64_t other = d->idle + d->tunnels;
	json_t *o = json_object();

	json_object_set_new(o, "state", text(d->state));
	json_object_set_new(o, "closes_in_ms", number(d->closes_in_ms));
	json_object_set_new(o, "ends_in_ms", d->bounded ? number(d->ends_in_ms) : json_null());
	json_object_set_new(o, "connections", number(d->connections));
	json_object_set_new(o, "idle", number(d->idle));
	json_object_set_new(o, "requests",
			    number(d->connections > other ? d->connections - other : 0));
	json_object_set_new(o, "tunnels", number(d->tunnels));
	json_object_set_new(o, "reset", number(d->reset));
	json_object_set_new(o, "kept", number(d->kept));
	return o;
}

json_t *sl_admin_listeners(const struct sl_control_source *source)
{
	json_t *list = json_array();

	source->listeners(source->owner, append_listener, list);
	return list;
}

static json_t *pool_ends(const struct sl_pool_info *p)
{
	json_t *o = json_object();

	for (int i = 0; i < SL_POOL_ENDS; i++)
		json_object_set_new(o, sl_pool_end_name((enum sl_pool_end)i), number(p->closed[i]));
	return o;
}

static void append_pool(void *arg, const struct sl_pool_info *p)
{
	json_t *o = json_object();

	json_object_set_new(o, "upstream", text(p->upstream));
	json_object_set_new(o, "max", number(p->max));
	json_object_set_new(o, "idle_max", number(p->idle));
	json_object_set_new(o, "waiting", number(p->waiting));
	json_object_set_new(o, "queue", number(p->queue));
	json_object_set_new(o, "queue_timeout_ms", number(p->queue_timeout_ms));
	json_object_set_new(o, "waits", number(p->waits));
	json_object_set_new(o, "queue_full", number(p->queue_full));
	json_object_set_new(o, "queue_timeouts", number(p->queue_timeouts));
	json_object_set_new(o, "closed", pool_ends(p));
	json_object_set_new(o, "servers", json_array());
	json_array_append_new(arg, o);
}

/* Part of leases that were served by an idle connection: 0 to 1. */
static json_t *reuse(uint64_t reused, uint64_t opened)
{
	uint64_t all = reused + opened;

	return json_real(all ? (double)reused / (double)all : 0);
}

struct pool_list {
	json_t *pools;
	size_t at;
};

/* Servers come in the order of the upstreams. */
static void append_pool_server(void *arg, const struct sl_server_info *s)
{
	struct pool_list *l = arg;
	json_t *o = json_object(), *pool = json_array_get(l->pools, l->at);

	while (pool && strcmp(json_string_value(json_object_get(pool, "upstream")), s->upstream))
		pool = json_array_get(l->pools, ++l->at);
	json_object_set_new(o, "server", text(s->server));
	json_object_set_new(o, "state", text(s->state));
	json_object_set_new(o, "leased", number(s->leased));
	json_object_set_new(o, "idle", number(s->idle));
	json_object_set_new(o, "reused", number(s->reused));
	json_object_set_new(o, "opened", number(s->opened));
	json_object_set_new(o, "reuse", reuse(s->reused, s->opened));
	json_array_append_new(json_object_get(pool, "servers"), o);
}

json_t *sl_admin_pools(const struct sl_control_source *source)
{
	struct pool_list l = {.pools = json_array()};

	source->pools(source->owner, append_pool, l.pools);
	source->servers(source->owner, append_pool_server, &l);
	return l.pools;
}
