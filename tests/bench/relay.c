/* SPDX-License-Identifier: BSD-2-Clause */
/* The least that a relay in user space can do, to measure proxies against:
 *
 *   relay splice|copy ADDRESS PORT TARGET_ADDRESS TARGET_PORT THREADS
 *
 * splice moves bytes through a pipe of 1 MiB a direction by splice(2); copy reads and writes 256 KiB.
 * Level-triggered, one epoll a thread, SO_REUSEPORT. A direction that can't be written waits and isn't
 * read meanwhile. It passes on no half-close: the end of one direction is the end of the pair. */

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/util.h"

#define EVENTS 256
#define PIECE  (256 << 10)
#define PIPE   (1 << 20)

struct pair;

/* One end, and what is read from it but not yet written to the other. */
struct end {
	struct pair *pair;
	int fd;
	int pipe[2];
	char *held;
	size_t at, n; /* of held; or n bytes are in the pipe */
	uint32_t events;
};

struct pair {
	struct end end[2];
	bool over;
	struct pair *next; /* in the list of those to free */
};

static struct sockaddr_in own = {.sin_family = AF_INET}, target = {.sin_family = AF_INET};
static bool by_splice;

static void watch(int epoll, struct end *e, int op, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.ptr = e};

	if (op == EPOLL_CTL_MOD && e->events == events)
		return;
	e->events = events;
	epoll_ctl(epoll, op, e->fd, &event);
}

static void free_pair(struct pair *p)
{
	for (int i = 0; i < 2; i++) {
		sl_close(p->end[i].fd);
		sl_close(p->end[i].pipe[0]);
		sl_close(p->end[i].pipe[1]);
		free(p->end[i].held);
	}
	free(p);
}

static ssize_t fill(struct end *from)
{
	ssize_t n;

	if (by_splice)
		n = splice(from->fd, NULL, from->pipe[1], NULL, PIPE, SPLICE_F_NONBLOCK);
	else
		n = recv(from->fd, from->held, PIECE, 0);
	if (n > 0) {
		from->at = 0;
		from->n = (size_t)n;
	}
	return n;
}

static ssize_t empty(struct end *from, const struct end *to)
{
	ssize_t n;

	if (by_splice)
		n = splice(from->pipe[0], NULL, to->fd, NULL, from->n, SPLICE_F_NONBLOCK);
	else
		n = send(to->fd, from->held + from->at, from->n, MSG_NOSIGNAL);
	if (n > 0) {
		from->at += (size_t)n;
		from->n -= (size_t)n;
	}
	return n;
}

/* Moves what it can, 16 times at most. False: the pair is over. */
static bool move(struct end *from, const struct end *to)
{
	for (int i = 0; i < 16; i++) {
		ssize_t n = from->n ? 1 : fill(from);

		if (n > 0)
			n = empty(from, to);
		if (n == 0 || (n < 0 && errno != EAGAIN))
			return false;
		if (n < 0)
			return true;
	}
	return true;
}

/* Reads where nothing is held, waits for room where something is. */
static void update(int epoll, struct pair *p)
{
	for (int i = 0; i < 2; i++)
		watch(epoll, &p->end[i], EPOLL_CTL_MOD,
		      (p->end[i].n ? 0 : EPOLLIN) | (p->end[!i].n ? EPOLLOUT : 0));
}

static bool open_end(struct pair *p, int i, int fd)
{
	struct end *e = &p->end[i];
	int one = 1;

	*e = (struct end){.pair = p, .fd = fd, .pipe = {-1, -1}};
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (by_splice)
		return !pipe2(e->pipe, O_NONBLOCK | O_CLOEXEC) &&
		       fcntl(e->pipe[0], F_SETPIPE_SZ, PIPE) > 0;
	e->held = malloc(PIECE);
	return e->held;
}

static void take(int epoll, int fd)
{
	struct pair *p = calloc(1, sizeof(*p));
	int to = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	bool opened;

	if (!p || to < 0) {
		sl_close(fd);
		sl_close(to);
		free(p);
		return;
	}
	/* Both, so that free_pair() finds both descriptors. */
	opened = open_end(p, 0, fd);
	opened = open_end(p, 1, to) && opened;
	if (!opened ||
	    (connect(to, (const struct sockaddr *)&target, sizeof(target)) && errno != EINPROGRESS))
		return free_pair(p);
	watch(epoll, &p->end[0], EPOLL_CTL_ADD, EPOLLIN);
	/* Until it is connected reading it tells EAGAIN, and writing to it, too. */
	watch(epoll, &p->end[1], EPOLL_CTL_ADD, EPOLLIN);
}

/* A pair may have two events in one batch: it is freed behind it. */
static void handle(int epoll, struct end *e, struct pair **over)
{
	struct pair *p = e->pair;

	if (p->over)
		return;
	if (move(&p->end[0], &p->end[1]) && move(&p->end[1], &p->end[0]))
		return update(epoll, p);
	p->over = true;
	p->next = *over;
	*over = p;
}

static int listen_here(void)
{
	int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one));
	if (fd < 0 || bind(fd, (const struct sockaddr *)&own, sizeof(own)) || listen(fd, 4096)) {
		perror("relay: listen");
		exit(1);
	}
	return fd;
}

static void *work(void *unused)
{
	int epoll = epoll_create1(EPOLL_CLOEXEC), listener = listen_here();
	struct epoll_event event[EVENTS], e = {.events = EPOLLIN};

	epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &e);
	for (;;) {
		int fd, n = epoll_wait(epoll, event, EVENTS, -1);
		struct pair *over = NULL;

		for (int i = 0; i < n; i++) {
			if (event[i].data.ptr)
				handle(epoll, event[i].data.ptr, &over);
			else if ((fd = accept4(listener, NULL, NULL,
					       SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0)
				take(epoll, fd);
		}
		for (struct pair *p = over, *next; p; p = next) {
			next = p->next;
			free_pair(p);
		}
	}
	return NULL;
}

int main(int argc, char **argv)
{
	int threads = argc == 7 ? atoi(argv[6]) : 0;
	pthread_t thread;

	if (threads < 1 || threads > 64 || inet_pton(AF_INET, argv[2], &own.sin_addr) != 1 ||
	    inet_pton(AF_INET, argv[4], &target.sin_addr) != 1) {
		fputs("usage: relay splice|copy ADDRESS PORT TARGET PORT THREADS\n", stderr);
		return 2;
	}
	by_splice = !strcmp(argv[1], "splice");
	signal(SIGPIPE, SIG_IGN); /* splice(2) knows no MSG_NOSIGNAL */
	own.sin_port = htons((uint16_t)atoi(argv[3]));
	target.sin_port = htons((uint16_t)atoi(argv[5]));
	for (int i = 0; i < threads; i++)
		if (pthread_create(&thread, NULL, work, NULL))
			return 1;
	pthread_join(thread, NULL);
	return 0;
}
