/* SPDX-License-Identifier: BSD-2-Clause */
/* The access log: lines that strangers can't forge, rings, files that fail. */

#include "unit.h"

#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/loop.h"
#include "proxy/observe/access_format.h"
#include "proxy/observe/access_log.h"

static struct sl_access_record record(void)
{
	struct sl_access_record r = {
		.start_us = 1700000000123456,
		.duration_us = 1500,
		.queue_us = 90,
		.connect_us = 300,
		.first_byte_us = 700,
		.bytes_in = 5,
		.bytes_out = 1234,
		.status = 200,
		.http = true,
		.minor = 1,
		.listener = SL_SLICE("egress"),
		.method = SL_SLICE("GET"),
		.target = SL_SLICE("http://example.com/?q=1"),
		.host = SL_SLICE("example.com"),
		.reason = SL_SLICE("done"),
		.trace_id = SL_SLICE("4bf9"),
	};

	sl_addr_parse(SL_SLICE("[::1]:4000"), &r.client);
	sl_addr_parse(SL_SLICE("10.0.0.1:80"), &r.upstream);
	return r;
}

/* As through a ring. */
static size_t line_of(enum sl_access_log_format f, const struct sl_access_record *r, char *line)
{
	static char packed[SL_ACCESS_PACKED_MAX];
	struct sl_access_record copy;
	size_t n;

	assert_true(sl_access_pack(r, packed) <= sizeof(packed));
	sl_access_unpack(packed, &copy);
	n = sl_access_format(f, &copy, line);
	assert_true(n < SL_ACCESS_LINE_MAX);
	assert_ptr_equal(memchr(line, '\n', n), line + n - 1);
	for (size_t i = 0; i < n - 1; i++)
		assert_in_range((unsigned char)line[i], 0x20, 0x7e);
	line[n - 1] = 0;
	return n - 1;
}

static json_t *json_of(const struct sl_access_record *r)
{
	static char line[SL_ACCESS_LINE_MAX];
	json_error_t e;
	json_t *o;

	line_of(SL_ACCESS_LOG_JSON, r, line);
	o = json_loads(line, JSON_REJECT_DUPLICATES, &e);
	if (!o)
		fail_msg("%s: %s", e.text, line);
	return o;
}

static void a_json_line_has_the_documented_fields(void **state)
{
	struct sl_access_record r = record();
	json_t *got = json_of(&r);
	json_t *want = json_pack(
		"{s:s, s:s, s:s, s:n, s:s, s:s, s:s, s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:s, "
		"s:n, s:n, s:b, s:n, s:s, s:s, s:n, s:n, s:n}",
		"time", "2023-11-14T22:13:20.123456Z", "listener", "egress", "client", "[::1]:4000",
		"user", "method", "GET", "target", "http://example.com/?q=1", "host", "example.com",
		"protocol", "HTTP/1.1", "status", 200, "bytes_in", 5, "bytes_out", 1234,
		"duration_us", 1500, "queue_us", 90, "connect_us", 300, "first_byte_us", 700,
		"upstream", "10.0.0.1:80", "upstream_name", "server", "reused", 0, "engine",
		"reason", "done", "trace_id", "4bf9", "span_id", "referer", "user_agent");

	assert_non_null(want);
	assert_true(json_equal(got, want));
	json_decref(got);
	json_decref(want);
}

static void a_clf_line_is_combined_with_extras_behind(void **state)
{
	struct sl_access_record r = record();
	char line[SL_ACCESS_LINE_MAX];

	r.user = SL_SLICE("ann b");
	r.user_agent = SL_SLICE("curl \"x\"\\");
	line_of(SL_ACCESS_LOG_CLF, &r, line);
	assert_string_equal(
		line, "::1 - ann\\x20b [14/Nov/2023:22:13:20 +0000] "
		      "\"GET http://example.com/?q=1 HTTP/1.1\" 200 1234 \"-\" "
		      "\"curl \\x22x\\x22\\x5c\" \"egress\" 10.0.0.1:80 new \"-\" "
		      "\"done\" 5 1500 300 700 \"-\" \"-\" 90 \"example.com\" \"4bf9\" \"-\"");
}

