/* SPDX-License-Identifier: BSD-2-Clause */
/* The admin socket and the metrics address, spoken to over real sockets in a temporary directory. The
 * test turns the loop itself. */

#include "unit.h"

#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/log.h"
#include "control_fixture.h"

static void simple_commands_answer_under_their_name(void **state)
{
	struct fixture *f = *state;

	expect(f, "{\"command\":\"ping\"}\n", "{\"ok\":true,\"ping\":\"pong\"}");
	expect(f, "{\"command\":\"version\"}\n",
	       "{\"ok\":true,\"version\":\"" SLUICE_VERSION "\"}");
	expect(f, "{\"command\":\"reopen-logs\"}\r\n", "{\"ok\":true,\"reopen-logs\":true}");
	assert_int_equal(f->fake.reopened, 1);
	expect(f,
	       "{\"command\":\"drain-server\",\"upstream\":\"app\",\"server\":\"10.0.0.1:80\"}\n",
	       "{\"ok\":true,\"drain-server\":\"drained\"}");
	assert_true(f->fake.server_drained);
	expect(f,
	       "{\"command\":\"enable-server\",\"upstream\":\"app\",\"server\":\"10.0.0.1:80\"}\n",
	       "{\"ok\":true,\"enable-server\":\"enabled\"}");
	assert_false(f->fake.server_drained);
	expect(f, "{\"command\":\"drain-server\",\"upstream\":\"app\",\"server\":\"x\"}\n",
	       "{\"ok\":false,\"error\":\"there is no such server\"}");
	expect(f, "{\"command\":\"drain\"}\n", "{\"ok\":true,\"drain\":\"draining\"}");
	assert_true(f->fake.drained && !f->fake.drained_now);
	expect(f, "{\"command\":\"drain\",\"now\":true}\n", "{\"ok\":true,\"drain\":\"stopping\"}");
	assert_true(f->fake.drained_now);
}

static void listeners_are_drained_with_a_bound_and_enabled(void **state)
{
	struct fixture *f = *state;

	expect(f, "{\"command\":\"drain-listener\",\"listener\":\"egress\"}\n",
	       "{\"ok\":true,\"drain-listener\":\"draining\"}");
	assert_int_equal(f->fake.bound_ms, -1);
	expect(f, "{\"command\":\"drain-listener\",\"listener\":\"egress\",\"timeout_ms\":0}\n",
	       "{\"ok\":true,\"drain-listener\":\"draining already\"}");
	assert_int_equal(f->fake.bound_ms, 0);
	expect(f, "{\"command\":\"drain-listener\",\"listener\":\"x\"}\n",
	       "{\"ok\":false,\"error\":\"there is no such listener\"}");
	expect(f, "{\"command\":\"enable-listener\",\"listener\":\"egress\"}\n",
	       "{\"ok\":true,\"enable-listener\":\"enabled\"}");
	expect(f, "{\"command\":\"enable-listener\",\"listener\":\"egress\"}\n",
	       "{\"ok\":false,\"error\":\"the listener is not drained\"}");
	expect(f, "{\"command\":\"drain\",\"timeout_ms\":5000}\n",
	       "{\"ok\":true,\"drain\":\"draining\"}");
	assert_int_equal(f->fake.bound_ms, 5000);
	expect(f, "{\"command\":\"drain-progress\"}\n",
	       "{\"ok\":true,\"drain-progress\":{\"state\":\"draining\",\"closes_in_ms\":0,"
	       "\"ends_in_ms\":900,\"connections\":9,\"idle\":4,\"requests\":2,\"tunnels\":3,"
	       "\"reset\":0,\"kept\":0}}");
	expect(f, "{\"command\":\"drain-progress\",\"listener\":\"x\"}\n",
	       "{\"ok\":false,\"error\":\"there is no such listener\"}");
}

static void the_log_level_is_shown_and_set(void **state)
{
	enum sl_log_level before = sl_log_level();
	struct fixture *f = *state;

	expect(f, "{\"command\":\"log-level\",\"level\":\"debug\"}\n",
	       "{\"ok\":true,\"log-level\":\"debug\"}");
	assert_int_equal(sl_log_level(), SL_LOG_DEBUG);
	assert_true(is_refused(f, "{\"command\":\"log-level\",\"level\":\"loud\"}\n"));
	expect(f, "{\"command\":\"log-level\"}\n", "{\"ok\":true,\"log-level\":\"debug\"}");
	sl_log_set_level(before);
}

