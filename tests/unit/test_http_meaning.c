/* SPDX-License-Identifier: BSD-2-Clause */
/* http/framing, http/hop, http/field: what the fields of a head mean for the message. */

#include "unit.h"

#include <stdio.h>
#include <string.h>

#include "http.h"

static struct sl_head head;

static const char *framing_text(enum sl_http_error e, const struct sl_framing *f, char *buf)
{
	if (e)
		return sl_http_error_name(e);
	switch (f->kind) {
	case SL_FRAMING_NONE:
		return "none";
	case SL_FRAMING_CHUNKED:
		return "chunked";
	case SL_FRAMING_CLOSE:
		return "close";
	default:
		sprintf(buf, "%llu", (unsigned long long)f->length);
		return buf;
	}
}

#define CL "Content-Length: "
#define TE "Transfer-Encoding: "

static void a_message_has_one_length_or_is_refused(void **state)
{
	static const struct {
		unsigned minor;
		const char *fields, *request, *response;
	} rows[] = {
		{1, "", "none", "close"},
		{0, "", "none", "close"},
		{1, CL "0\r\n", "0", "0"},
		{0, CL "5\r\n", "5", "5"},
		{1, CL "5\r\n" CL "5\r\n", "5", "5"},
		{1, CL "5, 5\r\n", "5", "5"},
		{1, CL "005\r\n", "5", "5"},
		{1, CL "999999999999999999\r\n", "999999999999999999", "999999999999999999"},
		{1, CL "5\r\n" CL "6\r\n", "bad-content-length", "bad-content-length"},
		{1, CL "5, 6\r\n", "bad-content-length", "bad-content-length"},
		{1, CL "5,\r\n", "bad-content-length", "bad-content-length"},
		{1, CL ",5\r\n", "bad-content-length", "bad-content-length"},
		{1, CL "5,,5\r\n", "bad-content-length", "bad-content-length"},
		{1, CL "\r\n", "bad-content-length", "bad-content-length"},
		{1, CL "5\r\n" CL "\r\n", "bad-content-length", "bad-content-length"},
		{1, CL "+5\r\n", "bad-content-length", "bad-content-length"},
		{1, CL "-1\r\n", "bad-content-length", "bad-content-length"},
		{1, CL "0x10\r\n", "bad-content-length", "bad-content-length"},
		{1, CL "5 5\r\n", "bad-content-length", "bad-content-length"},
		{1, CL "5;a\r\n", "bad-content-length", "bad-content-length"},
		{1, CL "\"5\"\r\n", "bad-content-length", "bad-content-length"},
		{1, CL "1234567890123456789\r\n", "bad-content-length", "bad-content-length"},
		{1, CL "0000000000000000005\r\n", "bad-content-length", "bad-content-length"},
		{1, TE "chunked\r\n", "chunked", "chunked"},
		{1, TE "CHUNKED\r\n", "chunked", "chunked"},
		{0, TE "chunked\r\n", "bad-transfer-encoding", "bad-transfer-encoding"},
		{1, TE "chunked\r\n" CL "5\r\n", "length-and-encoding", "length-and-encoding"},
		{1, CL "x\r\n" TE "x\r\n", "length-and-encoding", "length-and-encoding"},
		{1, TE "chunked, chunked\r\n", "bad-transfer-encoding", "bad-transfer-encoding"},
		{1, TE "chunked\r\n" TE "chunked\r\n", "bad-transfer-encoding",
		 "bad-transfer-encoding"},
		{1, TE "chunked\r\n" TE "\r\n", "bad-transfer-encoding", "bad-transfer-encoding"},
		{1, TE "chunked,\r\n", "bad-transfer-encoding", "bad-transfer-encoding"},
		{1, TE "chunked, gzip\r\n", "bad-transfer-encoding", "bad-transfer-encoding"},
		{1, TE "gzip, chunked\r\n", "unknown-transfer-encoding",
		 "unknown-transfer-encoding"},
		{1, TE "gzip\r\n" TE "chunked\r\n", "unknown-transfer-encoding",
		 "unknown-transfer-encoding"},
		{1, TE "identity\r\n", "unknown-transfer-encoding", "unknown-transfer-encoding"},
		{1, TE "xchunked\r\n", "unknown-transfer-encoding", "unknown-transfer-encoding"},
		{1, TE "chunked;foo\r\n", "bad-transfer-encoding", "bad-transfer-encoding"},
		{1, TE "chunked ;foo=bar\r\n", "bad-transfer-encoding", "bad-transfer-encoding"},
		{1, TE "\"chunked\"\r\n", "bad-transfer-encoding", "bad-transfer-encoding"},
		{1,
		 TE "\xa0"
		    "chunked\r\n",
		 "bad-transfer-encoding", "bad-transfer-encoding"},
		{1, TE "chun ked\r\n", "bad-transfer-encoding", "bad-transfer-encoding"},
		{1, TE "\r\n", "bad-transfer-encoding", "bad-transfer-encoding"},
		{1, TE ",\r\n", "bad-transfer-encoding", "bad-transfer-encoding"},
	};
	char buf[32];

	for (size_t i = 0; i < SL_ARRAY_SIZE(rows); i++) {
		struct sl_framing f = {0};
		enum sl_http_error e;

		parse_fields(true, rows[i].minor, rows[i].fields, &head);
		e = sl_request_framing(&head, &f);
		assert_string_equal(framing_text(e, &f, buf), rows[i].request);
		parse_fields(false, rows[i].minor, rows[i].fields, &head);
		e = sl_response_framing(&head, SL_METHOD_GET, &f);
		assert_string_equal(framing_text(e, &f, buf), rows[i].response);
	}
}

