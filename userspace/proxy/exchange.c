/* SPDX-License-Identifier: BSD-2-Clause */
/* A request and its response. Both directions run at once, each as far as its reader and writer let it;
 * a direction holds at most one buffer before and one behind the codec.
 *
 * Invariants:
 * - Nothing of a response is read while the client has not taken what is in conn->out: backpressure.
 * - An upstream connection goes to the pool only after a complete request, a complete response and not
 *   a byte more.
 * - A response that can't be completed ends in RST, whatever its framing: it must not look complete.
 * - A request body that can't be completed ends the upstream connection likewise. */

#include "proxy/conn.h"

#include <errno.h>

#include "base/util.h"

#define INTERIMS_MAX 32
/* Steps of a direction in a row (two a buffer); then other connections have their turn. */
#define STEPS_MAX    16

void sl_exchange_progress(struct sl_exchange *x, size_t bytes)
{
	x->moved += bytes;
	x->progress_ms = sl_loop_now_ms(x->conn->worker->loop);
}

/* --- upstream connection --- */

static void upstream_event(struct sl_stream *s, unsigned events)
{
	struct sl_exchange *x = s->owner;

	x->up_readable |= !!(events & (SL_READABLE | SL_HANGUP | SL_ERROR));
	x->up_writable |= !!(events & SL_WRITABLE);
	x->up_hangup |= !!(events & (SL_HANGUP | SL_ERROR));
	if (x->conn->state == SL_CONN_EXCHANGE)
		sl_exchange_run(x->conn);
}

void sl_exchange_start(struct sl_conn *c)
{
	struct sl_exchange *x = c->x;
	const struct sl_timeouts_config *timeouts = &sl_conn_config(c)->timeouts;

	x->upstream->on_event = upstream_event;
	x->upstream->owner = x;
	x->upstream_addr = x->upstream->peer;
	x->up_writable = true;
	x->progress_ms = x->window_ms = sl_loop_now_ms(c->worker->loop);
	if (x->passthrough) {
		x->outcome = SL_OUTCOME_GOOD;
		sl_conn_set_state(c, SL_CONN_OPENING);
		sl_conn_arm(c, timeouts->body);
	} else if (x->request.method == SL_METHOD_CONNECT) {
		c->out = c->out ? c->out : sl_buf_get(&c->worker->buffers);
		if (!c->out ||
		    !sl_buf_append_str(c->out, "HTTP/1.1 200 Connection established\r\n\r\n")) {
			sl_exchange_fail(c, 503, "memory");
			return;
		}
		x->status = 200;
		sl_conn_set_state(c, SL_CONN_OPENING);
		sl_conn_arm(c, timeouts->body);
	} else {
		sl_conn_set_state(c, SL_CONN_EXCHANGE);
		sl_conn_arm(c, sl_min(timeouts->body, timeouts->upstream));
	}
	sl_conn_schedule(c);
}

/* --- failure --- */

void sl_exchange_fail(struct sl_conn *c, unsigned status, const char *reason)
{
	struct sl_exchange *x = c->x;

	if (x->response_head) {
		sl_count(c->worker->stats.responses_aborted_total, 1);
		sl_conn_abort(c, reason);
		return;
	}
	x->reason = reason;
	sl_exchange_drop_upstream(x, SL_CLOSE_RESET);
	x->head = sl_buf_put(&c->worker->buffers, x->head);
	x->up_in = sl_buf_put(&c->worker->buffers, x->up_in);
	x->up_out = sl_buf_put(&c->worker->buffers, x->up_out);
	sl_reply(c, status, status == 503 ? "Retry-After: 1\r\n" : NULL, NULL);
}

/* The upstream said something impossible, or stopped in the middle. */
static void upstream_bad(struct sl_conn *c, const char *reason)
{
	sl_count(c->worker->stats.upstream_bad_total, 1);
	c->x->outcome = SL_OUTCOME_BROKEN;
	sl_exchange_fail(c, 502, reason);
}

static void upstream_gone(struct sl_conn *c)
{
	if (!sl_exchange_retry(c, SL_RETRY_CLOSED))
		upstream_bad(c, c->x->response_started ? "upstream-truncated" : "upstream-closed");
}

/* --- both directions --- */

/* Moves body bytes through a codec, or passes the whole buffer on where bytes leave as they came.
 * 0, -ENOBUFS, or -EBADMSG (m->error). */
