/* SPDX-License-Identifier: BSD-2-Clause */
/* The bounded little server behind the admin socket and the metrics address.
 *
 * A client is READING (its deadline runs until a request is whole), then WRITING (until the answer is
 * taken), then READING again or LINGERING: our end is finished, and what still comes is thrown away
 * for a moment, because closing with unread input would reset the connection under the answer. */

#include "proxy/observe/service.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/util.h"

#define LINGER_MS	1000
#define ACCEPT_PAUSE_MS 100
#define ACCEPT_BUDGET	16
#define INPUT_FIRST	4096

enum state {
	READING,
	WRITING,
	LINGERING,
};

struct client {
	struct sl_list node;
	struct sl_service *service;
	struct sl_io io;
	struct sl_timer deadline;
	struct sl_task reap;
	enum state state;
	char *input;
	size_t len, cap;
	struct sl_answer answer;
	size_t sent;
};

struct sl_service {
	struct sl_loop *loop;
	struct sl_service_options options;
	struct sl_io listener;
	struct sl_timer resume; /* accepting pauses while descriptors are short */
	struct sl_list clients;
	uint32_t n_clients;
};

static void free_client(struct client *c)
{
	sl_loop_cancel(&c->reap);
	free(c->input);
	free(c->answer.bytes);
	free(c);
}

static void reap_client(struct sl_task *t)
{
	free_client(sl_container_of(t, struct client, reap));
}

/* The object lives until the end of the turn: an event of the same batch may still be running. */
static void hang_up(struct client *c)
{
	struct sl_service *s = c->service;

	if (c->io.fd < 0)
		return;
	sl_loop_del(s->loop, &c->io);
	sl_loop_disarm(s->loop, &c->deadline);
	c->io.fd = sl_close(c->io.fd);
	sl_list_del(&c->node);
	s->n_clients--;
	sl_loop_defer(s->loop, &c->reap);
}

static void deadline_passed(struct sl_timer *t)
{
	hang_up(sl_container_of(t, struct client, deadline));
}

static void enter(struct client *c, enum state state)
{
	struct sl_service *s = c->service;

	c->state = state;
	sl_loop_arm(s->loop, &c->deadline, state == LINGERING ? LINGER_MS : s->options.deadline_ms);
	if (sl_loop_mod(s->loop, &c->io, state == WRITING ? EPOLLOUT : EPOLLIN) < 0)
		hang_up(c);
}

static void consume(struct client *c, size_t n)
{
	c->len -= n;
	memmove(c->input, c->input + n, c->len);
}

/* Answers a request if a whole one is there. False: wait for more, or the client is gone. */
static bool try_request(struct client *c)
{
	const struct sl_service_options *o = &c->service->options;
	struct sl_answer answer = {0};
	ssize_t n;

	if (!c->len)
		return false;
	n = o->request(o->owner, c->input, c->len, &answer);
	if (n < 0 || (!n && c->len == o->request_max))
		hang_up(c);
	if (n <= 0)
		return false;
	consume(c, (size_t)n);
	c->answer = answer;
	c->sent = 0;
	enter(c, WRITING);
	return c->io.fd >= 0;
}

static void finish_answer(struct client *c)
{
	bool close = c->answer.close;

	free(c->answer.bytes);
	c->answer = (struct sl_answer){0};
	if (close)
		shutdown(c->io.fd, SHUT_WR);
	enter(c, close ? LINGERING : READING);
}

/* True when the answer is out. */
static bool write_answer(struct client *c)
{
	while (c->sent < c->answer.len) {
		ssize_t n = send(c->io.fd, c->answer.bytes + c->sent, c->answer.len - c->sent,
				 MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EAGAIN)
			return false;
		if (n < 0) {
			hang_up(c);
			return false;
		}
		c->sent += (size_t)n;
	}
	finish_answer(c);
	return c->io.fd >= 0;
}

/* One request an event, so that a pipelining client can't keep the loop: if more is there, writing
 * has to become possible first, which it is in the next turn. */
static void serve(struct client *c)
{
	if (c->state == WRITING && !write_answer(c))
		return;
	if (c->state == READING)
		try_request(c);
}