static void some_responses_have_no_body_whatever_they_say(void **state)
{
	static const struct {
		unsigned status;
		enum sl_method method;
		const char *fields, *framing;
	} rows[] = {
		{200, SL_METHOD_HEAD, CL "5\r\n", "none"},
		{200, SL_METHOD_HEAD, TE "chunked\r\n", "none"},
		{200, SL_METHOD_HEAD, CL "x\r\n", "bad-content-length"},
		{304, SL_METHOD_GET, CL "5\r\n", "none"},
		{304, SL_METHOD_GET, CL "5\r\n" CL "6\r\n", "bad-content-length"},
		{204, SL_METHOD_GET, CL "5\r\n", "none"},
		{100, SL_METHOD_POST, CL "5\r\n", "none"},
		{101, SL_METHOD_GET, "", "none"},
		{103, SL_METHOD_GET, TE "chunked\r\n", "none"},
		{200, SL_METHOD_CONNECT, CL "5\r\n", "none"},
		{299, SL_METHOD_CONNECT, TE "chunked\r\n", "none"},
		{200, SL_METHOD_CONNECT, CL "x\r\n", "none"},
		{407, SL_METHOD_CONNECT, CL "5\r\n", "5"},
		{502, SL_METHOD_CONNECT, "", "close"},
		{205, SL_METHOD_GET, CL "0\r\n", "0"},
		{304, SL_METHOD_GET, "", "none"},
	};
	char text[128], buf[32];

	for (size_t i = 0; i < SL_ARRAY_SIZE(rows); i++) {
		struct sl_framing f = {0};
		enum sl_http_error e;

		snprintf(text, sizeof(text), "HTTP/1.1 %u X\r\n%s\r\n", rows[i].status,
			 rows[i].fields);
		parse_good(false, text, &head);
		e = sl_response_framing(&head, rows[i].method, &f);
		assert_string_equal(framing_text(e, &f, buf), rows[i].framing);
	}
}

