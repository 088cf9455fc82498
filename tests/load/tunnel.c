/* SPDX-License-Identifier: BSD-2-Clause */
/* One tunnel: CONNECT, rounds of bytes and silence, an ending. Both ends are here, so each state knows
 * what must have arrived, and whatever else happens is a failure.
 *
 * Descriptors are edge-triggered: every step reads and writes until there is nothing more to do. */

#include "load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define PIECE_WAIT_US 1500 /* between the pieces of a split head */
#define SLOW_WAKE_US  3000
#define ASKS	      6 /* within the patience with a step */

const char *state_name(enum state s)
{
	static const char *const names[] = {"head", "round", "pause", "ending", "tail", "over"};

	return names[s];
}

/* --- opening --- */

static int new_socket(const struct tunnel *t, enum side side, const struct sockaddr_storage *family)
{
	const struct plan *p = &t->plan;
	int fd, one = 1;

	if (setns(t->env->ns[side], CLONE_NEWNET))
		return -errno;
	fd = socket(family->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (p->receive_buffer[side])
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &p->receive_buffer[side], sizeof(int));
	if (p->send_buffer[side])
		setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &p->send_buffer[side], sizeof(int));
	if (p->keepalive) {
		setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
		setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &one, sizeof(one));
		setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &one, sizeof(one));
	}
	return fd;
}

static int attend(struct tunnel *t, int fd)
{
	struct epoll_event e = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = t};

	return epoll_ctl(t->env->epoll, EPOLL_CTL_ADD, fd, &e) ? -errno : 0;
}

static socklen_t length(const struct sockaddr_storage *a)
{
	return a->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
}

static uint16_t port_of(int fd)
{
	struct sockaddr_storage a = {0};
	socklen_t len = sizeof(a);

	getsockname(fd, (struct sockaddr *)&a, &len);
	return ntohs(((struct sockaddr_in *)&a)->sin_port); /* at the same place in both families */
}

/* A port of its own tells which tunnel a connection belongs to. */
static int open_server(struct tunnel *t)
{
	struct sockaddr_storage a = t->env->server;

	if (t->env->first_port)
		((struct sockaddr_in *)&a)->sin_port = htons(t->env->first_port + t->slot);
	t->listener = new_socket(t, SERVER, &a);
	if (t->listener < 0)
		return t->listener;
	if (bind(t->listener, (struct sockaddr *)&a, length(&a)) || listen(t->listener, 4))
		return -errno;
	t->port[SERVER] = port_of(t->listener);
	return attend(t, t->listener);
}

static int open_client(struct tunnel *t)
{
	const struct sockaddr_storage *a = &t->env->proxy;
	int fd = new_socket(t, CLIENT, a);

	if (fd < 0)
		return fd;
	t->end[CLIENT].fd = fd;
	if (connect(fd, (const struct sockaddr *)a, length(a)) && errno != EINPROGRESS)
		return -errno;
	t->port[CLIENT] = port_of(fd);
	return attend(t, fd);
}

static void write_head(struct tunnel *t)
{
	const struct sockaddr_storage *a = &t->env->server;
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)a;
	const struct sockaddr_in *in = (const struct sockaddr_in *)a;
	char text[INET6_ADDRSTRLEN], authority[INET6_ADDRSTRLEN + 10];

	if (a->ss_family == AF_INET6)
		inet_ntop(AF_INET6, &in6->sin6_addr, text, sizeof(text));
	else
		inet_ntop(AF_INET, &in->sin_addr, text, sizeof(text));
	snprintf(authority, sizeof(authority), a->ss_family == AF_INET6 ? "[%s]:%u" : "%s:%u", text,
		 t->port[SERVER]);
	t->head_len =
		(uint32_t)snprintf(t->head, sizeof(t->head),
				   "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n", authority, authority);
}

static void begin_round(struct tunnel *t)
{
	const struct round *round = &t->plan.round[t->round];

	t->state = STATE_ROUND;
	for (int side = 0; side < 2; side++) {
		t->goal[side] += round->bytes[side];
		if (round->turn == TURN_BOTH || (int)round->turn == side)
			t->end[side].may_send = t->goal[side];
	}
}

