/* SPDX-License-Identifier: BSD-2-Clause */
#include "ends.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <netinet/tcp.h>

#define MAGIC	 0x51a7c0de5eed5eedull
#define STUCK_S	 20
#define PIECE	 (128 * 1024)
#define ENDS_MAX 4096

struct header {
	uint64_t magic;
	uint64_t seed;
	uint32_t len;	/* bytes behind the header */
	uint32_t reset; /* the tunnel is going to be reset by one of its ends */
};

enum rhythm {
	STEADY,	 /* as fast as it goes */
	BURSTY,	 /* with pauses */
	DRIBBLE, /* little by little */
	LATE,	 /* not for the first 50 ms */
	RHYTHMS,
};

struct end {
	int fd;
	bool client;
	enum rhythm writes, reads;
	bool waits_for_byte, waits_for_end; /* before it sends more than its header */
	bool resets;			    /* instead of FIN, somewhere in the middle */
	struct header own, peer;
	uint64_t sent, got;
	bool finished, ended;
	uint64_t write_us, read_us; /* not before */
};

struct ends {
	const struct ends_plan *plan;
	struct ends_result *result;
	struct end *end[ENDS_MAX];
	unsigned n, started, clients;
	uint64_t random;
	/* Of any end: one may wait for a slow one at the other side of its tunnel. What is stuck shows
	 * when all others have ended. */
	uint64_t progress_us;
	uint8_t piece[PIECE];
};

static uint64_t now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static uint64_t below(struct ends *e, uint64_t n)
{
	e->random ^= e->random << 13;
	e->random ^= e->random >> 7;
	e->random ^= e->random << 17;
	return (e->random >> 11) % n;
}

static uint8_t byte_at(const struct header *h, uint64_t at)
{
	uint64_t word = h->seed + (at >> 3) * 0x9e3779b97f4a7c15ull;

	if (at < sizeof(*h))
		return ((const uint8_t *)h)[at];
	return (uint8_t)(word >> (at & 7) * 8) ^ (uint8_t)at;
}

static uint64_t total(const struct header *h)
{
	return sizeof(*h) + h->len;
}

/* --- ends come and go --- */

static uint32_t any_size(struct ends *e)
{
	uint64_t kind = below(e, 10);

	if (kind < 1)
		return 0;
	if (kind < 5)
		return (uint32_t)below(e, 200);
	if (kind < 8)
		return (uint32_t)below(e, 65536);
	return (uint32_t)below(e, e->plan->bytes_max);
}

static enum rhythm any_rhythm(struct ends *e)
{
	return below(e, 2) ? STEADY : (enum rhythm)below(e, RHYTHMS);
}

static void add(struct ends *e, int fd, bool client)
{
	struct end *end = calloc(1, sizeof(*end));
	int one = 1, small = 32768 << below(e, 3);

	if (!end || e->n == ENDS_MAX)
		abort();
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (below(e, 4) == 0)
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	*end = (struct end){
		.fd = fd,
		.client = client,
		.writes = any_rhythm(e),
		.reads = any_rhythm(e),
		.waits_for_byte = !client && below(e, 3) == 0,
		.waits_for_end = client ? false : below(e, 4) == 0,
		.resets = below(e, 25) == 0,
		.own = {.magic = MAGIC, .seed = below(e, UINT64_MAX), .len = any_size(e)},
	};
	end->own.reset = end->resets;
	if (end->writes == DRIBBLE)
		end->own.len %= 4000;
	if (end->writes == LATE)
		end->write_us = now_us() + 50000;
	if (end->reads == LATE)
		end->read_us = now_us() + 50000;
	e->end[e->n++] = end;
	e->clients += client;
	e->progress_us = now_us();
	e->result->planned_resets += end->resets;
}

static void note(struct ends *e, const struct end *end, unsigned *what, const char *name)
{
	(*what)++;
	if (e->result->first[0])
		return;
	snprintf(e->result->first, sizeof(e->result->first),
		 "%s at a %s: got %llu of %llu, sent %llu of %llu, finished %d, ended %d", name,
		 end->client ? "client" : "server", (unsigned long long)end->got,
		 (unsigned long long)(end->got < sizeof(end->peer) ? 0 : total(&end->peer)),
		 (unsigned long long)end->sent, (unsigned long long)total(&end->own), end->finished,
		 end->ended);
}

static void end_end(struct ends *e, unsigned i)
{
	struct end *end = e->end[i];

	e->result->bytes += end->got;
	e->clients -= end->client;
	close(end->fd);
	free(end);
	e->end[i] = e->end[--e->n];
}

/* The other end may have been reset before it could say so: nothing that it lacks is a fault then. */
static bool is_cut(const struct end *end)
{
	return end->resets || end->got < sizeof(end->peer) || end->peer.reset;
}

static void broken(struct ends *e, unsigned i)
{
	struct end *end = e->end[i];

	if (is_cut(end))
		e->result->cut++;
	else
		note(e, end, &e->result->reset, "a reset");
	end_end(e, i);
}

/* --- moving; false: the end is gone --- */

static bool check(struct end *end, const uint8_t *data, size_t n)
{
	for (size_t i = 0; i < n; i++, end->got++) {
		if (end->got < sizeof(end->peer))
			((uint8_t *)&end->peer)[end->got] = data[i];
		else if (end->got >= total(&end->peer) || data[i] != byte_at(&end->peer, end->got))
			return false;
		if (end->got == sizeof(end->peer) - 1 && end->peer.magic != MAGIC)
			return false;
	}
	return true;
}

