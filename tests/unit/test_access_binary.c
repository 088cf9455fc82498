/* SPDX-License-Identifier: BSD-2-Clause */
/* The binary access log: what goes in comes out, and what is damaged is told without losing what is not. */

#include "unit.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/loop.h"
#include "cli/log_reader.h"
#include "proxy/observe/access_binary.h"
#include "proxy/observe/access_format.h"

static struct sl_access_record record(uint64_t n)
{
	struct sl_access_record r = {
		.start_us = 1700000000000000 + n,
		.duration_us = 1500,
		.queue_us = 90,
		.connect_us = 300,
		.first_byte_us = 127,
		.bytes_in = 128,
		.bytes_out = UINT64_MAX,
		.status = 503,
		.failed = true,
		.http = true,
		.minor = 1,
		.reused = 1,
		.listener = SL_SLICE("web"),
		.method = SL_SLICE("GET"),
		.target = SL_SLICE("/\n\0\"x"),
		.host = SL_SLICE("example.com"),
		.user = SL_SLICE("u"),
		.engine = SL_SLICE("copy"),
		.reason = SL_SLICE("done"),
		.referer = SL_SLICE("r"),
		.user_agent = SL_SLICE("\xff"),
		.group = SL_SLICE("app"),
		.server = SL_SLICE("10.0.0.1:80"),
		.trace_id = SL_SLICE("4bf92f3577b34da6a3ce929d0e0e4736"),
		.span_id = SL_SLICE("00f067aa0ba902b7"),
		.sampled = true,
	};

	sl_addr_parse(SL_SLICE("[fd00::1]:4000"), &r.client);
	sl_addr_parse(SL_SLICE("10.0.0.1:80"), &r.upstream);
	return r;
}

static void same_text(const struct sl_access_record *a, const struct sl_access_record *b)
{
	static char lines[2][SL_ACCESS_LINE_MAX];

	for (int format = SL_ACCESS_LOG_JSON; format <= SL_ACCESS_LOG_CLF; format++) {
		size_t n = sl_access_format((enum sl_access_log_format)format, a, lines[0]);

		assert_int_equal(sl_access_format((enum sl_access_log_format)format, b, lines[1]),
				 n);
		assert_memory_equal(lines[0], lines[1], n);
	}
	assert_int_equal(a->failed, b->failed);
	assert_int_equal(a->sampled, b->sampled);
}

static char encoded[SL_ACCESS_FRAME_LEN + SL_ACCESS_FIELDS_MAX];

static size_t encode(const struct sl_access_record *r)
{
	static char packed[SL_ACCESS_PACKED_MAX];
	struct sl_access_record cut;

	sl_access_pack(r, packed);
	sl_access_unpack(packed, &cut);
	return sl_access_encode(&cut, encoded);
}

static void a_record_comes_back_as_it_was(void **state)
{
	struct sl_access_record empty = {0}, back;
	struct sl_access_record r = record(7);
	size_t n = encode(&r), len = 0;

	assert_int_equal(sl_access_decode(encoded, n, &back, &len), SL_ACCESS_READ_RECORD);
	assert_int_equal(len, n);
	same_text(&r, &back);
	n = encode(&empty);
	assert_true(n < 12);
	assert_int_equal(sl_access_decode(encoded, n, &back, &len), SL_ACCESS_READ_RECORD);
	same_text(&empty, &back);
}

static void the_longest_record_fits(void **state)
{
	static char big[4000];
	struct sl_access_record r = record(1), back;
	struct sl_slice *const all[] = {
		&r.listener, &r.method,	    &r.target, &r.host,	  &r.user,     &r.engine, &r.reason,
		&r.referer,  &r.user_agent, &r.group,  &r.server, &r.trace_id, &r.span_id};
	size_t n, len;

	memset(big, 'b', sizeof(big));
	for (size_t i = 0; i < SL_ARRAY_SIZE(all); i++)
		*all[i] = sl_slice(big, sizeof(big));
	n = encode(&r);
	assert_true(n <= sizeof(encoded));
	assert_int_equal(sl_access_decode(encoded, n, &back, &len), SL_ACCESS_READ_RECORD);
	assert_int_equal(back.target.len, SL_ACCESS_TARGET_MAX + SL_ACCESS_MARK_LEN);
	assert_int_equal(back.server.len, SL_ACCESS_STRING_MAX + SL_ACCESS_MARK_LEN);
}

