/* SPDX-License-Identifier: BSD-2-Clause */
/* Connections of the load generator, as state machines on one epoll a thread. Messages are small enough
 * that a write takes all of them; one that doesn't is an error, and so is whatever a connection
 * meets that it didn't expect. Bytes of bulk are dropped in the kernel.
 *
 * Closed loop: a connection waits for its answer before it goes on, so latencies are those at the rate
 * that came about. With a rate, requests have times at which they are due, and latency counts from
 * there, whether a connection was free or not: one slow answer is seen by all whom it delays. */

#include "client.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/util.h"

#define EVENTS	   256
#define TICK_MS	   10
#define RETRY_NS   10000000 /* after a refusal */
#define ERRORS_MAX 10000    /* a driver that only fails stops */
#define LOGIN_MARK "########"

enum step {
	CLOSED,
	CONNECTING,
	ASKING,	 /* CONNECT is sent */
	PINGING, /* `p` is sent */
	READY,	 /* waits for PHASE_LOAD */
	WAITING, /* driver.idle */
	EXCHANGING,
};

struct conn {
	int fd;
	enum step step;
	size_t got, want; /* of an answer; want 0: its head isn't complete */
	bool last;	  /* the answer said that the connection ends with it */
	uint64_t begun, retry;
	struct conn *next; /* driver.idle */
	char head[512];
};

static int phase_of(const struct driver *d)
{
	return atomic_load_explicit(&d->plan->phase, memory_order_relaxed);
}

static void watch(struct driver *d, struct conn *c, int op, uint32_t events)
{
	struct epoll_event e = {.events = events, .data.ptr = c};

	epoll_ctl(d->epoll, op, c->fd, &e);
}

static void hang_up(struct conn *c)
{
	if (c->step == CLOSED)
		return;
	close(c->fd);
	c->fd = -1;
	c->step = CLOSED;
}

static void failed(struct driver *d, struct conn *c, const char *what)
{
	if (!d->errors++)
		snprintf(d->error, sizeof(d->error), "%s in step %d: %s", what, c->step,
			 strerror(errno));
	hang_up(c);
	c->retry = now_ns() + RETRY_NS;
}

static void open_connection(struct driver *d, struct conn *c)
{
	int one = 1;

	c->got = c->want = 0;
	c->last = false;
	c->begun = now_ns();
	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (c->fd < 0)
		return failed(d, c, "socket");
	c->step = CONNECTING;
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (connect(c->fd, (const struct sockaddr *)&d->plan->connect, sizeof(d->plan->connect)) &&
	    errno != EINPROGRESS)
		return failed(d, c, "connect");
	watch(d, c, EPOLL_CTL_ADD, EPOLLOUT);
}

static void say(struct driver *d, struct conn *c, const char *bytes, size_t n)
{
	c->got = c->want = 0;
	if (send(c->fd, bytes, n, MSG_NOSIGNAL) != (ssize_t)n)
		failed(d, c, "send");
}

