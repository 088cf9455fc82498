/* SPDX-License-Identifier: BSD-2-Clause */
/* Streams in memory. A stream holds the ring of bytes that its peer wrote. Invariants: peer pointers
 * are mutual and end when either side is closed; events gather in `pending` and are told by a deferred
 * task, so no call runs a callback; a closed stream is freed by a deferred task, too.
 *
 * It has no notion of segments or of bytes on the way: what was written has arrived. */

#include "fake_transport.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/list.h"
#include "base/util.h"

#define WINDOW (16 * 1024)

struct fake_transport {
	struct sl_transport base;
	struct fake_options options;
	struct sl_list streams, graves, acceptors;
	struct fake_connect_rule rules[FAKE_RULES];
	size_t n_rules;
	struct fake_attempt attempts[FAKE_ATTEMPTS];
	size_t n_attempts;
	uint16_t next_port;
};

struct fake_stream {
	struct sl_stream base;
	struct sl_list node;
	struct fake_stream *peer;
	char *ring; /* of options.window bytes */
	size_t start, len;
	bool fin_sent, fin_received;
	bool waits_for_room; /* write() said -EAGAIN */
	bool muted;	     /* the peer was closed silently: nothing goes out or comes in */
	bool closed;
	int broken;	 /* positive errno, after what is in the ring */
	int peer_closed; /* enum sl_close_how, or -1 */
	struct fake_faults faults;
	bool odd_read, odd_write;
	unsigned pending, ignored; /* events to tell; SL_READABLE, SL_WRITABLE: not watched */
	struct sl_task tell, release;
	struct sl_timer connecting;
	struct fake_connect_rule rule;
	struct fake_attempt *attempt;
};

struct fake_acceptor {
	struct sl_acceptor base;
	struct sl_list node;
};

static const struct sl_transport_ops fake_ops;

static struct fake_transport *to_transport(const struct sl_transport *t)
{
	return sl_container_of(t, struct fake_transport, base);
}

static struct fake_stream *to_stream(struct sl_stream *s)
{
	return sl_container_of(s, struct fake_stream, base);
}

static struct fake_transport *transport_of(const struct fake_stream *s)
{
	return to_transport(s->base.transport);
}

/* ---- events ---- */

static void pend(struct fake_stream *s, unsigned events)
{
	if (s->closed)
		return;
	s->pending |= events;
	sl_loop_defer(s->base.transport->loop, &s->tell);
}

static void call(struct fake_stream *s, unsigned events)
{
	events &= events & SL_HANGUP ? ~0u : ~s->ignored;
	if (!s->closed && s->base.on_event && events)
		s->base.on_event(&s->base, events);
}

static void tell(struct sl_task *t)
{
	struct fake_stream *s = sl_container_of(t, struct fake_stream, tell);
	const struct fake_options *o = &transport_of(s)->options;
	unsigned events = s->pending;

	s->pending = 0;
	if (o->spurious_events && !s->base.error)
		events |= SL_READABLE | SL_WRITABLE;
	if (!o->split_events) {
		call(s, events);
		return;
	}
	for (unsigned bit = SL_CONNECTED; bit <= SL_ERROR; bit <<= 1)
		if (events & bit)
			call(s, bit);
}

/* ---- streams ---- */

static void release(struct sl_task *t)
{
	struct fake_stream *s = sl_container_of(t, struct fake_stream, release);

	sl_list_del(&s->node);
	free(s->ring);
	free(s);
}

static void connect_over(struct sl_timer *t);

static struct fake_stream *stream_new(struct fake_transport *t)
{
	struct fake_stream *s = calloc(1, sizeof(*s));

	if (s)
		s->ring = malloc(t->options.window);
	if (!s || !s->ring) {
		free(s);
		return NULL;
	}
	s->base.ops = &fake_ops;
	s->base.transport = &t->base;
	s->peer_closed = -1;
	sl_task_init(&s->tell, tell);
	sl_task_init(&s->release, release);
	sl_timer_init(&s->connecting, connect_over);
	sl_list_add_tail(&t->streams, &s->node);
	return s;
}

static void join(struct fake_stream *a, struct fake_stream *b)
{
	a->peer = b;
	b->peer = a;
	b->base.local = a->base.peer;
	b->base.peer = a->base.local;
}

static void breaks(struct fake_stream *s, int error)
{
	s->broken = error;
	pend(s, SL_READABLE | SL_WRITABLE | SL_HANGUP | SL_ERROR);
}

/* Whether this call is one that the faults let fail for now. */
static bool stumbles(const struct fake_stream *s, bool *odd)
{
	*odd = !*odd;
	return s->faults.eagain_every_second && !*odd;
}

