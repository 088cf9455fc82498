/* SPDX-License-Identifier: BSD-2-Clause */
/* Checks. Each server has one, which is waiting for its next turn, connecting, or talking; the deadline
 * covers the whole of a turn. An answer is judged by its status line: the body is not read.
 *
 * The first verdict of a check counts like any other: servers are up until checks say otherwise. */

#include "proxy/upstream/health.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "http/head.h"
#include "proxy/dial.h"
#include "proxy/names/resolve.h"
#include "proxy/proxy_header.h"

#define ANSWER_BYTES 4096

struct check {
	struct sl_health *health;
	struct sl_upstream *upstream;
	size_t place; /* among its servers; those behind the last one are nobody's yet */
	struct sl_server *server;
	struct sl_timer next, deadline;
	struct sl_dial *dial;
	struct sl_stream *stream;
	bool on;
	uint32_t in_a_row; /* verdicts against the present state */
	size_t len, scanned;
	char answer[ANSWER_BYTES];
};

struct sl_health {
	struct sl_health_options options;
	struct sl_transport *transport;
	struct sl_resolver *resolver;
	struct sl_head head; /* scratch */
	size_t n;
	struct check check[];
};

static const struct sl_health_config *config_of(const struct check *c)
{
	return &c->upstream->config->health;
}

static void hang_up(struct check *c)
{
	sl_dial_cancel(SL_TAKE_PTR(c->dial));
	if (c->stream)
		c->stream->ops->close(c->stream, SL_CLOSE_RESET);
	c->stream = NULL;
}

/* Ends the turn. why: static. */
static void conclude(struct check *c, bool well, const char *why)
{
	const struct sl_health_config *config = config_of(c);
	struct sl_loop *loop = c->health->options.loop;
	bool down = __atomic_load_n(&c->server->health.down, __ATOMIC_RELAXED);

	hang_up(c);
	sl_loop_disarm(loop, &c->deadline);
	sl_loop_arm(loop, &c->next, config->interval_ms);
	if (well == !down) {
		c->in_a_row = 0;
	} else if (++c->in_a_row >= (down ? config->rise : config->fall)) {
		c->in_a_row = 0;
		sl_server_set_down(c->server, !down, sl_loop_now_ms(loop), why);
	}
}

static void too_late(struct sl_timer *t)
{
	conclude(sl_container_of(t, struct check, deadline), false, "check timed out");
}

/* --- HTTP --- */

static void judge_status(struct check *c, unsigned status)
{
	unsigned wanted = config_of(c)->status;
	bool well = wanted ? status == wanted : status >= 200 && status < 400;

	conclude(c, well, well ? "check succeeded" : "check got another status");
}

static void parse_answer(struct check *c)
{
	static const struct sl_head_limits limits = {
		.head_bytes = ANSWER_BYTES, .start_line_bytes = ANSWER_BYTES, .fields = 100};
	struct sl_head *h = &c->health->head;

	switch (sl_head_parse_response(c->answer, c->len, &c->scanned, &limits, h)) {
	case SL_PARSE_DONE:
		judge_status(c, h->status);
		break;
	case SL_PARSE_BAD:
		conclude(c, false, "check got no HTTP");
		break;
	case SL_PARSE_MORE:
		break;
	}
}

static void stream_event(struct sl_stream *s, unsigned events)
{
	struct check *c = s->owner;
	ssize_t n = 1;

	while (c->stream && n > 0) {
		n = s->ops->read(s, c->answer + c->len, sizeof(c->answer) - c->len);
		if (n > 0) {
			c->len += (size_t)n;
			parse_answer(c);
		} else if (n != -EAGAIN) {
			conclude(c, false, "check was hung up on");
		}
	}
}

/* A server that wants a PROXY header takes nothing without: this one says that no client is behind it. */
static bool introduce(struct check *c)
{
	enum sl_proxy_protocol version = c->server->upstream->config->proxy_protocol;
	const struct sl_addr none = {0};
	char header[SL_PROXY_HEADER_MAX];
	struct iovec iov = {.iov_base = header};

	if (version == SL_PROXY_PROTOCOL_NONE)
		return true;
	iov.iov_len =
		version == SL_PROXY_PROTOCOL_V1
			? sl_proxy_header_write_v1(header, &none, &none)
			: sl_proxy_header_write_v2(header, &none, &none, (struct sl_slice){0});
	return c->stream->ops->write(c->stream, &iov, 1) == (ssize_t)iov.iov_len;
}

static void ask(struct check *c)
{
	const struct sl_health_config *config = config_of(c);
	const struct sl_server_config *server = c->server->config;
	const char *name = server->found_as ? server->found_as : server->address;
	struct iovec iov = {.iov_base = c->answer};
	int n = snprintf(c->answer, sizeof(c->answer),
			 "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: sluice\r\n"
			 "Connection: close\r\n\r\n",
			 config->path, config->host ? config->host : name);

	iov.iov_len = (size_t)n;
	c->len = c->scanned = 0;
	c->stream->on_event = stream_event;
	c->stream->owner = c;
	if (c->stream->ops->write(c->stream, &iov, 1) != n)
		conclude(c, false, "check was hung up on");
}

