/* SPDX-License-Identifier: BSD-2-Clause */
/* The server behind every proxy of the benchmarks: origin ADDRESS PORT THREADS.
 *
 * The first byte of a connection, and each one after an answered `p`, is a command:
 *   p  answers p and waits for the next command
 *   e  echoes all that follows
 *   g  sends zeros until the client has enough
 *   G  it is an HTTP request: GET .../N HTTP/1.1 is answered by N bytes, N <= 1048576
 * Anything else ends the connection. Requests are not pipelined. A connection that doesn't take what was written is waited for
 * without being read: a client that neither reads nor closes only stalls itself. */

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/util.h"

#define EVENTS	 256
#define PIECE	 (256 << 10)
#define HEAD_MAX 2048
#define BODY_MAX (1 << 20)

enum mode {
	COMMAND,
	ECHO,
	GENERATE,
	HTTP,
};

struct conn {
	int fd;
	enum mode mode;
	size_t head;	    /* bytes of a request's head held */
	size_t out, sent;   /* an answer's length, and what of it is written */
	const char *answer; /* its bytes */
	char text[HEAD_MAX];
};

struct worker {
	struct sockaddr_in address;
	int epoll;
	char piece[PIECE];
	char body[BODY_MAX + 256];
};

static void end(struct conn *c)
{
	close(c->fd);
	free(c);
}

static int listen_at(const struct sockaddr_in *address)
{
	int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one));
	if (fd < 0 || bind(fd, (const struct sockaddr *)address, sizeof(*address)) ||
	    listen(fd, 4096)) {
		perror("origin: listen");
		exit(1);
	}
	return fd;
}

static void watch(struct worker *w, struct conn *c, int op, uint32_t events)
{
	struct epoll_event e = {.events = events, .data.ptr = c};

	epoll_ctl(w->epoll, op, c->fd, &e);
}

/* Writes the rest of the answer. False: the connection is over. */
static bool flush(struct worker *w, struct conn *c)
{
	while (c->sent < c->out) {
		ssize_t n = send(c->fd, c->answer + c->sent, c->out - c->sent, MSG_NOSIGNAL);

		if (n < 0)
			return errno == EAGAIN;
		c->sent += (size_t)n;
	}
	c->out = c->sent = 0;
	watch(w, c, EPOLL_CTL_MOD, EPOLLIN);
	return true;
}

/* What doesn't fit now is written when there is room. */
static bool answer(struct worker *w, struct conn *c, const char *bytes, size_t n)
{
	ssize_t sent = send(c->fd, bytes, n, MSG_NOSIGNAL);

	if (sent < 0 && errno != EAGAIN)
		return false;
	if (sent == (ssize_t)n)
		return true;
	c->sent = sent < 0 ? 0 : (size_t)sent;
	c->answer = bytes;
	c->out = n;
	watch(w, c, EPOLL_CTL_MOD, EPOLLOUT);
	return true;
}

static bool generate(struct worker *w, struct conn *c)
{
	return send(c->fd, w->piece, sizeof(w->piece), MSG_NOSIGNAL) >= 0 || errno == EAGAIN;
}

/* Answers the request at the start of c->text, whose head ends at `head`. The body of zeros begins at
 * w->body + 256, and the head is written right before it. */
static bool answer_request(struct worker *w, struct conn *c, const char *head)
{
	const char *space = memmem(c->text, (size_t)(head - c->text), " HTTP/", 6);
	const char *slash = space ? memrchr(c->text, '/', (size_t)(space - c->text)) : NULL;
	unsigned long length = slash ? strtoul(slash + 1, NULL, 10) : 0;
	char text[256];
	int n;

	if (!slash || length > BODY_MAX)
		return false;
	n = snprintf(text, sizeof(text),
		     "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %lu\r\n\r\n",
		     length);
	memcpy(w->body + 256 - n, text, (size_t)n);
	return answer(w, c, w->body + 256 - n, (size_t)n + length);
}

