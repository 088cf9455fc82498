/* SPDX-License-Identifier: BSD-2-Clause */
/* The process. The calling thread becomes the control thread: signals, admin socket, metrics. Workers
 * are asked and told through sl_worker_call(); they never wait for the control thread. */

#include "proxy/server.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/signalfd.h>

#include "base/util.h"
#include "proxy/observe/control.h"
#include "proxy/upstream/discovery.h"
#include "proxy/upstream/health.h"
#include "proxy/access/own.h"
#include "proxy/worker.h"

#define WORKERS_MAX    256
#define DRAIN_CHECK_MS 20

struct server {
	const struct sl_config *config;
	struct sl_shared shared;
	const struct sl_server_parts *parts;
	struct sl_loop *loop;
	struct sl_control *control;
	struct sl_health *health;
	struct sl_discovery *discovery;
	struct sl_io signals;
	struct sl_worker *worker[WORKERS_MAX];
	uint32_t n_workers;
	struct sl_engine_report report[SL_ENGINES_MAX]; /* by engine, as found at the start */
	struct sl_own own;
	char pseudonym[64];
	struct sl_timer drain_check;
	uint64_t started_ms;
	uint64_t drain_until_ms; /* 0: without bound */
	bool draining;
};

/* --- what the control face asks for --- */

static void read_stats(void *owner, struct sl_stats *ret)
{
	struct server *s = owner;

	memset(ret, 0, sizeof(*ret));
	for (uint32_t i = 0; i < s->n_workers; i++)
		sl_stats_merge(ret, &s->worker[i]->stats);
	/* A size, not a sum. */
	ret->idle_connection_bytes = s->worker[0]->stats.idle_connection_bytes;
}

static void read_resolver_stats(void *owner, struct sl_resolver_stats *ret)
{
	struct server *s = owner;
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
	return ((struct server *)owner)->n_workers;
}

static int read_worker_stats(void *owner, uint32_t i, struct sl_stats *ret_stats,
			     struct sl_loop_stats *ret_loop)
{
	struct server *s = owner;

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
	struct server *s = owner;
	struct flows_call call = {.max = max, .each = each, .arg = arg};
	uint64_t all = 0;

	for (uint32_t i = 0; i < s->n_workers; i++) {
		if (call.seen < max)
			sl_worker_call(s->worker[i], list_flows, &call);
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
	struct server *s = owner;
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
	return !((struct server *)owner)->draining;
}

static uint64_t uptime_ms(void *owner)
{
	struct server *s = owner;

	return sl_loop_now_ms(s->loop) - s->started_ms;
}

static void reopen_logs(void *owner)
{
	struct server *s = owner;

	if (s->shared.access_log)
		sl_access_log_reopen(s->shared.access_log);
}

static void read_servers(void *owner, void (*each)(void *arg, const struct sl_server_info *s),
			 void *arg)
{
	struct server *s = owner;

	sl_upstreams_describe(s->shared.upstreams, sl_loop_now_ms(s->loop), each, arg);
}

static int drain_server(void *owner, const char *upstream, const char *server, bool drained)
{
	struct server *s = owner;
	struct sl_server *found = sl_upstreams_find(s->shared.upstreams, upstream, server);

	if (!found)
		return -ENOENT;
	sl_server_set_drained(found, drained, sl_loop_now_ms(s->loop));
	return 0;
}

/* --- drain --- */

/* With adopted tunnels, which have no connection of this process. */
static uint64_t active_connections(const struct server *s)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < s->n_workers; i++) {
		const struct sl_stats *stats = &s->worker[i]->stats;

		n += __atomic_load_n(&stats->connections_active, __ATOMIC_RELAXED) +
		     __atomic_load_n(&stats->tunnels_adopted, __ATOMIC_RELAXED);
	}
	return n;
}