static void a_change_of_any_byte_is_noticed(void **state)
{
	struct sl_access_record r = record(7), back;
	size_t n = encode(&r), len;

	for (size_t i = 0; i < n; i++) {
		assert_int_equal(sl_access_decode(encoded, i, &back, &len), SL_ACCESS_READ_MORE);
		for (int bit = 0; bit < 8; bit++) {
			encoded[i] ^= (char)(1 << bit);
			assert_int_not_equal(sl_access_decode(encoded, n, &back, &len),
					     SL_ACCESS_READ_RECORD);
			encoded[i] ^= (char)(1 << bit);
		}
	}
	assert_int_equal(sl_access_decode(encoded, n, &back, &len), SL_ACCESS_READ_RECORD);
}

/* --- files --- */

struct reading {
	FILE *file;
	int records;
	uint64_t last_us;
	char complaints[1000];
};

static void note(void *arg, const struct sl_access_record *r)
{
	struct reading *reading = arg;

	reading->records++;
	reading->last_us = r->start_us;
}

static void add_header(FILE *f)
{
	fwrite(sl_access_header, 1, SL_ACCESS_HEADER_LEN, f);
}

static void add_records(FILE *f, uint64_t from, uint64_t to)
{
	for (uint64_t i = from; i < to; i++) {
		struct sl_access_record r = record(i);

		fwrite(encoded, 1, encode(&r), f);
	}
}

static int read_all(FILE *f, struct reading *ret)
{
	FILE *complaints = fmemopen(ret->complaints, sizeof(ret->complaints), "w");
	int r;

	ret->records = 0;
	fflush(f);
	rewind(f);
	lseek(fileno(f), 0, SEEK_SET);
	r = sl_log_read(fileno(f), "log", complaints, note, ret);
	fclose(complaints);
	fclose(f);
	return r;
}

static void files_are_read_across_windows_and_headers(void **state)
{
	struct reading r = {0};
	FILE *f = tmpfile();

	add_header(f);
	add_records(f, 0, 4000);
	add_header(f);
	add_records(f, 4000, 5000);
	assert_true(ftell(f) > 512 * 1024);
	assert_int_equal(read_all(f, &r), 0);
	assert_int_equal(r.records, 5000);
	assert_int_equal(r.last_us, 1700000000004999);
	assert_string_equal(r.complaints, "");
	assert_int_equal(read_all(tmpfile(), &r), 0);
	assert_int_equal(r.records, 0);
}

/* A crash in the middle of a write, then a new start that appends. */
static void what_follows_a_torn_record_is_found_again(void **state)
{
	struct sl_access_record last = record(99);
	struct reading r = {0};
	size_t n = encode(&last);

	for (size_t cut = 1; cut < n; cut++) {
		FILE *f = tmpfile();

		add_header(f);
		add_records(f, 0, 3);
		encode(&last);
		fwrite(encoded, 1, cut, f);
		add_header(f);
		add_records(f, 3, 5);
		assert_int_equal(read_all(f, &r), -EBADMSG);
		assert_int_equal(r.records, 5);
		assert_non_null(strstr(r.complaints, "sluice log: log: byte "));
		assert_non_null(strstr(r.complaints, "damaged"));
	}
}

static void a_truncated_file_is_shown_up_to_its_end(void **state)
{
	struct reading r = {0};
	FILE *f = tmpfile();
	long len;

	add_header(f);
	add_records(f, 0, 3);
	len = ftell(f);
	fflush(f);
	assert_int_equal(ftruncate(fileno(f), len - 1), 0);
	assert_int_equal(read_all(f, &r), -EBADMSG);
	assert_int_equal(r.records, 2);
	assert_non_null(strstr(r.complaints, "it ends in the middle of a record"));
}

static void foreign_and_later_files_are_told_apart(void **state)
{
	static const struct {
		const char *bytes;
		size_t len;
		const char *complaint;
	} rows[] = {
		{"GET / HTTP/1.1\r\n", 16, "byte 0: not a binary access log"},
		{"{\"time\"", 7, "byte 0: not a binary access log"},
		{"\1", 1, "byte 0: not a binary access log"},
		{"\0\0\0\0\0\0\0\0\0", 9, "byte 0: not a binary access log"},
		{"SLUICELG\2\0\0\0\0\0\0\0", 16, "byte 0: written by a later version"},
		{"SLUICEL", 7, "byte 0: not a binary access log"},
	};
	struct reading r = {0};

	for (size_t i = 0; i < SL_ARRAY_SIZE(rows); i++) {
		FILE *f = tmpfile();

		fwrite(rows[i].bytes, 1, rows[i].len, f);
		assert_int_equal(read_all(f, &r), -EBADMSG);
		assert_int_equal(r.records, 0);
		if (!strstr(r.complaints, rows[i].complaint))
			fail_msg("row %zu: %s", i, r.complaints);
	}
}