static size_t ring_get(struct fake_stream *s, char *to, size_t len)
{
	size_t window = transport_of(s)->options.window;

	for (size_t i = 0; i < len; i++)
		to[i] = s->ring[(s->start + i) % window];
	s->start = (s->start + len) % window;
	s->len -= len;
	return len;
}

static size_t ring_put(struct fake_stream *s, const char *from, size_t len)
{
	size_t window = transport_of(s)->options.window;

	len = sl_min(len, window - s->len);
	for (size_t i = 0; i < len; i++)
		s->ring[(s->start + s->len + i) % window] = from[i];
	s->len += len;
	return len;
}

static ssize_t fake_read(struct sl_stream *stream, void *buf, size_t len)
{
	struct fake_stream *s = to_stream(stream);

	if (s->faults.read_error)
		return -s->faults.read_error;
	if (stumbles(s, &s->odd_read)) {
		pend(s, SL_READABLE);
		return -EAGAIN;
	}
	if (s->faults.read_max)
		len = sl_min(len, s->faults.read_max);
	len = sl_min(len, s->len);
	stream->drained = false;
	if (!len)
		return s->broken ? -s->broken : s->fin_received ? 0 : -EAGAIN;
	ring_get(s, buf, len);
	stream->drained = !s->len && !s->broken && !s->fin_received;
	if (s->peer && s->peer->waits_for_room) {
		s->peer->waits_for_room = false;
		pend(s->peer, SL_WRITABLE);
	}
	return (ssize_t)len;
}

static size_t total(const struct iovec *iov, int n)
{
	size_t len = 0;

	for (int i = 0; i < n; i++)
		len += iov[i].iov_len;
	return len;
}

static size_t put_iov(struct fake_stream *to, const struct iovec *iov, size_t len)
{
	size_t done = 0;

	for (; done < len; iov++) {
		size_t part = sl_min(iov->iov_len, len - done);
		size_t put = ring_put(to, iov->iov_base, part);

		done += put;
		if (put < part)
			break;
	}
	return done;
}

static ssize_t fake_write(struct sl_stream *stream, const struct iovec *iov, int n)
{
	struct fake_stream *s = to_stream(stream);
	size_t len = total(iov, n), done;

	if (s->faults.write_error)
		return -s->faults.write_error;
	if (s->broken)
		return -s->broken;
	if (s->fin_sent)
		return -EPIPE;
	if (stumbles(s, &s->odd_write)) {
		pend(s, SL_WRITABLE);
		return -EAGAIN;
	}
	if (s->faults.write_max)
		len = sl_min(len, s->faults.write_max);
	if (!len)
		return 0;
	if (s->muted || (!s->peer && s->peer_closed < 0)) /* gone silently, or not connected yet */
		return -EAGAIN;
	if (!s->peer) { /* nobody is there: the bytes go out and a reset comes back */
		breaks(s, ECONNRESET);
		return (ssize_t)len;
	}
	done = put_iov(s->peer, iov, len);
	if (!done) {
		s->waits_for_room = true;
		return -EAGAIN;
	}
	pend(s->peer, SL_READABLE);
	return (ssize_t)done;
}

static int fake_finish(struct sl_stream *stream)
{
	struct fake_stream *s = to_stream(stream);

	if (s->fin_sent)
		return 0;
	if (s->broken)
		return -ENOTCONN;
	s->fin_sent = true;
	if (s->peer) {
		s->peer->fin_received = true;
		pend(s->peer, SL_READABLE | SL_HANGUP);
	}
	return 0;
}

/* What the other end sees of a close. */
static int fake_watch(struct sl_stream *s, unsigned events)
{
	to_stream(s)->ignored = (SL_READABLE | SL_WRITABLE) & ~events;
	pend(to_stream(s), SL_READABLE | (to_stream(s)->waits_for_room ? 0 : SL_WRITABLE));
	return 0;
}

static void part(struct fake_stream *s, enum sl_close_how how)
{
	struct fake_stream *peer = s->peer;

	if (how == SL_CLOSE_GRACEFUL && s->len)
		how = SL_CLOSE_RESET; /* as the kernel does with input that nobody will read */
	if (how == SL_CLOSE_GRACEFUL)
		fake_finish(&s->base);
	s->peer = NULL;
	peer->peer = NULL;
	peer->peer_closed = (int)how;
	if (how == SL_CLOSE_SILENT)
		peer->muted = true;
	else if (how == SL_CLOSE_RESET)
		breaks(peer, ECONNRESET);
	else if (peer->waits_for_room) {
		peer->waits_for_room = false;
		pend(peer, SL_WRITABLE);
	}
}