static void connection_fields_say_what_they_mean(void **state)
{
	static const struct {
		unsigned minor;
		const char *fields, *hop;
	} rows[] = {
		{1, "", "persistent"},
		{0, "", ""},
		{1, "Connection: close\r\n", ""},
		{1, "Connection: CLOSE\r\n", ""},
		{1, "Connection: keep-alive, close\r\n", ""},
		{1, "Connection: keep-alive\r\nConnection: close\r\n", ""},
		{0, "Connection: Keep-Alive\r\n", "persistent"},
		{0, "Proxy-Connection: keep-alive\r\n", ""},
		{1, "Connection:\r\n", "persistent"},
		{1, "Connection: ,, ,\r\n", "persistent"},
		{1, "Connection: not-close\r\n", "persistent"},
		{1, "Connection: clo se\r\n", "bad-connection"},
		{1, "Connection: \"close\"\r\n", "bad-connection"},
		{1, "Connection: a;b\r\n", "bad-connection"},
		{1, "Connection: a@b\r\n", "bad-connection"},
		{1, "Connection: Upgrade\r\nUpgrade: websocket\r\n", "persistent upgrade"},
		{0, "Connection: Upgrade\r\nUpgrade: websocket\r\n", ""},
		{1, "Upgrade: websocket\r\n", "persistent"},
		{1, "Connection: Upgrade\r\n", "persistent"},
		{1, "Connection: Upgrade\r\nUpgrade:\r\n", "persistent"},
		{1, "Connection: TE\r\nTE: trailers\r\n", "persistent te"},
		{1, "Connection: te\r\nTE: gzip;q=0.5, Trailers\r\n", "persistent te"},
		{1, "TE: trailers\r\n", "persistent"},
		{1, "Connection: TE\r\nTE: \"a, trailers\"\r\n", "persistent"},
		{1, "Connection: TE\r\nTE: gzip\r\n", "persistent"},
		{1, "Expect: 100-continue\r\n", "persistent expect"},
		{1, "Expect: 100-Continue\r\n", "persistent expect"},
		{0, "Expect: 100-continue\r\n", ""},
		{1, "Expect:\r\n", "persistent"},
		{1, "Expect: 200-ok\r\n", "bad-expect"},
		{1, "Expect: 100-continue, x\r\n", "bad-expect"},
		{1, "Expect: 100-continue=1\r\n", "bad-expect"},
	};
	char text[64];

	for (size_t i = 0; i < SL_ARRAY_SIZE(rows); i++) {
		struct sl_hop hop = {0};
		enum sl_http_error e;

		parse_fields(true, rows[i].minor, rows[i].fields, &head);
		e = sl_head_hop(&head, &hop);
		snprintf(text, sizeof(text), "%s%s%s%s", hop.persistent ? "persistent" : "",
			 hop.upgrade ? " upgrade" : "", hop.te_trailers ? " te" : "",
			 hop.expect_continue ? " expect" : "");
		if (strcmp(e ? sl_http_error_name(e) : text, rows[i].hop))
			fail_msg("%s instead of %s: %s", e ? sl_http_error_name(e) : text,
				 rows[i].hop, rows[i].fields);
	}
	parse_fields(false, 1, "Expect: nonsense\r\n", &head);
	assert_int_equal(sl_head_hop(&head, &(struct sl_hop){0}), SL_HTTP_OK);
}

static void connection_options_are_bounded(void **state)
{
	char fields[512] = "Connection: ";
	struct sl_hop hop;

	for (int i = 0; i < SL_CONNECTION_OPTIONS_MAX; i++)
		strcat(fields, "a,");
	strcat(fields, "\r\n");
	parse_fields(true, 1, fields, &head);
	assert_int_equal(sl_head_hop(&head, &hop), SL_HTTP_OK);
	strcat(fields, "Connection: b\r\n");
	parse_fields(true, 1, fields, &head);
	assert_int_equal(sl_head_hop(&head, &hop), SL_HTTP_BAD_CONNECTION);
}

static void only_hop_by_hop_and_named_fields_stop_here(void **state)
{
	static const struct {
		const char *field;
		bool drops;
	} rows[] = {
		{"Connection: x", true},
		{"Keep-Alive: 5", true},
		{"Proxy-Connection: x", true},
		{"Proxy-Authorization: x", true},
		{"Proxy-Authenticate: x", true},
		{"TE: trailers", true},
		{"Upgrade: x", true},
		{"HTTP2-Settings: x", true},
		{"X-Named: 1", true},
		{"x-NAMED-too: 1", true},
		{"Third: 1", true},
		{"X-Name: 1", false},
		{"X-Named-to: 1", false},
		{"Trailer: x", false},
		{"Host: a", false},
		{"Via: 1.1 a", false},
		{"Content-Length: 5", false},
		{"Transfer-Encoding: chunked", false},
	};
	const char *named =
		"Connection: close, X-Named ,x-named-TOO\r\nConnection: third, host, Via, "
		"content-length, transfer-encoding\r\n";
	char fields[256];

	for (size_t i = 0; i < SL_ARRAY_SIZE(rows); i++) {
		snprintf(fields, sizeof(fields), "%s%s\r\n", named, rows[i].field);
		parse_fields(true, 1, fields, &head);
		assert_int_equal(sl_head_hop(&head, &(struct sl_hop){0}), SL_HTTP_OK);
		if (sl_head_drops(&head, &head.field[2]) != rows[i].drops)
			fail_msg("%s", rows[i].field);
	}
	assert_true(sl_field_is_framing(SL_FIELD_CONTENT_LENGTH));
	assert_true(sl_field_is_framing(SL_FIELD_TRANSFER_ENCODING));
	assert_false(sl_field_is_framing(SL_FIELD_TE));
}