int tunnel_start(struct tunnel *t, const struct environment *env, uint64_t now_us)
{
	struct random random = {env->seed * 0x100000001b3 + t->number};
	int r;

	*t = (struct tunnel){.env = env,
			     .number = t->number,
			     .slot = t->slot,
			     .listener = -1,
			     .began_us = now_us};
	plan_draw(&t->plan, &env->mix, &random);
	for (int side = 0; side < 2; side++) {
		t->end[side].fd = -1;
		t->end[side].stream = random_next(&random);
		t->end[side].slow = t->plan.slow[side];
	}
	r = open_server(t);
	if (!r) {
		write_head(t);
		r = open_client(t);
	}
	begin_round(t);
	t->state = STATE_HEAD;
	t->late_us = now_us + env->patience_ms * 1000ull;
	return r;
}

void tunnel_close(struct tunnel *t)
{
	end_close(&t->end[CLIENT]);
	end_close(&t->end[SERVER]);
	if (t->listener >= 0)
		close(t->listener);
	t->listener = -1;
}

/* --- the head --- */

static void accept_server(struct tunnel *t)
{
	int fd = accept4(t->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd < 0)
		return;
	close(t->listener);
	t->listener = -1;
	t->end[SERVER].fd = fd;
	if (attend(t, fd))
		t->failure = "epoll";
}

/* Where the next piece of the head ends. */
static uint32_t next_piece(const struct tunnel *t)
{
	uint32_t third = t->head_len / 3;

	if (t->plan.head != HEAD_SPLIT || t->head_sent >= 2 * third)
		return t->head_len;
	return t->head_sent >= third ? 2 * third : third;
}

/* Behind an early head its first bytes go out with it, in one segment. */
static void send_head(struct tunnel *t, uint64_t now_us)
{
	bool early = t->plan.head == HEAD_EARLY && t->end[CLIENT].may_send;
	int flags = MSG_NOSIGNAL | (early ? MSG_MORE : 0);
	ssize_t n;

	if (now_us < t->wake_us)
		return;
	n = send(t->end[CLIENT].fd, t->head + t->head_sent, next_piece(t) - t->head_sent, flags);
	if (n < 0 && errno == EAGAIN)
		return;
	if (n < 0) {
		t->failure = errno == ECONNREFUSED ? "refused" : "reset before the answer";
		return;
	}
	t->head_sent += (uint32_t)n;
	t->wake_us = now_us + PIECE_WAIT_US;
}

/* Takes no byte of what follows the answer. */
static void read_answer(struct tunnel *t)
{
	char answer[1024] = "", *end;
	ssize_t n = recv(t->end[CLIENT].fd, answer, sizeof(answer) - 1, MSG_PEEK);

	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0) {
		t->failure = n ? "reset before the answer" : "end before the answer";
		return;
	}
	end = strstr(answer, "\r\n\r\n");
	if (!end)
		return;
	if (strncmp(answer, "HTTP/1.1 200", 12))
		t->failure = "not 200";
	else if (recv(t->end[CLIENT].fd, answer, (size_t)(end + 4 - answer), 0) < 0)
		t->failure = "reset before the answer";
	t->answered = true;
}

static void step_head(struct tunnel *t, uint64_t now_us)
{
	if (t->head_sent < t->head_len)
		send_head(t, now_us);
	if (!t->failure && t->head_sent == t->head_len && !t->answered)
		read_answer(t);
	if (t->answered && t->end[SERVER].fd >= 0)
		t->state = STATE_ROUND;
}

/* --- bytes --- */

static bool may_write(const struct tunnel *t, int side)
{
	if (side == SERVER)
		return true;
	return t->answered || (t->plan.head == HEAD_EARLY && t->head_sent == t->head_len);
}