static int make_room(struct client *c)
{
	size_t max = c->service->options.request_max;
	size_t cap = c->cap ? c->cap * 2 : INPUT_FIRST;
	char *input;

	if (c->len < c->cap)
		return 0;
	cap = sl_min(cap, max);
	input = realloc(c->input, cap);
	if (!input)
		return -ENOMEM;
	c->input = input;
	c->cap = cap;
	return 0;
}

static void read_request(struct client *c)
{
	ssize_t n;

	if (make_room(c) < 0) {
		hang_up(c);
		return;
	}
	n = recv(c->io.fd, c->input + c->len, c->cap - c->len, MSG_DONTWAIT);
	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0) {
		hang_up(c);
		return;
	}
	c->len += (size_t)n;
	try_request(c);
}

static void discard_input(struct client *c)
{
	char scrap[4096];
	ssize_t n = recv(c->io.fd, scrap, sizeof(scrap), MSG_DONTWAIT);

	if (!n || (n < 0 && errno != EAGAIN))
		hang_up(c);
}

static void client_event(struct sl_io *io, uint32_t events)
{
	struct client *c = sl_container_of(io, struct client, io);

	if (c->state == WRITING)
		serve(c);
	else if (c->state == READING)
		read_request(c);
	else
		discard_input(c);
}

static int add_client(struct sl_service *s, int fd)
{
	struct client *c = calloc(1, sizeof(*c));
	int r;

	if (!c)
		return -ENOMEM;
	c->service = s;
	c->io = (struct sl_io){.fd = fd, .on_event = client_event};
	sl_timer_init(&c->deadline, deadline_passed);
	sl_task_init(&c->reap, reap_client);
	r = sl_loop_add(s->loop, &c->io, EPOLLIN);
	if (r < 0) {
		free(c);
		return r;
	}
	sl_list_add_tail(&s->clients, &c->node);
	s->n_clients++;
	sl_loop_arm(s->loop, &c->deadline, s->options.deadline_ms);
	return 0;
}

/* The refusal fits any socket buffer; if not, closing says enough. */
static void refuse(struct sl_service *s, int fd)
{
	const char *text = s->options.refusal;

	if (send(fd, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
		/* the close is the refusal */
	}
	sl_close(fd);
}

static void pause_accepting(struct sl_service *s)
{
	sl_loop_del(s->loop, &s->listener);
	sl_loop_arm(s->loop, &s->resume, ACCEPT_PAUSE_MS);
}

static void resume_accepting(struct sl_timer *t)
{
	struct sl_service *s = sl_container_of(t, struct sl_service, resume);

	if (sl_loop_add(s->loop, &s->listener, EPOLLIN) < 0)
		sl_loop_arm(s->loop, &s->resume, ACCEPT_PAUSE_MS);
}

static void listener_event(struct sl_io *io, uint32_t events)
{
	struct sl_service *s = sl_container_of(io, struct sl_service, listener);

	for (int i = 0; i < ACCEPT_BUDGET; i++) {
		int fd = accept4(io->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (fd < 0 &&
		    (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)) {
			pause_accepting(s);
			return;
		}
		if (fd < 0)
			return; /* nobody there, or gone again */
		if (s->n_clients >= s->options.clients)
			refuse(s, fd);
		else if (add_client(s, fd) < 0)
			sl_close(fd);
	}
}

int sl_service_new(struct sl_loop *loop, int listen_fd, const struct sl_service_options *o,
		   struct sl_service **ret)
{
	struct sl_service *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return -ENOMEM;
	s->loop = loop;
	s->options = *o;
	s->listener = (struct sl_io){.fd = listen_fd, .on_event = listener_event};
	sl_timer_init(&s->resume, resume_accepting);
	sl_list_init(&s->clients);
	r = sl_loop_add(loop, &s->listener, EPOLLIN);
	if (r < 0) {
		free(s);
		return r;
	}
	*ret = s;
	return 0;
}

void sl_service_free(struct sl_service *s)
{
	struct sl_list *pos, *tmp;

	if (!s)
		return;
	sl_list_for_each_safe (pos, tmp, &s->clients) {
		struct client *c = sl_list_entry(pos, struct client, node);

		hang_up(c);
		free_client(c); /* the loop may never turn again */
	}
	sl_loop_del(s->loop, &s->listener);
	sl_loop_disarm(s->loop, &s->resume);
	sl_close(s->listener.fd);
	free(s);
}
