/* SPDX-License-Identifier: BSD-2-Clause */
/* The worker and the ends around it. Everything happens in the test's thread. */

#include "conn_fixture.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "splice/engine.h"

/* transport_new() has no argument for them. */
static struct fake_options transport_options;

static int new_transport(struct sl_loop *loop, uint32_t streams, struct sl_transport **ret)
{
	return fake_transport_new(loop, &transport_options, ret);
}

static const struct sl_engine_ops *const engines[] = {&sl_copy_engine, NULL};
static const struct sl_engine_report reports[] = {{.available = true}};

/* --- far ends --- */

static void far_write(struct far *e)
{
	struct iovec iov;
	ssize_t n;

	while (e->stream && e->sent < e->n_out) {
		iov = (struct iovec){e->out + e->sent, e->n_out - e->sent};
		n = e->stream->ops->write(e->stream, &iov, 1);
		if (n < 0)
			return;
		e->sent += (size_t)n;
	}
	if (e->stream && e->finish)
		e->stream->ops->finish(e->stream);
}

static void far_read(struct far *e)
{
	ssize_t n = 1;

	while (e->stream && !e->paused && n > 0) {
		assert_true(e->n_got < FAR_BYTES);
		n = e->stream->ops->read(e->stream, e->got + e->n_got, FAR_BYTES - e->n_got);
		if (n > 0)
			e->n_got += (size_t)n;
		else if (n == 0)
			e->eof = true;
		else if (n != -EAGAIN)
			e->broken = true;
	}
}

static void far_event(struct sl_stream *s, unsigned events)
{
	struct far *e = s->owner;

	if ((events & SL_CONNECTED) && fake_peer(s))
		fake_set_faults(fake_peer(s), &e->f->setup.faults);
	far_write(e);
	far_read(e);
}

static void far_adopt(struct fixture *f, struct far *e, struct sl_stream *s)
{
	memset(e, 0, offsetof(struct far, got));
	e->n_got = e->n_out = e->sent = 0;
	e->paused = e->finish = e->eof = e->broken = false;
	e->f = f;
	e->stream = s;
	s->on_event = far_event;
	s->owner = e;
}

void far_send(struct far *e, const char *text)
{
	size_t len = strlen(text);

	assert_true(e->n_out + len <= FAR_BYTES);
	memcpy(e->out + e->n_out, text, len);
	e->n_out += len;
	far_write(e);
}

void far_send_bytes(struct far *e, size_t n)
{
	assert_true(e->n_out + n <= FAR_BYTES);
	for (size_t i = 0; i < n; i++)
		e->out[e->n_out++] = (char)('a' + i % 23);
	far_write(e);
}

void far_finish(struct far *e)
{
	e->finish = true;
	far_write(e);
}

void far_close(struct far *e, enum sl_close_how how)
{
	struct sl_stream *s = SL_TAKE_PTR(e->stream);

	if (s)
		s->ops->close(s, how);
}

void far_resume(struct far *e)
{
	e->paused = false;
	far_read(e);
}

void far_take(struct far *e, const char *text, size_t len)
{
	char saw[512];

	snprintf(saw, sizeof(saw), "%.*s", (int)sl_min(e->n_got, (size_t)400), e->got);
	if (e->n_got < len || memcmp(e->got, text, len))
		fail_msg("expected '%.300s', got '%s'", text, saw);
	memmove(e->got, e->got + len, e->n_got - len);
	e->n_got -= len;
}

static size_t response_len(struct far *e)
{
	char *end = memmem(e->got, e->n_got, "\r\n\r\n", 4);
	char *length = memmem(e->got, e->n_got, "Content-Length: ", 16);
	size_t len;

	if (!end)
		return SIZE_MAX;
	len = (size_t)(end - e->got) + 4;
	if (length && length < end)
		len += strtoul(length + 16, NULL, 10);
	return len;
}

void expect_status(struct far *e, unsigned status)
{
	unsigned got = 0;
	size_t len;

	UNTIL(e->f, response_len(e) <= e->n_got);
	len = response_len(e);
	sscanf(e->got, "HTTP/1.1 %u", &got);
	assert_int_equal(got, status);
	memmove(e->got, e->got + len, e->n_got - len);
	e->n_got -= len;
}

/* --- worker --- */

static void on_origin_accept(struct sl_acceptor *a, struct sl_stream *s)
{
	struct fixture *f = a->owner;

	assert_true(f->n_origins < ORIGINS);
	far_adopt(f, &f->origin[f->n_origins++], s);
	fake_set_faults(fake_peer(s), &f->setup.faults);
	if (f->setup.greeting)
		far_send(&f->origin[f->n_origins - 1], f->setup.greeting);
}