static const char *carry(struct tunnel *t, int side, uint64_t now_us)
{
	struct end *e = &t->end[side], *other = &t->end[!side];
	const char *bad = NULL;

	if (e->fd < 0)
		return NULL;
	if (may_write(t, side))
		bad = end_write(e);
	if (!bad && (side == SERVER || t->answered))
		bad = end_read(e, other->stream, now_us);
	if (!bad && e->received > other->sent)
		bad = "bytes that were never sent";
	if (e->slow)
		t->look_us = now_us + SLOW_WAKE_US;
	return bad;
}

/* --- rounds --- */

static bool has_all(const struct tunnel *t, enum side side)
{
	return t->end[side].received == t->goal[!side];
}

static bool is_last(const struct tunnel *t)
{
	return t->round + 1 == t->plan.rounds;
}

/* An end that resets in the middle of the last round. */
static bool cut(struct tunnel *t)
{
	enum side side = t->plan.ending == END_CUT_SERVER;
	uint64_t before = t->goal[!side] - t->plan.round[t->round].bytes[!side];

	if (!is_last(t) || t->plan.ending < END_CUT_CLIENT ||
	    t->end[side].received < before + t->plan.cut)
		return false;
	end_reset(&t->end[side]);
	t->state = STATE_ENDING;
	return true;
}

/* A server that closes as soon as it has written its last byte. */
static bool close_server(struct tunnel *t)
{
	struct end *e = &t->end[SERVER];

	if (!is_last(t) || t->plan.ending != END_CLOSE_SERVER || !has_all(t, SERVER) ||
	    e->sent < t->goal[SERVER])
		return false;
	end_close(e);
	e->fin_sent = true;
	t->state = STATE_ENDING;
	return true;
}

static void step_round(struct tunnel *t, uint64_t now_us)
{
	const struct round *round = &t->plan.round[t->round];

	for (int side = 0; side < 2; side++)
		if (has_all(t, side))
			t->end[side].may_send = t->goal[side];
	if (cut(t) || close_server(t) || !has_all(t, CLIENT) || !has_all(t, SERVER))
		return;
	t->state = STATE_PAUSE;
	t->wake_us = now_us + round->pause_ms * 1000ull;
	t->late_us = t->wake_us + t->env->patience_ms * 1000ull;
}

/* --- endings --- */

static void begin_ending(struct tunnel *t)
{
	t->state = STATE_ENDING;
	switch (t->plan.ending) {
	case END_FIN_BOTH:
		end_finish(&t->end[CLIENT]);
		end_finish(&t->end[SERVER]);
		break;
	case END_FIN_CLIENT:
	case END_HALF_CLIENT:
		end_finish(&t->end[CLIENT]);
		break;
	case END_RST_CLIENT:
	case END_CUT_CLIENT:
		end_reset(&t->end[CLIENT]);
		break;
	case END_RST_SERVER:
	case END_CUT_SERVER:
		end_reset(&t->end[SERVER]);
		break;
	default:
		end_finish(&t->end[SERVER]);
	}
}

/* Whether no end can send more at once than the other has room for: such pairs stay copied. */
static bool has_room(const struct tunnel *t)
{
	uint32_t own[2], flight[2];

	for (int side = 0; side < 2; side++)
		if (!end_windows(&t->end[side], &own[side], &flight[side]))
			return true;
	return own[CLIENT] >= flight[SERVER] && own[SERVER] >= flight[CLIENT];
}

static void step_pause(struct tunnel *t, uint64_t now_us)
{
	if (now_us < t->wake_us)
		return;
	if (t->plan.round[t->round].pause_ms >= QUIET_MS) {
		t->had_quiet = true;
		t->had_room |= has_room(t);
	}
	if (is_last(t)) {
		begin_ending(t);
		return;
	}
	t->round++;
	begin_round(t);
}

/* The side that answers the first FIN: with its own, or with more bytes first. */
static void answer_finish(struct tunnel *t, enum side side)
{
	bool half = t->plan.ending == END_HALF_CLIENT || t->plan.ending == END_HALF_SERVER;
	struct end *e = &t->end[side];

	if (!e->fin_received || e->fin_sent || e->fd < 0)
		return;
	if (half && t->state == STATE_ENDING) {
		t->goal[side] += t->plan.tail;
		e->may_send = t->goal[side];
		t->state = STATE_TAIL;
	}
	if (e->sent == t->goal[side])
		end_finish(e);
}