static struct sl_slice *strings_of(struct sl_access_record *r, int i)
{
	struct sl_slice *const all[] = {&r->listener, &r->method, &r->target,  &r->user,
					&r->engine,   &r->reason, &r->referer, &r->user_agent,
					&r->group,    &r->server, &r->host,    &r->trace_id,
					&r->span_id};

	return i < (int)SL_ARRAY_SIZE(all) ? all[i] : NULL;
}

static const char *const keys[] = {"listener", "method",   "target",	 "user",	  "engine",
				   "reason",   "referer",  "user_agent", "upstream_name", "server",
				   "host",     "trace_id", "span_id"};

/* The string of a CLF line at *p, a word or quoted, with its escapes undone; moves *p behind it. */
static size_t clf_read(const char **p, char *ret)
{
	bool quoted = **p == '"';
	size_t n = 0;

	*p += quoted;
	while (**p && (quoted ? **p != '"' : **p != ' ' && **p != '"')) {
		unsigned c;

		if (**p == '\\') {
			assert_int_equal(sscanf(*p, "\\x%2x", &c), 1);
			ret[n++] = (char)c;
			*p += 4;
		} else {
			ret[n++] = *(*p)++;
		}
	}
	if (quoted) {
		assert_int_equal(**p, '"');
		++*p;
	}
	*p += **p == ' ';
	return n;
}

static void skip_words(const char **p, int n)
{
	while (n--) {
		*p = strchr(*p, ' ');
		assert_non_null(*p);
		++*p;
	}
}

/* The thirteen strings of a line, in the order of keys[]. */
static void clf_parse(const char *p, char out[13][64], size_t len[13])
{
	skip_words(&p, 2);
	len[3] = clf_read(&p, out[3]);
	skip_words(&p, 2);
	assert_int_equal(*p++, '"');
	len[1] = clf_read(&p, out[1]);
	len[2] = clf_read(&p, out[2]);
	assert_memory_equal(p, "HTTP/1.1\" 200 1234 ", 19);
	p += 19;
	len[6] = clf_read(&p, out[6]);
	len[7] = clf_read(&p, out[7]);
	len[0] = clf_read(&p, out[0]);
	skip_words(&p, 2);
	len[4] = clf_read(&p, out[4]);
	len[5] = clf_read(&p, out[5]);
	assert_memory_equal(p, "5 1500 300 700 ", 15);
	p += 15;
	len[8] = clf_read(&p, out[8]);
	len[9] = clf_read(&p, out[9]);
	assert_memory_equal(p, "90 ", 3);
	p += 3;
	for (int i = 10; i < 13; i++)
		len[i] = clf_read(&p, out[i]);
	assert_string_equal(p, "");
}

static void every_byte_in_every_string_comes_back_from_clf(void **state)
{
	static char line[SL_ACCESS_LINE_MAX];
	char out[13][64], text[3] = "xyz";
	size_t len[13];

	for (int i = 0; i < 13; i++) {
		for (unsigned c = 0; c < 256; c++) {
			struct sl_access_record r = record();

			for (int k = 0; k < 13; k++)
				*strings_of(&r, k) = SL_SLICE("same");
			text[1] = (char)c;
			*strings_of(&r, i) = sl_slice(text, 3);
			line_of(SL_ACCESS_LOG_CLF, &r, line);
			clf_parse(line, out, len);
			for (int k = 0; k < 13; k++) {
				const struct sl_slice *s = strings_of(&r, k);

				if ((i == 2 || i == 6) && c == '@' && k == i)
					continue; /* reads as userinfo, and is gone */
				assert_int_equal(len[k], s->len);
				assert_memory_equal(out[k], s->p, s->len);
			}
		}
	}
}

