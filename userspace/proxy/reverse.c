/* SPDX-License-Identifier: BSD-2-Clause */
/* Requests to a listener with routes, from a parsed head to a connection of an upstream. The operator
 * has chosen where they may go, so no access rules apply.
 *
 * Host goes on as it came, or is the target's in absolute form (RFC 9112 3.2.2). */

#include "proxy/conn.h"

#include <sodium.h>
#include <string.h>
#include <xxhash.h>

#include "base/probe.h"
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

/* --- answers that need no upstream --- */

static bool write_location(const struct sl_exchange *x, struct sl_buf *out)
{
	const struct sl_route_config *route = x->route;
	struct sl_slice path = path_of(&x->request);
	size_t cut = route->redirect.path && route->path ? strlen(route->path) : 0;
	bool ok = sl_buf_printf(out, "Location: %s://",
				route->redirect.scheme ? route->redirect.scheme : "http");

	if (route->redirect.host)
		ok = ok && sl_buf_append_str(out, route->redirect.host);
	else
		ok = ok && sl_buf_append_slice(out, x->request.authority.text);
	if (route->redirect.path)
		ok = ok && sl_buf_append_str(out, route->redirect.path);
	return ok && sl_buf_append_slice(out, sl_slice(path.p + cut, path.len - cut)) &&
	       sl_buf_append(out, "\r\n", 3);
}

static void redirect(struct sl_conn *c)
{
	struct sl_exchange *x = c->x;
	struct sl_buf *extra = sl_buf_get(&c->worker->buffers);

	x->reason = "redirect";
	if (!extra)
		sl_exchange_refuse(c, 503, "Retry-After: 1\r\n", "memory");
	else if (!x->route->redirect.host && !x->request.authority.text.len)
		sl_exchange_refuse(c, 400, NULL, "redirect-without-host");
	else if (!write_location(x, extra))
		sl_exchange_refuse(c, 431, NULL, "head-too-large");
	else
		sl_reply(c, x->route->redirect.status, sl_buf_head(extra), NULL);
	sl_buf_put(&c->worker->buffers, extra);
}

static void respond(struct sl_conn *c)
{
	c->x->reason = "respond";
	sl_reply(c, c->x->route->respond.status, NULL, c->x->route->respond.body);
}

bool sl_reverse_route(struct sl_conn *c)
{
	struct sl_exchange *x = c->x;
	const struct sl_route_query q = {
		.host = x->host, .path = path_of(&x->request), .head = &c->worker->head};

	if (x->request.method == SL_METHOD_CONNECT) {
		sl_exchange_refuse(c, 501, NULL, "connect-in-http-mode");
		return false;
	}
	if (sl_path_is_ambiguous(q.path)) {
		c->closing = true;
		sl_conn_count_refused(c, SL_REFUSED_BAD);
		sl_exchange_refuse(c, 400, NULL, "ambiguous-path");
		return false;
	}
	x->route = sl_routes_find(c->listener->routes, &q);
	if (!x->route) {
		sl_exchange_refuse(c, 404, NULL, "no-route");
		return false;
	}
	SL_PROBE3(route, c->id, c->listener->config->name, x->route->upstream.name);
	if (!sl_exchange_throttle(c))
		return false;
	if (x->route->action == SL_ROUTE_REDIRECT)
		redirect(c);
	else if (x->route->action == SL_ROUTE_RESPOND)
		respond(c);
	else
		return true;
	x->route = NULL; /* nothing is leased */
	return false;
}

/* --- balance: maglev --- */

static uint64_t hash_source(const struct sl_conn *c)
{
	if (c->source.family == AF_INET6)
		return XXH3_64bits(&c->source.in6.sin6_addr, sizeof(c->source.in6.sin6_addr));
	return XXH3_64bits(&c->source.in.sin_addr, sizeof(c->source.in.sin_addr));
}

static uint64_t hash_host(struct sl_slice host)
{
	char lower[256];
	size_t n = 0;

	for (; n < host.len && n < sizeof(lower); n++)
		lower[n] = sl_ascii_lower(host.p[n]);
	return XXH3_64bits(lower, n);
}

