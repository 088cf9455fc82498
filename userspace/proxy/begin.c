/* SPDX-License-Identifier: BSD-2-Clause */
/* From a parsed request head to an upstream connection. Everything is decided on the head while it is
 * still in place; what is needed later is copied once, into x->text and x->head. */

#include "proxy/conn.h"

#include <errno.h>
#include <stdio.h>

#include "base/probe.h"
#include "base/util.h"

struct sl_exchange *sl_exchange_new(struct sl_conn *c)
{
	struct sl_exchange *x = sl_slab_get(&c->worker->exchanges);

	if (!x)
		return NULL;
	x->conn = c;
	x->reason = "done";
	sl_list_init(&x->flow);
	return x;
}

void sl_exchange_drop_upstream(struct sl_exchange *x, enum sl_close_how how)
{
	if (x->upstream)
		x->upstream->ops->close(x->upstream, how);
	x->upstream = NULL;
	sl_lease_end(&x->lease, NULL, x->outcome);
}

void sl_exchange_keep_upstream(struct sl_exchange *x)
{
	struct sl_worker *w = x->conn->worker;
	const struct sl_pool_key key = {.host = x->host, .port = x->port};
	const struct sl_pooled c = {.stream = SL_TAKE_PTR(x->upstream)};

	if (x->route)
		sl_lease_end(&x->lease, c.stream, x->outcome);
	else
		sl_pool_put(&w->pool, &key, &c, sl_conn_config(x->conn)->pool.idle_timeout_ms);
}

void sl_exchange_free(struct sl_exchange *x)
{
	struct sl_worker *w;

	if (!x)
		return;
	w = x->conn->worker;
	if (x->dial_us) /* the client didn't wait for it */
		sl_exchange_searched(x);
	sl_exchange_record(x);
	sl_policy_forget(&w->engines, &x->pair);
	sl_dial_cancel(x->dial);
	sl_auth_cancel(&x->auth);
	sl_exchange_drop_upstream(x, SL_CLOSE_RESET);
	sl_throttle_release(sl_conn_generation(x->conn)->throttle, x->throttled);
	sl_buf_put(&w->buffers, x->head);
	sl_buf_put(&w->buffers, x->up_out);
	sl_buf_put(&w->buffers, x->up_in);
	free(x->text);
	sl_slab_put(&w->exchanges, x);
}

/* --- what is kept of the head --- */

static struct sl_slice keep(char **at, struct sl_slice s)
{
	struct sl_slice kept = {*at, s.len};

	if (s.len)
		memcpy(*at, s.p, s.len);
	*at += s.len;
	return kept;
}

static struct sl_slice value_of(const struct sl_head *h, enum sl_field_id id)
{
	const struct sl_field *f = sl_head_find(h, id);

	return f ? f->value : (struct sl_slice){0};
}

static int keep_text(struct sl_exchange *x, const struct sl_head *h)
{
	struct sl_slice agent = value_of(h, SL_FIELD_USER_AGENT);
	struct sl_slice referer = value_of(h, SL_FIELD_REFERER);
	struct sl_slice host = x->request.authority.host;
	char *at;

	at = malloc(h->method_token.len + h->target.len + host.len + agent.len + referer.len + 1);
	if (!at)
		return -ENOMEM;
	x->text = at;
	x->method = keep(&at, h->method_token);
	x->target = keep(&at, h->target);
	x->host = keep(&at, host);
	x->user_agent = keep(&at, agent);
	x->referer = keep(&at, referer);
	x->port = x->request.port;
	return 0;
}

/* The head's bytes are not needed any more. */
static void consume_head(struct sl_conn *c)
{
	sl_buf_consume(c->in, c->worker->head.len);
	if (!sl_buf_len(c->in))
		c->in = sl_buf_put(&c->worker->buffers, c->in);
}

/* --- refusals --- */

void sl_exchange_refuse(struct sl_conn *c, unsigned status, const char *extra, const char *reason)
{
	c->x->reason = reason;
	sl_reply(c, status, extra, NULL);
}

