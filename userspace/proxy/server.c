/* SPDX-License-Identifier: BSD-2-Clause */
/* The process. The calling thread becomes the control thread: signals, admin socket, metrics. Workers
 * are asked and told through sl_worker_call(); they never wait for the control thread. */

#include "proxy/server.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>

#include "base/util.h"
#include "proxy/server_state.h"

static uint32_t worker_count(const struct sl_config *c)
{
	cpu_set_t set;
	uint32_t n = c->workers;

	if (!n && !sched_getaffinity(0, sizeof(set), &set))
		n = (uint32_t)CPU_COUNT(&set);
	return sl_min(sl_max(n, 1u), (uint32_t)SL_WORKERS_MAX);
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
static void choose_pseudonym(struct sl_daemon *s)
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

static int open_auth(struct sl_daemon *s)
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

static int open_routes(struct sl_daemon *s)
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

static int open_access_log(struct sl_daemon *s)
{
	int r;

	if (!s->config->access_log.path)
		return 0;
	r = sl_access_log_open(&s->config->access_log, s->shared.n_workers, &s->shared.access_log);
	if (r < 0)
		sl_error("access log %s: %s", s->config->access_log.path, strerror(-r));
	return r;
}

/* One that is only missing from what "auto" could choose is no reason to worry. */
static void tell_missing(const struct sl_daemon *s, const struct sl_engine_ops *ops,
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

static void probe_engines(struct sl_daemon *s)
{
	for (size_t i = 0; i < SL_ENGINES_MAX && s->shared.engines[i]; i++) {
		const struct sl_engine_ops *ops = s->shared.engines[i];

		ops->probe(&s->report[i]);
		if (!s->report[i].available)
			tell_missing(s, ops, &s->report[i]);
	}
}

static int start_workers(struct sl_daemon *s)
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

static int start_checks(struct sl_daemon *s)
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
	struct sl_daemon *s = owner;

	for (uint32_t i = 0; i < s->n_workers; i++)
		sl_worker_call(s->worker[i], sl_worker_follow, u);
	sl_health_follow(s->health, u);
}

static int start_discovery(struct sl_daemon *s)
{
	const struct sl_discovery_options o = {
		.loop = s->loop,
		.config = s->config,
		.upstreams = s->shared.upstreams,
		.listener = {.on_change = servers_changed, .owner = s},
	};

	return sl_discovery_new(&o, &s->discovery);
}

static int start(struct sl_daemon *s)
{
	int r;

	raise_descriptor_limit(s->config);
	choose_pseudonym(s);
	r = sl_loop_new(&s->loop);
	if (!r)
		r = sl_server_take_signals(s);
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
	return r ? r : sl_server_open_control(s);
}

static void announce(const struct sl_daemon *s)
{
	char text[SL_ADDR_STR_MAX];

	for (size_t i = 0; i < s->config->n_listeners; i++)
		sl_info("listener %s on %s", s->config->listeners[i].name,
			sl_addr_format(&s->config->listeners[i].listen, text));
	sl_info("%u workers, admin %s, metrics %s", s->n_workers, s->config->admin,
		sl_addr_format(&s->config->metrics, text));
}

static void stop(struct sl_daemon *s)
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
	struct sl_daemon *s = calloc(1, sizeof(*s));
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