static uint64_t hash_path(struct sl_slice path)
{
	const char *query = path.len ? memchr(path.p, '?', path.len) : NULL;

	return XXH3_64bits(path.p, query ? (size_t)(query - path.p) : path.len);
}

static uint64_t hash_header(const struct sl_conn *c, const char *name)
{
	const struct sl_head *h = &c->worker->head;

	for (unsigned i = 0; i < h->n_fields; i++)
		if (sl_slice_eq_nocase(h->field[i].name, sl_slice_str(name)))
			return XXH3_64bits(h->field[i].value.p, h->field[i].value.len);
	return hash_source(c);
}

/* While the head is in place. */
static void hash_key(struct sl_conn *c)
{
	struct sl_exchange *x = c->x;
	const struct sl_upstream_config *u = sl_conn_upstream(c, &x->route->upstream)->config;

	if (u->balance != SL_BALANCE_MAGLEV)
		return;
	switch (u->key) {
	case SL_KEY_SOURCE:
		x->key_hash = hash_source(c);
		break;
	case SL_KEY_HOST:
		x->key_hash = hash_host(x->host);
		break;
	case SL_KEY_PATH:
		x->key_hash = hash_path(path_of(&x->request));
		break;
	case SL_KEY_HEADER:
		x->key_hash = hash_header(c, u->key_header);
		break;
	}
}

/* --- changes on the way --- */

static void make_request_id(struct sl_conn *c, char id[SL_REQUEST_ID_LEN])
{
	static const char digits[] = "0123456789abcdef";
	uint8_t bytes[SL_REQUEST_ID_LEN / 2];

	randombytes_buf(bytes, sizeof(bytes));
	for (size_t i = 0; i < sizeof(bytes); i++) {
		id[2 * i] = digits[bytes[i] >> 4];
		id[2 * i + 1] = digits[bytes[i] & 15];
	}
}

void sl_reverse_rewrite(struct sl_conn *c, struct sl_forwarding *f,
			char request_id[SL_REQUEST_ID_LEN])
{
	const struct sl_route_config *route = c->x->route;

	hash_key(c);
	f->edits = &route->request;
	if (route->rewrite_host)
		f->host = sl_slice_str(route->rewrite_host);
	if (route->rewrite_path && route->path) {
		f->path_cut = strlen(route->path);
		f->path_prefix = sl_slice_str(route->rewrite_path);
	}
	if (c->listener->config->request_id &&
	    !sl_head_find(&c->worker->head, SL_FIELD_X_REQUEST_ID)) {
		make_request_id(c, request_id);
		f->request_id = sl_slice(request_id, SL_REQUEST_ID_LEN);
	}
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
		sl_exchange_searched(x);
		refuse(c, done->result);
		return;
	}
	memccpy(x->server, x->lease.server->config->address, 0, sizeof(x->server) - 1);
	if (!done->reused) {
		sl_exchange_connected(c, done->stream, done->events);
		return;
	}
	sl_exchange_searched(x);
	x->upstream = done->stream;
	x->reused = true;
	sl_count(c->worker->stats.upstream_reused_total, 1);
	sl_exchange_start(c);
}

static void lease_done(struct sl_lease *l, const struct sl_lease_done *done)
{
	take(sl_container_of(l, struct sl_exchange, lease)->conn, done);
}

static void prepare_attempt(struct sl_lease *l, struct sl_connect_options *o)
{
	sl_tunnel_prepare(sl_container_of(l, struct sl_exchange, lease)->conn, o);
}

void sl_reverse_connect(struct sl_conn *c)
{
	struct sl_exchange *x = c->x;
	struct sl_upstream *u = sl_conn_upstream(c, &x->route->upstream);
	bool may_tunnel = sl_exchange_may_tunnel(x);
	const struct sl_lease_options o = {
		.worker = c->worker,
		.upstream = u,
		.hash = x->key_hash,
		.fresh = x->retries || x->stale || may_tunnel || u->config->proxy_protocol,
		.repeatable = !may_tunnel && sl_exchange_is_repeatable(x),
		.again = x->retries,
		.prepare = may_tunnel ? prepare_attempt : NULL,
	};
	struct sl_lease_done done;

	if (!x->retries && !x->stale)
		sl_retry_earn(c);
	if (sl_lease_start(&x->lease, &o, lease_done, &done))
		take(c, &done);
}