static void check_drain(struct sl_timer *t)
{
	struct server *s = sl_container_of(t, struct server, drain_check);
	uint64_t left = active_connections(s);

	if (left && (!s->drain_until_ms || sl_loop_now_ms(s->loop) < s->drain_until_ms)) {
		sl_loop_arm(s->loop, &s->drain_check, DRAIN_CHECK_MS);
		return;
	}
	if (left)
		sl_warning("drain: time is over, %llu connections are reset",
			   (unsigned long long)left);
	sl_loop_stop(s->loop);
}

static void drain_worker(struct sl_worker *w, void *arg)
{
	sl_worker_drain(w);
}

static void drain(struct server *s, uint64_t bound_ms)
{
	if (bound_ms)
		s->drain_until_ms = sl_loop_now_ms(s->loop) + bound_ms;
	if (s->draining)
		return;
	s->draining = true;
	sl_info("draining %llu connections", (unsigned long long)active_connections(s));
	for (uint32_t i = 0; i < s->n_workers; i++)
		sl_worker_call(s->worker[i], drain_worker, NULL);
	sl_loop_arm(s->loop, &s->drain_check, 1);
}

static void drain_asked(void *owner, bool now)
{
	struct server *s = owner;

	if (now)
		sl_loop_stop(s->loop);
	else
		drain(s, s->config->timeouts.drain);
}

/* --- signals --- */

static void handle_signal(struct server *s, int signo)
{
	switch (signo) {
	case SIGTERM:
	case SIGINT:
		if (s->draining)
			sl_loop_stop(s->loop);
		else
			drain(s, s->config->timeouts.drain);
		break;
	case SIGQUIT:
		drain(s, 0);
		break;
	case SIGUSR1:
		reopen_logs(s);
		break;
	case SIGHUP:
		sl_warning("SIGHUP: changing the configuration needs a restart in this version");
		break;
	}
}