bool sl_exchange_throttle(struct sl_conn *c)
{
	struct sl_worker *w = c->worker;
	char extra[48];
	uint64_t wait_us;

	switch (sl_throttle_admit(sl_conn_generation(c)->throttle, c->listener->config, c->x->route,
				  &c->source, sl_loop_now_us(w->loop), &wait_us)) {
	case SL_THROTTLE_OK:
		c->x->throttled = c->x->route;
		return true;
	case SL_THROTTLE_RATE:
		snprintf(extra, sizeof(extra), "Retry-After: %llu\r\n",
			 (unsigned long long)(wait_us + 999999) / 1000000);
		sl_conn_count_refused(c, SL_REFUSED_RATE);
		sl_exchange_refuse(c, 429, extra, "rate-limit");
		return false;
	case SL_THROTTLE_CONCURRENT:
		sl_conn_count_refused(c, SL_REFUSED_CONCURRENT);
		sl_exchange_refuse(c, 503, "Retry-After: 1\r\n", "concurrency-limit");
		return false;
	}
	return false;
}

/* Without routes, who leaves the target's host out means the proxy itself. */
static bool is_own(const struct sl_conn *c)
{
	const struct sl_request *r = &c->x->request;
	bool hostless = r->target.form == SL_TARGET_ORIGIN || r->target.form == SL_TARGET_ASTERISK;

	return (hostless && !c->listener->routes) || (r->has_max_forwards && !r->max_forwards);
}

/* Whatever is wrong with a well-formed request. Status 0: nothing. */
static unsigned find_fault(struct sl_conn *c, const char **ret_reason)
{
	const struct sl_generation *g = sl_conn_generation(c);
	const struct sl_request *r = &c->x->request;

	if (r->target.form == SL_TARGET_ABSOLUTE &&
	    !sl_slice_eq_nocase(r->target.scheme, SL_SLICE("http"))) {
		c->closing = true; /* as behind every 400 */
		*ret_reason = "unsupported-scheme";
		return 400;
	}
	if (sl_request_loops(&c->worker->head, g->pseudonym)) {
		*ret_reason = "loop";
		return 508;
	}
	if (g->config->limits.body && r->framing.kind == SL_FRAMING_LENGTH &&
	    r->framing.length > g->config->limits.body) {
		*ret_reason = "body-too-large";
		return 413;
	}
	return 0;
}

static void take_trace(struct sl_conn *c)
{
	const struct sl_listener_config *l = c->listener->config;

	if (l->trace == SL_TRACE_OFF)
		return;
	sl_trace_read(&c->worker->head, &c->x->trace);
	if (l->trace == SL_TRACE_MAKE && !c->x->trace.there)
		sl_trace_make(l->trace_sample, &c->x->trace);
}

static bool write_upstream_head(struct sl_conn *c)
{
	const struct sl_listener_config *l = c->listener->config;
	struct sl_forwarding f = {
		.pseudonym = sl_conn_generation(c)->pseudonym,
		.forwarded = l->forwarded,
		.forwarded_trust = l->forwarded_trust,
		.client = c->source,
		.trace = l->trace ? &c->x->trace : NULL,
	};

	char request_id[SL_REQUEST_ID_LEN];

	if (c->x->route)
		sl_reverse_rewrite(c, &f, request_id);
	c->x->head = sl_buf_get(&c->worker->buffers);
	return c->x->head && sl_request_write(&c->worker->head, &c->x->request, &f, c->x->head);
}

/* --- credentials --- */

static void deny_credentials(struct sl_conn *c)
{
	sl_conn_count_refused(c, SL_REFUSED_AUTH);
	sl_exchange_refuse(c, 407,
			   "Proxy-Authenticate: Basic realm=\"sluice\", charset=\"UTF-8\"\r\n",
			   "auth-required");
}

static void find_upstream(struct sl_conn *c);

static void auth_verdict(struct sl_auth_check *check, enum sl_auth_verdict v)
{
	struct sl_exchange *x = sl_container_of(check, struct sl_exchange, auth);

	if (v == SL_AUTH_OK)
		find_upstream(x->conn);
	else
		deny_credentials(x->conn);
}

/* Of several fields (it is a singleton, RFC 9110 5.3) none counts: which one would? */
static struct sl_slice credentials(const struct sl_head *h)
{
	struct sl_slice value = {0};
	unsigned seen = 0;

	for (unsigned i = 0; i < h->n_fields; i++) {
		if (h->field[i].id != SL_FIELD_PROXY_AUTHORIZATION)
			continue;
		value = h->field[i].value;
		seen++;
	}
	return seen == 1 ? value : (struct sl_slice){0};
}

