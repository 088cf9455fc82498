/* SPDX-License-Identifier: BSD-2-Clause */
/* http/target: authorities, request targets by method, the Host field. */

#include "unit.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "http.h"
#include "http/target.h"

#define LABEL_63 "a23456789012345678901234567890123456789012345678901234567890123"
#define NAME_255 LABEL_63 "." LABEL_63 "." LABEL_63 "." LABEL_63

static struct sl_head head;

/* host|port, "-" for no port. */
static const char *authority_text(const struct sl_authority *a, char *buf, size_t size)
{
	char port[8] = "-";

	if (a->has_port)
		snprintf(port, sizeof(port), "%u", a->port);
	snprintf(buf, size, "%s%.*s|%s", a->ipv6_literal ? "6:" : "", (int)a->host.len, a->host.p,
		 port);
	return buf;
}

static void authorities_are_cut_or_refused(void **state)
{
	static const struct {
		const char *text, *want; /* NULL: refused */
	} rows[] = {
		{"a", "a|-"},
		{"a.b-c_d.E9", "a.b-c_d.E9|-"},
		{"a.", "a.|-"},
		{"a:", "a|-"},
		{"a:1", "a|1"},
		{"a:65535", "a|65535"},
		{"a:00080", "a|80"},
		{"1.2.3.4:80", "1.2.3.4|80"},
		{"[::1]", "6:::1|-"},
		{"[2001:db8::1]:443", "6:2001:db8::1|443"},
		{"[::ffff:1.2.3.4]:1", "6:::ffff:1.2.3.4|1"},
		{"[::1]:", "6:::1|-"},
		{"1a", "1a|-"},
		{"0xfg", "0xfg|-"},
		{LABEL_63, LABEL_63 "|-"},
		{"", NULL},
		{":80", NULL},
		{"a:0", NULL},
		{"a:65536", NULL},
		{"a:123456", NULL},
		{"a:+1", NULL},
		{"a:1x", NULL},
		{"a:1:2", NULL},
		{"a..b", NULL},
		{".a", NULL},
		{".", NULL},
		{"a..", NULL},
		{LABEL_63 "x", NULL},
		{NAME_255, NULL},
		{"u@a", NULL},
		{"u:p@a", NULL},
		{"u:1@a:1", NULL},
		{"a b", NULL},
		{"a,b", NULL},
		{"a/b", NULL},
		{"a\\b", NULL},
		{"a?b", NULL},
		{"a#b", NULL},
		{"a%2eb", NULL},
		{"\xc3\xbc", NULL},
		{"::1", NULL},
		{"[::1", NULL},
		{"[]", NULL},
		{"[::1]x", NULL},
		{"[::1]80", NULL},
		{"[1.2.3.4]", NULL},
		{"[fe80::1%eth0]", NULL},
		{"[fe80::1%25eth0]", NULL},
		{"[v1.x]", NULL},
		{"[::1]]", NULL},
		{"1.2.3.4.", NULL},
		{"127.1", NULL},
		{"2130706433", NULL},
		{"0x7f.1", NULL},
		{"0x7f000001", NULL},
		{"1.2.3.256", NULL},
		{"01.2.3.4", NULL},
		{"a.1", NULL},
	};
	char buf[300];

	for (size_t i = 0; i < SL_ARRAY_SIZE(rows); i++) {
		struct sl_authority a;
		int r = sl_authority_parse(sl_slice_str(rows[i].text), &a);

		if (r && rows[i].want)
			fail_msg("refused: %s", rows[i].text);
		if (!r && !rows[i].want)
			fail_msg("accepted: %s", rows[i].text);
		if (r) {
			assert_int_equal(r, -EINVAL);
		} else {
			assert_string_equal(authority_text(&a, buf, sizeof(buf)), rows[i].want);
			assert_slice(a.text, rows[i].text);
		}
	}
}

static void a_name_may_have_253_bytes_and_a_final_dot(void **state)
{
	char name[256] = NAME_255;
	struct sl_authority a;

	name[253] = '\0';
	assert_int_equal(sl_authority_parse(sl_slice_str(name), &a), 0);
	name[253] = '.';
	name[254] = '\0';
	assert_int_equal(sl_authority_parse(sl_slice_str(name), &a), 0);
	name[253] = 'x';
	assert_int_equal(sl_authority_parse(sl_slice_str(name), &a), -EINVAL);
}