static void every_known_name_is_found_in_any_case_and_no_other(void **state)
{
	char name[32];

	for (int id = 1; id < SL_FIELD_COUNT; id++) {
		struct sl_slice s = sl_slice_str(sl_field_name(id));

		assert_int_equal(sl_field_lookup(s), id);
		for (size_t i = 0; i < s.len; i++)
			name[i] = i % 2 ? sl_ascii_lower(s.p[i]) : s.p[i] & ~0x20;
		name[0] = sl_ascii_lower(s.p[0]);
		for (size_t i = 0; i < s.len; i++)
			if (s.p[i] == '-' || (s.p[i] >= '0' && s.p[i] <= '9'))
				name[i] = s.p[i];
		assert_int_equal(sl_field_lookup(sl_slice(name, s.len)), id);
		for (size_t i = 0; i < s.len; i++) {
			name[i] ^= 0x1;
			assert_int_equal(sl_field_lookup(sl_slice(name, s.len)), SL_FIELD_OTHER);
			name[i] ^= 0x1;
		}
		assert_int_equal(sl_field_lookup(sl_slice(s.p, s.len - 1)), SL_FIELD_OTHER);
	}
	assert_int_equal(sl_field_lookup((struct sl_slice){0}), SL_FIELD_OTHER);
	assert_string_equal(sl_field_name(SL_FIELD_OTHER), "");
}

static void lists_are_cut_at_commas_outside_quotes(void **state)
{
	static const struct {
		const char *list, *members;
	} rows[] = {
		{"", ""},
		{" , ,\t", ""},
		{"a", "[a]"},
		{" a , b,c ", "[a][b][c]"},
		{"\"a,b\",c", "[\"a,b\"][c]"},
		{"\"a\\\",b\",c", "[\"a\\\",b\"][c]"},
		{"\"open, c", "[\"open, c]"},
		{"\"\\", "[\"\\]"},
	};
	char text[64];

	for (size_t i = 0; i < SL_ARRAY_SIZE(rows); i++) {
		struct sl_slice list = sl_slice_str(rows[i].list), m;
		int n = 0;

		text[0] = '\0';
		while (sl_list_next(&list, &m))
			n += snprintf(text + n, sizeof(text) - (size_t)n, "[%.*s]", (int)m.len,
				      m.p);
		assert_string_equal(text, rows[i].members);
	}
}

static void trailers_never_carry_framing_routing_or_credentials(void **state)
{
	static const char *const bad[] = {"Content-Length",
					  "transfer-encoding",
					  "Host",
					  "TE",
					  "Connection",
					  "AUTHORIZATION",
					  "Cookie",
					  "set-cookie",
					  "Via",
					  "X-Forwarded-For",
					  "X-Forwarded-Proto",
					  "Range",
					  "Content-Encoding",
					  "Trailer"};
	static const char *const good[] = {"ETag", "Digest", "X-Checksum", "Server-Timing"};

	for (size_t i = 0; i < SL_ARRAY_SIZE(bad); i++) {
		struct sl_slice s = sl_slice_str(bad[i]);

		assert_true(sl_field_forbidden_in_trailer(sl_field_lookup(s), s));
	}
	for (size_t i = 0; i < SL_ARRAY_SIZE(good); i++) {
		struct sl_slice s = sl_slice_str(good[i]);

		assert_false(sl_field_forbidden_in_trailer(sl_field_lookup(s), s));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_message_has_one_length_or_is_refused),
		cmocka_unit_test(some_responses_have_no_body_whatever_they_say),
		cmocka_unit_test(connection_fields_say_what_they_mean),
		cmocka_unit_test(connection_options_are_bounded),
		cmocka_unit_test(only_hop_by_hop_and_named_fields_stop_here),
		cmocka_unit_test(every_known_name_is_found_in_any_case_and_no_other),
		cmocka_unit_test(lists_are_cut_at_commas_outside_quotes),
		cmocka_unit_test(trailers_never_carry_framing_routing_or_credentials),
	};

	return cmocka_run_group_tests_name("http-meaning", tests, NULL, NULL);
}
