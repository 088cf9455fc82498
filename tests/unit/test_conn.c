/* SPDX-License-Identifier: BSD-2-Clause */
/* proxy/conn.c, begin.c, exchange.c, reply.c: requests and responses through a worker. */

#include "conn_fixture.h"

#include <errno.h>
#include <string.h>

/* --- conversations under every fault --- */

#define CHUNKED	      "Transfer-Encoding: chunked\r\n"
#define CHUNKS	      "1\r\na\r\n1\r\nb\r\n0\r\n\r\n"
#define URL	      "http://10.0.0.1/"
#define HOST	      "Host: 10.0.0.1\r\n"
#define EXCHANGES_MAX 4

/* Chunks are one byte each, so that their boundaries are the same however bytes arrive. */
static const struct conversation {
	const char *what;
	bool origin_finishes; /* behind the last response */
	struct {
		const char *request, *upstream, *response, *client;
	} exchange[EXCHANGES_MAX];
} conversations[] = {
	{"one request", false, {{GET, GET_UP, OK2, OK2_DOWN}}},
	{"three pipelined requests, answered in order",
	 false,
	 {{GET, GET_UP, OK2, OK2_DOWN},
	  {"GET " URL "b HTTP/1.1\r\n" HOST "\r\n", "GET /b HTTP/1.1\r\n" HOST "Via: 1.1 t\r\n\r\n",
	   "HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n",
	   "HTTP/1.1 404 No\r\nContent-Length: 0\r\nVia: 1.1 t\r\n\r\n"},
	  {GET, GET_UP, OK2, OK2_DOWN}}},
	{"a body with length, and a request behind it",
	 false,
	 {{POST("5") "12345", POST_UP("5") "12345", OK2, OK2_DOWN}, {GET, GET_UP, OK2, OK2_DOWN}}},
	{"chunked both ways, and a request behind it",
	 false,
	 {{"POST " URL " HTTP/1.1\r\n" HOST CHUNKED "\r\n" CHUNKS,
	   "POST / HTTP/1.1\r\n" HOST CHUNKED "Via: 1.1 t\r\n\r\n" CHUNKS,
	   "HTTP/1.1 200 OK\r\n" CHUNKED "\r\n" CHUNKS,
	   "HTTP/1.1 200 OK\r\n" CHUNKED "Via: 1.1 t\r\n\r\n" CHUNKS},
	  {GET, GET_UP, OK2, OK2_DOWN}}},
	{"interim responses",
	 false,
	 {{GET, GET_UP, "HTTP/1.1 100 Go\r\n\r\nHTTP/1.1 103 Hints\r\nLink: x\r\n\r\n" OK2,
	   "HTTP/1.1 100 Go\r\nVia: 1.1 t\r\n\r\n"
	   "HTTP/1.1 103 Hints\r\nLink: x\r\nVia: 1.1 t\r\n\r\n" OK2_DOWN},
	  {GET, GET_UP, OK2, OK2_DOWN}}},
	{"HEAD, 204 and 304 have no body",
	 false,
	 {{"HEAD " URL " HTTP/1.1\r\n" HOST "\r\n", "HEAD / HTTP/1.1\r\n" HOST "Via: 1.1 t\r\n\r\n",
	   "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n",
	   "HTTP/1.1 200 OK\r\nContent-Length: 9\r\nVia: 1.1 t\r\n\r\n"},
	  {GET, GET_UP, "HTTP/1.1 204 No\r\n\r\n", "HTTP/1.1 204 No\r\nVia: 1.1 t\r\n\r\n"},
	  {GET, GET_UP, "HTTP/1.1 304 No\r\nContent-Length: 7\r\n\r\n",
	   "HTTP/1.1 304 No\r\nContent-Length: 7\r\nVia: 1.1 t\r\n\r\n"},
	  {GET, GET_UP, OK2, OK2_DOWN}}},
	{"a response that ends with the connection goes out chunked",
	 true,
	 {{GET, GET_UP, "HTTP/1.1 200 OK\r\n\r\nx",
	   "HTTP/1.1 200 OK\r\n" CHUNKED "Via: 1.1 t\r\n\r\n1\r\nx\r\n0\r\n\r\n"}}},
	{"a client of HTTP/1.0 gets neither chunks nor interim responses",
	 false,
	 {{"GET " URL " HTTP/1.0\r\n\r\n", "GET / HTTP/1.1\r\n" HOST "Via: 1.0 t\r\n\r\n",
	   "HTTP/1.1 100 Go\r\n\r\nHTTP/1.1 200 OK\r\n" CHUNKED "\r\n" CHUNKS,
	   "HTTP/1.1 200 OK\r\nConnection: close\r\nVia: 1.1 t\r\n\r\nab"}}},
};