static void make_config(struct fixture *f)
{
	const struct setup *s = &f->setup;
	struct sl_config_error error;
	char text[1024];

	snprintf(text, sizeof(text),
		 "via: t\nmetrics: off\nworkers: 1\nlimits: {connections: 8%s%s}\n"
		 "timeouts: {%s}\npool: {%s}\n"
		 "listeners: [{name: l, listen: \"127.0.0.1:3128\", %s}]\n%s\n",
		 s->limits ? ", " : "", s->limits ? s->limits : "",
		 s->timeouts ? s->timeouts : "idle: 60s", s->pool ? s->pool : "idle: 4",
		 s->listener ? s->listener : "mode: forward", s->more ? s->more : "");
	if (sl_config_parse("t", text, strlen(text), &f->config, &error) < 0)
		fail_msg("%s", error.text);
}

struct fixture *fixture_open(const struct setup *setup)
{
	struct sl_listen_options o = {0};
	struct fake_connect_rule silent = {.silent = true};
	struct fixture *f = calloc(1, sizeof(*f));
	struct sl_generation_options g = {0};
	struct sl_config_error error;

	assert_non_null(f);
	if (setup)
		f->setup = *setup;
	transport_options = f->setup.transport;
	make_config(f);
	assert_int_equal(sl_limits_new(f->config, 1, &f->limits), 0);
	assert_int_equal(sl_upstreams_new(1, &f->upstreams), 0);
	g = (struct sl_generation_options){
		.config = f->config, .upstreams = f->upstreams, .limits = f->limits};
	assert_int_equal(sl_generation_new(&g, &f->generation, &error), 0);
	f->generation->own.n = 0; /* nothing here is an address of this host */
	f->shared = (struct sl_shared){
		.limits = f->limits,
		.connections = f->config->limits.connections,
		.n_workers = 1,
		.transport_new = new_transport,
		.stream_bytes = 256,
		.engines = engines,
		.reports = reports,
	};
	assert_int_equal(sl_worker_new(&f->shared, 0, f->generation, &f->w), 0);
	assert_int_equal(sl_worker_listen(f->w), 0);
	sl_addr_parse(SL_SLICE("10.0.0.1:80"), &o.addr);
	assert_int_equal(f->w->transport->ops->listen(f->w->transport, &o, on_origin_accept, f,
						      &f->acceptor),
			 0);
	sl_addr_parse(SL_SLICE("10.0.0.9:80"), &silent.addr);
	fake_on_connect(f->w->transport, &silent);
	return f;
}

void fixture_turns(struct fixture *f, int n)
{
	for (int i = 0; i < n; i++)
		assert_int_equal(sl_loop_turn(f->w->loop, 1), 0);
}

void fixture_close(struct fixture *f)
{
	struct sl_stats *stats = &f->w->stats;

	far_close(&f->client, SL_CLOSE_RESET);
	far_close(&f->other_client, SL_CLOSE_RESET);
	UNTIL(f, !f->w->conns.used);
	for (size_t i = 0; i < f->n_origins; i++)
		far_close(&f->origin[i], SL_CLOSE_RESET);
	fixture_turns(f, 3);
	assert_int_equal(f->w->exchanges.used, 0);
	assert_int_equal(f->w->buffers.slab.used, 0);
	assert_int_equal(f->w->pool.entries.used, 0);
	assert_int_equal(f->w->server_pool.entries.used, 0);
	assert_int_equal(stats->connections_active, 0);
	assert_int_equal(stats->connections_idle, 0);
	assert_int_equal(stats->tunnels_active, 0);
	assert_int_equal(stats->upstream_idle, 0);
	assert_int_equal(stats->connections_accepted_total, stats->connections_done_total);
	f->w->transport->ops->unlisten(f->acceptor);
	sl_worker_free(f->w);
	assert_int_equal(f->generation->users, 1);
	sl_generation_free(f->generation);
	sl_upstreams_free(f->upstreams);
	sl_limits_free(f->limits);
	free(f);
}

void client_open(struct fixture *f, struct far *c)
{
	struct sl_connect_options o = {0};
	uint64_t before = f->w->stats.connections_accepted_total;
	struct sl_stream *s;

	sl_addr_parse(SL_SLICE("127.0.0.1:3128"), &o.addr);
	assert_int_equal(f->w->transport->ops->connect(f->w->transport, &o, &s), 0);
	far_adopt(f, c, s);
	UNTIL(f, f->w->stats.connections_accepted_total > before);
}

struct sl_conn *only_conn(struct fixture *f)
{
	assert_int_equal(f->w->conns.used, 1);
	return sl_list_entry(f->w->all_conns.next, struct sl_conn, node);
}