/* True to go on now. */
static bool check_credentials(struct sl_conn *c)
{
	struct sl_auth_check *check = &c->x->auth;

	if (!c->listener->auth)
		return true;
	check->loop = c->worker->loop;
	check->on_verdict = auth_verdict;
	switch (sl_auth_verify(c->listener->auth, credentials(&c->worker->head), check)) {
	case SL_AUTH_OK:
		return true;
	case SL_AUTH_DENIED:
		deny_credentials(c);
		return false;
	case SL_AUTH_BUSY:
		sl_exchange_refuse(c, 503, "Retry-After: 1\r\n", "auth-busy");
		return false;
	case SL_AUTH_PENDING:
		sl_conn_set_state(c, SL_CONN_AUTH);
		return false;
	}
	return false;
}

/* --- upstream --- */

/* A pooled connection was opened for somebody; this client must be allowed to use it, too. */
static bool admits(void *arg, const struct sl_stream *s)
{
	struct sl_conn *c = arg;
	const struct sl_own *own = &sl_conn_generation(c)->own;
	const struct sl_acl_rule *rule;
	const struct sl_acl_query q = {
		.src = &c->source,
		.host = c->x->host,
		.dst = &s->peer,
	};

	return sl_acl_check(c->listener->config->acl, own->addr, own->n, &q, &rule) == SL_ACL_ALLOW;
}

static unsigned dial_status(enum sl_dial_result r)
{
	switch (r) {
	case SL_DIAL_DENIED:
		return 403;
	case SL_DIAL_NAME_TIMEOUT:
	case SL_DIAL_TIMEOUT:
		return 504;
	case SL_DIAL_RESOURCES:
		return 503;
	default:
		return 502;
	}
}

static void dial_failed(struct sl_conn *c, const struct sl_dial_done *done)
{
	struct sl_stats *stats = &c->worker->stats;
	unsigned status = dial_status(done->result);

	if (done->result == SL_DIAL_DENIED) {
		sl_conn_count_refused(c, SL_REFUSED_DENIED);
		sl_exchange_refuse(c, 403, NULL, sl_acl_verdict_name(done->verdict));
		return;
	}
	sl_count(stats->upstream_failures_total, 1);
	if (status == 504)
		sl_count(stats->timeouts_connect_total, 1);
	sl_exchange_refuse(c, status, status == 503 ? "Retry-After: 1\r\n" : NULL,
			   sl_dial_result_name(done->result));
}

/* A server that was told of this client must not be shown another one's requests. */
static bool introduce(struct sl_conn *c)
{
	const struct sl_upstream_config *u = c->x->lease.options.upstream->config;

	c->x->upstream_marked |= u->proxy_protocol != SL_PROXY_PROTOCOL_NONE;
	return sl_preface_send(c, u, c->x->upstream);
}

void sl_exchange_connected(struct sl_conn *c, struct sl_stream *s, unsigned events)
{
	struct sl_exchange *x = c->x;

	sl_count(c->worker->stats.upstream_connects_total, 1);
	sl_histogram_add(&c->worker->stats.connect_duration, sl_exchange_searched(x));
	SL_PROBE3(connect, c->id, &s->peer, x->connect_us);
	x->upstream = s;
	x->up_readable = events & (SL_READABLE | SL_HANGUP | SL_ERROR);
	x->up_hangup = events & (SL_HANGUP | SL_ERROR);
	if (x->route && !introduce(c))
		sl_exchange_fail(c, 502, "upstream-closed");
	else
		sl_exchange_start(c);
}

static void dial_done(void *owner, const struct sl_dial_done *done)
{
	struct sl_conn *c = owner;

	c->x->dial = NULL;
	if (done->result == SL_DIAL_OK) {
		sl_exchange_connected(c, done->stream, done->events);
	} else {
		sl_exchange_searched(c->x);
		dial_failed(c, done);
	}
}

static void prepare_attempt(void *owner, struct sl_connect_options *o)
{
	sl_tunnel_prepare(owner, o);
}

static void dial(struct sl_conn *c)
{
	const struct sl_generation *g = sl_conn_generation(c);
	const struct sl_dial_options o = {
		.transport = c->worker->transport,
		.resolver = c->worker->resolver,
		.host = c->x->host,
		.port = c->x->port,
		.timeout_ms = g->config->timeouts.connect,
		.acl = c->listener->config->acl,
		.own = g->own.addr,
		.n_own = g->own.n,
		.src = c->source,
		.prepare = sl_exchange_may_tunnel(c->x) ? prepare_attempt : NULL,
	};

	if (sl_dial_start(&o, dial_done, c, &c->x->dial) < 0)
		sl_exchange_refuse(c, 503, "Retry-After: 1\r\n", "resources");
}