static const struct {
	const char *what;
	struct setup setup;
} faults[] = {
	{"none", {.limits = NULL}},
	{"small windows", {.transport = {.window = 7}}},
	{"events one by one", {.transport = {.split_events = true}}},
	{"spurious events", {.transport = {.spurious_events = true}}},
	{"every second call says later", {.faults = {.eagain_every_second = true}}},
	{"a byte a read", {.faults = {.read_max = 1}}},
	{"a byte a write", {.faults = {.write_max = 1}}},
	{"all of them",
	 {.transport = {.window = 7, .split_events = true, .spurious_events = true},
	  .faults = {.eagain_every_second = true, .read_max = 1, .write_max = 1}}},
};

/* Requests wait in line at the client; each is answered once it has arrived. A spurious event may cost
 * a pooled connection, so which of the origin's ends it arrives at is not told. */
static void run_conversation(const struct conversation *t, const struct setup *setup)
{
	struct fixture *f = fixture_open(setup);

	client_open(f, &f->client);
	for (int i = 0; i < EXCHANGES_MAX && t->exchange[i].request; i++)
		far_send(&f->client, t->exchange[i].request);
	for (int i = 0; i < EXCHANGES_MAX && t->exchange[i].request; i++) {
		struct far *o;

		UNTIL(f, f->n_origins && f->origin[f->n_origins - 1].n_got);
		o = &f->origin[f->n_origins - 1];
		EXPECT(o, t->exchange[i].upstream);
		far_send(o, t->exchange[i].response);
		if (t->origin_finishes)
			far_finish(o);
		EXPECT(&f->client, t->exchange[i].client);
	}
	fixture_turns(f, 2);
	assert_int_equal(f->client.n_got, 0);
	assert_false(f->client.broken);
	fixture_close(f);
}

static void conversations_are_the_same_under_every_fault(void **state)
{
	for (size_t i = 0; i < SL_ARRAY_SIZE(conversations); i++) {
		for (size_t k = 0; k < SL_ARRAY_SIZE(faults); k++) {
			print_message("# %s, fault: %s\n", conversations[i].what, faults[k].what);
			run_conversation(&conversations[i], &faults[k].setup);
		}
	}
}

/* --- the pool --- */

static void an_idle_connection_holds_no_buffer_and_little_memory(void **state)
{
	struct fixture *f = fixture_open(NULL);

	client_open(f, &f->client);
	far_send(&f->client, GET);
	UNTIL(f, f->n_origins);
	EXPECT(&f->origin[0], GET_UP);
	far_send(&f->origin[0], OK2);
	EXPECT(&f->client, OK2_DOWN);
	UNTIL(f, f->w->stats.connections_idle == 1);
	fixture_turns(f, 2);
	assert_int_equal(f->w->buffers.slab.used, 0);
	assert_int_equal(f->w->exchanges.used, 0);
	assert_int_equal(f->w->stats.upstream_idle, 1);
	assert_true(f->w->stats.idle_connection_bytes >= sizeof(struct sl_conn));
	assert_true(f->w->stats.idle_connection_bytes <= 2048);
	fixture_close(f);
}

static void a_pooled_connection_serves_another_client(void **state)
{
	struct fixture *f = fixture_open(NULL);

	client_open(f, &f->client);
	client_open(f, &f->other_client);
	far_send(&f->client, GET);
	UNTIL(f, f->n_origins);
	EXPECT(&f->origin[0], GET_UP);
	far_send(&f->origin[0], OK2);
	EXPECT(&f->client, OK2_DOWN);
	far_send(&f->other_client, GET);
	EXPECT(&f->origin[0], GET_UP);
	far_send(&f->origin[0], OK2);
	EXPECT(&f->other_client, OK2_DOWN);
	assert_int_equal(f->n_origins, 1);
	assert_int_equal(f->w->stats.upstream_reused_total, 1);
	fixture_close(f);
}

/* Runs one GET to a clean end, so that origin[0] is in the pool. */
static struct fixture *open_pooled(const struct setup *setup)
{
	struct fixture *f = fixture_open(setup);

