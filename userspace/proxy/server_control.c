/* SPDX-License-Identifier: BSD-2-Clause */
/* What the admin socket and the metrics address ask the process for: sums over the workers, and a few
 * orders. Runs in the control thread; it decides nothing. */

#include "proxy/server_state.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/util.h"

#define FLOWS_MS 1000 /* that one worker may keep the caller waiting */

static void read_stats(void *owner, struct sl_stats *ret)
{
	struct sl_daemon *s = owner;

	memset(ret, 0, sizeof(*ret));
	for (uint32_t i = 0; i < s->n_workers; i++)
		sl_stats_merge(ret, &s->worker[i]->stats);
	/* A size, not a sum. */
	ret->idle_connection_bytes = s->worker[0]->stats.idle_connection_bytes;
}

static void read_resolver_stats(void *owner, struct sl_resolver_stats *ret)
{
	struct sl_daemon *s = owner;
	const size_t n = sizeof(*ret) / sizeof(uint64_t);

	memset(ret, 0, sizeof(*ret));
	for (uint32_t i = 0; i < s->n_workers; i++) {
		const uint64_t *from = (const uint64_t *)sl_resolver_stats(s->worker[i]->resolver);

		for (size_t k = 0; k < n; k++)
			((uint64_t *)ret)[k] += __atomic_load_n(&from[k], __ATOMIC_RELAXED);
	}
}

static uint32_t count_workers(void *owner)
{
	return ((struct sl_daemon *)owner)->n_workers;
}

static int read_worker_stats(void *owner, uint32_t i, struct sl_stats *ret_stats,
			     struct sl_loop_stats *ret_loop)
{
	struct sl_daemon *s = owner;

	if (i >= s->n_workers)
		return -ENOENT;
	memset(ret_stats, 0, sizeof(*ret_stats));
	sl_stats_merge(ret_stats, &s->worker[i]->stats);
	sl_loop_stats(s->worker[i]->loop, ret_loop);
	return 0;
}

struct flows_call {
	uint32_t max, seen;
	void (*each)(void *arg, const struct sl_flow_info *f);
	void *arg;
};

static void list_flows(struct sl_worker *w, void *arg)
{
	struct flows_call *call = arg;

	call->seen += sl_worker_flows(w, call->max - call->seen, call->each, call->arg);
}

static int read_flows(void *owner, uint32_t max,
		      void (*each)(void *arg, const struct sl_flow_info *f), void *arg)
{
	struct sl_daemon *s = owner;
	struct flows_call call = {.max = max, .each = each, .arg = arg};
	uint64_t all = 0;

	for (uint32_t i = 0; i < s->n_workers; i++) {
		if (call.seen < max && !s->stuck[i])
			sl_worker_ask(s->worker[i], list_flows, &call, FLOWS_MS);
		all += __atomic_load_n(&s->worker[i]->stats.tunnels_active, __ATOMIC_RELAXED);
	}
	return (int)sl_max((uint64_t)call.seen, sl_min(all, (uint64_t)INT32_MAX));
}

/* What the probe said at the start is not true any more. */
static void tell_broken(const struct sl_engine *e, struct sl_engine_report *report)
{
	const char *why = sl_engine_broken(e);

	if (!why)
		return;
	report->available = false;
	snprintf(report->reason, sizeof(report->reason), "%s", why);
}

static bool read_engine(void *owner, uint32_t i, const char **ret_name,
			struct sl_engine_report *ret_report, struct sl_engine_totals *ret_totals)
{
	struct sl_daemon *s = owner;
	const struct sl_engine_ops *ops;
	struct sl_engine_totals one;

	if (i >= SL_ENGINES_MAX || !s->shared.engines[i])
		return false;
	ops = s->shared.engines[i];
	*ret_name = ops->name;
	*ret_report = s->report[i];
	memset(ret_totals, 0, sizeof(*ret_totals));
	for (uint32_t k = 0; k < s->n_workers; k++) {
		const struct sl_engine *e = s->worker[k]->engines.engine[i];

		if (!e)
			continue;
		tell_broken(e, ret_report);
		ops->totals(e, &one);
		ret_totals->joined += one.joined;
		ret_totals->refused += one.refused;
		ret_totals->parted += one.parted;
		ret_totals->active += one.active;
		ret_totals->bytes[SL_CLIENT] += one.bytes[SL_CLIENT];
		ret_totals->bytes[SL_UPSTREAM] += one.bytes[SL_UPSTREAM];
	}
	return true;
}

static bool is_ready(void *owner)
{
	const struct sl_daemon *s = owner;

	/* With one listener left it still does its work; each tells for itself at /readyz/NAME. */
	return !s->draining && (!s->n_drained || s->n_drained < s->config->n_listeners);
}

static uint64_t uptime_ms(void *owner)
{
	struct sl_daemon *s = owner;

	return sl_loop_now_ms(s->loop) - s->started_ms;
}

static void read_scopes(void *owner, struct sl_scopes *ret)
{
	struct sl_daemon *s = owner;

	for (uint32_t i = 0; i < s->n_workers; i++)
		sl_scopes_merge(ret, &s->worker[i]->scopes);
}