static void fake_close(struct sl_stream *stream, enum sl_close_how how)
{
	struct fake_stream *s = to_stream(stream);
	struct fake_transport *t = transport_of(s);

	if (s->closed) {
		fprintf(stderr, "fake transport: a stream was closed twice\n");
		abort();
	}
	if (s->peer)
		part(s, how);
	if (s->attempt) {
		s->attempt->closed = true;
		s->attempt->how = how;
	}
	s->closed = true;
	sl_loop_cancel(&s->tell);
	sl_loop_disarm(t->base.loop, &s->connecting);
	sl_list_del(&s->node);
	sl_list_add_tail(&t->graves, &s->node);
	sl_loop_defer(t->base.loop, &s->release);
}

static int fake_endpoint(struct sl_stream *stream, struct sl_endpoint *ret)
{
	struct fake_stream *s = to_stream(stream);

	if (s->broken)
		return -ENOTCONN;
	*ret = (struct sl_endpoint){.fd = -1, .local = stream->local, .peer = stream->peer};
	return 0;
}

/* ---- listening and connecting ---- */

static struct fake_acceptor *find_acceptor(struct fake_transport *t, const struct sl_addr *addr)
{
	struct sl_list *pos;

	sl_list_for_each (pos, &t->acceptors) {
		struct fake_acceptor *a = sl_list_entry(pos, struct fake_acceptor, node);

		if (sl_addr_eq(&a->base.local, addr))
			return a;
	}
	return NULL;
}

static int fake_listen(struct sl_transport *transport, const struct sl_listen_options *o,
		       void (*on_accept)(struct sl_acceptor *a, struct sl_stream *s), void *owner,
		       struct sl_acceptor **ret)
{
	struct fake_transport *t = to_transport(transport);
	struct fake_acceptor *a;

	if (sl_addr_port(&o->addr) && find_acceptor(t, &o->addr))
		return -EADDRINUSE;
	a = calloc(1, sizeof(*a));
	if (!a)
		return -ENOMEM;
	a->base = (struct sl_acceptor){.on_accept = on_accept, .owner = owner, .local = o->addr};
	if (!sl_addr_port(&o->addr))
		sl_addr_set_port(&a->base.local, t->next_port++);
	sl_list_add_tail(&t->acceptors, &a->node);
	*ret = &a->base;
	return 0;
}

static void fake_unlisten(struct sl_acceptor *acceptor)
{
	struct fake_acceptor *a = sl_container_of(acceptor, struct fake_acceptor, base);

	if (!acceptor)
		return;
	sl_list_del(&a->node);
	free(a);
}

static int accept_peer(struct fake_stream *s)
{
	struct fake_transport *t = transport_of(s);
	struct fake_acceptor *a = find_acceptor(t, &s->base.peer);
	struct fake_stream *accepted;

	if (!a)
		return ECONNREFUSED;
	accepted = stream_new(t);
	if (!accepted)
		return ECONNREFUSED;
	join(s, accepted);
	pend(accepted, SL_WRITABLE);
	a->base.stats.accepted++;
	a->base.on_accept(&a->base, &accepted->base);
	return 0;
}

static void connect_over(struct sl_timer *timer)
{
	struct fake_stream *s = sl_container_of(timer, struct fake_stream, connecting);

	s->base.error = s->rule.error ? s->rule.error : accept_peer(s);
	s->broken = s->broken ? s->broken : s->base.error;
	pend(s, SL_CONNECTED | (s->base.error ? SL_ERROR : SL_WRITABLE));
}

static void name_local(struct fake_transport *t, struct fake_stream *s,
		       const struct sl_connect_options *o)
{
	struct sl_slice own = o->addr.family == AF_INET6 ? SL_SLICE("::1") : SL_SLICE("127.0.0.1");

	s->base.peer = o->addr;
	s->base.local = o->source;
	if (s->base.local.family == AF_UNSPEC)
		sl_addr_parse_host(own, 0, &s->base.local);
	if (!sl_addr_port(&s->base.local))
		sl_addr_set_port(&s->base.local, t->next_port++);
}

static struct fake_connect_rule rule_for(const struct fake_transport *t, const struct sl_addr *addr)
{
	for (size_t i = t->n_rules; i > 0; i--)
		if (sl_addr_eq(&t->rules[i - 1].addr, addr))
			return t->rules[i - 1];
	return (struct fake_connect_rule){0};
}

static int fake_connect(struct sl_transport *transport, const struct sl_connect_options *o,
			struct sl_stream **ret)
{
	struct fake_transport *t = to_transport(transport);
	struct fake_connect_rule rule = rule_for(t, &o->addr);
	struct fake_stream *s;