static void every_byte_in_every_string_comes_back_from_json(void **state)
{
	char text[3] = "/yz";

	for (int i = 0; i < 13; i++) {
		for (unsigned c = 0; c < 256; c++) {
			struct sl_access_record r = record();
			char want[8] = "/";
			json_t *o;

			text[1] = (char)c;
			*strings_of(&r, i) = sl_slice(text, 3);
			o = json_of(&r);
			if (!c)
				strcpy(want + 1, "\xe2\x90\x80z");
			else if (c < 0x80)
				snprintf(want + 1, 7, "%cz", c);
			else
				snprintf(want + 1, 7, "%c%cz", 0xc0 | c >> 6, 0x80 | (c & 0x3f));
			assert_string_equal(json_string_value(json_object_get(o, keys[i])), want);
			assert_int_equal(json_object_size(o), 25);
			json_decref(o);
		}
	}
}

static void long_strings_are_cut_and_marked(void **state)
{
	static char big[4000];
	struct sl_access_record r = record();
	json_t *o;

	memset(big, 0x01, sizeof(big));
	for (int i = 0; i < 13; i++)
		*strings_of(&r, i) = sl_slice(big, sizeof(big));
	o = json_of(&r);
	for (int i = 0; i < 13; i++) {
		const char *s = json_string_value(json_object_get(o, keys[i]));
		size_t max = i == 2    ? SL_ACCESS_TARGET_MAX
			     : i < 11  ? SL_ACCESS_STRING_MAX
			     : i == 11 ? 32
				       : 16;

		assert_int_equal(strlen(s), max + 3);
		assert_string_equal(s + max, "...");
	}
	json_decref(o);
}

static void userinfo_never_reaches_the_log(void **state)
{
	static const char *const rows[][2] = {
		{"http://user:pa@ss@host:80/p@th?q=a@b", "http://host:80/p@th?q=a@b"},
		{"user:secret@host:443", "host:443"},
		{"http://secret@host?x@y", "http://host?x@y"},
		{"http://secret@", "http://"},
		{"host:443", "host:443"},
		{"/origin/@form", "/origin/@form"},
		{"/?u=http://a@b/", "/?u=http://a@b/"},
		{"*", "*"},
		{"", NULL},
	};

	for (size_t i = 0; i < SL_ARRAY_SIZE(rows); i++) {
		struct sl_access_record r = record();
		json_t *o;

		r.target = r.referer = sl_slice_str(rows[i][0]);
		o = json_of(&r);
		for (int k = 2; k < 8; k += 4) {
			const char *s = json_string_value(json_object_get(o, keys[k]));

			if (rows[i][1])
				assert_string_equal(s, rows[i][1]);
			else
				assert_null(s);
		}
		json_decref(o);
	}
}

static void userinfo_is_gone_before_a_long_target_is_cut(void **state)
{
	static char target[3000];
	struct sl_access_record r = record();
	json_t *o;

	memset(target, 's', sizeof(target));
	memcpy(target, "http://", 7);
	memcpy(target + 2000, "\0@host/", 7);
	r.target = sl_slice(target, sizeof(target));
	o = json_of(&r);
	assert_memory_equal(json_string_value(json_object_get(o, "target")), "http://host/sss", 15);
	json_decref(o);
}

/* --- files and rings --- */

struct fixture {
	char dir[64], path[128], moved[128];
	struct sl_access_log *log;
};