/* --- turns --- */

static void dial_done(void *owner, const struct sl_dial_done *done)
{
	struct check *c = owner;

	c->dial = NULL;
	c->stream = done->stream;
	if (done->result != SL_DIAL_OK)
		conclude(c, false, sl_dial_result_name(done->result));
	else if (!introduce(c))
		conclude(c, false, "check was hung up on");
	else if (config_of(c)->path)
		ask(c);
	else
		conclude(c, true, "check succeeded");
}

static void begin(struct sl_timer *t)
{
	struct check *c = sl_container_of(t, struct check, next);
	const struct sl_health_config *config = config_of(c);
	const struct sl_dial_options o = {
		.transport = c->health->transport,
		.resolver = c->health->resolver,
		.host = sl_slice_str(c->server->config->host),
		.port = c->server->config->port,
		.timeout_ms = config->timeout_ms,
		.trusted = true,
	};

	sl_loop_arm(c->health->options.loop, &c->deadline, config->timeout_ms);
	if (sl_dial_start(&o, dial_done, c, &c->dial) < 0)
		conclude(c, false, "no memory for a check");
}

/* --- life --- */

/* Places that are, or may come to be, a server's. */
static size_t count_places(const struct sl_upstream *u)
{
	if (!u->config->health.enabled)
		return 0;
	return sl_upstream_discovers(u->config) ? SL_SERVERS_MAX : sl_upstream_len(u);
}

static size_t count_checked(const struct sl_health_options *o)
{
	size_t n = 0;

	for (size_t i = 0; i < o->config->n_upstreams; i++)
		n += count_places(o->upstream[i]);
	return n;
}

static void stop(struct check *c)
{
	if (!c->on)
		return;
	c->on = false;
	hang_up(c);
	sl_loop_disarm(c->health->options.loop, &c->next);
	sl_loop_disarm(c->health->options.loop, &c->deadline);
}

/* Spread over the first interval, so that not all servers are asked at once. */
static void start(struct check *c)
{
	const struct sl_upstream *u = c->upstream;

	if (c->on)
		return;
	c->on = true;
	c->in_a_row = 0;
	sl_loop_arm(c->health->options.loop, &c->next,
		    (uint64_t)config_of(c)->interval_ms * c->server->index / u->n_servers);
}

/* What stands for a name's addresses until they are known has nothing to check. */
static void follow(struct check *c)
{
	if (c->place >= sl_upstream_len(c->upstream) || sl_server_is_removed(c->server) ||
	    c->server->config->discover)
		stop(c);
	else
		start(c);
}

void sl_health_follow(struct sl_health *h, const struct sl_upstream *u)
{
	for (size_t i = 0; h && i < h->n; i++)
		if (h->check[i].upstream == u)
			follow(&h->check[i]);
}

static void add_checks(struct sl_health *h, struct sl_upstream *u)
{
	const size_t n = count_places(u);

	for (size_t i = 0; i < n; i++) {
		struct check *c = &h->check[h->n++];

		c->health = h;
		c->upstream = u;
		c->place = i;
		c->server = &u->server[i];
		sl_timer_init(&c->next, begin);
		sl_timer_init(&c->deadline, too_late);
		follow(c);
	}
}

int sl_health_new(const struct sl_health_options *o, struct sl_health **ret)
{
	size_t n = count_checked(o);
	struct sl_health *h;
	int r = 0;

	*ret = NULL;
	if (!n)
		return 0;
	h = calloc(1, sizeof(*h) + n * sizeof(h->check[0]));
	if (!h)
		return -ENOMEM;
	h->options = *o;
	h->transport = o->transport;
	if (!o->transport)
		r = o->transport_new(o->loop, (uint32_t)n * SL_DIAL_RACERS, &h->transport);
	if (!r)
		r = sl_resolver_new(o->loop, &o->config->resolver, &h->resolver);
	if (r < 0) {
		sl_health_free(h);
		return r;
	}
	for (size_t i = 0; i < o->config->n_upstreams; i++)
		add_checks(h, o->upstream[i]);
	*ret = h;
	return 0;
}

void sl_health_free(struct sl_health *h)
{
	if (!h)
		return;
	for (size_t i = 0; i < h->n; i++)
		stop(&h->check[i]);
	if (!h->options.transport)
		sl_loop_turn(h->options.loop, 0); /* closed streams are freed */
	sl_resolver_free(h->resolver);
	if (h->transport && !h->options.transport)
		h->transport->ops->destroy(h->transport);
	free(h);
}
