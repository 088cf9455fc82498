/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_TESTS_CONTROL_FIXTURE_H
#define SLUICE_TESTS_CONTROL_FIXTURE_H

/* Admin socket and metrics address of a fake source, over real sockets in a temporary directory. The test
 * turns the loop itself. */

#include "unit.h"

#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "fake_control.h"

struct fixture {
	char dir[64], path[128];
	struct fake_control fake;
	struct sl_loop *loop;
	struct sl_control *control;
};

static inline int set_up(void **state)
{
	struct sl_addr any;
	struct fixture *f = calloc(1, sizeof(*f));
	struct sl_control_source source;

	f->fake = (struct fake_control){.flows = 3, .ready = true};
	source = fake_source(&f->fake);
	strcpy(f->dir, "/tmp/unit-control-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->path, sizeof(f->path), "%s/run/admin.sock", f->dir);
	assert_int_equal(sl_loop_new(&f->loop), 0);
	assert_int_equal(sl_addr_parse(SL_SLICE("127.0.0.1:0"), &any), 0);
	assert_int_equal(sl_control_open(f->loop, f->path, &any, &source, &f->control), 0);
	*state = f;
	return 0;
}

static inline int tear_down(void **state)
{
	struct fixture *f = *state;
	char dir[128];

	sl_control_close(f->control);
	assert_int_equal(access(f->path, F_OK), -1);
	sl_loop_turn(f->loop, 0);
	sl_loop_free(f->loop);
	snprintf(dir, sizeof(dir), "%s/run", f->dir);
	rmdir(dir);
	assert_int_equal(rmdir(f->dir), 0);
	free(f);
	return 0;
}

static inline int try_connect(const char *path)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un un = {.sun_family = AF_UNIX};

	strcpy(un.sun_path, path);
	if (connect(fd, (struct sockaddr *)&un, sizeof(un)) < 0)
		fd = sl_close(fd);
	return fd;
}

static inline int dial(struct fixture *f)
{
	int fd = try_connect(f->path);

	assert_true(fd >= 0);
	return fd;
}

static inline int dial_metrics(struct fixture *f)
{
	struct sl_addr a = sl_control_metrics_addr(f->control);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(connect(fd, &a.sa, sl_addr_len(&a)), 0);
	assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	return fd;
}

static inline void say(int fd, const char *s)
{
	assert_int_equal(send(fd, s, strlen(s), MSG_NOSIGNAL), (ssize_t)strlen(s));
}

/* Turns the loop until fd has given `lines` line feeds, or has ended; NUL-terminated, malloc'd. */
static inline char *hear(struct fixture *f, int fd, int lines)
{
	uint64_t end_us = sl_clock_us() + 10000000;
	size_t len = 0, cap = 1 << 20;
	char *text = malloc(cap);

	while (lines > 0 && sl_clock_us() < end_us) {
		ssize_t n = recv(fd, text + len, cap - len - 1, 0);

		if (!n || (n < 0 && errno != EAGAIN))
			break;
		for (ssize_t i = 0; i < n; i++)
			lines -= text[len + (size_t)i] == '\n';
		if (n > 0)
			len += (size_t)n;
		else
			sl_loop_turn(f->loop, 5);
	}
	text[len] = 0;
	return text;
}

/* Until the end of input. */
static inline char *hear_all(struct fixture *f, int fd)
{
	return hear(f, fd, 1 << 30);
}

static inline json_t *ask(struct fixture *f, const char *line)
{
	int fd = dial(f);
	json_t *answer;
	char *text;

	say(fd, line);
	text = hear(f, fd, 1);
	answer = json_loads(text, 0, NULL);
	if (!answer)
		fail_msg("no JSON: %s", text);
	free(text);
	close(fd);
	return answer;
}

static inline bool is_refused(struct fixture *f, const char *line)
{
	json_t *a = ask(f, line);
	bool refused = json_is_false(json_object_get(a, "ok")) &&
		       json_is_string(json_object_get(a, "error")) && json_object_size(a) == 2;

	json_decref(a);
	return refused;
}

static inline void expect(struct fixture *f, const char *line, const char *want_text)
{
	json_t *got = ask(f, line), *want = json_loads(want_text, 0, NULL);

	assert_non_null(want);
	if (!json_equal(got, want))
		fail_msg("%s: got %zu keys, or other values", line, json_object_size(got));
	json_decref(got);
	json_decref(want);
}

#endif