static void stats_tell_every_counter_and_each_worker(void **state)
{
	json_t *a = ask(*state, "{\"command\":\"stats\"}\n"), *s = json_object_get(a, "stats");
	json_t *counters = json_object_get(s, "counters"), *gauges = json_object_get(s, "gauges");
	json_int_t n = 1;

#define X(name, help) assert_int_equal(json_integer_value(json_object_get(counters, #name)), n++);
	SL_COUNTERS(X)
#undef X
#define X(name, help) assert_int_equal(json_integer_value(json_object_get(gauges, #name)), n++);
	SL_GAUGES(X)
#undef X
	assert_int_equal(json_array_size(json_object_get(s, "workers")), 2);
	assert_int_equal(json_array_size(json_object_get(s, "engines")), 2);
	assert_int_equal(json_object_size(json_object_get(s, "histograms")), 7);
	assert_int_equal(json_integer_value(json_object_get(s, "uptime_ms")), 3723000);
	json_decref(a);
}

static void flows_are_bounded_and_their_number_is_told(void **state)
{
	struct fixture *f = *state;
	json_t *a = ask(f, "{\"command\":\"flows\",\"max\":2}\n"), *p = json_object_get(a, "flows");
	json_t *first = json_array_get(json_object_get(p, "flows"), 0);

	assert_int_equal(json_integer_value(json_object_get(p, "total")), 3);
	assert_int_equal(json_array_size(json_object_get(p, "flows")), 2);
	assert_string_equal(json_string_value(json_object_get(first, "target")),
			    "ex\xc3\xbf\x1b[ample:443");
	assert_true(json_is_null(json_object_get(first, "upstream")));
	json_decref(a);
	f->fake.flows = -1;
	assert_true(is_refused(f, "{\"command\":\"flows\"}\n"));
}

static void bad_requests_are_refused_and_the_client_goes_on(void **state)
{
	static const char *const rows[] = {
		"\n",
		"nonsense\n",
		"[]\n",
		"{}\n",
		"{\"command\":1}\n",
		"{\"command\":\"PING\"}\n",
		"{\"command\":\"ping\",\"x\":1}\n",
		"{\"command\":\"ping\",\"command\":\"ping\"}\n",
		"{\"command\":\"ping\"} x\n",
		"{\"command\":\"flows\",\"max\":0}\n",
		"{\"command\":\"flows\",\"max\":100001}\n",
		"{\"command\":\"flows\",\"max\":\"1\"}\n",
		"{\"command\":\"flows\",\"most\":1}\n",
		"{\"command\":\"drain\",\"now\":1}\n",
		"{\"command\":\"drain\",\"timeout_ms\":-1}\n",
		"{\"command\":\"drain\",\"timeout_ms\":2592000001}\n",
		"{\"command\":\"drain\",\"timeout_ms\":\"1s\"}\n",
		"{\"command\":\"drain-listener\"}\n",
		"{\"command\":\"drain-listener\",\"listener\":\"egress\",\"timeout_ms\":-1}\n",
		"{\"command\":\"enable-listener\",\"listener\":1}\n",
		"{\"command\":\"drain-progress\",\"server\":\"x\"}\n",
	};
	struct fixture *f = *state;
	int fd = dial(f);
	char *text;

	for (size_t i = 0; i < SL_ARRAY_SIZE(rows); i++)
		assert_true(is_refused(f, rows[i]));
	assert_false(f->fake.drained || f->fake.listener_drained);
	say(fd, "nonsense\n{\"command\":\"ping\"}\n");
	text = hear(f, fd, 2);
	assert_non_null(strstr(text, "\"pong\""));
	free(text);
	close(fd);
}

static void a_deeply_nested_request_is_refused(void **state)
{
	static char line[60001];

	memset(line, '[', 60000);
	line[59999] = '\n';
	assert_true(is_refused(*state, line));
}