void sl_exchange_connect(struct sl_conn *c)
{
	sl_loop_disarm(c->worker->loop, &c->timer);
	sl_conn_set_state(c, SL_CONN_DIAL);
	c->x->dial_us = sl_loop_now_us(c->worker->loop);
	if (c->x->route)
		sl_reverse_connect(c);
	else
		dial(c);
}

static void find_upstream(struct sl_conn *c)
{
	struct sl_exchange *x = c->x;
	const struct sl_pool_key key = {.host = x->host, .port = x->port};
	struct sl_pooled pooled;

	if (x->route || sl_exchange_may_tunnel(x) ||
	    !sl_pool_take(&c->worker->pool, &key, admits, c, &pooled)) {
		sl_exchange_connect(c);
		return;
	}
	x->upstream = pooled.stream;
	x->reused = true;
	sl_count(c->worker->stats.upstream_reused_total, 1);
	sl_exchange_start(c);
}

/* NTLM and Negotiate (RFC 4559) authenticate the connection instead of the request. */
static bool marks_upstream(const struct sl_head *h)
{
	for (unsigned i = 0; i < h->n_fields; i++) {
		struct sl_slice value = h->field[i].value, scheme = value;

		if (!sl_slice_eq_nocase(h->field[i].name, SL_SLICE("Authorization")))
			continue;
		for (scheme.len = 0; scheme.len < value.len && value.p[scheme.len] != ' ';)
			scheme.len++;
		if (sl_slice_eq_nocase(scheme, SL_SLICE("NTLM")) ||
		    sl_slice_eq_nocase(scheme, SL_SLICE("Negotiate")))
			return true;
	}
	return false;
}

/* Understands the head; false if the request was answered with a refusal. */
static bool accept_head(struct sl_conn *c)
{
	struct sl_head *h = &c->worker->head;
	struct sl_exchange *x = c->x;
	enum sl_http_error e = sl_request_inspect(h, &x->request);

	SL_PROBE4(parse, c->id, h->len, h->method, e);
	if (!e && c->listener->routes)
		sl_reverse_address(c);
	take_trace(c);
	if (keep_text(x, h) < 0) {
		c->closing = true;
		sl_exchange_refuse(c, 503, "Retry-After: 1\r\n", "memory");
		return false;
	}
	if (e) {
		c->closing = true;
		sl_conn_count_refused(c, SL_REFUSED_BAD);
		sl_exchange_refuse(c, sl_http_error_status(e), NULL, sl_http_error_name(e));
		return false;
	}
	x->upstream_marked = marks_upstream(h);
	sl_mover_init(&x->to_upstream, &x->request.framing,
		      x->request.framing.kind == SL_FRAMING_CHUNKED);
	if (!x->request.hop.persistent || !x->request.minor)
		c->closing = true;
	return true;
}

/* All that needs the head's bytes. True to go on to the upstream now. */
static bool judge_head(struct sl_conn *c)
{
	struct sl_exchange *x = c->x;
	const char *reason = NULL;
	unsigned status;

	if (is_own(c)) {
		sl_reply_own_resource(c);
		return false;
	}
	if (c->listener->routes ? !sl_reverse_route(c) : !sl_exchange_throttle(c))
		return false;
	status = find_fault(c, &reason);
	if (!status && x->request.method != SL_METHOD_CONNECT && !write_upstream_head(c)) {
		reason = x->head ? "head-too-large" : "memory";
		status = x->head ? 431 : 503;
	}
	if (status) {
		sl_exchange_refuse(c, status, NULL, reason);
		return false;
	}
	return check_credentials(c);
}

void sl_exchange_begin(struct sl_conn *c)
{
	bool go_on;

	sl_loop_disarm(c->worker->loop, &c->timer);
	c->x = sl_exchange_new(c);
	if (!c->x) {
		sl_conn_count_refused(c, SL_REFUSED_MEMORY);
		sl_reply(c, 503, "Retry-After: 1\r\n", NULL);
		return;
	}
	go_on = accept_head(c) && judge_head(c);
	if (c->state != SL_CONN_CLOSED)
		consume_head(c);
	if (go_on)
		find_upstream(c);
}
