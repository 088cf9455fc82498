/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_TESTS_FAKE_CONTROL_H
#define SLUICE_TESTS_FAKE_CONTROL_H

/* A sl_control_source of fixed figures: two workers, two engines, `flows` equal pairs. */

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "splice/packet_config.h"
#include "proxy/observe/control.h"

struct fake_control {
	int flows;
	bool ready, drained, drained_now, server_drained, listener_drained;
	int64_t bound_ms; /* of the latest drain; -1: none was given */
	int reopened;
};

static inline void fake_fill(struct sl_stats *s)
{
	uint64_t n = 1;

#define X(name, help) s->name = n++;
	SL_COUNTERS(X)
	SL_GAUGES(X)
#undef X
	for (uint64_t us = 1; us < 10000000; us *= 3)
		sl_histogram_add(&s->request_duration, us);
}

static inline void fake_stats(void *owner, struct sl_stats *ret)
{
	fake_fill(ret);
}

static inline void fake_resolver_stats(void *owner, struct sl_resolver_stats *ret)
{
	*ret = (struct sl_resolver_stats){.asked = 11, .cached = 12, .refused = 13};
}

static inline uint32_t fake_workers(void *owner)
{
	return 2;
}

static inline int fake_worker_stats(void *owner, uint32_t i, struct sl_stats *ret_stats,
				    struct sl_loop_stats *ret_loop)
{
	fake_fill(ret_stats);
	*ret_loop = (struct sl_loop_stats){.turns = 100 + i, .events = 7, .busy_us = 1500000};
	return 0;
}

/* Three requests of one route and a tunnel of another. */
static inline void fake_scopes(void *owner, struct sl_scopes *ret)
{
	struct sl_scope_event e = {.listener = "web",
				   .host = "a.test",
				   .path = "/\"x\\",
				   .upstream = "app",
				   .reason = "done",
				   .status = 200,
				   .us = {250, 100, SL_SCOPE_NO_TIME, SL_SCOPE_NO_TIME}};

	sl_scopes_count(ret, &e);
	sl_scopes_count(ret, &e);
	e.status = 503;
	e.reason = "queue-timeout";
	e.us[SL_SCOPE_DURATION] = 251;
	e.us[SL_SCOPE_QUEUE] = 4000000000;
	sl_scopes_count(ret, &e);
	e = (struct sl_scope_event){.listener = "egress",
				    .engine = "copy",
				    .reason = "client-reset",
				    .status = 200,
				    .us = {1000000, SL_SCOPE_NO_TIME, 99, SL_SCOPE_NO_TIME}};
	sl_scopes_count(ret, &e);
}

static inline void fake_log(void *owner, uint64_t *ret_written, uint64_t *ret_failed)
{
	*ret_written = 44;
	*ret_failed = 2;
}

static inline int fake_flows(void *owner, uint32_t max,
			     void (*each)(void *arg, const struct sl_flow_info *f), void *arg)
{
	struct fake_control *fake = owner;
	struct sl_flow_info f = {.id = 1, .age_ms = 61000, .listener = "egress", .engine = "copy"};

	if (fake->flows < 0)
		return -EIO;
	sl_addr_parse(SL_SLICE("127.0.0.1:5000"), &f.client);
	strcpy(f.target, "ex\xff\x1b[ample:443");
	f.reason = "the only one";
	f.from[SL_CLIENT].bytes = 1536;
	for (int i = 0; i < fake->flows && i < (int)max; i++)
		each(arg, &f);
	return fake->flows;
}

static inline bool fake_engine(void *owner, uint32_t i, const char **ret_name,
			       struct sl_engine_report *ret_report,
			       struct sl_engine_totals *ret_totals)
{
	if (i > 1)
		return false;
	*ret_name = i ? "sockmap" : "copy";
	ret_report->available = !i;
	strcpy(ret_report->reason, i ? "no CAP_BPF" : "always works");
	ret_totals->joined = 5;
	ret_totals->bytes[SL_CLIENT] = 77;
	return true;
}

static inline bool fake_ready(void *owner)
{
	return ((struct fake_control *)owner)->ready;
}

static inline uint64_t fake_uptime_ms(void *owner)
{
	return 3723000;
}

static inline void fake_drain(void *owner, bool now, const uint64_t *bound_ms)
{
	struct fake_control *fake = owner;

	fake->drained = true;
	fake->drained_now = now;
	fake->bound_ms = bound_ms ? (int64_t)*bound_ms : -1;
}

static inline int fake_drain_listener(void *owner, const char *listener, const uint64_t *bound_ms,
				      struct sl_config_error *ret_error)
{
	struct fake_control *fake = owner;
	bool known = fake->listener_drained;