static void a_request_may_come_byte_by_byte(void **state)
{
	static const char line[] = "{\"command\":\"ping\"}\n";
	struct fixture *f = *state;
	int fd = dial(f);
	char *text;

	for (const char *p = line; *p; p++) {
		assert_int_equal(send(fd, p, 1, 0), 1);
		sl_loop_turn(f->loop, 0);
		sl_loop_turn(f->loop, 0);
	}
	text = hear(f, fd, 1);
	assert_string_equal(text, "{\"ok\":true,\"ping\":\"pong\"}\n");
	free(text);
	close(fd);
}

static void pipelined_requests_are_answered_in_order(void **state)
{
	struct fixture *f = *state;
	int fd = dial(f);
	char *text;

	say(fd, "{\"command\":\"ping\"}\n{\"command\":\"stats\"}\n{\"command\":\"version\"}\n");
	shutdown(fd, SHUT_WR);
	text = hear_all(f, fd);
	assert_true(strstr(text, "pong") < strstr(text, "counters"));
	assert_non_null(strstr(strchr(text, '\n') + 1, "\n{\"ok\":true,\"version\":\""));
	free(text);
	close(fd);
}

static void a_line_that_is_too_long_ends_the_client(void **state)
{
	static char line[70000];
	struct fixture *f = *state;
	int fd = dial(f);
	size_t sent = 0;
	char *text;

	memset(line, ' ', sizeof(line));
	for (int i = 0; i < 1000 && sent < 66000; i++) {
		ssize_t n = send(fd, line + sent, 66000 - sent, MSG_NOSIGNAL);

		sent += n > 0 ? (size_t)n : 0;
		sl_loop_turn(f->loop, 0);
	}
	text = hear_all(f, fd);
	assert_string_equal(text, "{\"ok\":false,\"error\":\"the line is too long\"}\n");
	free(text);
	close(fd);
}

static void the_seventeenth_client_is_refused(void **state)
{
	struct fixture *f = *state;
	int fd[17];
	char *text;

	for (int i = 0; i < 17; i++)
		fd[i] = dial(f);
	text = hear_all(f, fd[16]);
	assert_non_null(strstr(text, "too many clients"));
	free(text);
	close(fd[3]);
	close(fd[16]);
	sl_loop_turn(f->loop, 10);
	expect(f, "{\"command\":\"ping\"}\n", "{\"ok\":true,\"ping\":\"pong\"}");
	for (int i = 0; i < 16; i++)
		if (i != 3)
			close(fd[i]);
}

/* Bytes that trickle in don't extend the deadline. */
static void a_slow_client_is_cut_after_its_deadline(void **state)
{
	struct fixture *f = *state;
	uint64_t start_us = sl_clock_us();
	int fd = dial(f);
	char c;

	while (sl_clock_us() - start_us < 9000000) {
		sl_loop_turn(f->loop, 100);
		poll(NULL, 0, 100);
		if (send(fd, " ", 1, MSG_NOSIGNAL) < 0)
			break;
		if (!recv(fd, &c, 1, 0))
			break;
	}
	assert_in_range(sl_clock_us() - start_us, 4900000, 8000000);
	close(fd);
}

static void a_client_that_takes_no_answer_is_cut(void **state)
{
	struct fixture *f = *state;
	uint64_t start_us = sl_clock_us();
	int fd = dial(f);
	char *text;

	f->fake.flows = 50000;
	say(fd, "{\"command\":\"flows\",\"max\":50000}\n");
	while (sl_clock_us() - start_us < 6500000)
		sl_loop_turn(f->loop, 200);
	text = hear_all(f, fd);
	assert_null(strchr(text, '\n'));
	free(text);
	close(fd);
}

/* --- the socket file --- */

static void the_socket_is_for_its_owner_alone(void **state)
{
	struct fixture *f = *state;
	struct stat st;
	char dir[128];

	assert_int_equal(stat(f->path, &st), 0);
	assert_true(S_ISSOCK(st.st_mode));
	assert_int_equal(st.st_mode & 0777, 0600);
	snprintf(dir, sizeof(dir), "%s/run", f->dir);
	assert_int_equal(stat(dir, &st), 0);
	assert_int_equal(st.st_mode & 0777 & ~0755, 0);
}

static int open_at(struct fixture *f, const char *path, struct sl_control **ret)
{
	struct sl_control_source source = fake_source(&f->fake);
	struct sl_addr none = {.family = AF_UNSPEC};

	return sl_control_open(f->loop, path, &none, &source, ret);
}