	client_open(f, &f->client);
	far_send(&f->client, GET);
	UNTIL(f, f->n_origins);
	EXPECT(&f->origin[0], GET_UP);
	far_send(&f->origin[0], OK2);
	EXPECT(&f->client, OK2_DOWN);
	UNTIL(f, f->w->stats.upstream_idle == 1);
	return f;
}

static void bytes_behind_a_response_keep_its_connection_from_the_pool(void **state)
{
	struct fixture *f = fixture_open(NULL);

	client_open(f, &f->client);
	far_send(&f->client, GET);
	UNTIL(f, f->n_origins);
	EXPECT(&f->origin[0], GET_UP);
	far_send(&f->origin[0], OK2 OK2);
	EXPECT(&f->client, OK2_DOWN);
	UNTIL(f, f->origin[0].eof || f->origin[0].broken);
	far_send(&f->client, GET);
	UNTIL(f, f->n_origins == 2);
	EXPECT(&f->origin[1], GET_UP);
	far_send(&f->origin[1], OK2);
	EXPECT(&f->client, OK2_DOWN);
	fixture_close(f);
}

/* NTLM and Negotiate authenticate the connection, whatever RFC 9110 says: the next client would be
 * taken for this one. */
static void a_connection_with_an_identity_is_not_pooled(void **state)
{
	struct fixture *f = fixture_open(NULL);

	client_open(f, &f->client);
	far_send(&f->client, "GET http://10.0.0.1/ HTTP/1.1\r\nHost: 10.0.0.1\r\n"
			     "authorization: negotiate YII=\r\n\r\n");
	UNTIL(f, f->n_origins);
	EXPECT(&f->origin[0], "GET / HTTP/1.1\r\nHost: 10.0.0.1\r\n"
			      "authorization: negotiate YII=\r\nVia: 1.1 t\r\n\r\n");
	far_send(&f->origin[0], OK2);
	EXPECT(&f->client, OK2_DOWN);
	UNTIL(f, f->origin[0].eof);
	far_send(&f->client, GET);
	UNTIL(f, f->n_origins == 2);
	fixture_close(f);
}

static void a_pooled_connection_that_talks_is_dropped(void **state)
{
	struct fixture *f = open_pooled(NULL);

	far_send(&f->origin[0], "x");
	UNTIL(f, !f->w->stats.upstream_idle);
	far_send(&f->client, GET);
	UNTIL(f, f->n_origins == 2);
	fixture_close(f);
}

/* The origin resets as the request arrives. */
static void request_on_dying_connection(struct fixture *f, const char *request)
{
	struct sl_stream *up = fake_peer(f->origin[0].stream);
	const struct fake_faults dead = {.write_error = ECONNRESET};

	fake_set_faults(up, &dead);
	far_send(&f->client, request);
	fixture_turns(f, 2);
	far_close(&f->origin[0], SL_CLOSE_RESET);
}

static void a_get_on_a_dead_pooled_connection_is_sent_again(void **state)
{
	struct fixture *f = open_pooled(NULL);

	f->origin[0].paused = true;
	far_send(&f->client, GET);
	UNTIL(f, fake_unread(f->origin[0].stream));
	far_close(&f->origin[0], SL_CLOSE_RESET);
	UNTIL(f, f->n_origins == 2);
	EXPECT(&f->origin[1], GET_UP);
	far_send(&f->origin[1], OK2);
	EXPECT(&f->client, OK2_DOWN);
	assert_int_equal(f->w->stats.upstream_retries_total, 1);
	fixture_close(f);
}

static void a_post_whose_body_went_out_is_not_sent_again(void **state)
{
	struct fixture *f = open_pooled(NULL);

	f->origin[0].paused = true;
	far_send(&f->client, POST("2") "hi");
	UNTIL(f, fake_unread(f->origin[0].stream));
	far_close(&f->origin[0], SL_CLOSE_RESET);
	expect_status(&f->client, 502);
	assert_int_equal(f->n_origins, 1);
	assert_int_equal(f->w->stats.upstream_retries_total, 0);
	fixture_close(f);
}

static void a_post_that_could_not_be_written_is_sent_again(void **state)
{
	struct fixture *f = open_pooled(NULL);

	request_on_dying_connection(f, POST("2") "hi");
	UNTIL(f, f->n_origins == 2);
	EXPECT(&f->origin[1], POST_UP("2") "hi");
	far_send(&f->origin[1], OK2);
	EXPECT(&f->client, OK2_DOWN);
	fixture_close(f);
}

/* --- bodies --- */

#define BULK	 300000
#define BULK_STR "300000"