	if (strcmp(listener, "egress"))
		return sl_config_fail(-ENOENT, ret_error, "there is no such listener");
	fake->listener_drained = true;
	fake->bound_ms = bound_ms ? (int64_t)*bound_ms : -1;
	return known;
}

static inline int fake_enable_listener(void *owner, const char *listener,
				       struct sl_config_error *ret_error)
{
	struct fake_control *fake = owner;

	if (!fake->listener_drained)
		return sl_config_fail(-EALREADY, ret_error, "the listener is not drained");
	fake->listener_drained = false;
	return 0;
}

static inline int fake_drain_progress(void *owner, const char *listener,
				      struct sl_drain_progress *ret)
{
	if (listener && strcmp(listener, "egress"))
		return -ENOENT;
	*ret = (struct sl_drain_progress){.state = "draining",
					  .bounded = !listener,
					  .ends_in_ms = 900,
					  .connections = 9,
					  .idle = 4,
					  .tunnels = 3};
	return 0;
}

static inline void fake_reopen_logs(void *owner)
{
	((struct fake_control *)owner)->reopened++;
}

static inline uint32_t fake_stuck(void *owner, uint64_t *ret_stalls)
{
	*ret_stalls = 0;
	return 0;
}

static inline int fake_reload(void *owner, struct sl_config_error *ret_error)
{
	return 0;
}

static inline void fake_configuration(void *owner, struct sl_configuration_info *ret)
{
	*ret = (struct sl_configuration_info){.number = 3, .in_use = 2, .refused = 1};
}

static inline void fake_servers(void *owner,
				void (*each)(void *arg, const struct sl_server_info *s), void *arg)
{
	const struct sl_server_info s = {.upstream = "app",
					 .server = "10.0.0.1:80",
					 .state = "ejected",
					 .why = "connect-refused",
					 .back_in_ms = 900,
					 .requests = 7,
					 .failures = 5,
					 .leased = 2,
					 .idle = 3,
					 .reused = 30,
					 .opened = 10};

	each(arg, &s);
}

static inline void fake_listeners(void *owner,
				  void (*each)(void *arg, const struct sl_listener_info *l),
				  void *arg)
{
	struct sl_addr listen;
	const struct fake_control *fake = owner;
	const struct sl_listener_info l = {
		.name = "egress",
		.state = fake->listener_drained ? "drained" : "up",
		.mode = "forward",
		.listen = &listen,
		.connections = 3,
		.limit = 100,
		.stats = {.accepted = 70, .requests = 60, .refused = {[SL_REFUSED_LISTENER] = 5}}};

	sl_addr_parse(SL_SLICE("[::1]:3128"), &listen);
	each(arg, &l);
}

static inline void fake_pools(void *owner, void (*each)(void *arg, const struct sl_pool_info *p),
			      void *arg)
{
	const struct sl_pool_info none = {.upstream = "none", .max = 1};
	const struct sl_pool_info app = {
		.upstream = "app",
		.max = 1024,
		.idle = 64,
		.waiting = 1,
		.queue = 256,
		.queue_timeout_ms = 1000,
		.waits = 9,
		.queue_full = 8,
		.queue_timeouts = 7,
		.closed = {[SL_POOL_END_WORN] = 6, [SL_POOL_END_IDLE] = 5}};

	each(arg, &none);
	each(arg, &app);
}

static inline int fake_drain_server(void *owner, const char *upstream, const char *server,
				    bool drained)
{
	if (strcmp(upstream, "app") || strcmp(server, "10.0.0.1:80"))
		return -ENOENT;
	((struct fake_control *)owner)->server_drained = drained;
	return 0;
}

static inline struct sl_control_source fake_source(struct fake_control *fake)
{
	return (struct sl_control_source){
		.owner = fake,
		.stats = fake_stats,
		.resolver_stats = fake_resolver_stats,
		.workers = fake_workers,
		.worker_stats = fake_worker_stats,
		.scopes = fake_scopes,
		.log = fake_log,
		.flows = fake_flows,
		.engine = fake_engine,
		.figures = sl_engine_figures, /* of an engine that was not opened */
		.ready = fake_ready,
		.servers = fake_servers,
		.listeners = fake_listeners,
		.pools = fake_pools,
		.drain_server = fake_drain_server,
		.drain_listener = fake_drain_listener,
		.enable_listener = fake_enable_listener,
		.drain_progress = fake_drain_progress,
		.uptime_ms = fake_uptime_ms,
		.drain = fake_drain,
		.reopen_logs = fake_reopen_logs,
		.stuck = fake_stuck,
		.reload = fake_reload,
		.upgrade = fake_reload,
		.configuration = fake_configuration,
	};
}

#endif
