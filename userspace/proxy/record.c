/* SPDX-License-Identifier: BSD-2-Clause */
/* What is counted and logged when an exchange is over. */

#include <time.h>

#include "base/probe.h"
#include "base/util.h"
#include "proxy/conn.h"

static void count_class(struct sl_stats *s, unsigned status)
{
	if (status >= 500)
		sl_count(s->responses_5xx_total, 1);
	else if (status >= 400)
		sl_count(s->responses_4xx_total, 1);
	else if (status >= 300)
		sl_count(s->responses_3xx_total, 1);
	else if (status >= 200)
		sl_count(s->responses_2xx_total, 1);
}

uint64_t sl_wall_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

/* Ends that are as they should be; others are errors, unless the client was told of its own (4xx). */
static bool has_failed(const struct sl_exchange *x)
{
	static const char *const clean[] = {"done", "own", "redirect", "respond"};

	if (x->status >= 400)
		return x->status >= 500;
	for (size_t i = 0; i < SL_ARRAY_SIZE(clean); i++)
		if (!strcmp(x->reason, clean[i]))
			return false;
	return true;
}

static void push_record(struct sl_exchange *x, uint64_t duration_us)
{
	struct sl_conn *c = x->conn;
	struct sl_worker *w = c->worker;
	const struct sl_access_record r = {
		.start_us = sl_wall_us() - duration_us,
		.duration_us = duration_us,
		.queue_us = x->queue_us,
		.connect_us = x->connect_us,
		.first_byte_us = x->first_byte_us,
		.bytes_in = x->bytes_in,
		.bytes_out = x->bytes_out,
		.client = c->source,
		.upstream = x->upstream_addr,
		.status = x->status,
		.failed = has_failed(x),
		.minor = x->request.minor,
		.http = !x->passthrough,
		.reused = x->reused,
		.listener = sl_slice_str(c->listener->config->name),
		.method = x->method,
		.target = x->target,
		.host = x->host,
		.user = sl_slice_str(x->auth.user),
		.engine = sl_slice_str(x->engine),
		.reason = sl_slice_str(x->reason),
		.referer = x->referer,
		.user_agent = x->user_agent,
		.group = sl_slice_str(x->route ? x->route->upstream.name : NULL),
		.server = sl_slice_str(x->server),
		.trace_id = sl_trace_id(&x->trace),
		.span_id = sl_trace_parent(&x->trace),
		.sampled = x->trace.sampled,
	};

	if (!sl_access_log_push(w->access_log, w->index, &r))
		sl_count(w->stats.log_dropped_total, 1);
}

static void count_scopes(struct sl_exchange *x, uint64_t duration_us)
{
	struct sl_conn *c = x->conn;
	const struct sl_route_config *route = x->route ? x->route : x->throttled;
	struct sl_scope_event e = {
		.listener = c->listener->config->name,
		.host = route ? route->host : NULL,
		.path = route ? route->path : NULL,
		.upstream = x->lease.on_done && route ? route->upstream.name : NULL,
		.engine = x->engine,
		.reason = x->reason,
		.status = x->status,
		.us = {duration_us, SL_SCOPE_NO_TIME, SL_SCOPE_NO_TIME, SL_SCOPE_NO_TIME},
	};

	if (x->first_byte_us)
		e.us[SL_SCOPE_FIRST_BYTE] = x->first_byte_us;
	if (x->connect_us)
		e.us[SL_SCOPE_CONNECT] = x->connect_us;
	if (x->queue_us)
		e.us[SL_SCOPE_QUEUE] = x->queue_us;
	sl_scopes_count(&c->worker->scopes, &e);
}

void sl_exchange_record(struct sl_exchange *x)
{
	struct sl_worker *w = x->conn->worker;
	uint64_t duration_us = sl_loop_now_us(w->loop) - x->conn->head_us;

	SL_PROBE6(done, x->conn->id, x->reason, x->status, x->bytes_in, x->bytes_out, duration_us);
	count_class(&w->stats, x->status);
	if (!x->engine)
		sl_histogram_add(&w->stats.request_duration, duration_us);
	count_scopes(x, duration_us);
	if (w->access_log)
		push_record(x, duration_us);
}