static void a_live_socket_is_not_taken_over(void **state)
{
	struct fixture *f = *state;
	struct sl_control *second = NULL;

	assert_int_equal(open_at(f, f->path, &second), -EADDRINUSE);
	assert_null(second);
	expect(f, "{\"command\":\"ping\"}\n", "{\"ok\":true,\"ping\":\"pong\"}");
}

static void a_stale_socket_is_replaced(void **state)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	struct sl_control *second = NULL;
	struct fixture *f = *state;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(un.sun_path, sizeof(un.sun_path), "%s/stale", f->dir);
	assert_int_equal(bind(fd, (struct sockaddr *)&un, sizeof(un)), 0);
	close(fd);
	assert_int_equal(open_at(f, un.sun_path, &second), 0);
	fd = try_connect(un.sun_path);
	assert_true(fd >= 0);
	close(fd);
	sl_control_close(second);
	assert_int_equal(access(un.sun_path, F_OK), -1);
}

static void a_file_of_another_kind_stays(void **state)
{
	struct sl_control *second = NULL;
	struct fixture *f = *state;
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "%s/file", f->dir);
	fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(open_at(f, path, &second), -EEXIST);
	assert_int_equal(unlink(path), 0);
}

static void impossible_paths_are_errors(void **state)
{
	struct sl_control *second = NULL;
	struct fixture *f = *state;
	char path[300];

	memset(path, 'x', sizeof(path));
	path[0] = '/';
	path[299] = 0;
	assert_int_equal(open_at(f, path, &second), -ENAMETOOLONG);
	assert_int_equal(open_at(f, "", &second), -EINVAL);
	snprintf(path, sizeof(path), "%s/a/b/sock", f->dir);
	assert_int_equal(open_at(f, path, &second), -ENOENT);
}

static void a_successor_s_socket_is_left_alone(void **state)
{
	struct sl_control *first = NULL, *second = NULL;
	struct fixture *f = *state;
	char path[128];

	snprintf(path, sizeof(path), "%s/sock", f->dir);
	assert_int_equal(open_at(f, path, &first), 0);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(open_at(f, path, &second), 0);
	sl_control_close(first);
	assert_int_equal(access(path, F_OK), 0);
	sl_control_close(second);
	assert_int_equal(access(path, F_OK), -1);
}

/* --- the metrics address --- */

#define HOST "Host: localhost\r\n\r\n"

static char *fetch(struct fixture *f, const char *request)
{
	int fd = dial_metrics(f);
	char *text;

	say(fd, request);
	text = hear_all(f, fd);
	close(fd);
	return text;
}

static void http_requests_get_their_status(void **state)
{
	static const struct {
		const char *request, *status;
	} rows[] = {
		{"GET /metrics HTTP/1.1\r\nConnection: close\r\n" HOST, "200 OK"},
		{"GET /metrics?x=1 HTTP/1.1\r\nConnection: close\r\n" HOST, "200 OK"},
		{"GET http://any/healthz HTTP/1.1\r\nConnection: close\r\n" HOST, "200 OK"},
		{"GET /healthz HTTP/1.0\r\n\r\n", "200 OK"},
		{"GET /readyz HTTP/1.0\r\n\r\n", "200 OK"},
		{"GET / HTTP/1.0\r\n\r\n", "200 OK"},
		{"GET /metrics/ HTTP/1.0\r\n\r\n", "404 Not Found"},
		{"POST /metrics HTTP/1.0\r\n\r\n", "405 Method Not Allowed"},
		{"OPTIONS * HTTP/1.0\r\n\r\n", "405 Method Not Allowed"},
		{"POST /metrics HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc", "413 Content Too Large"},
		{"CONNECT a:1 HTTP/1.0\r\n\r\n", "405 Method Not Allowed"},
		{"GET /metrics HTTP/1.1\r\n\r\n", "400 Bad Request"},
		{"GET metrics HTTP/1.0\r\n\r\n", "400 Bad Request"},
		{"nonsense\r\n\r\n", "400 Bad Request"},
		{"GET /metrics HTTP/3.0\r\n\r\n", "505 HTTP Version Not Supported"},
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < SL_ARRAY_SIZE(rows); i++) {
		char *text = fetch(f, rows[i].request), want[64];

		snprintf(want, sizeof(want), "HTTP/1.1 %s\r\n", rows[i].status);
		if (strncmp(text, want, strlen(want)))
			fail_msg("%s: %s", rows[i].request, text);
		free(text);
	}
}