/* 6 printable bytes as base64. */
static void encode(const char *bytes, char *ret)
{
	static const char letters[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

	for (int i = 0; i < 8; i++) {
		const char *at = bytes + i / 4 * 3;
		unsigned group = (unsigned)(at[0] << 16 | at[1] << 8 | at[2]);

		ret[i] = letters[group >> (18 - 6 * (i % 4)) & 63];
	}
}

/* The request with a password that nobody has tried before. */
static void ask_with_login(struct driver *d, struct conn *c)
{
	static _Atomic unsigned logins;
	char text[sizeof(d->plan->request)], password[8], coded[8];

	snprintf(password, sizeof(password), "%06x",
		 (atomic_fetch_add(&logins, 1) + (unsigned)getpid() * 7919) & 0xffffff);
	encode(password, coded);
	strcpy(text, d->plan->request);
	for (char *at = text; (at = strstr(at, LOGIN_MARK)); at += sizeof(coded))
		memcpy(at, coded, sizeof(coded));
	say(d, c, text, strlen(text));
}

static void exchange(struct driver *d, struct conn *c)
{
	struct plan *p = d->plan;

	c->step = EXCHANGING;
	if (p->load != LOAD_TUNNELS && !p->once && !p->rate)
		c->begun = now_ns();
	if (p->login)
		return ask_with_login(d, c);
	if (p->load == LOAD_HTTP || p->http)
		return say(d, c, p->request, strlen(p->request));
	say(d, c, d->piece, p->size);
	c->want = p->size;
}

/* With a rate: c takes one of the next requests. */
static void wait_for_request(struct driver *d, struct conn *c)
{
	c->step = WAITING;
	c->next = d->idle;
	d->idle = c;
}

/* Begins what is due, as far as connections are free. */
static void begin_due(struct driver *d)
{
	uint64_t now = now_ns();

	if (phase_of(d) == PHASE_OPEN) {
		d->due = now + d->period;
		return;
	}
	while (d->due <= now && d->idle) {
		struct conn *c = d->idle;

		d->idle = c->next;
		c->begun = d->due;
		d->due += d->period;
		exchange(d, c);
	}
}

/* The load begins on a connection that has been open for a while. */
static void start_load(struct driver *d, struct conn *c)
{
	switch (d->plan->load) {
	case LOAD_BULK:
		c->step = EXCHANGING;
		return say(d, c, "g", 1);
	case LOAD_RTT:
		say(d, c, "e", 1);
		if (c->step != CLOSED)
			exchange(d, c);
		return;
	case LOAD_HTTP:
		return d->plan->rate ? wait_for_request(d, c) : exchange(d, c);
	case LOAD_TUNNELS:
	case LOAD_HOLD:
		return;
	}
}

static void is_ready(struct driver *d, struct conn *c)
{
	c->step = READY;
	atomic_fetch_add(&d->ready, 1);
}

/* The way to the origin is open. */
static void begin(struct driver *d, struct conn *c)
{
	struct plan *p = d->plan;
	char text[512];

	if (p->load == LOAD_TUNNELS) {
		text[0] = 'e';
		memcpy(text + 1, d->piece, p->size);
		c->step = EXCHANGING;
		say(d, c, text, p->size + 1);
		c->want = p->size;
		return;
	}
	if (p->load == LOAD_HOLD && p->http) {
		exchange(d, c);
		if (p->stall && c->step == EXCHANGING) {
			watch(d, c, EPOLL_CTL_MOD, 0);
			is_ready(d, c);
		}
		return;
	}
	if (p->load == LOAD_HTTP && phase_of(d) == PHASE_OPEN)
		return is_ready(d, c);
	if (p->load == LOAD_HTTP)
		return p->rate ? wait_for_request(d, c) : exchange(d, c);
	c->step = PINGING;
	say(d, c, "p", 1);
}

static void connected(struct driver *d, struct conn *c)
{
	int error = 0;
	socklen_t len = sizeof(error);

	getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &len);
	if (error) {
		errno = error;
		return failed(d, c, "connect");
	}
	watch(d, c, EPOLL_CTL_MOD, EPOLLIN);
	if (!d->plan->ask[0])
		return begin(d, c);
	c->step = ASKING;
	say(d, c, d->plan->ask, strlen(d->plan->ask));
}

/* Reads towards a complete head in c->head; its end, or NULL. */
static const char *read_head(struct driver *d, struct conn *c)
{
	ssize_t n = recv(c->fd, c->head + c->got, sizeof(c->head) - 1 - c->got, 0);
	const char *mark;

	if (n <= 0) {
		if (n == 0)
			errno = 0;
		failed(d, c, "the end instead of a head");
		return NULL;
	}
	c->got += (size_t)n;
	c->head[c->got] = 0;
	mark = strstr(c->head, "\r\n\r\n");
	if (!mark && c->got == sizeof(c->head) - 1)
		failed(d, c, "a long head");
	return mark;
}

static void refused(struct driver *d, struct conn *c)
{
	if (phase_of(d) == PHASE_COUNT)
		d->refused++;
	hang_up(c);
	c->retry = now_ns() + RETRY_NS;
}

static void read_asked(struct driver *d, struct conn *c)
{
	const char *mark = read_head(d, c);

	if (!mark)
		return;
	if (strncmp(c->head + 9, "200", 3))
		return refused(d, c);
	begin(d, c);
}

/* One exchange is complete. */
static void complete(struct driver *d, struct conn *c)
{
	if (phase_of(d) == PHASE_COUNT) {
		d->done++;
		latency_add(&d->latency, now_ns() - c->begun);
	}
	if (d->plan->load == LOAD_HOLD)
		return is_ready(d, c);
	if (d->plan->load != LOAD_TUNNELS && !d->plan->once && !c->last)
		return d->plan->rate ? wait_for_request(d, c) : exchange(d, c);
	hang_up(c);
	if (phase_of(d) < PHASE_END)
		open_connection(d, c);
}

/* A wrong password is answered, too: by 401, or by a proxy's 407. */
static bool is_answer(const struct plan *p, const char *status)
{
	return p->login ? !strncmp(status, "401", 3) || !strncmp(status, "407", 3)
			: !strncmp(status, "200", 3);
}

