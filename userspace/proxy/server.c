/* SPDX-License-Identifier: BSD-2-Clause */
/* The process. The calling thread becomes the control thread: signals, admin socket, metrics. Workers
 * are asked and told through sl_worker_call(); they never wait for the control thread. */

#include "proxy/server.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

static int make_workers(struct sl_daemon *s)
{
	int r = 0;

	r = sl_server_take_engine(s);
	if (r < 0)
		return r;
	probe_engines(s);
	for (uint32_t i = 0; i < s->shared.n_workers && !r; i++) {
		r = sl_worker_new(&s->shared, i, s->generation, &s->worker[i]);
		s->n_workers += !r;
	}
	if (!r)
		r = sl_server_take_drained(s);
	return r ? r : sl_server_listen(s);
}

/* What needs privileges has been done. */
static int start_workers(struct sl_daemon *s)
{
	int r = s->parts->confine(s->config);

	for (uint32_t i = 0; i < s->n_workers && !r; i++)
		r = sl_worker_start(s->worker[i]);
	return r;
}

static int start(struct sl_daemon *s, struct sl_config *config)
{
	struct sl_config_error error;
	int r;

	raise_descriptor_limit(config);
	r = sl_inherited_read(&s->inherited);
	if (r < 0)
		sl_error("LISTEN_FDS and LISTEN_PID: %s", strerror(-r));
	if (!r)
		r = sl_loop_new(&s->loop);
	if (!r)
		r = sl_server_take_signals(s);
	if (!r)
		r = sl_limits_new(config, s->shared.n_workers, &s->shared.limits);
	if (!r)
		r = sl_upstreams_new(s->shared.n_workers, &s->upstreams);
	if (!r)
		r = sl_server_first_generation(s, config);
	if (r < 0)
		return r;
	s->started_ms = sl_loop_now_ms(s->loop);
	r = sl_server_open_log(s, s->config, &s->access_log, &error);
	if (r < 0)
		sl_error("%s", error.text);
	else
		r = make_workers(s);
	if (!r)
		r = sl_server_start_checks(s);
	if (!r)
		r = sl_server_open_control(s);
	if (!r)
		r = start_workers(s);
	return r ? r : sl_server_tell_serving(s);
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

/* Its thread can't be waited for. Nothing is lost that the kernel would not clean up. */
static void end_if_stuck(const struct sl_daemon *s)
{
	if (!s->n_stuck)
		return;
	sl_error("%u workers are stuck: this is no orderly end", s->n_stuck);
	_exit(1);
}

static void stop(struct sl_daemon *s)
{
	sl_server_end_upgrade(s);
	sl_inherited_close(&s->inherited);
	sl_control_close(s->control);
	sl_server_stop_checks(s);
	end_if_stuck(s);
	for (uint32_t i = 0; i < s->n_workers; i++)
		sl_worker_stop(s->worker[i]);
	for (uint32_t i = 0; i < s->n_workers; i++)
		sl_worker_free(s->worker[i]);
	s->n_workers = 0; /* the watchdog may look once more, below */
	sl_doors_close(&s->doors);
	sl_access_log_close(s->access_log);
	if (s->generation)
		sl_generation_leave(s->generation);
	if (s->loop)
		sl_loop_turn(s->loop, 0); /* generations that nobody uses any more are freed */
	sl_upstreams_free(s->upstreams);
	sl_limits_free(s->shared.limits);
	free(s->drained);
	sl_close(s->signals.fd);
	sl_loop_free(s->loop);
}

int sl_server_run(struct sl_config *config, const struct sl_server_parts *parts)
{
	struct sl_daemon *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return -ENOMEM;
	s->parts = parts;
	s->signals.fd = s->upgrade.io.fd = s->inherited.upgrade = -1;
	s->shared = (struct sl_shared){
		.n_workers = worker_count(config),
		.workers = s->worker,
		.transport_new = parts->transport_new,
		.stream_bytes = parts->stream_bytes,
		.engines = parts->engines,
		.reports = s->report,
	};
	s->doors = (struct sl_doors){.listen = parts->listen,
				     .inherited = &s->inherited,
				     .workers = s->shared.n_workers};
	sl_server_note_fixed(s, config);
	r = start(s, config);
	if (!r) {
		announce(s);
		sl_server_start_watchdog(s);
		sl_server_tell_ready(s);
		r = sl_loop_run(s->loop);
	}
	stop(s);
	free(s);
	return r;
}