static void start(struct fixture *f, const char *path, double sample)
{
	struct sl_access_log_config c = {.sample = sample, .format = SL_ACCESS_LOG_JSON};

	strcpy(f->dir, "/tmp/unit-access-log-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->path, sizeof(f->path), "%s/log", f->dir);
	snprintf(f->moved, sizeof(f->moved), "%s/log.1", f->dir);
	c.path = path ? (char *)path : f->path;
	assert_int_equal(sl_access_log_open(&c, 2, &f->log), 0);
}

static void stop(struct fixture *f)
{
	sl_access_log_close(f->log);
	unlink(f->path);
	unlink(f->moved);
	rmdir(f->dir);
}

static int lines_in(const char *path)
{
	static char line[SL_ACCESS_LINE_MAX];
	FILE *f = fopen(path, "re");
	int n = 0;

	if (!f)
		return -1;
	while (fgets(line, sizeof(line), f)) {
		json_t *o = json_loads(line, 0, NULL);

		assert_non_null(o);
		json_decref(o);
		n++;
	}
	fclose(f);
	return n;
}

/* True when *counter's reader has reached n, within ten seconds. */
static bool reaches(uint64_t (*counter)(const struct sl_access_log *l), struct sl_access_log *l,
		    uint64_t n)
{
	uint64_t end_us = sl_clock_us() + 10000000;

	while (counter(l) < n && sl_clock_us() < end_us)
		poll(NULL, 0, 2);
	return counter(l) >= n;
}

static void what_was_pushed_is_in_the_file_after_close(void **state)
{
	struct sl_access_record r = record();
	struct fixture f;
	struct stat st;

	start(&f, NULL, 1);
	for (uint32_t i = 0; i < 1000; i++)
		assert_true(sl_access_log_push(f.log, i % 2, &r));
	sl_access_log_close(f.log);
	f.log = NULL;
	assert_int_equal(lines_in(f.path), 1000);
	assert_int_equal(stat(f.path, &st), 0);
	assert_int_equal(st.st_mode & 0137, 0);
	stop(&f);
}

/* The thread sleeps without a timeout by then: only the producer's signal can wake it. */
static void a_sleeping_log_is_woken(void **state)
{
	struct sl_access_record r = record();
	struct fixture f;

	start(&f, NULL, 1);
	for (uint64_t i = 1; i <= 5; i++) {
		poll(NULL, 0, 60);
		assert_true(sl_access_log_push(f.log, 0, &r));
		assert_true(reaches(sl_access_log_written, f.log, i));
	}
	assert_int_equal(lines_in(f.path), 5);
	stop(&f);
}

static void reopen_goes_on_in_a_new_file(void **state)
{
	struct sl_access_record r = record();
	uint64_t end_us = sl_clock_us() + 10000000;
	struct fixture f;

	start(&f, NULL, 1);
	sl_access_log_push(f.log, 0, &r);
	assert_true(reaches(sl_access_log_written, f.log, 1));
	assert_int_equal(rename(f.path, f.moved), 0);
	sl_access_log_reopen(f.log);
	while (access(f.path, F_OK) && sl_clock_us() < end_us)
		poll(NULL, 0, 2);
	sl_access_log_push(f.log, 1, &r);
	sl_access_log_push(f.log, 1, &r);
	assert_true(reaches(sl_access_log_written, f.log, 3));
	assert_int_equal(lines_in(f.moved), 1);
	assert_int_equal(lines_in(f.path), 2);
	stop(&f);
}

static void a_reopen_that_fails_keeps_the_old_file(void **state)
{
	struct sl_access_record r = record();
	struct fixture f;

	start(&f, NULL, 1);
	assert_int_equal(rename(f.path, f.moved), 0);
	assert_int_equal(mkdir(f.path, 0700), 0);
	sl_access_log_reopen(f.log);
	assert_true(reaches(sl_access_log_failed, f.log, 1));
	sl_access_log_push(f.log, 0, &r);
	assert_true(reaches(sl_access_log_written, f.log, 1));
	assert_int_equal(lines_in(f.moved), 1);
	rmdir(f.path);
	stop(&f);
}

static void sampling_takes_its_share(void **state)
{
	static const struct {
		double sample;
		int min, max;
	} rows[] = {{0, 0, 0}, {0.25, 350, 650}, {1, 2000, 2000}};
	struct sl_access_record r = record();

	for (size_t i = 0; i < SL_ARRAY_SIZE(rows); i++) {
		struct fixture f;
		int n;

		start(&f, NULL, rows[i].sample);
		for (int k = 0; k < 2000; k++)
			assert_true(sl_access_log_push(f.log, 0, &r));
		sl_access_log_close(f.log);
		f.log = NULL;
		n = lines_in(f.path);
		assert_in_range(n, rows[i].min, rows[i].max);
		stop(&f);
	}
}

static void a_full_disk_is_counted_and_retried_slowly(void **state)
{
	struct sl_access_record r = record();
	uint64_t pushed = 0, start_us;
	struct fixture f;

	start(&f, "/dev/full", 1);
	while (pushed < 20000 && sl_access_log_push(f.log, 0, &r))
		pushed++;
	assert_true(pushed > 1000 && pushed < 20000);
	assert_int_equal(sl_access_log_dropped(f.log), 1);
	assert_true(reaches(sl_access_log_failed, f.log, 2));
	assert_int_equal(sl_access_log_written(f.log), 0);
	poll(NULL, 0, 300);
	assert_in_range(sl_access_log_failed(f.log), 2, 8);
	start_us = sl_clock_us();
	stop(&f);
	assert_true(sl_clock_us() - start_us < 3000000);
}

/* Nobody reads the pipe at first: nothing fails, nothing is lost that fits into pipe and rings. */
static void a_slow_reader_gets_everything_in_the_end(void **state)
{
	struct sl_access_record r = record();
	static char text[65536];
	int fd, lines = 0;
	struct fixture f;
	char path[128];
	ssize_t n;

	strcpy(path, "/tmp/unit-access-fifo-XXXXXX");
	assert_non_null(mkdtemp(path));
	strcat(path, "/fifo");
	assert_int_equal(mkfifo(path, 0600), 0);
	fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	assert_true(fd >= 0);
	start(&f, path, 1);
	for (int i = 0; i < 1000; i++)
		assert_true(sl_access_log_push(f.log, 0, &r));
	poll(NULL, 0, 150);
	assert_true(sl_access_log_written(f.log) < 1000);
	while (lines < 1000) {
		struct pollfd p = {.fd = fd, .events = POLLIN};

		assert_int_equal(poll(&p, 1, 10000), 1);
		n = read(fd, text, sizeof(text));
		assert_true(n > 0);
		for (ssize_t i = 0; i < n; i++)
			lines += text[i] == '\n';
	}
	assert_int_equal(sl_access_log_failed(f.log), 0);
	stop(&f);
	close(fd);
	unlink(path);
	*strrchr(path, '/') = 0;
	rmdir(path);
}

static void a_path_that_cannot_be_opened_is_an_error(void **state)
{
	struct sl_access_log_config c = {.path = "/nonexistent/log", .sample = 1};
	struct sl_access_log *l = NULL;

	assert_true(sl_access_log_open(&c, 1, &l) < 0);
	assert_null(l);
	assert_true(sl_access_log_push(NULL, 0, NULL));
	assert_int_equal(sl_access_log_dropped(NULL), 0);
	sl_access_log_reopen(NULL);
	sl_access_log_close(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_json_line_has_the_documented_fields),
		cmocka_unit_test(a_clf_line_is_combined_with_extras_behind),
		cmocka_unit_test(every_byte_in_every_string_comes_back_from_json),
		cmocka_unit_test(every_byte_in_every_string_comes_back_from_clf),
		cmocka_unit_test(long_strings_are_cut_and_marked),
		cmocka_unit_test(userinfo_never_reaches_the_log),
		cmocka_unit_test(userinfo_is_gone_before_a_long_target_is_cut),
		cmocka_unit_test(what_was_pushed_is_in_the_file_after_close),
		cmocka_unit_test(a_sleeping_log_is_woken),
		cmocka_unit_test(reopen_goes_on_in_a_new_file),
		cmocka_unit_test(a_reopen_that_fails_keeps_the_old_file),
		cmocka_unit_test(sampling_takes_its_share),
		cmocka_unit_test(a_full_disk_is_counted_and_retried_slowly),
		cmocka_unit_test(a_slow_reader_gets_everything_in_the_end),
		cmocka_unit_test(a_path_that_cannot_be_opened_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