static void read_response_head(struct driver *d, struct conn *c)
{
	const char *mark = read_head(d, c), *length;

	if (!mark)
		return;
	if (!is_answer(d->plan, c->head + 9))
		return refused(d, c);
	length = strcasestr(c->head, "\r\nContent-Length:");
	if (!length || length > mark)
		return failed(d, c, "no length");
	c->last = strcasestr(c->head, "\r\nConnection: close");
	c->want = (size_t)(mark + 4 - c->head) + strtoul(length + 17, NULL, 10);
	if (c->got >= c->want)
		complete(d, c);
}

static void read_answer(struct driver *d, struct conn *c)
{
	struct plan *p = d->plan;
	ssize_t n;

	if (!c->want && p->load != LOAD_BULK)
		return read_response_head(d, c);
	n = recv(c->fd, d->piece, PIECE, MSG_TRUNC);
	if (n <= 0)
		return failed(d, c, "the end instead of an answer");
	c->got += (size_t)n;
	if (p->load == LOAD_BULK) {
		if (phase_of(d) == PHASE_COUNT)
			atomic_fetch_add_explicit(&d->bytes, (uint64_t)n, memory_order_relaxed);
	} else if (c->got >= c->want) {
		complete(d, c);
	}
}

static void read_pong(struct driver *d, struct conn *c)
{
	char pong;

	if (recv(c->fd, &pong, 1, 0) != 1 || pong != 'p')
		return failed(d, c, "no pong");
	is_ready(d, c);
}

static void drop_waiting(struct driver *d, struct conn *c)
{
	struct conn **at = &d->idle;

	while (*at && *at != c)
		at = &(*at)->next;
	if (*at)
		*at = c->next;
	hang_up(c);
}

static void handle(struct driver *d, struct conn *c)
{
	switch (c->step) {
	case CONNECTING:
		return connected(d, c);
	case ASKING:
		return read_asked(d, c);
	case PINGING:
		return read_pong(d, c);
	case EXCHANGING:
		return read_answer(d, c);
	case READY: /* a proxy that is full may say so before it is asked */
		return d->plan->load == LOAD_HTTP ? refused(d, c)
						  : failed(d, c, "something unasked");
	case WAITING: /* the proxy ends a connection that has no request: its good right */
		return drop_waiting(d, c);
	case CLOSED:
		return;
	}
}

/* Now and then: connections that are to be opened, or whose load is to begin. */
static void look_after(struct driver *d)
{
	uint64_t now = now_ns();

	for (int i = 0; i < d->connections && d->errors < ERRORS_MAX; i++) {
		struct conn *c = &d->conn[i];

		if (c->step == CLOSED && now >= c->retry)
			open_connection(d, c);
		else if (c->step == READY && phase_of(d) != PHASE_OPEN)
			start_load(d, c);
	}
}

/* Until when there is nothing to do but to wait for events. */
static struct timespec patience(const struct driver *d)
{
	uint64_t now = now_ns(), ns = TICK_MS * 1000000ull;

	if (d->plan->rate && d->idle)
		ns = d->due <= now ? 0 : sl_min(d->due - now, ns);
	return (struct timespec){.tv_nsec = (long)ns};
}

int driver_init(struct driver *d)
{
	d->epoll = epoll_create1(EPOLL_CLOEXEC);
	d->conn = calloc((size_t)d->connections, sizeof(*d->conn));
	d->piece = malloc(PIECE);
	if (d->epoll < 0 || !d->conn || !d->piece)
		return -ENOMEM;
	memset(d->piece, 'x', PIECE);
	if (d->plan->rate > 0)
		d->period = (uint64_t)(1e9 * d->plan->threads / d->plan->rate);
	return 0;
}

void *drive(void *driver)
{
	struct driver *d = driver;
	struct epoll_event event[EVENTS];
	uint64_t next = 0;

	while (phase_of(d) != PHASE_END) {
		struct timespec wait = patience(d);
		int n = epoll_pwait2(d->epoll, event, EVENTS, &wait, NULL);

		for (int i = 0; i < n; i++)
			handle(d, event[i].data.ptr);
		if (d->plan->rate)
			begin_due(d);
		if (now_ns() >= next) {
			look_after(d);
			next = now_ns() + TICK_MS * 1000000ull;
		}
	}
	if (d->plan->rate && now_ns() > d->due)
		d->overdue = (now_ns() - d->due) / d->period;
	return NULL;
}