	if (rule.at_once)
		return -rule.at_once;
	s = stream_new(t);
	if (!s)
		return -ENOMEM;
	name_local(t, s, o);
	s->rule = rule;
	if (t->n_attempts < FAKE_ATTEMPTS) {
		s->attempt = &t->attempts[t->n_attempts++];
		*s->attempt = (struct fake_attempt){.addr = o->addr,
						    .source = o->source,
						    .at_ms = sl_loop_now_ms(t->base.loop)};
	}
	if (!rule.silent)
		sl_loop_arm(t->base.loop, &s->connecting, rule.delay_ms);
	*ret = &s->base;
	return 0;
}

/* ---- for tests ---- */

int fake_transport_new(struct sl_loop *loop, const struct fake_options *o,
		       struct sl_transport **ret)
{
	struct fake_transport *t = calloc(1, sizeof(*t));

	if (!t)
		return -ENOMEM;
	t->base = (struct sl_transport){.ops = &fake_ops, .loop = loop};
	if (o)
		t->options = *o;
	if (!t->options.window)
		t->options.window = WINDOW;
	t->next_port = 40000;
	sl_list_init(&t->streams);
	sl_list_init(&t->graves);
	sl_list_init(&t->acceptors);
	*ret = &t->base;
	return 0;
}

/* One thread, one transport: there is nowhere to go. */
static int fake_move(struct sl_stream *s, struct sl_transport *to, struct sl_stream **ret)
{
	return -EOPNOTSUPP;
}

static void fake_destroy(struct sl_transport *transport)
{
	struct fake_transport *t = to_transport(transport);

	if (!transport)
		return;
	if (!sl_list_empty(&t->streams) || !sl_list_empty(&t->acceptors)) {
		fprintf(stderr, "fake transport: %zu streams left open, acceptors: %s\n",
			fake_open_streams(transport), sl_list_empty(&t->acceptors) ? "no" : "yes");
		abort();
	}
	while (!sl_list_empty(&t->graves)) {
		struct fake_stream *s = sl_list_entry(t->graves.next, struct fake_stream, node);

		sl_loop_cancel(&s->release);
		release(&s->release);
	}
	free(t);
}

void fake_on_connect(struct sl_transport *transport, const struct fake_connect_rule *rule)
{
	struct fake_transport *t = to_transport(transport);

	if (t->n_rules == FAKE_RULES)
		abort();
	t->rules[t->n_rules++] = *rule;
}

size_t fake_attempts(const struct sl_transport *t)
{
	return to_transport(t)->n_attempts;
}

const struct fake_attempt *fake_attempt(const struct sl_transport *t, size_t i)
{
	return &to_transport(t)->attempts[i];
}

void fake_set_faults(struct sl_stream *s, const struct fake_faults *f)
{
	to_stream(s)->faults = *f;
}

int fake_pair(struct sl_transport *transport, struct sl_stream **ret_a, struct sl_stream **ret_b)
{
	struct fake_transport *t = to_transport(transport);
	struct sl_connect_options o = {0};
	struct fake_stream *a = stream_new(t), *b = stream_new(t);

	if (!a || !b) {
		if (a)
			fake_close(&a->base, SL_CLOSE_RESET);
		if (b)
			fake_close(&b->base, SL_CLOSE_RESET);
		return -ENOMEM;
	}
	sl_addr_parse_host(SL_SLICE("127.0.0.2"), t->next_port++, &o.addr);
	name_local(t, a, &o);
	join(a, b);
	pend(a, SL_WRITABLE);
	pend(b, SL_WRITABLE);
	*ret_a = &a->base;
	*ret_b = &b->base;
	return 0;
}

struct sl_stream *fake_peer(struct sl_stream *s)
{
	struct fake_stream *peer = to_stream(s)->peer;

	return peer ? &peer->base : NULL;
}

int fake_peer_closed(struct sl_stream *s)
{
	return to_stream(s)->peer_closed;
}

size_t fake_unread(struct sl_stream *s)
{
	return to_stream(s)->len;
}

size_t fake_open_streams(const struct sl_transport *t)
{
	const struct sl_list *pos;
	size_t n = 0;

	sl_list_for_each (pos, &to_transport(t)->streams)
		n++;
	return n;
}

static const struct sl_transport_ops fake_ops = {
	.name = "fake",
	.listen = fake_listen,
	.unlisten = fake_unlisten,
	.connect = fake_connect,
	.read = fake_read,
	.write = fake_write,
	.finish = fake_finish,
	.watch = fake_watch,
	.close = fake_close,
	.endpoint = fake_endpoint,
	.move = fake_move,
	.destroy = fake_destroy,
};