static int move_body(struct sl_conn *c, struct sl_mover *m, struct sl_buf **in, struct sl_buf **out)
{
	struct sl_buf_pool *buffers = &c->worker->buffers;
	bool good;

	if (!*out && sl_mover_passes(m, *in)) {
		*out = SL_TAKE_PTR(*in);
		return 0;
	}
	if (!*out)
		*out = sl_buf_get(buffers);
	if (!*out)
		return -ENOBUFS;
	good = sl_mover_move(m, *in, *out);
	if (!sl_buf_len(*in))
		*in = sl_buf_put(buffers, *in);
	if (!sl_buf_len(*out))
		*out = sl_buf_put(buffers, *out);
	return good ? 0 : -EBADMSG;
}

/* --- request --- */

static void took(struct sl_exchange *x, size_t n)
{
	struct sl_worker *w = x->conn->worker;
	uint32_t of_head = sl_min((uint32_t)n, sl_exchange_head_left(x));

	sl_count(w->stats.upstream_bytes_out_total, n);
	sl_exchange_progress(x, n);
	x->head_sent += of_head;
	if (n > of_head) {
		x->body_started = true;
		sl_buf_consume(x->up_out, (uint32_t)n - of_head);
		if (!sl_buf_len(x->up_out))
			x->up_out = sl_buf_put(&w->buffers, x->up_out);
	}
	if (!x->sent_us && x->to_upstream.complete && !x->up_out && !sl_exchange_head_left(x))
		x->sent_us = sl_loop_now_us(w->loop);
}

/* Writes head and body as far as the upstream takes them. */
static void flush_upstream(struct sl_exchange *x)
{
	struct iovec iov[2];
	ssize_t n;
	int used;

	while (x->up_writable && !x->request_stopped) {
		used = 0;
		if (sl_exchange_head_left(x))
			iov[used++] = (struct iovec){sl_buf_head(x->head) + x->head_sent,
						     sl_exchange_head_left(x)};
		if (x->up_out)
			iov[used++] = (struct iovec){sl_buf_head(x->up_out), sl_buf_len(x->up_out)};
		if (!used)
			return;
		n = x->upstream->ops->write(x->upstream, iov, used);
		if (n > 0) {
			took(x, (size_t)n);
		} else if (n == -EAGAIN) {
			x->up_writable = false;
		} else { /* what the origin said before it hung up counts: read it */
			x->request_stopped = x->up_broken = true;
			x->up_readable = true;
		}
	}
}

static bool over_body_limit(const struct sl_conn *c)
{
	uint64_t limit = sl_conn_config(c)->limits.body;

	return limit && c->x->to_upstream.body.content_bytes > limit;
}

/* Encodes what arrived from the client. 1 to go on, 0 to wait, -1 when the exchange has failed. */
static int encode_request(struct sl_conn *c)
{
	struct sl_exchange *x = c->x;
	uint64_t before = x->to_upstream.body.content_bytes;
	int r;

	if (!c->in)
		return 0;
	r = move_body(c, &x->to_upstream, &c->in, &x->up_out);
	x->bytes_in += x->to_upstream.body.content_bytes - before;
	if (r == -EBADMSG) {
		sl_conn_count_refused(c, SL_REFUSED_BAD);
		c->closing = true;
		sl_exchange_fail(c, 400, sl_http_error_name(x->to_upstream.error));
	} else if (r == -ENOBUFS) {
		sl_exchange_fail(c, 503, "memory");
	} else if (over_body_limit(c)) {
		c->closing = true;
		sl_exchange_fail(c, 413, "body-too-large");
	} else {
		return x->up_out || x->to_upstream.complete;
	}
	return -1;
}

/* False when the exchange has failed. */
static bool read_request(struct sl_conn *c, bool *ret_more)
{
	ssize_t n = sl_conn_read(c);

	*ret_more = n > 0;
	if (n > 0) {
		sl_exchange_progress(c->x, (size_t)n);
		return true;
	}
	if (n == -ENOBUFS) {
		sl_exchange_fail(c, 503, "memory");
		return false;
	}
	if (n < 0 || c->input_ended) {
		sl_conn_abort(c, n < 0 ? "client-reset" : "client-truncated");
		return false;
	}
	return true;
}

/* False when the exchange has ended or changed hands. */
static bool run_request(struct sl_conn *c)
{
	struct sl_exchange *x = c->x;
	bool more = true;
	int r;

	for (int i = 0; i < STEPS_MAX; i++) {
		flush_upstream(x);
		if (x->to_upstream.complete || x->request_stopped || x->up_out || !more)
			return true;
		r = encode_request(c);
		if (r < 0)
			return false;
		if (r == 0 && !read_request(c, &more))
			return false;
	}
	sl_conn_schedule(c);
	return true;
}

/* --- response --- */

