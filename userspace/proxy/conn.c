/* SPDX-License-Identifier: BSD-2-Clause */
/* The client connection's state machine. Events only set readable and writable and run the current
 * state's function; a state function does what it can and returns whether another state has work to do
 * now.
 *
 * Invariants:
 * - An idle connection has no exchange and no buffer.
 * - One exchange at a time: a pipelined request waits in `in` (and in the kernel) until the response
 *   before it is wholly written.
 * - Whoever closes goes through sl_conn_close(); the object dies at the end of the loop's turn.
 *
 * docs/architecture.md has the truth table of the ends. */

#include "proxy/conn.h"

#include <errno.h>
#include <stdlib.h>

#include "base/probe.h"
#include "base/util.h"

#define LINGER_MS    2000
#define LINGER_BYTES (256 * 1024)
#define REFUSE_MS    1000

void sl_conn_set_state(struct sl_conn *c, enum sl_conn_state s)
{
	struct sl_stats *stats = &c->worker->stats;

	if (c->state == s)
		return;
	if (c->state == SL_CONN_IDLE)
		sl_count(stats->connections_idle, -1);
	if (s == SL_CONN_IDLE)
		sl_count(stats->connections_idle, 1);
	c->state = s;
}

void sl_conn_arm(struct sl_conn *c, uint64_t delay_ms)
{
	sl_loop_arm(c->worker->loop, &c->timer, delay_ms);
}

void sl_conn_schedule(struct sl_conn *c)
{
	if (c->state != SL_CONN_CLOSED)
		sl_loop_defer(c->worker->loop, &c->run);
}

/* --- end --- */

static void release_conn(struct sl_task *t)
{
	struct sl_conn *c = sl_container_of(t, struct sl_conn, release);

	free(c->told);
	sl_era_leave(c->worker, c->listener->era);
	sl_slab_put(&c->worker->conns, c);
}

static void drop_buffers(struct sl_conn *c)
{
	c->in = sl_buf_put(&c->worker->buffers, c->in);
	c->out = sl_buf_put(&c->worker->buffers, c->out);
}

static void release_place(struct sl_conn *c)
{
	sl_limits_release(c->worker->shared->limits, c->listener->place,
			  c->by_source ? &c->source : NULL);
	c->admitted = false;
}

void sl_conn_close(struct sl_conn *c, enum sl_close_how how)
{
	struct sl_worker *w = c->worker;

	if (c->state == SL_CONN_CLOSED)
		return;
	SL_PROBE2(close, c->id, how);
	sl_exchange_free(SL_TAKE_PTR(c->x));
	if (c->client)
		c->client->ops->close(c->client, how);
	c->client = NULL;
	drop_buffers(c);
	if (c->admitted)
		release_place(c);
	sl_conn_set_state(c, SL_CONN_CLOSED);
	sl_loop_disarm(w->loop, &c->timer);
	sl_loop_cancel(&c->run);
	sl_list_del(&c->node);
	sl_count(w->stats.connections_done_total, 1);
	sl_count(w->stats.connections_active, -1);
	sl_loop_defer(w->loop, &c->release);
}

/* Nothing comes from the client any more, or it said so (RFC 9112 9.6), and what came was read. Not so
 * behind a body: some clients send an empty line there (RFC 9112 2.2). */
static bool input_is_over(const struct sl_conn *c)
{
	const struct sl_exchange *x = c->x;

	if (c->input_ended)
		return true;
	return x && !c->in && !c->readable && x->to_upstream.complete &&
	       !x->request.hop.persistent && x->request.framing.kind == SL_FRAMING_NONE &&
	       !sl_exchange_may_tunnel(x);
}

/* FIN, then silence until the client has read everything and closes, within bounds: closing with
 * unread input would send RST, which can destroy the response on its way (RFC 9112 9.6). */
static void linger(struct sl_conn *c, uint32_t ms)
{
	c->client->ops->finish(c->client);
	drop_buffers(c);
	c->linger_left = LINGER_BYTES;
	sl_conn_set_state(c, SL_CONN_LINGER);
	sl_conn_arm(c, ms);
	sl_conn_schedule(c);
}

static void run_linger(struct sl_conn *c)
{
	char trash[4096];
	ssize_t n;

	while (c->readable) {
		n = c->client->ops->read(c->client, trash, sizeof(trash));
		if (n == -EAGAIN) {
			c->readable = false;
			break;
		}
		if (n <= 0 || (size_t)n >= c->linger_left) {
			sl_conn_close(c, SL_CLOSE_GRACEFUL);
			break;
		}
		c->linger_left -= (uint32_t)n;
	}
}

