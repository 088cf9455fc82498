/* SPDX-License-Identifier: BSD-2-Clause */
/* Sending a request again. It must be certain that no client sees two answers, and harmless if an
 * origin sees two requests (RFC 9110 9.2.2), or certain that it saw no whole one:
 *
 * - nothing of a response was forwarded;
 * - the request is there to be sent again: its head is kept until a response is forwarded, of its body
 *   nothing was sent;
 * - the method is idempotent, or there is a body to come, without which no request is complete.
 *
 * A kept connection that its server had closed meanwhile is no try: the server's host took no whole
 * request, so nobody has worked for it.
 *
 * Towards an upstream, retries are at most a share of its requests over time, whatever fails, with bursts
 * of CREDIT_MAX / RETRY_COST. */

#include "proxy/conn.h"

#include <errno.h>

#include "base/util.h"

#define RETRY_COST 100
#define CREDIT_MAX (1000 * RETRY_COST)

static bool is_idempotent(enum sl_method m)
{
	switch (m) {
	case SL_METHOD_GET:
	case SL_METHOD_HEAD:
	case SL_METHOD_PUT:
	case SL_METHOD_DELETE:
	case SL_METHOD_OPTIONS:
	case SL_METHOD_TRACE:
		return true;
	default:
		return false;
	}
}

static bool has_body(const struct sl_exchange *x)
{
	return x->request.framing.kind == SL_FRAMING_CHUNKED || x->request.framing.length;
}

bool sl_exchange_is_repeatable(const struct sl_exchange *x)
{
	return is_idempotent(x->request.method) && !has_body(x);
}

static bool is_repeatable(const struct sl_exchange *x)
{
	return x->head && !x->response_head && !x->interims && !x->body_started &&
	       (has_body(x) || is_idempotent(x->request.method));
}

static const struct sl_retry_config *config_of(const struct sl_conn *c)
{
	return &sl_conn_upstream(c, &c->x->route->upstream)->config->retry;
}

static bool is_wanted(const struct sl_retry_config *r, enum sl_retry_on why)
{
	if (!r->on)
		return why == SL_RETRY_CLOSED;
	for (size_t i = 0; i < r->n_on; i++)
		if (r->on[i] == why)
			return true;
	return false;
}

static uint32_t *credit_of(struct sl_conn *c)
{
	struct sl_upstream *u = sl_conn_upstream(c, &c->x->route->upstream);

	return &u->desk[c->worker->index].retry_credit;
}

void sl_retry_earn(struct sl_conn *c)
{
	uint32_t *credit = credit_of(c);

	*credit = sl_min(*credit + config_of(c)->budget, (uint32_t)CREDIT_MAX);
}

static bool pay(struct sl_conn *c)
{
	uint32_t *credit = credit_of(c);

	if (!config_of(c)->budget || *credit < RETRY_COST) {
		sl_count(c->worker->stats.upstream_retries_denied_total, 1);
		return false;
	}
	*credit -= RETRY_COST;
	return true;
}

/* Reset, or closed before the request was acknowledged: it crossed the server's FIN. A server that took
 * the request and hung up has acknowledged it. */
static bool was_stale(const struct sl_exchange *x)
{
	struct sl_endpoint e;
	int r;

	if (!x->reused)
		return false;
	r = x->upstream->ops->endpoint(x->upstream, &e);
	return r == -ENOTCONN || (!r && e.unacked);
}

static void start_over(struct sl_conn *c, bool stale)
{
	struct sl_exchange *x = c->x;

	sl_exchange_drop_upstream(x, SL_CLOSE_RESET);
	x->outcome = SL_OUTCOME_UNKNOWN;
	x->up_in = sl_buf_put(&c->worker->buffers, x->up_in);
	x->up_scanned = 0;
	x->head_sent = 0;
	x->sent_us = 0;
	x->up_readable = x->up_hangup = false;
	x->reused = x->request_stopped = x->up_broken = false;
	x->upstream_ended = x->response_started = false;
	x->stale |= stale;
	x->retries += !stale;
	sl_count(c->worker->stats.upstream_stale_total, stale);
	sl_count(c->worker->stats.upstream_retries_total, 1);
	sl_exchange_connect(c);
}

/* Without a route there is no other server: only a pooled connection, which the origin may have closed
 * as we wrote to it (RFC 9112 9.3.1), is worth another try. */
bool sl_exchange_retry(struct sl_conn *c, enum sl_retry_on why)
{
	struct sl_exchange *x = c->x;
	bool stale;

	if (!is_repeatable(x) || x->response_started)
		return false;
	if (!x->route && (!x->reused || x->retries || why != SL_RETRY_CLOSED))
		return false;
	if (x->route && !is_wanted(config_of(c), why))
		return false;
	stale = why == SL_RETRY_CLOSED && was_stale(x);
	if (x->route && !stale && (x->retries + 1u >= config_of(c)->tries || !pay(c)))
		return false;
	if (!x->reused)
		x->outcome = SL_OUTCOME_BROKEN;
	start_over(c, stale);
	return true;
}

bool sl_exchange_retry_status(struct sl_conn *c, unsigned status)
{
	static const struct {
		unsigned status;
		enum sl_retry_on why;
	} rows[] = {
		{429, SL_RETRY_429}, {500, SL_RETRY_500}, {502, SL_RETRY_502},
		{503, SL_RETRY_503}, {504, SL_RETRY_504},
	};
	struct sl_exchange *x = c->x;
	size_t i = 0;

	if (!x->route || status < 429)
		return false;
	while (i < SL_ARRAY_SIZE(rows) && rows[i].status != status)
		i++;
	if (i == SL_ARRAY_SIZE(rows) || !is_wanted(config_of(c), rows[i].why) ||
	    x->retries + 1u >= config_of(c)->tries || !is_repeatable(x) || !pay(c))
		return false;
	x->outcome = status >= 500 ? SL_OUTCOME_SERVER_ERROR : SL_OUTCOME_GOOD;
	start_over(c, false);
	return true;
}
