/* SPDX-License-Identifier: BSD-2-Clause */
/* How connections end: from every state, by the client, by the worker, by drain and by time; and what
 * is left, which fixture_close() checks: nothing. */

#include "conn_fixture.h"

#include <string.h>

/* So small that an answer blocks at a client that does not read. */
#define WINDOW 24

enum stage {
	FRESH,
	BETWEEN_REQUESTS,
	HEAD,
	DIAL,
	REQUEST_BODY,
	BEFORE_RESPONSE,
	RESPONSE_HEAD,
	RESPONSE_BODY,
	RESPONSE_BLOCKED,
	REPLY,
	OPENING,
	UPGRADING,
	TUNNEL,
	TUNNEL_BLOCKED,
	LINGER,
	N_STAGES
};

static const struct {
	const char *name;
	enum sl_conn_state state;
	const char *request;
	const char *response; /* NULL: none */
	bool client_paused;
} stages[N_STAGES] = {
	[FRESH] = {"fresh", SL_CONN_IDLE, ""},
	[BETWEEN_REQUESTS] = {"between requests", SL_CONN_IDLE, GET, OK2},
	[HEAD] = {"head", SL_CONN_HEAD, "GET http://10.0.0.1/ HT"},
	[DIAL] = {"dial", SL_CONN_DIAL, "GET http://10.0.0.9/ HTTP/1.1\r\nHost: 10.0.0.9\r\n\r\n"},
	[REQUEST_BODY] = {"request body", SL_CONN_EXCHANGE, POST("10") "12345"},
	[BEFORE_RESPONSE] = {"before the response", SL_CONN_EXCHANGE, GET},
	[RESPONSE_HEAD] = {"response head", SL_CONN_EXCHANGE, GET, "HTTP/1.1 200 OK\r\nConte"},
	[RESPONSE_BODY] = {"response body", SL_CONN_EXCHANGE, GET,
			   "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhi"},
	[RESPONSE_BLOCKED] = {"response blocked", SL_CONN_EXCHANGE, GET,
			      "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhi", true},
	[REPLY] = {"reply", SL_CONN_REPLY, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", NULL, true},
	[OPENING] = {"opening", SL_CONN_OPENING, CONNECT, NULL, true},
	[UPGRADING] = {"upgrading", SL_CONN_OPENING,
		       "GET http://10.0.0.1/ HTTP/1.1\r\nHost: 10.0.0.1\r\nConnection: upgrade\r\n"
		       "Upgrade: x\r\n\r\n",
		       "HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", true},
	[TUNNEL] = {"tunnel", SL_CONN_TUNNEL, CONNECT "early", "there"},
	[TUNNEL_BLOCKED] = {"tunnel, blocked", SL_CONN_TUNNEL, CONNECT,
			    "more bytes than the window of the client takes, and more"},
	[LINGER] = {"linger", SL_CONN_LINGER, "bad\r\n\r\n"},
};

static void pass(struct fixture *f, enum stage s)
{
	if (s == BETWEEN_REQUESTS)
		EXPECT(&f->client, OK2_DOWN);
	if (s == TUNNEL || s == TUNNEL_BLOCKED)
		EXPECT(&f->client, GRANTED);
	if (s == TUNNEL)
		EXPECT(&f->origin[0], "early");
	if (s == TUNNEL_BLOCKED)
		f->client.paused = true;
	if (s == RESPONSE_BODY)
		UNTIL(f,
		      f->client.n_got > 2 && !memcmp(&f->client.got[f->client.n_got - 2], "hi", 2));
	if (s == LINGER)
		UNTIL(f, f->client.eof);
}

/* A fixture with one connection in that stage. */
static struct fixture *open_at(enum stage s, const char *timeouts)
{
	const struct setup setup = {.transport = {.window = WINDOW}, .timeouts = timeouts};
	struct fixture *f = fixture_open(&setup);

	client_open(f, &f->client);
	f->client.paused = stages[s].client_paused;
	far_send(&f->client, stages[s].request);
	pass(f, s == TUNNEL ? N_STAGES : s == TUNNEL_BLOCKED ? TUNNEL_BLOCKED : N_STAGES);
	if (stages[s].response) {
		UNTIL(f, f->n_origins);
		if (stages[s].state != SL_CONN_TUNNEL)
			UNTIL(f, memmem(f->origin[0].got, f->origin[0].n_got, "\r\n\r\n", 4));
		far_send(&f->origin[0], stages[s].response);
	}
	if (s != TUNNEL_BLOCKED)
		pass(f, s);
	UNTIL(f, f->w->conns.used == 1 && only_conn(f)->state == stages[s].state);
	fixture_turns(f, 4);
	assert_int_equal(only_conn(f)->state, stages[s].state);
	return f;
}

static void client_resets_at_every_stage(void **state)
{
	for (enum stage s = 0; s < N_STAGES; s++) {
		struct fixture *f = open_at(s, NULL);
		bool pooled = s == BETWEEN_REQUESTS;

		print_message("# %s\n", stages[s].name);
		far_close(&f->client, SL_CLOSE_RESET);
		UNTIL(f, !f->w->conns.used);
		fixture_turns(f, 2);
		for (size_t i = 0; i < f->n_origins && !pooled; i++)
			UNTIL(f, (far_resume(&f->origin[i]), f->origin[i].broken));
		assert_int_equal(f->w->stats.upstream_idle, pooled);
		fixture_close(f);
	}
}

static void worker_aborts_at_every_stage(void **state)
{
	for (enum stage s = 0; s < N_STAGES; s++) {
		struct fixture *f = open_at(s, NULL);

		print_message("# %s\n", stages[s].name);
		sl_worker_abort(f->w);
		fixture_turns(f, 2);
		assert_int_equal(f->w->conns.used, 0);
		UNTIL(f, (far_resume(&f->client), f->client.broken || f->client.eof));
		fixture_close(f);
	}
}

/* The upstream vanishes. */
static void origin_resets_at_every_stage(void **state)
{
	for (enum stage s = 0; s < N_STAGES; s++) {
		struct fixture *f = open_at(s, NULL);

		print_message("# %s\n", stages[s].name);
		if (f->n_origins)
			far_close(&f->origin[0], SL_CLOSE_RESET);
		fixture_turns(f, 4);
		if (s == REQUEST_BODY || s == BEFORE_RESPONSE || s == RESPONSE_HEAD)
			expect_status(&f->client, 502);
		if (s == RESPONSE_BODY || s == RESPONSE_BLOCKED || s == OPENING || s == UPGRADING ||
		    s == TUNNEL || s == TUNNEL_BLOCKED)
			UNTIL(f, (far_resume(&f->client), f->client.broken));
		fixture_close(f);
	}
}

static void drain_lets_every_stage_finish(void **state)
{
	for (enum stage s = 0; s < N_STAGES; s++) {
		struct fixture *f = open_at(s, NULL);
		bool idle = s == FRESH || s == BETWEEN_REQUESTS;

		print_message("# %s\n", stages[s].name);
		sl_worker_drain(f->w);
		fixture_turns(f, 2);
		assert_int_equal(f->w->conns.used, !idle);
		if (idle)
			assert_true(f->client.eof);
		if (s == BEFORE_RESPONSE) {
			EXPECT(&f->origin[0], GET_UP);
			far_send(&f->origin[0], OK2);
			EXPECT(&f->client, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"
					   "Connection: close\r\nVia: 1.1 t\r\n\r\nhi");
			UNTIL(f, f->client.eof);
		}
		if (s == TUNNEL) {
			far_send(&f->client, "on");
			EXPECT(&f->origin[0], "on");
		}
		fixture_close(f);
	}
}

/* Every stage has a clock that ends it. */
static void time_ends_every_stage(void **state)
{
	static const char timeouts[] = "header: 60ms, body: 60ms, idle: 60ms, connect: 60ms, "
				       "upstream: 60ms, tunnel: 60ms";
	static const unsigned status[N_STAGES] = {
		[HEAD] = 408,	       [DIAL] = 504, [REQUEST_BODY] = 408, [BEFORE_RESPONSE] = 504,
		[RESPONSE_HEAD] = 504,
	};

	for (enum stage s = 0; s < N_STAGES; s++) {
		struct fixture *f = open_at(s, timeouts);
		uint64_t start = sl_clock_us();

		print_message("# %s\n", stages[s].name);
		if (status[s])
			expect_status(&f->client, status[s]);
		else
			UNTIL(f, s == LINGER
					 ? !f->w->conns.used
					 : f->client.eof || f->client.broken || !f->w->conns.used);
		assert_true(sl_clock_us() - start < 2500000);
		fixture_close(f);
	}
}

/* An idle connection was closed although its next request had arrived. */
static void a_request_that_came_before_the_drain_is_answered(void **state)
{
	struct fixture *f = fixture_open(NULL);

	client_open(f, &f->client);
	fixture_turns(f, 2);
	far_send(&f->client, GET);
	sl_worker_drain(f->w);
	UNTIL(f, f->n_origins);
	EXPECT(&f->origin[0], GET_UP);
	far_send(&f->origin[0], OK2);
	EXPECT(&f->client, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n"
			   "Via: 1.1 t\r\n\r\nhi");
	fixture_close(f);
}

/* The clock of the exchange went on for the 101. */
static void writing_a_101_has_a_clock_of_its_own(void **state)
{
	struct fixture *f;
	uint64_t now;

	f = open_at(BEFORE_RESPONSE, "body: 10s, upstream: 300ms");
	fixture_close(f);
	f = open_at(UPGRADING, "body: 10s, upstream: 300ms");
	now = sl_loop_now_ms(f->w->loop);
	assert_true(only_conn(f)->timer.due_ms > now + 5000);
	fixture_close(f);
}

/* The clock slept for the body's time while the upstream's, which is shorter, had begun. */
static void a_silent_origin_is_given_up_in_time(void **state)
{
	struct fixture *f = open_at(REQUEST_BODY, "body: 10s, upstream: 40ms");
	uint64_t start = sl_clock_us();

	UNTIL(f, sl_clock_us() > start + 60000);
	far_send(&f->client, "67890");
	expect_status(&f->client, 504);
	assert_int_equal(f->w->stats.timeouts_upstream_total, 1);
	fixture_close(f);
}

/* --- lack of memory --- */

static void without_buffers_requests_are_refused(void **state)
{
	struct fixture *f = fixture_open(NULL);

	f->w->buffers.slab.limit = 0;
	client_open(f, &f->client);
	far_send(&f->client, GET);
	expect_status(&f->client, 503);
	UNTIL(f, f->client.eof);
	assert_int_equal(f->w->stats.refused_memory_total, 1);
	fixture_close(f);
}

/* One buffer after another is there, until the whole exchange works. */
static void every_lack_of_a_buffer_ends_cleanly(void **state)
{
	static const char *const requests[] = {GET, POST("2") "hi", CONNECT "hi",
					       "GET / HTTP/1.1\r\nHost: x\r\n\r\n"};

	for (size_t i = 0; i < SL_ARRAY_SIZE(requests); i++) {
		for (uint32_t buffers = 1; buffers < 6; buffers++) {
			struct fixture *f = fixture_open(NULL);

			print_message("# request %zu, %u buffers\n", i, buffers);
			f->w->buffers.slab.limit = buffers;
			client_open(f, &f->client);
			far_send(&f->client, requests[i]);
			fixture_turns(f, 5);
			if (f->n_origins)
				far_send(&f->origin[0], OK2);
			UNTIL(f, f->client.n_got || f->client.eof || f->client.broken);
			fixture_close(f);
		}
	}
}

static void without_exchanges_requests_are_refused(void **state)
{
	struct fixture *f = fixture_open(NULL);

	f->w->exchanges.limit = 0;
	client_open(f, &f->client);
	far_send(&f->client, GET);
	expect_status(&f->client, 503);
	UNTIL(f, f->client.eof);
	fixture_close(f);
}

/* No connection object, no place in the limits, and the stream goes when its time is over. */
static void a_connection_over_the_limit_is_told_so(void **state)
{
	const struct setup setup = {.limits = "connections_per_source: 1"};
	struct fixture *f = fixture_open(&setup);

	client_open(f, &f->client);
	client_open(f, &f->other_client);
	assert_int_equal(f->w->conns.used, 1);
	assert_int_equal(f->w->farewells.n, 1);
	far_send(&f->other_client, GET);
	expect_status(&f->other_client, 503);
	UNTIL(f, f->other_client.eof);
	assert_int_equal(f->w->stats.refused_source_total, 1);
	assert_int_equal(f->w->stats.connections_active, 1);
	assert_int_equal(f->w->stats.connections_done_total, 1);
	UNTIL(f, !f->w->farewells.n);
	assert_false(f->other_client.broken);
	fixture_close(f);
}

/* As many as there may be; the first ones have gone early. */
static void refusals_are_bounded(void **state)
{
	const struct setup setup = {.limits = "connections_per_source: 1"};
	struct fixture *f = fixture_open(&setup);

	f->w->farewells.stay_ms = 600000;
	client_open(f, &f->client);
	for (unsigned i = 0; i < SL_FAREWELLS_MAX + 2; i++) {
		client_open(f, &f->other_client);
		expect_status(&f->other_client, 503);
		far_close(&f->other_client, SL_CLOSE_GRACEFUL);
		assert_int_equal(f->w->farewells.n, sl_min(i + 1, (unsigned)SL_FAREWELLS_MAX));
	}
	assert_int_equal(f->w->stats.refused_source_total, SL_FAREWELLS_MAX + 2);
	assert_int_equal(f->w->conns.used, 1);
	fixture_close(f);
}

/* --- tunnels --- */

static struct fixture *open_tunnel(void)
{
	return open_at(TUNNEL, NULL);
}

static void a_tunnel_passes_fin_each_way(void **state)
{
	for (int first = 0; first < 2; first++) {
		struct fixture *f = open_tunnel();
		struct far *a = first ? &f->client : &f->origin[0];
		struct far *b = first ? &f->origin[0] : &f->client;

		EXPECT(&f->client, "");
		f->client.n_got = 0;
		far_send(a, "last words");
		far_finish(a);
		EXPECT(b, "last words");
		UNTIL(f, b->eof);
		assert_false(a->eof);
		far_send(b, "an answer, longer than the window of the transport");
		EXPECT(a, "an answer, longer than the window of the transport");
		far_finish(b);
		UNTIL(f, a->eof && !f->w->conns.used);
		assert_false(a->broken || b->broken);
		fixture_close(f);
	}
}

static void a_tunnel_passes_rst_each_way(void **state)
{
	for (int first = 0; first < 2; first++) {
		struct fixture *f = open_tunnel();
		struct far *b = first ? &f->origin[0] : &f->client;

		far_close(first ? &f->client : &f->origin[0], SL_CLOSE_RESET);
		UNTIL(f, b->broken);
		fixture_close(f);
	}
}

/* A side that has sent FIN and then resets was noticed only when the other side said something. */
static void a_tunnel_passes_rst_behind_fin(void **state)
{
	for (int first = 0; first < 2; first++) {
		struct fixture *f = open_tunnel();
		struct far *a = first ? &f->client : &f->origin[0];
		struct far *b = first ? &f->origin[0] : &f->client;

		far_finish(a);
		UNTIL(f, b->eof);
		far_close(a, SL_CLOSE_RESET);
		UNTIL(f, !f->w->conns.used);
		fixture_turns(f, 2);
		assert_true(b->broken || (far_resume(b), b->broken));
		fixture_close(f);
	}
}

static void an_upgrade_carries_bytes_behind_both_heads(void **state)
{
	struct fixture *f = fixture_open(NULL);

	client_open(f, &f->client);
	far_send(&f->client, "GET http://10.0.0.1/ HTTP/1.1\r\nHost: 10.0.0.1\r\n"
			     "Connection: upgrade\r\nUpgrade: x\r\n\r\nfrom client");
	UNTIL(f, f->n_origins);
	EXPECT(&f->origin[0], "GET / HTTP/1.1\r\nHost: 10.0.0.1\r\nConnection: Upgrade\r\n"
			      "Upgrade: x\r\nVia: 1.1 t\r\n\r\n");
	far_send(&f->origin[0],
		 "HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nfrom origin");
	EXPECT(&f->client, "HTTP/1.1 101 Go\r\nUpgrade: x\r\nConnection: Upgrade\r\n"
			   "Via: 1.1 t\r\n\r\nfrom origin");
	EXPECT(&f->origin[0], "from client");
	assert_int_equal(f->w->stats.tunnels_active, 1);
	far_close(&f->client, SL_CLOSE_RESET);
	UNTIL(f, !f->w->conns.used);
	/* bytes behind the heads were counted twice */
	assert_int_equal(f->w->stats.client_bytes_in_total, f->client.n_out);
	assert_int_equal(f->w->stats.upstream_bytes_in_total, f->origin[0].n_out);
	fixture_close(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(client_resets_at_every_stage),
		cmocka_unit_test(worker_aborts_at_every_stage),
		cmocka_unit_test(origin_resets_at_every_stage),
		cmocka_unit_test(drain_lets_every_stage_finish),
		cmocka_unit_test(time_ends_every_stage),
		cmocka_unit_test(a_request_that_came_before_the_drain_is_answered),
		cmocka_unit_test(writing_a_101_has_a_clock_of_its_own),
		cmocka_unit_test(a_silent_origin_is_given_up_in_time),
		cmocka_unit_test(without_buffers_requests_are_refused),
		cmocka_unit_test(every_lack_of_a_buffer_ends_cleanly),
		cmocka_unit_test(without_exchanges_requests_are_refused),
		cmocka_unit_test(a_connection_over_the_limit_is_told_so),
		cmocka_unit_test(refusals_are_bounded),
		cmocka_unit_test(a_tunnel_passes_fin_each_way),
		cmocka_unit_test(a_tunnel_passes_rst_each_way),
		cmocka_unit_test(a_tunnel_passes_rst_behind_fin),
		cmocka_unit_test(an_upgrade_carries_bytes_behind_both_heads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