static void readyz_tells_when_sluice_drains(void **state)
{
	struct fixture *f = *state;
	char *text;

	f->fake.ready = false;
	text = fetch(f, "GET /readyz HTTP/1.0\r\n\r\n");
	assert_non_null(strstr(text, "HTTP/1.1 503 "));
	free(text);
	text = fetch(f, "GET /healthz HTTP/1.0\r\n\r\n");
	assert_non_null(strstr(text, "HTTP/1.1 200 "));
	free(text);
}

static void readyz_tells_of_one_listener(void **state)
{
	static const struct {
		const char *path;
		bool drained;
		const char *status;
	} rows[] = {
		{"/readyz/egress", false, "HTTP/1.1 200 "},
		{"/readyz/egress", true, "HTTP/1.1 503 "},
		{"/readyz/egres", false, "HTTP/1.1 404 "},
		{"/readyz/", false, "HTTP/1.1 404 "},
		{"/readyz", true, "HTTP/1.1 200 "},
	};
	struct fixture *f = *state;
	char request[64], *text;

	for (size_t i = 0; i < SL_ARRAY_SIZE(rows); i++) {
		f->fake.listener_drained = rows[i].drained;
		snprintf(request, sizeof(request), "GET %s HTTP/1.0\r\n\r\n", rows[i].path);
		text = fetch(f, request);
		assert_int_equal(strncmp(text, rows[i].status, strlen(rows[i].status)), 0);
		free(text);
	}
}

static void a_connection_stays_open_for_more(void **state)
{
	struct fixture *f = *state;
	char *text = fetch(f, "HEAD /metrics HTTP/1.1\r\n" HOST "GET /healthz HTTP/1.1\r\n" HOST
			      "GET /healthz HTTP/1.1\r\nConnection: close\r\n" HOST);
	char *second;

	assert_int_equal(strncmp(text, "HTTP/1.1 200 ", 13), 0);
	second = strstr(text, "\r\n\r\n") + 4; /* HEAD: no body between */
	assert_int_equal(strncmp(second, "HTTP/1.1 200 ", 13), 0);
	assert_non_null(strstr(second, "\r\n\r\nok\nHTTP/1.1 200 "));
	free(text);
}

static void a_head_that_is_too_large_is_431(void **state)
{
	static char request[9000];
	char *text;

	memset(request, 'x', sizeof(request) - 1);
	memcpy(request, "GET / HTTP/1.1\r\nA: ", 19);
	text = fetch(*state, request);
	assert_int_equal(strncmp(text, "HTTP/1.1 431 ", 13), 0);
	free(text);
}

#define over_sockets(t) cmocka_unit_test_setup_teardown(t, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		over_sockets(simple_commands_answer_under_their_name),
		over_sockets(listeners_are_drained_with_a_bound_and_enabled),
		over_sockets(the_log_level_is_shown_and_set),
		over_sockets(stats_tell_every_counter_and_each_worker),
		over_sockets(flows_are_bounded_and_their_number_is_told),
		over_sockets(bad_requests_are_refused_and_the_client_goes_on),
		over_sockets(a_deeply_nested_request_is_refused),
		over_sockets(a_request_may_come_byte_by_byte),
		over_sockets(pipelined_requests_are_answered_in_order),
		over_sockets(a_line_that_is_too_long_ends_the_client),
		over_sockets(the_seventeenth_client_is_refused),
		over_sockets(a_slow_client_is_cut_after_its_deadline),
		over_sockets(a_client_that_takes_no_answer_is_cut),
		over_sockets(the_socket_is_for_its_owner_alone),
		over_sockets(a_live_socket_is_not_taken_over),
		over_sockets(a_stale_socket_is_replaced),
		over_sockets(a_file_of_another_kind_stays),
		over_sockets(impossible_paths_are_errors),
		over_sockets(a_successor_s_socket_is_left_alone),
		over_sockets(http_requests_get_their_status),
		over_sockets(readyz_tells_when_sluice_drains),
		over_sockets(readyz_tells_of_one_listener),
		over_sockets(a_connection_stays_open_for_more),
		over_sockets(a_head_that_is_too_large_is_431),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