/* The next request goes by the newest configuration, if that has the listener. */
static void renew(struct sl_conn *c)
{
	struct sl_worker *w = c->worker;
	struct sl_listener *l;

	if (c->listener->era == w->era)
		return;
	l = sl_era_find(w->era, c->listener);
	if (!l)
		return;
	l->era->conns++;
	sl_era_leave(w, c->listener->era);
	c->listener = l;
}

/* Between requests. */
static void become_idle(struct sl_conn *c)
{
	const struct sl_timeouts_config *timeouts;

	renew(c);
	timeouts = &sl_conn_config(c)->timeouts;
	c->scanned = 0;
	sl_conn_set_state(c, c->in ? SL_CONN_HEAD : SL_CONN_IDLE);
	c->head_us = sl_loop_now_us(c->worker->loop);
	sl_conn_arm(c, c->in ? timeouts->header : timeouts->idle);
	if (c->in || c->readable)
		sl_conn_schedule(c);
}

/* A process that has handed over ends it with the next answer, so that the client knows. */
static bool ends(const struct sl_conn *c)
{
	return c->closing || (c->worker->draining && !c->worker->handed_over);
}

void sl_conn_finish_exchange(struct sl_conn *c)
{
	bool over = input_is_over(c);

	sl_exchange_free(SL_TAKE_PTR(c->x));
	if (ends(c) && over)
		sl_conn_close(c, SL_CLOSE_GRACEFUL);
	else if (ends(c))
		linger(c, LINGER_MS);
	else
		become_idle(c);
}

/* --- input and output --- */

ssize_t sl_conn_read(struct sl_conn *c)
{
	struct sl_buf_pool *buffers = &c->worker->buffers;
	ssize_t n;

	if (!c->readable || c->input_ended)
		return 0;
	if (!c->in)
		c->in = sl_buf_get(buffers);
	if (!c->in)
		return -ENOBUFS;
	if (!sl_buf_room(c->in))
		sl_buf_compact(c->in);
	if (!sl_buf_room(c->in))
		return 0;
	n = c->client->ops->read(c->client, sl_buf_tail(c->in), sl_buf_room(c->in));
	if (n > 0) {
		c->in->end += (uint32_t)n;
		c->readable = !c->client->drained;
		sl_count(c->worker->stats.client_bytes_in_total, n);
		return n;
	}
	if (!sl_buf_len(c->in))
		c->in = sl_buf_put(buffers, c->in);
	if (n == 0)
		c->input_ended = true;
	c->readable = false;
	return n == -EAGAIN ? 0 : n;
}

int sl_conn_flush(struct sl_conn *c)
{
	struct iovec iov;
	ssize_t n;

	while (c->out) {
		if (!c->writable)
			return 0;
		iov = (struct iovec){sl_buf_head(c->out), sl_buf_len(c->out)};
		n = c->client->ops->write(c->client, &iov, 1);
		if (n == -EAGAIN) {
			c->writable = false;
			return 0;
		}
		if (n < 0)
			return (int)n;
		sl_count(c->worker->stats.client_bytes_out_total, n);
		if (c->x) {
			c->x->bytes_out += (uint64_t)n;
			sl_exchange_progress(c->x, (size_t)n);
		}
		sl_buf_consume(c->out, (uint32_t)n);
		if (!sl_buf_len(c->out))
			c->out = sl_buf_put(&c->worker->buffers, c->out);
	}
	return 1;
}

/* --- heads --- */

/* For a client whose request can't be understood, or never came whole. */
static void refuse_head(struct sl_conn *c, unsigned status, const char *reason)
{
	c->closing = true;
	c->x = sl_exchange_new(c);
	if (c->x)
		c->x->reason = reason;
	sl_reply(c, status, NULL, NULL);
}

static void refuse_bad_head(struct sl_conn *c, enum sl_http_error e)
{
	sl_conn_count_refused(c, SL_REFUSED_BAD);
	refuse_head(c, sl_http_error_status(e), sl_http_error_name(e));
}

static enum sl_parse parse_head(struct sl_conn *c)
{
	if (!c->in)
		return SL_PARSE_MORE;
	return sl_head_parse_request(sl_buf_head(c->in), sl_buf_len(c->in), &c->scanned,
				     &c->worker->head_limits, &c->worker->head);
}

static void head_began(struct sl_conn *c)
{
	if (c->state == SL_CONN_HEAD)
		return;
	sl_conn_set_state(c, SL_CONN_HEAD);
	c->head_us = sl_loop_now_us(c->worker->loop);
	if (!c->first) /* the first head's time runs from accept */
		sl_conn_arm(c, sl_conn_config(c)->timeouts.header);
}

/* Needs no buffer. */
void sl_conn_dismiss(struct sl_conn *c, struct sl_slice text)
{
	struct iovec iov = {(void *)text.p, text.len};

	c->client->ops->write(c->client, &iov, 1);
	linger(c, REFUSE_MS);
}

