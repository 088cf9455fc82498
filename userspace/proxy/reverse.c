/* SPDX-License-Identifier: BSD-2-Clause */
/* Requests to a listener with routes, from a parsed head to a connection of an upstream. The operator
 * has chosen where they may go, so no access rules apply.
 *
 * Host goes on as it came, or is the target's in absolute form (RFC 9112 3.2.2). */

#include "proxy/conn.h"

#include "base/util.h"

void sl_reverse_address(struct sl_conn *c)
{
	struct sl_request *r = &c->x->request;

	if (r->target.form == SL_TARGET_ORIGIN || r->target.form == SL_TARGET_ASTERISK)
		r->authority = r->host;
}

/* As the server will read it: an absolute form without path asks for "/". */
static struct sl_slice path_of(const struct sl_request *r)
{
	struct sl_slice path = r->target.path_query;

	if (r->target.form == SL_TARGET_ABSOLUTE && (!path.len || path.p[0] != '/'))
		return r->method == SL_METHOD_OPTIONS && !path.len ? path : SL_SLICE("/");
	return path;
}

bool sl_reverse_route(struct sl_conn *c)
{
	struct sl_exchange *x = c->x;
	const struct sl_route_query q = {.host = x->host, .path = path_of(&x->request)};

	if (x->request.method == SL_METHOD_CONNECT) {
		sl_exchange_refuse(c, 501, NULL, "connect-in-http-mode");
		return false;
	}
	if (sl_path_is_ambiguous(q.path)) {
		c->closing = true;
		sl_count(c->worker->stats.requests_bad_total, 1);
		sl_exchange_refuse(c, 400, NULL, "ambiguous-path");
		return false;
	}
	x->route = sl_routes_find(c->listener->routes, &q);
	if (!x->route)
		sl_exchange_refuse(c, 404, NULL, "no-route");
	return x->route;
}

/* --- lease --- */

static unsigned status_of(enum sl_lease_result r)
{
	switch (r) {
	case SL_LEASE_CONNECT:
		return 502;
	case SL_LEASE_TIMEOUT:
		return 504;
	default:
		return 503;
	}
}

static void refuse(struct sl_conn *c, enum sl_lease_result result)
{
	struct sl_stats *stats = &c->worker->stats;
	unsigned status = status_of(result);

	sl_count(stats->upstream_failures_total, 1);
	if (status == 504)
		sl_count(stats->timeouts_connect_total, 1);
	sl_exchange_refuse(c, status, status == 503 ? "Retry-After: 1\r\n" : NULL,
			   sl_lease_result_name(result));
}

static void take(struct sl_conn *c, const struct sl_lease_done *done)
{
	struct sl_exchange *x = c->x;

	if (done->result != SL_LEASE_OK) {
		refuse(c, done->result);
		return;
	}
	if (!done->reused) {
		sl_exchange_connected(c, done->stream, done->events);
		return;
	}
	x->upstream = done->stream;
	x->reused = true;
	sl_count(c->worker->stats.upstream_reused_total, 1);
	sl_exchange_start(c);
}

static void lease_done(struct sl_lease *l, const struct sl_lease_done *done)
{
	take(sl_container_of(l, struct sl_exchange, lease)->conn, done);
}

void sl_reverse_connect(struct sl_conn *c)
{
	struct sl_exchange *x = c->x;
	struct sl_upstreams *all = c->worker->shared->upstreams;
	const struct sl_lease_options o = {
		.worker = c->worker,
		.upstream = &all->upstream[x->route->upstream.index],
		.fresh = x->retries,
		.again = x->retries,
	};
	struct sl_lease_done done;

	if (!x->retries)
		sl_retry_earn(c);
	if (sl_lease_start(&x->lease, &o, lease_done, &done))
		take(c, &done);
}