static void far_check_bulk(struct far *e)
{
	UNTIL(e->f, e->n_got >= BULK);
	for (size_t i = 0; i < BULK; i++)
		assert_int_equal(e->got[i], 'a' + i % 23);
	assert_int_equal(e->n_got, BULK);
	e->n_got = 0;
}

static void big_bodies_arrive_whole_and_hold_few_buffers(void **state)
{
	const struct setup setup = {.transport = {.window = 1000}};
	struct fixture *f = fixture_open(&setup);

	client_open(f, &f->client);
	far_send(&f->client, POST(BULK_STR));
	far_send_bytes(&f->client, BULK);
	UNTIL(f, f->n_origins);
	f->origin[0].paused = true;
	fixture_turns(f, 20);
	assert_true(f->w->buffers.slab.used <= 4);
	assert_true(f->client.sent < BULK / 2); /* backpressure */
	far_resume(&f->origin[0]);
	EXPECT(&f->origin[0], POST_UP(BULK_STR));
	far_check_bulk(&f->origin[0]);

	f->client.paused = true;
	far_send(&f->origin[0], "HTTP/1.1 200 OK\r\nContent-Length: " BULK_STR "\r\n\r\n");
	far_send_bytes(&f->origin[0], BULK);
	fixture_turns(f, 20);
	assert_true(f->w->buffers.slab.used <= 4);
	assert_true(f->origin[0].sent < BULK / 2);
	far_resume(&f->client);
	EXPECT(&f->client, "HTTP/1.1 200 OK\r\nContent-Length: " BULK_STR "\r\nVia: 1.1 t\r\n\r\n");
	far_check_bulk(&f->client);
	fixture_close(f);
}

/* One write, one packet. The second write of sluice's end has to wait. */
static void head_and_body_leave_together(void **state)
{
	const struct setup setup = {.faults = {.eagain_every_second = true}};
	struct fixture *f = fixture_open(&setup);

	client_open(f, &f->client);
	far_send(&f->client, GET);
	UNTIL(f, f->n_origins);
	EXPECT(&f->origin[0], GET_UP);
	far_send(&f->origin[0], OK2);
	UNTIL(f, f->client.n_got);
	assert_int_equal(f->client.n_got, strlen(OK2_DOWN));
	fixture_close(f);
}