static bool read_requests(struct worker *w, struct conn *c)
{
	ssize_t n = recv(c->fd, c->text + c->head, sizeof(c->text) - c->head, 0);
	char *mark;

	if (n <= 0)
		return n < 0 && errno == EAGAIN;
	c->head += (size_t)n;
	while (!c->out && (mark = memmem(c->text, c->head, "\r\n\r\n", 4))) {
		size_t used = (size_t)(mark + 4 - c->text);

		if (!answer_request(w, c, mark))
			return false;
		memmove(c->text, c->text + used, c->head - used);
		c->head -= used;
	}
	return c->head < sizeof(c->text);
}

static bool echo(struct worker *w, struct conn *c)
{
	ssize_t n = recv(c->fd, c->text, sizeof(c->text), 0);

	if (n <= 0)
		return n < 0 && errno == EAGAIN;
	return answer(w, c, c->text, (size_t)n);
}

static bool take_command(struct worker *w, struct conn *c)
{
	char command;
	ssize_t n = recv(c->fd, &command, 1, MSG_PEEK);

	if (n <= 0)
		return n < 0 && errno == EAGAIN;
	if (command != 'G')
		recv(c->fd, &command, 1, 0);
	switch (command) {
	case 'p':
		return answer(w, c, "p", 1);
	case 'e':
		c->mode = ECHO;
		return true;
	case 'g':
		c->mode = GENERATE;
		watch(w, c, EPOLL_CTL_MOD, EPOLLOUT);
		return true;
	case 'G':
		c->mode = HTTP;
		return true;
	default:
		return false;
	}
}

static bool serve(struct worker *w, struct conn *c, uint32_t events)
{
	if (events & (EPOLLERR | EPOLLHUP))
		return false;
	if (c->out)
		return flush(w, c);
	switch (c->mode) {
	case COMMAND:
		return take_command(w, c);
	case ECHO:
		return echo(w, c);
	case HTTP:
		return read_requests(w, c);
	case GENERATE:
		return generate(w, c);
	}
	return false;
}

static void take_connections(struct worker *w, int listener)
{
	int one = 1, fd;

	for (int i = 0; i < 64; i++) {
		struct conn *c;

		fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0)
			return;
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		c = calloc(1, sizeof(*c));
		if (!c) {
			close(fd);
			return;
		}
		c->fd = fd;
		watch(w, c, EPOLL_CTL_ADD, EPOLLIN);
	}
}

static void *work(void *argument)
{
	struct worker *w = argument;
	int listener = listen_at(&w->address);
	struct epoll_event event[EVENTS], e = {.events = EPOLLIN};

	w->epoll = epoll_create1(EPOLL_CLOEXEC);
	epoll_ctl(w->epoll, EPOLL_CTL_ADD, listener, &e);
	for (;;) {
		int n = epoll_wait(w->epoll, event, EVENTS, -1);

		for (int i = 0; i < n; i++) {
			struct conn *c = event[i].data.ptr;

			if (!c)
				take_connections(w, listener);
			else if (!serve(w, c, event[i].events))
				end(c);
		}
	}
	return NULL;
}

int main(int argc, char **argv)
{
	struct sockaddr_in address = {.sin_family = AF_INET};
	int threads = argc == 4 ? atoi(argv[3]) : 0;
	pthread_t thread;

	if (threads < 1 || threads > 64 || inet_pton(AF_INET, argv[1], &address.sin_addr) != 1) {
		fputs("usage: origin ADDRESS PORT THREADS\n", stderr);
		return 2;
	}
	address.sin_port = htons((uint16_t)atoi(argv[2]));
	for (int i = 0; i < threads; i++) {
		struct worker *w = calloc(1, sizeof(*w));

		if (!w)
			return 1;
		w->address = address;
		if (pthread_create(&thread, NULL, work, w))
			return 1;
	}
	pthread_join(thread, NULL);
	return 0;
}