/* > 0 bytes read; 0 nothing now; -EPIPE end of input; other -errno: broken. */
static ssize_t read_upstream(struct sl_exchange *x)
{
	struct sl_buf_pool *buffers = &x->conn->worker->buffers;
	ssize_t n;

	if (!x->up_readable)
		return 0;
	if (!x->up_in)
		x->up_in = sl_buf_get(buffers);
	if (!x->up_in)
		return -ENOBUFS;
	sl_buf_compact(x->up_in);
	n = x->upstream->ops->read(x->upstream, sl_buf_tail(x->up_in), sl_buf_room(x->up_in));
	if (n > 0) {
		x->up_in->end += (uint32_t)n;
		x->up_readable = !x->upstream->drained;
		x->response_started = true;
		sl_count(x->conn->worker->stats.upstream_bytes_in_total, n);
		sl_exchange_progress(x, (size_t)n);
		return n;
	}
	if (!sl_buf_len(x->up_in))
		x->up_in = sl_buf_put(buffers, x->up_in);
	x->up_readable = false;
	if (n == 0)
		x->upstream_ended = true;
	return n == 0 ? -EPIPE : n == -EAGAIN ? 0 : n;
}

/* Not of a response that came before its request was wholly sent. */
static void note_first_byte(struct sl_exchange *x)
{
	struct sl_worker *w = x->conn->worker;

	if (!x->sent_us)
		return;
	x->first_byte_us = sl_loop_now_us(w->loop) - x->sent_us;
	sl_histogram_add(&w->stats.first_byte, x->first_byte_us);
}

/* Plans the final response and writes its head. */
static bool begin_response(struct sl_conn *c, const struct sl_head *h, const struct sl_response *r)
{
	struct sl_exchange *x = c->x;
	bool unbounded =
		r->framing.kind == SL_FRAMING_CHUNKED || r->framing.kind == SL_FRAMING_CLOSE;
	struct sl_response_plan plan = {.chunked = unbounded && x->request.minor,
					.edits = x->route ? &x->route->response : NULL};

	if (!sl_exchange_request_sent(x) || sl_listener_ends(c->listener))
		c->closing = true; /* the rest of the body may never be read */
	plan.close = c->closing;
	x->upstream_keep = r->persistent;
	x->status = r->status;
	note_first_byte(x);
	sl_mover_init(&x->to_client, &r->framing, plan.chunked);
	x->to_client.complete |= r->framing.kind == SL_FRAMING_NONE;
	x->request_stopped |= sl_exchange_head_left(x) > 0;
	x->head = sl_buf_put(&c->worker->buffers, x->head);
	x->response_head = true;
	return sl_response_write(h, r, &plan, sl_conn_generation(c)->pseudonym, c->out);
}

static bool begin_upgrade(struct sl_conn *c, const struct sl_head *h, const struct sl_response *r)
{
	struct sl_exchange *x = c->x;
	const struct sl_response_plan plan = {0};

	if (!x->request.upgrade || !sl_exchange_request_sent(x)) {
		upstream_bad(c, "unasked-upgrade");
		return true;
	}
	x->status = r->status;
	note_first_byte(x);
	x->response_head = true;
	x->head = sl_buf_put(&c->worker->buffers, x->head);
	sl_conn_set_state(c, SL_CONN_OPENING);
	sl_conn_arm(c, sl_conn_config(c)->timeouts.body);
	sl_conn_schedule(c);
	return sl_response_write(h, r, &plan, sl_conn_generation(c)->pseudonym, c->out);
}

static bool forward_interim(struct sl_conn *c, const struct sl_head *h, const struct sl_response *r)
{
	const struct sl_response_plan plan = {0};

	c->x->up_scanned = 0;
	if (++c->x->interims > INTERIMS_MAX) {
		upstream_bad(c, "too-many-interim-responses");
		return true;
	}
	if (!c->x->request.minor) { /* HTTP/1.0 has none (RFC 9110 15.2) */
		c->out = sl_buf_put(&c->worker->buffers, c->out);
		return true;
	}
	sl_count(c->worker->stats.responses_1xx_total, 1);
	return sl_response_write(h, r, &plan, sl_conn_generation(c)->pseudonym, c->out);
}

/* The body's first bytes leave with the head, in one packet. */
static void add_body(struct sl_conn *c)
{
	struct sl_exchange *x = c->x;

	if (!x->up_in || !x->response_head || c->state != SL_CONN_EXCHANGE)
		return;
	sl_mover_move(&x->to_client, x->up_in, c->out);
	if (!sl_buf_len(x->up_in) && !x->to_client.error) /* move_response() finds the error */
		x->up_in = sl_buf_put(&c->worker->buffers, x->up_in);
}