static void a_truncated_response_is_reset(void **state)
{
	static const struct {
		const char *what, *response;
		bool reset;
	} t[] = {
		{"length", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhi", false},
		{"chunked", "HTTP/1.1 200 OK\r\n" CHUNKED "\r\n1\r\na\r\n", false},
		{"before the last chunk's end", "HTTP/1.1 200 OK\r\n" CHUNKED "\r\n0\r\n", false},
		{"malformed chunk", "HTTP/1.1 200 OK\r\n" CHUNKED "\r\n1\r\nax", false},
		{"until close, by RST", "HTTP/1.1 200 OK\r\n\r\nhi", true},
	};

	for (size_t i = 0; i < SL_ARRAY_SIZE(t); i++) {
		struct fixture *f = fixture_open(NULL);

		print_message("# %s\n", t[i].what);
		client_open(f, &f->client);
		far_send(&f->client, GET);
		UNTIL(f, f->n_origins);
		EXPECT(&f->origin[0], GET_UP);
		far_send(&f->origin[0], t[i].response);
		UNTIL(f, f->client.n_got);
		far_close(&f->origin[0], t[i].reset ? SL_CLOSE_RESET : SL_CLOSE_GRACEFUL);
		UNTIL(f, f->client.broken);
		assert_false(f->client.eof);
		assert_int_equal(f->w->stats.responses_aborted_total, 1);
		fixture_close(f);
	}
}

static void an_early_response_ends_the_connection_cleanly(void **state)
{
	struct fixture *f = fixture_open(NULL);

	client_open(f, &f->client);
	far_send(&f->client, POST("100") "part");
	UNTIL(f, f->n_origins);
	EXPECT(&f->origin[0], POST_UP("100") "part");
	far_send(&f->origin[0], "HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno");
	EXPECT(&f->client, "HTTP/1.1 403 No\r\nContent-Length: 2\r\nConnection: close\r\n"
			   "Via: 1.1 t\r\n\r\nno");
	UNTIL(f, f->client.eof);
	assert_false(f->client.broken);
	far_send(&f->client, "more of the body, into the void");
	fixture_turns(f, 3);
	assert_false(f->client.broken);
	UNTIL(f, f->origin[0].broken);
	fixture_close(f);
}

/* A write that failed takes the error with it: the read behind it sees a plain end. That end proved a
 * response complete which nothing else delimits. */
static void an_end_behind_a_failed_write_completes_nothing(void **state)
{
	const struct fake_faults broken = {.write_error = ECONNRESET};
	struct fixture *f = fixture_open(NULL);

	client_open(f, &f->client);
	far_send(&f->client, POST("100") "part");
	UNTIL(f, f->n_origins);
	EXPECT(&f->origin[0], POST_UP("100") "part");
	far_send(&f->origin[0], "HTTP/1.1 200 OK\r\n\r\nhalf of i");
	UNTIL(f, memmem(f->client.got, f->client.n_got, "half of i", 9));
	fake_set_faults(fake_peer(f->origin[0].stream), &broken);
	far_send(&f->client, "more");
	fixture_turns(f, 2);
	far_finish(&f->origin[0]);
	UNTIL(f, f->client.broken);
	assert_false(f->client.eof);
	fixture_close(f);
}

/* Input that came behind the last request turned the close into a reset, which can overtake the
 * response (RFC 9112 9.6). */
static void the_last_response_is_not_cut_by_late_input(void **state)
{
	struct fixture *f = fixture_open(NULL);

	client_open(f, &f->client);
	far_send(&f->client,
		 "GET http://10.0.0.1/ HTTP/1.1\r\nHost: 10.0.0.1\r\nConnection: close\r\n\r\n");
	UNTIL(f, f->n_origins);
	EXPECT(&f->origin[0], GET_UP);
	far_send(&f->client, "\r\n");
	far_send(&f->origin[0], OK2);
	UNTIL(f, f->client.eof || f->client.broken);
	assert_false(f->client.broken);
	far_send(&f->client, GET);
	fixture_turns(f, 3);
	assert_false(f->client.broken);
	assert_int_equal(f->n_origins, 1);
	far_finish(&f->client);
	UNTIL(f, !f->w->conns.used);
	fixture_close(f);
}

/* Whoever says that nothing follows is believed, but for bytes that are there already, and for what old
 * clients send behind a body. */
static void a_client_that_said_close_is_not_waited_for(void **state)
{
	static const struct {
		const char *request;
		bool lingers;
	} cases[] = {
		{"GET http://10.0.0.1/ HTTP/1.1\r\nHost: 10.0.0.1\r\nConnection: close\r\n\r\n"},
		{"GET http://10.0.0.1/ HTTP/1.0\r\n\r\n"},
		{"GET http://10.0.0.1/ HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", true},
		{"GET http://10.0.0.1/ HTTP/1.1\r\nHost: 10.0.0.1\r\nConnection: close\r\n\r\nG",
		 true},
		{"POST http://10.0.0.1/ HTTP/1.1\r\nHost: 10.0.0.1\r\nConnection: close\r\n"
		 "Content-Length: 1\r\n\r\nx",
		 true},
		{"CONNECT 10.0.0.2:80 HTTP/1.1\r\nHost: 10.0.0.2\r\nConnection: close\r\n\r\n",
		 true},
		{"nonsense\r\n\r\n", true},
	};

	for (size_t i = 0; i < SL_ARRAY_SIZE(cases); i++) {
		struct fixture *f = fixture_open(NULL);

		client_open(f, &f->client);
		far_send(&f->client, cases[i].request);
		fixture_turns(f, 4);
		if (f->n_origins)
			far_send(&f->origin[0], OK2);
		UNTIL(f, f->client.eof);
		fixture_turns(f, 2);
		assert_int_equal(f->w->conns.used, cases[i].lingers);
		fixture_close(f);
	}
}

/* A fast pair of ends kept the loop to itself. */
static void a_big_body_lets_others_have_their_turn(void **state)
{
	const struct setup setup = {.transport = {.window = FAR_BYTES}};
	struct fixture *f = fixture_open(&setup);

	client_open(f, &f->client);
	far_send(&f->client, POST(BULK_STR));
	UNTIL(f, f->n_origins);
	EXPECT(&f->origin[0], POST_UP(BULK_STR));
	far_send_bytes(&f->client, BULK);
	fixture_turns(f, 1);
	assert_in_range(f->w->stats.upstream_bytes_out_total, 1, BULK / 2);
	far_check_bulk(&f->origin[0]);
	far_send(&f->origin[0], "HTTP/1.1 200 OK\r\nContent-Length: " BULK_STR "\r\n\r\n");
	EXPECT(&f->client, "HTTP/1.1 200 OK\r\nContent-Length: " BULK_STR "\r\nVia: 1.1 t\r\n\r\n");
	far_send_bytes(&f->origin[0], BULK);
	fixture_turns(f, 1);
	assert_in_range(f->w->stats.client_bytes_out_total, 1, BULK / 2);
	far_check_bulk(&f->client);
	fixture_close(f);
}

/* What came together with the end of connecting was never looked at. */
static void an_origin_that_speaks_first_is_heard(void **state)
{
	const struct setup setup = {.greeting = OK2};
	struct fixture *f = fixture_open(&setup);

	client_open(f, &f->client);
	far_send(&f->client, GET);
	EXPECT(&f->client, OK2_DOWN);
	fixture_close(f);
}

/* --- refusals --- */

static void refusals(void **state)
{
	static const struct {
		const char *request;
		unsigned status;
	} t[] = {
		{"GET / HTTP/1.1\r\nHost: x\r\nbad header\r\n\r\n", 400},
		{"GET http://10.0.0.1/ HTTP/1.1\r\n\r\n", 400},
		{"GET https://10.0.0.1/ HTTP/1.1\r\nHost: 10.0.0.1\r\n\r\n", 400},
		{POST("1, 2"), 400},
		{"GET http://10.0.0.1/ HTTP/1.1\r\nHost: 10.0.0.1\r\nVia: 1.1 t\r\n\r\n", 508},
		{"GET http://169.254.169.254/ HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n", 403},
		{"GET http://10.0.0.2/ HTTP/1.1\r\nHost: 10.0.0.2\r\n\r\n", 502},
		{"CONNECT 10.0.0.2:80 HTTP/1.1\r\nHost: 10.0.0.2:80\r\n\r\n", 502},
		{"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 200},
		{"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", 405},
	};

	for (size_t i = 0; i < SL_ARRAY_SIZE(t); i++) {
		struct fixture *f = fixture_open(NULL);

		print_message("# %s\n", t[i].request);
		client_open(f, &f->client);
		far_send(&f->client, t[i].request);
		expect_status(&f->client, t[i].status);
		fixture_turns(f, 4);
		assert_int_equal(f->client.n_got, 0);
		if (t[i].status == 400)
			assert_true(f->client.eof);
		assert_int_equal(f->n_origins, 0);
		fixture_close(f);
	}
}

/* A client may send a tunnel's first bytes before the answer. When the answer is no, somebody else may
 * have chosen them: they were taken for the next request. */
static void bytes_behind_a_refused_connect_are_no_request(void **state)
{
	struct fixture *f = fixture_open(NULL);

	client_open(f, &f->client);
	far_send(&f->client, "CONNECT 10.0.0.2:80 HTTP/1.1\r\nHost: 10.0.0.2:80\r\n\r\n" GET);
	expect_status(&f->client, 502);
	UNTIL(f, f->client.eof);
	assert_int_equal(f->n_origins, 0);
	fixture_close(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(conversations_are_the_same_under_every_fault),
		cmocka_unit_test(an_idle_connection_holds_no_buffer_and_little_memory),
		cmocka_unit_test(a_pooled_connection_serves_another_client),
		cmocka_unit_test(bytes_behind_a_response_keep_its_connection_from_the_pool),
		cmocka_unit_test(a_connection_with_an_identity_is_not_pooled),
		cmocka_unit_test(a_pooled_connection_that_talks_is_dropped),
		cmocka_unit_test(a_get_on_a_dead_pooled_connection_is_sent_again),
		cmocka_unit_test(a_post_whose_body_went_out_is_not_sent_again),
		cmocka_unit_test(a_post_that_could_not_be_written_is_sent_again),
		cmocka_unit_test(big_bodies_arrive_whole_and_hold_few_buffers),
		cmocka_unit_test(head_and_body_leave_together),
		cmocka_unit_test(a_truncated_response_is_reset),
		cmocka_unit_test(an_early_response_ends_the_connection_cleanly),
		cmocka_unit_test(an_end_behind_a_failed_write_completes_nothing),
		cmocka_unit_test(the_last_response_is_not_cut_by_late_input),
		cmocka_unit_test(a_client_that_said_close_is_not_waited_for),
		cmocka_unit_test(a_big_body_lets_others_have_their_turn),
		cmocka_unit_test(an_origin_that_speaks_first_is_heard),
		cmocka_unit_test(refusals),
		cmocka_unit_test(bytes_behind_a_refused_connect_are_no_request),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