static void read_log(void *owner, uint64_t *ret_written, uint64_t *ret_failed)
{
	struct sl_daemon *s = owner;

	*ret_written = sl_access_log_written(s->access_log);
	*ret_failed = sl_access_log_failed(s->access_log);
}

static int reload(void *owner, struct sl_config_error *ret_error)
{
	return sl_server_reload(owner, ret_error);
}

static int upgrade(void *owner, struct sl_config_error *ret_error)
{
	return sl_server_upgrade(owner, ret_error);
}

static uint32_t count_stuck(void *owner, uint64_t *ret_stalls)
{
	const struct sl_daemon *s = owner;

	*ret_stalls = s->stalls;
	return s->n_stuck;
}

static void read_configuration(void *owner, struct sl_configuration_info *ret)
{
	const struct sl_daemon *s = owner;

	*ret = (struct sl_configuration_info){
		.file = s->config->file,
		.number = s->generation->number,
		.in_use = s->n_generations,
		.refused = s->reloads_refused,
	};
}

static void reopen_logs(void *owner)
{
	sl_server_reopen_logs(owner);
}

static void read_servers(void *owner, void (*each)(void *arg, const struct sl_server_info *s),
			 void *arg)
{
	struct sl_daemon *s = owner;

	sl_upstreams_describe(s->upstreams, sl_loop_now_ms(s->loop), each, arg);
}

static void read_listeners(void *owner, void (*each)(void *arg, const struct sl_listener_info *l),
			   void *arg)
{
	static const char *const modes[] = {
		[SL_MODE_FORWARD] = "forward",
		[SL_MODE_HTTP] = "http",
		[SL_MODE_TCP] = "tcp",
		[SL_MODE_SNI] = "sni",
	};
	struct sl_daemon *s = owner;

	for (uint32_t i = 0; i < s->config->n_listeners; i++) {
		const struct sl_listener_config *l = &s->config->listeners[i];
		struct sl_listener_info info = {
			.name = l->name,
			.mode = modes[l->mode],
			.listen = &l->listen,
			.state = sl_server_listener_state(s, l->name, s->generation->place[i]),
			.connections = sl_limits_open(s->shared.limits, s->generation->place[i]),
			.limit = l->connections,
		};

		sl_limits_read_stats(s->shared.limits, s->generation->place[i], &info.stats);
		each(arg, &info);
	}
}

static void read_pools(void *owner, void (*each)(void *arg, const struct sl_pool_info *p),
		       void *arg)
{
	struct sl_daemon *s = owner;

	sl_upstreams_describe_pools(s->upstreams, each, arg);
}

static int drain_server(void *owner, const char *upstream, const char *server, bool drained)
{
	struct sl_daemon *s = owner;
	struct sl_server *found = sl_upstreams_find(s->upstreams, upstream, server);

	if (!found)
		return -ENOENT;
	sl_server_set_drained(found, drained, sl_loop_now_ms(s->loop));
	return 0;
}

static void drain_asked(void *owner, bool now, const uint64_t *bound_ms)
{
	struct sl_daemon *s = owner;

	if (now)
		sl_loop_stop(s->loop);
	else if (bound_ms || !s->draining)
		sl_server_drain(s, bound_ms ? *bound_ms : s->config->timeouts.drain, false);
}

static int drain_listener(void *owner, const char *listener, const uint64_t *bound_ms,
			  struct sl_config_error *ret_error)
{
	return sl_server_drain_listener(owner, listener, bound_ms, ret_error);
}

static int enable_listener(void *owner, const char *listener, struct sl_config_error *ret_error)
{
	return sl_server_enable_listener(owner, listener, ret_error);
}

static int drain_progress(void *owner, const char *listener, struct sl_drain_progress *ret)
{
	if (listener)
		return sl_server_listener_progress(owner, listener, ret);
	sl_server_drain_progress(owner, ret);
	return 0;
}

int sl_server_open_control(struct sl_daemon *s)
{
	const struct sl_control_source source = {
		.owner = s,
		.inherited = &s->inherited,
		.stats = read_stats,
		.resolver_stats = read_resolver_stats,
		.workers = count_workers,
		.worker_stats = read_worker_stats,
		.scopes = read_scopes,
		.log = read_log,
		.flows = read_flows,
		.engine = read_engine,
		.figures = s->parts->figures,
		.ready = is_ready,
		.uptime_ms = uptime_ms,
		.drain = drain_asked,
		.reopen_logs = reopen_logs,
		.stuck = count_stuck,
		.reload = reload,
		.upgrade = upgrade,
		.configuration = read_configuration,
		.servers = read_servers,
		.listeners = read_listeners,
		.pools = read_pools,
		.drain_server = drain_server,
		.drain_listener = drain_listener,
		.enable_listener = enable_listener,
		.drain_progress = drain_progress,
	};
	int r = sl_control_open(s->loop, s->config->admin, &s->config->metrics, &source,
				&s->control);

	if (r < 0)
		sl_error("admin %s or metrics: %s", s->config->admin, strerror(-r));
	return r;
}