static void pause_reads(struct ends *e, struct end *end)
{
	if (end->reads == BURSTY && below(e, 4) == 0)
		end->read_us = now_us() + below(e, 20000);
	if (end->reads == DRIBBLE)
		end->read_us = now_us() + below(e, 2000);
}

static bool read_end(struct ends *e, unsigned i)
{
	struct end *end = e->end[i];
	size_t most = end->reads == STEADY ? PIECE : end->reads == DRIBBLE ? 8192 : 16384;
	ssize_t n = recv(end->fd, e->piece, most, MSG_DONTWAIT);

	if (n < 0 && errno == EAGAIN)
		return true;
	if (n < 0) {
		broken(e, i);
		return false;
	}
	e->progress_us = now_us();
	if (!check(end, e->piece, (size_t)n)) {
		note(e, end, &e->result->corrupt, "a wrong byte");
		end_end(e, i);
		return false;
	}
	end->ended = n == 0;
	pause_reads(e, end);
	return true;
}

static size_t next_piece(struct ends *e, struct end *end)
{
	uint64_t most = end->writes == DRIBBLE ? 100 : 1ull << below(e, 18);
	uint64_t left = total(&end->own) - end->sent;
	uint64_t n = 1 + below(e, most);

	if (end->writes == BURSTY && below(e, 8) == 0)
		end->write_us = now_us() + below(e, 10000);
	if (end->writes == DRIBBLE)
		end->write_us = now_us() + below(e, 1000);
	n = n < left ? n : left;
	return n < PIECE ? n : PIECE;
}

static bool write_end(struct ends *e, unsigned i)
{
	struct linger abortive = {.l_onoff = 1};
	struct end *end = e->end[i];
	ssize_t n;

	if (end->resets && below(e, 8) == 0) {
		setsockopt(end->fd, SOL_SOCKET, SO_LINGER, &abortive, sizeof(abortive));
		e->result->cut++;
		end_end(e, i);
		return false;
	}
	if (end->sent == total(&end->own)) {
		shutdown(end->fd, SHUT_WR);
		end->finished = true;
		return true;
	}
	n = (ssize_t)next_piece(e, end);
	for (ssize_t k = 0; k < n; k++)
		e->piece[k] = byte_at(&end->own, end->sent + (uint64_t)k);
	n = send(end->fd, e->piece, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n < 0 && errno == EAGAIN)
		return true;
	if (n < 0) {
		broken(e, i);
		return false;
	}
	end->sent += (uint64_t)n;
	e->progress_us = now_us();
	return true;
}

static bool may_write(const struct end *end)
{
	if (end->finished)
		return false;
	if (end->waits_for_byte && !end->got && !end->ended)
		return false;
	return !end->waits_for_end || end->ended || end->sent < sizeof(end->own);
}

static void judge(struct ends *e, unsigned i)
{
	struct end *end = e->end[i];

	if (end->finished && end->ended) {
		if (end->got >= sizeof(end->peer) && end->got == total(&end->peer))
			e->result->complete++;
		else
			note(e, end, &e->result->truncated, "an early end");
		end_end(e, i);
	} else if (now_us() - e->progress_us > STUCK_S * 1000000ull) {
		note(e, end, &e->result->stuck, "no progress");
		end_end(e, i);
	}
}

/* --- the loop --- */

static void start_client(struct ends *e)
{
	struct sockaddr_in a = {.sin_family = AF_INET,
				.sin_port = htons(e->plan->proxy_port),
				.sin_addr = {htonl(INADDR_LOOPBACK)}};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	e->started++;
	if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0) {
		e->result->unanswered++;
		close(fd);
		return;
	}
	add(e, fd, true);
}

static void accept_servers(struct ends *e)
{
	int fd;

	while ((fd = accept4(e->plan->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0)
		add(e, fd, false);
}

static void wait_for_any(struct ends *e, struct pollfd *p)
{
	uint64_t now = now_us();

	p[0] = (struct pollfd){.fd = e->plan->listener, .events = POLLIN};
	for (unsigned i = 0; i < e->n; i++) {
		struct end *end = e->end[i];
		short events = 0;

		if (!end->ended && now >= end->read_us)
			events |= POLLIN;
		if (may_write(end) && now >= end->write_us)
			events |= POLLOUT;
		p[i + 1] = (struct pollfd){.fd = events ? end->fd : -1, .events = events};
	}
	poll(p, e->n + 1, 1);
}

static void turn(struct ends *e)
{
	static struct pollfd p[ENDS_MAX + 1];

	while (e->started < e->plan->tunnels && e->clients < e->plan->at_once)
		start_client(e);
	wait_for_any(e, p);
	/* From behind, because an end that is gone is replaced by the last one. */
	for (unsigned i = e->n; i-- > 0;) {
		short events = p[i + 1].revents;

		if (events & (POLLIN | POLLHUP | POLLERR) && !e->end[i]->ended && !read_end(e, i))
			continue;
		if (events & POLLOUT && !write_end(e, i))
			continue;
		judge(e, i);
	}
	accept_servers(e);
}

void ends_run(const struct ends_plan *plan, struct ends_result *ret)
{
	struct ends *e = calloc(1, sizeof(*e));

	if (!e)
		abort();
	*ret = (struct ends_result){0};
	e->plan = plan;
	e->result = ret;
	e->random = plan->seed | 1;
	while (e->started < plan->tunnels || e->n)
		turn(e);
	free(e);
}