static void the_form_of_a_target_fits_its_method(void **state)
{
	static const struct {
		const char *method, *target, *want; /* NULL: refused */
	} rows[] = {
		{"GET", "/", "origin /"},
		{"GET", "//h/p?q=http://x", "origin //h/p?q=http://x"},
		{"GET", "/%zz\"<>\\^`{|}", "origin /%zz\"<>\\^`{|}"},
		{"OPTIONS", "*", "asterisk "},
		{"OPTIONS", "/x", "origin /x"},
		{"OPTIONS", "http://h", "absolute http h|- "},
		{"GET", "http://h/p?q", "absolute http h|- /p?q"},
		{"GET", "HTTP://H:8080/", "absolute HTTP H|8080 /"},
		{"GET", "http://h?q", "absolute http h|- ?q"},
		{"GET", "http://h:/", "absolute http h|- /"},
		{"GET", "http://[::1]:1/", "absolute http 6:::1|1 /"},
		{"GET", "https://h/", "absolute https h|- /"},
		{"GET", "a+b-c.1://h/@", "absolute a+b-c.1 h|- /@"},
		{"CONNECT", "h:443", "authority h|443"},
		{"CONNECT", "[::1]:443", "authority 6:::1|443"},
		{"CONNECT", "h", NULL},
		{"CONNECT", "h:", NULL},
		{"CONNECT", "/", NULL},
		{"CONNECT", "*", NULL},
		{"CONNECT", "http://h:80", NULL},
		{"CONNECT", "http://h:80/", NULL},
		{"CONNECT", "u@h:80", NULL},
		{"GET", "*", NULL},
		{"GET", "h:443", NULL},
		{"GET", "h", NULL},
		{"GET", "?q", NULL},
		{"GET", "/p#f", NULL},
		{"GET", "http://h/#f", NULL},
		{"GET", "http://h#f", NULL},
		{"GET", "http:///p", NULL},
		{"GET", "http://", NULL},
		{"GET", "http:/h", NULL},
		{"GET", "http:h", NULL},
		{"GET", "://h/", NULL},
		{"GET", "1http://h/", NULL},
		{"GET", "ht_tp://h/", NULL},
		{"GET", "http://u:p@h/", NULL},
		{"GET", "http://h@/", NULL},
		{"GET", "http://h:x/", NULL},
		{"GET", "http://h\\@x/", NULL},
		{"GET", "http://a,b/", NULL},
		{"GET", "http://127.1/", NULL},
	};
	char text[256], got[256], authority[128];

	for (size_t i = 0; i < SL_ARRAY_SIZE(rows); i++) {
		struct sl_target t;

		snprintf(text, sizeof(text), "%s %s HTTP/1.1\r\n\r\n", rows[i].method,
			 rows[i].target);
		parse_good(true, text, &head);
		strcpy(got, "");
		if (sl_target_parse(&head, &t)) {
			if (rows[i].want)
				fail_msg("refused: %s", text);
			continue;
		}
		authority_text(&t.authority, authority, sizeof(authority));
		if (t.form == SL_TARGET_ORIGIN)
			snprintf(got, sizeof(got), "origin %.*s", (int)t.path_query.len,
				 t.path_query.p);
		else if (t.form == SL_TARGET_ASTERISK)
			strcpy(got, "asterisk ");
		else if (t.form == SL_TARGET_AUTHORITY)
			snprintf(got, sizeof(got), "authority %s", authority);
		else
			snprintf(got, sizeof(got), "absolute %.*s %s %.*s", (int)t.scheme.len,
				 t.scheme.p, authority, (int)t.path_query.len, t.path_query.p);
		if (!rows[i].want || strcmp(got, rows[i].want))
			fail_msg("'%s' from %s", got, text);
	}
}

static void there_is_one_good_host_field_or_none_in_1_0(void **state)
{
	static const struct {
		unsigned minor;
		const char *fields, *want; /* NULL: refused */
	} rows[] = {
		{1, "Host: a:80\r\n", "a|80"},
		{1, "host: [::1]\r\n", "6:::1|-"},
		{1, "Host:\r\n", "|-"},
		{1, "", NULL},
		{0, "", "|-"},
		{0, "Host: a\r\n", "a|-"},
		{1, "Host: a\r\nHost: a\r\n", NULL},
		{0, "Host: a\r\nHost: b\r\n", NULL},
		{1, "Host: a\r\nHost:\r\n", NULL},
		{1, "Host: a, b\r\n", NULL},
		{1, "Host: u@a\r\n", NULL},
		{1, "Host: http://a\r\n", NULL},
		{1, "Host: a/b\r\n", NULL},
		{1, "Host: a b\r\n", NULL},
		{1, "Host: a:b\r\n", NULL},
	};
	char buf[64];

	for (size_t i = 0; i < SL_ARRAY_SIZE(rows); i++) {
		struct sl_authority a;

		parse_fields(true, rows[i].minor, rows[i].fields, &head);
		if (sl_host_field(&head, &a)) {
			if (rows[i].want)
				fail_msg("refused: %s", rows[i].fields);
			continue;
		}
		if (!rows[i].want)
			fail_msg("accepted: %s", rows[i].fields);
		assert_string_equal(authority_text(&a, buf, sizeof(buf)), rows[i].want);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(authorities_are_cut_or_refused),
		cmocka_unit_test(a_name_may_have_253_bytes_and_a_final_dot),
		cmocka_unit_test(the_form_of_a_target_fits_its_method),
		cmocka_unit_test(there_is_one_good_host_field_or_none_in_1_0),
	};

	return cmocka_run_group_tests_name("http-target", tests, NULL, NULL);
}