/* --- the log --- */

static void a_log_is_written_and_reopened_with_headers(void **state)
{
	struct sl_access_log_config c = {.sample = 1, .format = SL_ACCESS_LOG_BINARY};
	char dir[] = "/tmp/unit-access-binary-XXXXXX", path[64], moved[64];
	uint64_t end_us = sl_clock_us() + 10000000;
	struct sl_access_record record_one = record(1);
	struct reading r = {0};
	struct sl_access_log *l;

	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/log", dir);
	snprintf(moved, sizeof(moved), "%s/log.1", dir);
	c.path = path;
	assert_int_equal(sl_access_log_open(&c, 1, &l), 0);
	for (int i = 0; i < 100; i++)
		assert_true(sl_access_log_push(l, 0, &record_one));
	while (sl_access_log_written(l) < 100 && sl_clock_us() < end_us)
		poll(NULL, 0, 2);
	assert_int_equal(sl_access_log_written(l), 100);
	assert_int_equal(rename(path, moved), 0);
	sl_access_log_reopen(l);
	while (access(path, F_OK) && sl_clock_us() < end_us)
		poll(NULL, 0, 2);
	sl_access_log_push(l, 0, &record_one);
	sl_access_log_close(l);
	assert_int_equal(sl_access_log_open(&c, 1, &l), 0); /* appends */
	sl_access_log_push(l, 0, &record_one);
	sl_access_log_close(l);
	assert_int_equal(read_all(fopen(moved, "re"), &r), 0);
	assert_int_equal(r.records, 100);
	assert_int_equal(read_all(fopen(path, "re"), &r), 0);
	assert_int_equal(r.records, 2);
	unlink(path);
	unlink(moved);
	rmdir(dir);
}

/* Nothing is sampled, so only the rules let records through. */
static void rules_log_what_sampling_leaves_out(void **state)
{
	static const struct {
		bool errors;
		uint32_t slower_ms;
		uint64_t duration_us;
		bool failed;
		int logged;
	} rows[] = {
		{false, 0, 99999999, true, 0}, {true, 0, 1, true, 1},
		{true, 0, 1, false, 0},	       {false, 10, 10000, true, 0},
		{false, 10, 10001, false, 1},  {true, 10, 10001, true, 1},
	};
	char path[] = "/tmp/unit-access-binary-XXXXXX";

	close(mkstemp(path));
	for (size_t i = 0; i < SL_ARRAY_SIZE(rows); i++) {
		struct sl_access_log_config c = {.path = path,
						 .format = SL_ACCESS_LOG_BINARY,
						 .always_errors = rows[i].errors,
						 .always_slower_ms = rows[i].slower_ms};
		struct sl_access_record one = record(1);
		struct sl_access_log *l;
		struct reading r = {0};

		one.failed = rows[i].failed;
		one.duration_us = rows[i].duration_us;
		assert_int_equal(truncate(path, 0), 0);
		assert_int_equal(sl_access_log_open(&c, 1, &l), 0);
		assert_true(sl_access_log_push(l, 0, &one));
		sl_access_log_close(l);
		assert_int_equal(read_all(fopen(path, "re"), &r), 0);
		if (r.records != rows[i].logged)
			fail_msg("row %zu: %d records", i, r.records);
	}
	unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_record_comes_back_as_it_was),
		cmocka_unit_test(the_longest_record_fits),
		cmocka_unit_test(a_change_of_any_byte_is_noticed),
		cmocka_unit_test(files_are_read_across_windows_and_headers),
		cmocka_unit_test(what_follows_a_torn_record_is_found_again),
		cmocka_unit_test(a_truncated_file_is_shown_up_to_its_end),
		cmocka_unit_test(foreign_and_later_files_are_told_apart),
		cmocka_unit_test(a_log_is_written_and_reopened_with_headers),
		cmocka_unit_test(rules_log_what_sampling_leaves_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