static bool is_done(const struct end *e)
{
	return e->fd < 0 || e->fin_received;
}

/* Nobody sends a lost RST again, and one that overtook the last bytes may not count. Whoever waits for
 * it learns of it by its next byte, which no socket takes. */
static void await_reset(struct tunnel *t, uint64_t now_us)
{
	struct end *e = &t->end[t->end[CLIENT].fd < 0];

	if (e->reset) {
		t->state = STATE_OVER;
		return;
	}
	if (t->ask_us && now_us < t->ask_us)
		return;
	if (t->ask_us) {
		send(e->fd, "", 1, MSG_NOSIGNAL);
		t->asked++;
	}
	t->ask_us = now_us + t->env->patience_ms * 1000ull / ASKS;
}

static void step_ending(struct tunnel *t, uint64_t now_us)
{
	if (plan_resets(&t->plan)) {
		await_reset(t, now_us);
		return;
	}
	answer_finish(t, CLIENT);
	answer_finish(t, SERVER);
	if (is_done(&t->end[CLIENT]) && is_done(&t->end[SERVER]))
		t->state = STATE_OVER;
}

/* --- what must not be --- */

static const char *judge(const struct tunnel *t, int side)
{
	const struct end *e = &t->end[side], *other = &t->end[!side];
	bool gone = other->fd < 0 && plan_resets(&t->plan) && t->state >= STATE_ENDING;

	if (e->reset && !gone)
		return "reset";
	if (!e->fin_received || e->fd < 0)
		return NULL;
	if (gone)
		return "FIN instead of RST";
	if (!other->fin_sent)
		return "early end";
	return has_all(t, side) ? NULL : "truncated";
}

static void note_progress(struct tunnel *t, uint64_t now_us)
{
	uint64_t progress = t->head_sent + t->answered + t->round;

	for (int side = 0; side < 2; side++)
		progress += t->end[side].sent + t->end[side].received + t->end[side].fin_received;
	if (progress != t->progress)
		t->late_us = now_us + t->env->patience_ms * 1000ull;
	if (now_us > t->late_us)
		t->failure = "stalled";
	t->progress = progress;
}

static void advance(struct tunnel *t, uint64_t now_us)
{
	switch (t->state) {
	case STATE_HEAD:
		step_head(t, now_us);
		break;
	case STATE_ROUND:
		step_round(t, now_us);
		break;
	case STATE_PAUSE:
		step_pause(t, now_us);
		break;
	case STATE_ENDING:
	case STATE_TAIL:
		step_ending(t, now_us);
		break;
	case STATE_OVER:
		break;
	}
}

bool tunnel_is_due(const struct tunnel *t, uint64_t now_us)
{
	bool wake = t->wake_us && now_us >= t->wake_us, look = t->look_us && now_us >= t->look_us;
	bool ask = t->ask_us && now_us >= t->ask_us;

	return wake || look || ask || now_us > t->late_us;
}

/* Changes with each step that allows something new. */
static uint64_t mark(const struct tunnel *t)
{
	return t->state + ((uint64_t)t->round << 8) + (t->end[CLIENT].may_send << 16) +
	       (t->end[SERVER].may_send << 16);
}

/* Repeats itself as long as that allows something new: no event will tell of that. */
void tunnel_step(struct tunnel *t, uint64_t now_us)
{
	uint64_t before;

	t->look_us = 0;
	if (t->wake_us && now_us >= t->wake_us)
		t->wake_us = 0;
	if (t->listener >= 0)
		accept_server(t);
	do {
		before = mark(t);
		for (int side = 0; side < 2 && !t->failure; side++)
			t->failure = carry(t, side, now_us);
		for (int side = 0; side < 2 && !t->failure; side++)
			t->failure = judge(t, side);
		if (!t->failure)
			advance(t, now_us);
	} while (!t->failure && before != mark(t));
	if (!t->failure)
		note_progress(t, now_us);
}
