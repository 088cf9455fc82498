/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_TESTS_CONN_FIXTURE_H
#define SLUICE_TESTS_CONN_FIXTURE_H

/* A worker without thread, sockets or names: its loop is turned by the test, which plays the clients
 * and the origins over the transport in memory. The origin listens on 10.0.0.1:80; 10.0.0.9:80 never
 * answers; at every other address connections are refused. */

#include "unit.h"

#include "../fake_transport.h"
#include "proxy/conn.h"

#define FAR_BYTES (512 * 1024)
#define ORIGINS	  8

/* An end that the test plays: sends what it was told to as the window permits, reads what comes unless
 * paused. */
struct far {
	struct sl_stream *stream; /* NULL: not there (any more) */
	struct fixture *f;
	char got[FAR_BYTES];
	size_t n_got;
	char out[FAR_BYTES];
	size_t n_out, sent;
	bool paused;
	bool finish; /* FIN behind what is sent */
	bool eof;
	bool broken; /* the other side reset it */
};

struct setup {
	struct fake_options transport;
	struct fake_faults faults; /* of sluice's own ends */
	const char *greeting;	   /* origins say it at once; NULL: nothing */
	const char *limits;	   /* members of a YAML mapping; NULL: none */
	const char *timeouts;
	const char *pool;
	const char *listener; /* its members but name and listen; NULL: mode forward */
	const char *more;     /* further keys of the configuration */
};

struct fixture {
	struct setup setup;
	struct sl_config *config;
	struct sl_limits *limits;
	struct sl_upstreams *upstreams;
	struct sl_generation *generation;
	struct sl_shared shared;
	struct sl_worker *w;
	struct sl_acceptor *acceptor;
	struct far client, other_client;
	struct far origin[ORIGINS];
	size_t n_origins; /* accepted so far */
};

/* setup may be NULL. */
struct fixture *fixture_open(const struct setup *setup);
/* Resets what the test still holds, and checks that nothing is left of any connection. */
void fixture_close(struct fixture *f);
void fixture_turns(struct fixture *f, int n);

/* Connects a client and waits until sluice has accepted it. */
void client_open(struct fixture *f, struct far *c);
void far_send(struct far *e, const char *text);
void far_send_bytes(struct far *e, size_t n);
void far_finish(struct far *e);
void far_close(struct far *e, enum sl_close_how how);
void far_resume(struct far *e);

/* Turns the loop until cond holds, or fails. */
#define UNTIL(f, cond)                                                  \
	do {                                                            \
		uint64_t until_end = sl_clock_us() + 3000000;           \
		while (!(cond)) {                                       \
			if (sl_clock_us() > until_end)                  \
				fail_msg("never came true: %s", #cond); \
			fixture_turns(f, 1);                            \
		}                                                       \
	} while (0)

/* Waits for exactly these bytes since the last call. */
#define EXPECT(e, text)                                  \
	do {                                             \
		const char *expect_text = (text);        \
		size_t expect_len = strlen(expect_text); \
		UNTIL((e)->f, (e)->n_got >= expect_len); \
		far_take(e, expect_text, expect_len);    \
	} while (0)
void far_take(struct far *e, const char *text, size_t len);
/* Waits for a whole response head with that status, and a body of Content-Length; drops them. */
void expect_status(struct far *e, unsigned status);

/* The client connection that sluice has open; there must be one. */
struct sl_conn *only_conn(struct fixture *f);

#define GET	 "GET http://10.0.0.1/ HTTP/1.1\r\nHost: 10.0.0.1\r\n\r\n"
#define GET_UP	 "GET / HTTP/1.1\r\nHost: 10.0.0.1\r\nVia: 1.1 t\r\n\r\n"
#define OK2	 "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
#define OK2_DOWN "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nVia: 1.1 t\r\n\r\nhi"
#define CONNECT	 "CONNECT 10.0.0.1:80 HTTP/1.1\r\nHost: 10.0.0.1:80\r\n\r\n"
#define GRANTED	 "HTTP/1.1 200 Connection established\r\n\r\n"
#define POST(length) \
	"POST http://10.0.0.1/ HTTP/1.1\r\nHost: 10.0.0.1\r\nContent-Length: " length "\r\n\r\n"
#define POST_UP(length) \
	"POST / HTTP/1.1\r\nHost: 10.0.0.1\r\nContent-Length: " length "\r\nVia: 1.1 t\r\n\r\n"

#endif