static void signals_event(struct sl_io *io, uint32_t events)
{
	struct server *s = sl_container_of(io, struct server, signals);
	struct signalfd_siginfo info;

	while (read(io->fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
		handle_signal(s, (int)info.ssi_signo);
}

static int take_signals(struct server *s)
{
	static const int handled[] = {SIGTERM, SIGINT, SIGQUIT, SIGUSR1, SIGHUP};
	sigset_t set;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	for (size_t i = 0; i < SL_ARRAY_SIZE(handled); i++)
		sigaddset(&set, handled[i]);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	s->signals.fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (s->signals.fd < 0)
		return -errno;
	s->signals.on_event = signals_event;
	return sl_loop_add(s->loop, &s->signals, EPOLLIN);
}

/* --- start --- */

static uint32_t worker_count(const struct sl_config *c)
{
	cpu_set_t set;
	uint32_t n = c->workers;

	if (!n && !sched_getaffinity(0, sizeof(set), &set))
		n = (uint32_t)CPU_COUNT(&set);
	return sl_min(sl_max(n, 1u), (uint32_t)WORKERS_MAX);
}

/* Descriptors for what the configuration allows, or a word about it. */
static void raise_descriptor_limit(const struct sl_config *c)
{
	uint64_t wanted = (uint64_t)c->limits.connections * 2 + 1024;
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	if (limit.rlim_cur < wanted)
		sl_warning("limits.connections %u may need %llu descriptors, the limit is %llu",
			   c->limits.connections, (unsigned long long)wanted,
			   (unsigned long long)limit.rlim_cur);
}

/* Two sluices in a row must not take each other for a loop, so without a configured name each process
 * has its own. */
static void choose_pseudonym(struct server *s)
{
	uint32_t id = 0;

	if (s->config->via) {
		snprintf(s->pseudonym, sizeof(s->pseudonym), "%s", s->config->via);
		return;
	}
	if (getrandom(&id, sizeof(id), 0) < 0)
		id = (uint32_t)getpid();
	snprintf(s->pseudonym, sizeof(s->pseudonym), "sluice-%08x", id);
}

static int open_auth(struct server *s)
{
	const struct sl_config *c = s->config;
	unsigned line = 0;
	int r = 0;

	s->shared.auth = calloc(c->n_listeners, sizeof(*s->shared.auth));
	if (!s->shared.auth)
		return -ENOMEM;
	for (size_t i = 0; i < c->n_listeners && !r; i++) {
		if (!c->listeners[i].auth_basic)
			continue;
		r = sl_auth_open(c->listeners[i].auth_basic, &s->shared.auth[i], &line);
		if (r == -EINVAL)
			sl_error("%s:%u: expected user:hash with a strong crypt(3) hash "
				 "($y$, $gy$, $2b$, $2y$, $6$, $7$)",
				 c->listeners[i].auth_basic, line);
		else if (r < 0)
			sl_error("%s: %s", c->listeners[i].auth_basic, strerror(-r));
	}
	return r;
}

static int open_routes(struct server *s)
{
	const struct sl_config *c = s->config;
	int r = 0;

	s->shared.routes = calloc(c->n_listeners, sizeof(*s->shared.routes));
	if (!s->shared.routes)
		return -ENOMEM;
	for (size_t i = 0; i < c->n_listeners && !r; i++)
		if (c->listeners[i].mode != SL_MODE_FORWARD)
			r = sl_routes_new(&c->listeners[i], &s->shared.routes[i]);
	return r ? r : sl_upstreams_new(c, &s->shared.upstreams);
}

static int open_access_log(struct server *s)
{
	int r;

	if (!s->config->access_log.path)
		return 0;
	r = sl_access_log_open(&s->config->access_log, s->shared.n_workers, &s->shared.access_log);
	if (r < 0)
		sl_error("access log %s: %s", s->config->access_log.path, strerror(-r));
	return r;
}

static int open_control(struct server *s)
{
	const struct sl_control_source source = {
		.owner = s,
		.stats = read_stats,
		.resolver_stats = read_resolver_stats,
		.workers = count_workers,
		.worker_stats = read_worker_stats,
		.flows = read_flows,
		.engine = read_engine,
		.figures = s->parts->figures,
		.ready = is_ready,
		.uptime_ms = uptime_ms,
		.drain = drain_asked,
		.reopen_logs = reopen_logs,
		.servers = read_servers,
		.drain_server = drain_server,
	};
	int r = sl_control_open(s->loop, s->config->admin, &s->config->metrics, &source,
				&s->control);

	if (r < 0)
		sl_error("admin %s or metrics: %s", s->config->admin, strerror(-r));
	return r;
}

/* One that is only missing from what "auto" could choose is no reason to worry. */
static void tell_missing(const struct server *s, const struct sl_engine_ops *ops,
			 const struct sl_engine_report *report)
{
	bool automatic = true;

	for (size_t i = 0; i < s->config->n_listeners; i++)
		automatic &= s->config->listeners[i].splice == SL_SPLICE_AUTO ||
			     s->config->listeners[i].splice == SL_SPLICE_COPY;
	if (automatic)
		sl_info("engine %s: not available: %s", ops->name, report->reason);
	else
		sl_warning("engine %s: not available: %s", ops->name, report->reason);
}

static void probe_engines(struct server *s)
{
	for (size_t i = 0; i < SL_ENGINES_MAX && s->shared.engines[i]; i++) {
		const struct sl_engine_ops *ops = s->shared.engines[i];

		ops->probe(&s->report[i]);
		if (!s->report[i].available)
			tell_missing(s, ops, &s->report[i]);
	}
}

static int start_workers(struct server *s)
{
	int r = 0;

	probe_engines(s);
	for (uint32_t i = 0; i < s->shared.n_workers && !r; i++) {
		r = sl_worker_new(&s->shared, i, &s->worker[i]);
		s->n_workers += !r;
	}
	for (uint32_t i = 0; i < s->n_workers && !r; i++)
		r = sl_worker_start(s->worker[i]);
	return r;
}

static int start_checks(struct server *s)
{
	const struct sl_health_options o = {
		.loop = s->loop,
		.config = s->config,
		.upstreams = s->shared.upstreams,
		.transport_new = s->shared.transport_new,
	};

	return sl_health_new(&o, &s->health);
}

static void servers_changed(void *owner, struct sl_upstream *u)
{
	struct server *s = owner;

	for (uint32_t i = 0; i < s->n_workers; i++)
		sl_worker_call(s->worker[i], sl_worker_follow, u);
	sl_health_follow(s->health, u);
}

static int start_discovery(struct server *s)
{
	const struct sl_discovery_options o = {
		.loop = s->loop,
		.config = s->config,
		.upstreams = s->shared.upstreams,
		.listener = {.on_change = servers_changed, .owner = s},
	};

	return sl_discovery_new(&o, &s->discovery);
}

static int start(struct server *s)
{
	int r;

	raise_descriptor_limit(s->config);
	choose_pseudonym(s);
	sl_timer_init(&s->drain_check, check_drain);
	r = sl_loop_new(&s->loop);
	if (!r)
		r = take_signals(s);
	if (!r)
		r = sl_own_collect(s->config, &s->own);
	if (!r)
		r = open_auth(s);
	if (!r)
		r = open_routes(s);
	if (!r)
		r = sl_limits_new(s->config, &s->shared.limits);
	if (!r)
		r = sl_throttle_new(s->config, &s->shared.throttle);
	if (r < 0)
		return r;
	s->shared.own = s->own.addr;
	s->shared.n_own = s->own.n;
	s->shared.pseudonym = s->pseudonym;
	s->started_ms = sl_loop_now_ms(s->loop);
	r = open_access_log(s);
	if (!r)
		r = start_workers(s);
	if (!r)
		r = start_checks(s);
	if (!r)
		r = start_discovery(s);
	return r ? r : open_control(s);
}

static void announce(const struct server *s)
{
	char text[SL_ADDR_STR_MAX];

	for (size_t i = 0; i < s->config->n_listeners; i++)
		sl_info("listener %s on %s", s->config->listeners[i].name,
			sl_addr_format(&s->config->listeners[i].listen, text));
	sl_info("%u workers, admin %s, metrics %s", s->n_workers, s->config->admin,
		sl_addr_format(&s->config->metrics, text));
}

static void stop(struct server *s)
{
	sl_control_close(s->control);
	sl_discovery_free(s->discovery);
	sl_health_free(s->health);
	for (uint32_t i = 0; i < s->n_workers; i++)
		sl_worker_stop(s->worker[i]);
	for (uint32_t i = 0; i < s->n_workers; i++)
		sl_worker_free(s->worker[i]);
	sl_access_log_close(s->shared.access_log);
	for (size_t i = 0; s->shared.auth && i < s->config->n_listeners; i++)
		sl_auth_close(s->shared.auth[i]);
	free(s->shared.auth);
	for (size_t i = 0; s->shared.routes && i < s->config->n_listeners; i++)
		sl_routes_free(s->shared.routes[i]);
	free(s->shared.routes);
	sl_upstreams_free(s->shared.upstreams);
	sl_limits_free(s->shared.limits);
	sl_throttle_free(s->shared.throttle);
	sl_own_free(&s->own);
	sl_close(s->signals.fd);
	sl_loop_free(s->loop);
}

int sl_server_run(const struct sl_config *config, const struct sl_server_parts *parts)
{
	struct server *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return -ENOMEM;
	s->config = config;
	s->parts = parts;
	s->signals.fd = -1;
	s->shared = (struct sl_shared){
		.config = config,
		.n_workers = worker_count(config),
		.workers = s->worker,
		.transport_new = parts->transport_new,
		.stream_bytes = parts->stream_bytes,
		.engines = parts->engines,
		.reports = s->report,
	};
	r = start(s);
	if (!r) {
		announce(s);
		r = sl_loop_run(s->loop);
	}
	stop(s);
	free(s);
	return r;
}