static bool is_http(const struct sl_listener *l)
{
	return l->config->mode != SL_MODE_TCP && l->config->mode != SL_MODE_SNI;
}

static void refuse(struct sl_conn *c)
{
	if (is_http(c->listener))
		sl_conn_dismiss(c, sl_reply_refusal());
	else
		sl_conn_close(c, SL_CLOSE_RESET);
}

static void refuse_for_memory(struct sl_conn *c)
{
	sl_conn_count_refused(c, SL_REFUSED_MEMORY);
	refuse(c);
}

static void run_head(struct sl_conn *c)
{
	enum sl_parse parse = parse_head(c);
	ssize_t n = 1;

	while (parse == SL_PARSE_MORE && (n = sl_conn_read(c)) > 0) {
		head_began(c);
		parse = parse_head(c);
	}
	if (parse != SL_PARSE_MORE) {
		c->first = false;
		sl_count(c->worker->stats.requests_total, 1);
		sl_count(c->listener->stats->requests, 1);
	}
	renew(c);
	if (parse == SL_PARSE_DONE)
		sl_exchange_begin(c);
	else if (parse == SL_PARSE_BAD)
		refuse_bad_head(c, c->worker->head.error);
	else if (n == -ENOBUFS)
		refuse_for_memory(c);
	else if (n < 0 || c->input_ended || (c->closing && c->state == SL_CONN_IDLE))
		sl_conn_close(c, n < 0 ? SL_CLOSE_RESET : SL_CLOSE_GRACEFUL);
}

/* --- events --- */

static void run_reply(struct sl_conn *c)
{
	int r = sl_conn_flush(c);

	if (r < 0)
		sl_conn_abort(c, "client-reset");
	else if (r > 0)
		sl_conn_finish_exchange(c);
}

static void run_state(struct sl_conn *c)
{
	switch (c->state) {
	case SL_CONN_PREFACE:
		sl_preface_run(c);
		break;
	case SL_CONN_IDLE:
	case SL_CONN_HEAD:
		run_head(c);
		break;
	case SL_CONN_EXCHANGE:
		sl_exchange_run(c);
		break;
	case SL_CONN_REPLY:
		run_reply(c);
		break;
	case SL_CONN_OPENING:
		sl_tunnel_open(c);
		break;
	case SL_CONN_LINGER:
		run_linger(c);
		break;
	case SL_CONN_AUTH:
	case SL_CONN_DIAL:
	case SL_CONN_TUNNEL:
	case SL_CONN_CLOSED:
		break; /* waiting for somebody else */
	}
}

static void run_task(struct sl_task *t)
{
	run_state(sl_container_of(t, struct sl_conn, run));
}

void sl_conn_client_event(struct sl_stream *s, unsigned events)
{
	struct sl_conn *c = s->owner;

	c->readable |= !!(events & (SL_READABLE | SL_HANGUP));
	c->writable |= !!(events & SL_WRITABLE);
	if (events & SL_ERROR)
		sl_conn_abort(c, "client-reset");
	else
		run_state(c);
}

static void time_out(struct sl_timer *t)
{
	struct sl_conn *c = sl_container_of(t, struct sl_conn, timer);
	struct sl_stats *stats = &c->worker->stats;

	switch (c->state) {
	case SL_CONN_PREFACE:
		sl_count(stats->timeouts_header_total, 1);
		sl_conn_close(c, SL_CLOSE_RESET);
		break;
	case SL_CONN_IDLE:
		sl_count(stats->timeouts_idle_total, 1);
		sl_conn_close(c, SL_CLOSE_GRACEFUL);
		break;
	case SL_CONN_HEAD:
		sl_count(stats->timeouts_header_total, 1);
		refuse_head(c, 408, "header-timeout");
		break;
	case SL_CONN_EXCHANGE:
		sl_exchange_timeout(c);
		break;
	case SL_CONN_TUNNEL:
		sl_tunnel_tick(c);
		break;
	case SL_CONN_REPLY:
	case SL_CONN_OPENING:
		sl_count(stats->timeouts_body_total, 1);
		sl_conn_abort(c, "client-stalled");
		break;
	case SL_CONN_LINGER:
		sl_conn_close(c, SL_CLOSE_GRACEFUL);
		break;
	case SL_CONN_AUTH:
	case SL_CONN_DIAL:
	case SL_CONN_CLOSED:
		break;
	}
}

void sl_conn_abort(struct sl_conn *c, const char *reason)
{
	if (c->state == SL_CONN_TUNNEL) {
		sl_tunnel_abort(c, reason);
		return;
	}
	if (c->x)
		c->x->reason = reason;
	sl_conn_close(c, SL_CLOSE_RESET);
}