/* A response head is there: passes it on. */
static void take_response_head(struct sl_conn *c, const struct sl_head *h)
{
	struct sl_exchange *x = c->x;
	struct sl_response r;
	enum sl_http_error e = sl_response_inspect(h, x->request.method, &r);
	bool fits;

	if (e) {
		upstream_bad(c, sl_http_error_name(e));
		return;
	}
	if (sl_exchange_retry_status(c, r.status))
		return;
	c->out = sl_buf_get(&c->worker->buffers);
	if (!c->out) {
		sl_exchange_fail(c, 503, "memory");
		return;
	}
	if (r.interim)
		fits = forward_interim(c, h, &r);
	else if (r.status == 101)
		fits = begin_upgrade(c, h, &r);
	else
		fits = begin_response(c, h, &r);
	if (!fits) {
		x->response_head = false;
		c->out->start = c->out->end = 0;
		upstream_bad(c, "head-too-large");
	} else if (x->up_in) {
		sl_buf_consume(x->up_in, h->len);
		if (!sl_buf_len(x->up_in))
			x->up_in = sl_buf_put(&c->worker->buffers, x->up_in);
		add_body(c);
	}
}

/* 1: go on; 0: more bytes are needed. */
static int parse_response(struct sl_conn *c)
{
	struct sl_exchange *x = c->x;
	struct sl_head *h = &c->worker->head;

	if (!x->up_in)
		return 0;
	switch (sl_head_parse_response(sl_buf_head(x->up_in), sl_buf_len(x->up_in), &x->up_scanned,
				       &c->worker->head_limits, h)) {
	case SL_PARSE_DONE:
		take_response_head(c, h);
		return 1;
	case SL_PARSE_BAD:
		upstream_bad(c, sl_http_error_name(h->error));
		return 1;
	case SL_PARSE_MORE:
		return 0;
	}
	return 0;
}

static int move_response(struct sl_conn *c)
{
	struct sl_exchange *x = c->x;
	int r;

	if (!x->up_in)
		return 0;
	r = move_body(c, &x->to_client, &x->up_in, &c->out);
	if (r == -EBADMSG)
		upstream_bad(c, sl_http_error_name(x->to_client.error));
	else if (r == -ENOBUFS)
		sl_exchange_fail(c, 503, "memory");
	else
		return c->out || x->to_client.complete;
	return 1;
}

/* The upstream has ended or broken in the middle of something. */
static void end_response(struct sl_conn *c, ssize_t error)
{
	struct sl_exchange *x = c->x;

	if (!x->response_head) {
		upstream_gone(c);
		return;
	}
	if (!c->out)
		c->out = sl_buf_get(&c->worker->buffers);
	if (error != -EPIPE || x->up_broken || !c->out || !sl_mover_end(&x->to_client, c->out))
		upstream_bad(c, "upstream-truncated");
	else if (!sl_buf_len(c->out))
		c->out = sl_buf_put(&c->worker->buffers, c->out);
}

/* The client has the whole response. */
static void complete(struct sl_conn *c)
{
	struct sl_exchange *x = c->x;
	bool clean = sl_exchange_request_sent(x) && !x->request_stopped && !x->up_in &&
		     !x->upstream_ended && !x->up_hangup;

	x->outcome = x->status >= 500 ? SL_OUTCOME_SERVER_ERROR : SL_OUTCOME_GOOD;
	if (x->upstream_keep && clean && !x->upstream_marked)
		sl_exchange_keep_upstream(x);
	else
		sl_exchange_drop_upstream(x, clean ? SL_CLOSE_GRACEFUL : SL_CLOSE_RESET);
	sl_conn_finish_exchange(c);
}

static void run_response(struct sl_conn *c)
{
	struct sl_exchange *x = c->x;
	ssize_t n;
	int r;

	for (int i = 0; c->state == SL_CONN_EXCHANGE; i++) {
		if (i == STEPS_MAX) {
			sl_conn_schedule(c);
			return;
		}
		r = sl_conn_flush(c);
		if (r < 0)
			sl_conn_abort(c, "client-reset");
		if (r <= 0)
			return;
		if (x->response_head && x->to_client.complete) {
			complete(c);
			return;
		}
		r = x->response_head ? move_response(c) : parse_response(c);
		if (r || c->state != SL_CONN_EXCHANGE)
			continue;
		n = read_upstream(x);
		if (n == -ENOBUFS)
			sl_exchange_fail(c, 503, "memory");
		else if (n < 0)
			end_response(c, n);
		else if (n == 0)
			return;
	}
}

void sl_exchange_run(struct sl_conn *c)
{
	if (run_request(c) && c->state == SL_CONN_EXCHANGE)
		run_response(c);
}