void sl_conn_drain(struct sl_conn *c)
{
	c->closing = true;
	if (c->state != SL_CONN_IDLE)
		return;
	c->readable = true; /* a request may have arrived by now: it is answered */
	sl_conn_schedule(c);
}

/* --- begin --- */

static void count_refusal(struct sl_listener *l, enum sl_limit_verdict v)
{
	sl_count_refused(&l->worker->stats, l->stats,
			 v == SL_LIMIT_TOTAL	  ? SL_REFUSED_LIMIT
			 : v == SL_LIMIT_LISTENER ? SL_REFUSED_LISTENER
						  : SL_REFUSED_SOURCE);
}

static struct sl_conn *new_conn(struct sl_listener *l, struct sl_stream *s)
{
	struct sl_worker *w = l->worker;
	struct sl_conn *c = sl_slab_get(&w->conns);

	if (!c)
		return NULL;
	c->worker = w;
	c->listener = l;
	l->era->conns++;
	c->client = s;
	c->id = ((uint64_t)w->index << 48) | ++w->next_id;
	c->source = s->peer;
	sl_addr_unmap(&c->source);
	c->head_us = sl_loop_now_us(w->loop);
	c->first = true;
	c->state = SL_CONN_HEAD; /* so that entering idle is counted */
	sl_timer_init(&c->timer, time_out);
	sl_task_init(&c->run, run_task);
	sl_task_init(&c->release, release_conn);
	sl_list_add_tail(&w->all_conns, &c->node);
	s->on_event = sl_conn_client_event;
	s->owner = c;
	return c;
}

/* Of a connection that is in already: who it is was told by a PROXY header. */
static bool admit(struct sl_conn *c)
{
	struct sl_worker *w = c->worker;
	enum sl_limit_verdict v;

	v = sl_limits_admit(w->shared->limits, c->listener->place, c->listener->config->connections,
			    &c->source, &c->by_source);
	if (v) {
		count_refusal(c->listener, v);
		refuse(c);
		return false;
	}
	c->admitted = true;
	return true;
}

bool sl_conn_set_source(struct sl_conn *c, const struct sl_addr *source)
{
	release_place(c);
	c->source = *source;
	sl_addr_unmap(&c->source);
	return admit(c);
}

/* Without an object for the connection, which is over as soon as it began. */
static void turn_away(struct sl_acceptor *a, struct sl_stream *s, enum sl_limit_verdict v)
{
	struct sl_listener *l = a->owner;
	struct sl_worker *w = l->worker;

	a->full = v != SL_LIMIT_SOURCE;
	count_refusal(l, v);
	sl_count(w->stats.connections_done_total, 1);
	if (is_http(l))
		sl_farewell(&w->farewells, s, sl_reply_refusal());
	else
		s->ops->close(s, SL_CLOSE_RESET);
}

/* NULL: it was refused. */
static struct sl_conn *let_in(struct sl_acceptor *a, struct sl_stream *s)
{
	struct sl_listener *l = a->owner;
	struct sl_limits *limits = l->worker->shared->limits;
	bool by_source = false;
	enum sl_limit_verdict v =
		sl_limits_admit(limits, l->place, l->config->connections, &s->peer, &by_source);
	struct sl_conn *c = v ? NULL : new_conn(l, s);

	if (!v && !c) {
		sl_limits_release(limits, l->place, by_source ? &s->peer : NULL);
		v = SL_LIMIT_TOTAL;
	}
	if (!c) {
		turn_away(a, s, v);
		return NULL;
	}
	c->admitted = true;
	c->by_source = by_source;
	return c;
}

bool sl_conn_may_accept(const struct sl_acceptor *a)
{
	const struct sl_listener *l = a->owner;

	return l->era->generation->config->limits.when_full == SL_WHEN_FULL_REFUSE ||
	       sl_limits_has_room(l->worker->shared->limits, l->place, l->config->connections);
}

void sl_conn_accept(struct sl_acceptor *a, struct sl_stream *s)
{
	struct sl_listener *l = a->owner;
	struct sl_worker *w = l->worker;
	struct sl_conn *c;

	sl_count(w->stats.connections_accepted_total, 1);
	sl_count(l->stats->accepted, 1);
	c = let_in(a, s);
	if (!c)
		return;
	sl_count(w->stats.connections_active, 1);
	SL_PROBE4(accept, c->id, w->index, l->config->name, &c->source);
	sl_conn_set_state(c, sl_preface_begin(c) ? SL_CONN_PREFACE : SL_CONN_IDLE);
	sl_conn_arm(c, sl_conn_config(c)->timeouts.header);
	c->writable = true;
	if (c->state == SL_CONN_PREFACE) /* there may be nothing to wait for */
		sl_conn_schedule(c);
}
