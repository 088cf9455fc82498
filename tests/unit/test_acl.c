/* SPDX-License-Identifier: BSD-2-Clause */
/* proxy/acl: who may go where, as tables of {client, host, destination, verdict}. */

#include "unit.h"

#include <stdio.h>
#include <string.h>

#include "proxy/access/acl.h"

struct row {
	const char *src, *host, *dst;
	enum sl_acl_verdict verdict;
};

static struct sl_addr addr(const char *text)
{
	struct sl_addr a;

	if (sl_addr_parse(sl_slice_str(text), &a))
		fail_msg("bad address in the test: %s", text);
	return a;
}

static struct sl_cidr cidr(const char *text)
{
	struct sl_cidr c;

	if (sl_cidr_parse(sl_slice_str(text), &c))
		fail_msg("bad prefix in the test: %s", text);
	return c;
}

static void check_rows(const struct sl_acl *acl, const struct sl_addr *own, size_t n_own,
		       const struct row *rows, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct sl_addr src = addr(rows[i].src), dst = addr(rows[i].dst);
		struct sl_acl_query q = {&src, sl_slice_str(rows[i].host), &dst};
		const struct sl_acl_rule *rule;
		enum sl_acl_verdict v = sl_acl_check(acl, own, n_own, &q, &rule);

		if (v != rows[i].verdict)
			fail_msg("%s (%s) from %s: %s, expected %s", rows[i].dst,
				 rows[i].host ? rows[i].host : "", rows[i].src,
				 sl_acl_verdict_name(v), sl_acl_verdict_name(rows[i].verdict));
		assert_true((rule != NULL) == (v == SL_ACL_DENY_RULE));
	}
}

#define CHECK_ROWS(acl, own, n_own, rows) check_rows(acl, own, n_own, rows, SL_ARRAY_SIZE(rows))

static void without_rules_only_the_public_internet_is_open(void **state)
{
	static const struct row rows[] = {
		{"10.1.1.1:9", NULL, "93.184.216.34:443", SL_ACL_ALLOW},
		{"10.1.1.1:9", NULL, "10.0.0.1:80", SL_ACL_ALLOW},
		{"10.1.1.1:9", NULL, "[2001:db8::1]:80", SL_ACL_ALLOW},
		{"10.1.1.1:9", NULL, "[fd00::1]:80", SL_ACL_ALLOW},
		{"10.1.1.1:9", NULL, "0.0.0.0:80", SL_ACL_DENY_SPECIAL},
		{"10.1.1.1:9", NULL, "0.1.2.3:80", SL_ACL_DENY_SPECIAL},
		{"10.1.1.1:9", NULL, "1.0.0.0:80", SL_ACL_ALLOW},
		{"10.1.1.1:9", NULL, "[::]:80", SL_ACL_DENY_SPECIAL},
		{"10.1.1.1:9", NULL, "169.253.255.255:80", SL_ACL_ALLOW},
		{"10.1.1.1:9", NULL, "169.254.0.0:80", SL_ACL_DENY_LINK_LOCAL},
		{"10.1.1.1:9", NULL, "169.254.169.254:80", SL_ACL_DENY_LINK_LOCAL},
		{"10.1.1.1:9", NULL, "169.254.255.255:80", SL_ACL_DENY_LINK_LOCAL},
		{"10.1.1.1:9", NULL, "169.255.0.0:80", SL_ACL_ALLOW},
		{"127.0.0.1:9", NULL, "169.254.169.254:80", SL_ACL_DENY_LINK_LOCAL},
		{"10.1.1.1:9", NULL, "[fe80::1]:80", SL_ACL_DENY_LINK_LOCAL},
		{"10.1.1.1:9", NULL, "[febf:ffff::1]:80", SL_ACL_DENY_LINK_LOCAL},
		{"10.1.1.1:9", NULL, "[fec0::1]:80", SL_ACL_ALLOW},
		{"10.1.1.1:9", NULL, "[fd00:ec2::254]:80", SL_ACL_DENY_LINK_LOCAL},
		{"10.1.1.1:9", NULL, "[fd00:ec2::253]:80", SL_ACL_ALLOW},
		{"10.1.1.1:9", NULL, "[fd20:ce::254]:80", SL_ACL_DENY_LINK_LOCAL},
		{"10.1.1.1:9", NULL, "[fd00:42::42]:80", SL_ACL_DENY_LINK_LOCAL},
		{"10.1.1.1:9", NULL, "100.100.100.200:80", SL_ACL_DENY_LINK_LOCAL},
		{"10.1.1.1:9", NULL, "100.100.100.201:80", SL_ACL_ALLOW},
		{"10.1.1.1:9", NULL, "168.63.129.16:80", SL_ACL_DENY_LINK_LOCAL},
		{"10.1.1.1:9", NULL, "192.0.0.192:80", SL_ACL_DENY_LINK_LOCAL},
		{"10.1.1.1:9", NULL, "223.255.255.255:80", SL_ACL_ALLOW},
		{"10.1.1.1:9", NULL, "224.0.0.1:80", SL_ACL_DENY_SPECIAL},
		{"10.1.1.1:9", NULL, "239.255.255.255:80", SL_ACL_DENY_SPECIAL},
		{"10.1.1.1:9", NULL, "240.0.0.1:80", SL_ACL_DENY_SPECIAL},
		{"10.1.1.1:9", NULL, "255.255.255.255:80", SL_ACL_DENY_SPECIAL},
		{"10.1.1.1:9", NULL, "[ff02::1]:80", SL_ACL_DENY_SPECIAL},
	};

	CHECK_ROWS(NULL, NULL, 0, rows);
	CHECK_ROWS(&(struct sl_acl){0}, NULL, 0, rows);
}

static void loopback_is_for_clients_on_loopback(void **state)
{
	static const struct row rows[] = {
		{"127.0.0.1:9", NULL, "127.0.0.1:80", SL_ACL_ALLOW},
		{"127.0.0.1:9", NULL, "127.255.0.9:80", SL_ACL_ALLOW},
		{"127.0.0.1:9", NULL, "[::1]:80", SL_ACL_ALLOW},
		{"[::1]:9", NULL, "127.0.0.1:80", SL_ACL_ALLOW},
		{"[::ffff:127.0.0.1]:9", NULL, "127.0.0.1:80", SL_ACL_ALLOW},
		{"127.0.0.1:9", NULL, "0.0.0.0:80", SL_ACL_DENY_SPECIAL},
		{"10.0.0.1:9", NULL, "127.0.0.1:80", SL_ACL_DENY_LOOPBACK},
		{"10.0.0.1:9", NULL, "127.9.9.9:80", SL_ACL_DENY_LOOPBACK},
		{"10.0.0.1:9", NULL, "[::1]:80", SL_ACL_DENY_LOOPBACK},
		{"[::ffff:10.0.0.1]:9", NULL, "[::1]:80", SL_ACL_DENY_LOOPBACK},
		{"[::7f00:1]:9", NULL, "127.0.0.1:80", SL_ACL_DENY_LOOPBACK},
	};

	CHECK_ROWS(NULL, NULL, 0, rows);
}

static void an_ipv4_address_inside_an_ipv6_one_is_judged_too(void **state)
{
	static const struct row rows[] = {
		{"10.1.1.1:9", NULL, "[::ffff:169.254.169.254]:80", SL_ACL_DENY_LINK_LOCAL},
		{"10.1.1.1:9", NULL, "[::ffff:8.8.8.8]:80", SL_ACL_ALLOW},
		{"10.1.1.1:9", NULL, "[::ffff:127.0.0.1]:80", SL_ACL_DENY_LOOPBACK},
		{"10.1.1.1:9", NULL, "[::ffff:0.0.0.0]:80", SL_ACL_DENY_SPECIAL},
		{"10.1.1.1:9", NULL, "[::169.254.169.254]:80", SL_ACL_DENY_LINK_LOCAL},
		{"10.1.1.1:9", NULL, "[::127.0.0.1]:80", SL_ACL_DENY_LOOPBACK},
		{"10.1.1.1:9", NULL, "[::2]:80", SL_ACL_DENY_SPECIAL},
		{"10.1.1.1:9", NULL, "[::8.8.8.8]:80", SL_ACL_ALLOW},
		{"10.1.1.1:9", NULL, "[::ffff:0:169.254.1.1]:80", SL_ACL_DENY_LINK_LOCAL},
		{"10.1.1.1:9", NULL, "[64:ff9b::169.254.169.254]:80", SL_ACL_DENY_LINK_LOCAL},
		{"10.1.1.1:9", NULL, "[64:ff9b::127.0.0.1]:80", SL_ACL_DENY_LOOPBACK},
		{"10.1.1.1:9", NULL, "[64:ff9b::100.100.100.200]:80", SL_ACL_DENY_LINK_LOCAL},
		{"10.1.1.1:9", NULL, "[64:ff9b::224.0.0.1]:80", SL_ACL_DENY_SPECIAL},
		{"10.1.1.1:9", NULL, "[64:ff9b::8.8.8.8]:80", SL_ACL_ALLOW},
		{"10.1.1.1:9", NULL, "[64:ff9b:1:2::169.254.1.1]:80", SL_ACL_DENY_LINK_LOCAL},
		{"10.1.1.1:9", NULL, "[64:ff9c::169.254.169.254]:80", SL_ACL_ALLOW},
		{"10.1.1.1:9", NULL, "[2002:a9fe:a9fe::1]:80", SL_ACL_DENY_LINK_LOCAL},
		{"10.1.1.1:9", NULL, "[2002:7f00:1::]:80", SL_ACL_DENY_LOOPBACK},
		{"10.1.1.1:9", NULL, "[2002:808:808::1]:80", SL_ACL_ALLOW},
		{"10.1.1.1:9", NULL, "[2001:0:808:808::5601:5601]:80", SL_ACL_DENY_LINK_LOCAL},
		{"10.1.1.1:9", NULL, "[2001:0:808:808::f7f7:f7f7]:80", SL_ACL_ALLOW},
	};

	CHECK_ROWS(NULL, NULL, 0, rows);
}

static void own_listeners_are_out_of_reach_by_any_spelling(void **state)
{
	struct sl_addr own[] = {addr("127.0.0.1:3128"),
				addr("0.0.0.0:8080"),
				addr("[::]:9090"),
				addr("10.0.0.5:8080"),
				{.family = AF_UNSPEC}};
	struct sl_cidr anywhere[] = {cidr("0.0.0.0/0"), cidr("::/0"), cidr("127.0.0.1/32")};
	struct sl_acl_rule allow_all[] = {{.allow = true, .dst = anywhere, .n_dst = 3}};
	struct sl_acl acl = {allow_all, 1};
	static const struct row rows[] = {
		{"127.0.0.1:9", NULL, "127.0.0.1:3128", SL_ACL_DENY_OWN},
		{"127.0.0.1:9", "localhost", "127.0.0.1:3128", SL_ACL_DENY_OWN},
		{"127.0.0.1:9", NULL, "[::ffff:127.0.0.1]:3128", SL_ACL_DENY_OWN},
		{"127.0.0.1:9", NULL, "[64:ff9b::127.0.0.1]:3128", SL_ACL_DENY_OWN},
		{"127.0.0.1:9", NULL, "[::127.0.0.1]:3128", SL_ACL_DENY_OWN},
		{"127.0.0.1:9", NULL, "0.0.0.0:3128", SL_ACL_DENY_OWN},
		{"127.0.0.1:9", NULL, "[::]:3128", SL_ACL_DENY_OWN},
		{"127.0.0.1:9", NULL, "127.0.0.1:3129", SL_ACL_ALLOW},
		{"127.0.0.1:9", NULL, "127.0.0.2:3128", SL_ACL_ALLOW},
		{"127.0.0.1:9", NULL, "[::1]:3128", SL_ACL_ALLOW},
		{"127.0.0.1:9", NULL, "127.0.0.2:8080", SL_ACL_DENY_OWN},
		{"127.0.0.1:9", NULL, "[::1]:8080", SL_ACL_ALLOW},
		{"127.0.0.1:9", NULL, "127.0.0.1:9090", SL_ACL_DENY_OWN},
		{"127.0.0.1:9", NULL, "[::1]:9090", SL_ACL_DENY_OWN},
		{"10.0.0.9:9", NULL, "10.0.0.5:8080", SL_ACL_DENY_OWN},
		{"10.0.0.9:9", NULL, "10.0.0.6:8080", SL_ACL_ALLOW},
		{"10.0.0.9:9", NULL, "8.8.8.8:9090", SL_ACL_ALLOW},
	};

	CHECK_ROWS(&acl, own, SL_ARRAY_SIZE(own), rows);
}

static void the_first_matching_rule_decides(void **state)
{
	struct sl_cidr lan[] = {cidr("10.0.0.0/8"), cidr("fd00::/8")};
	struct sl_cidr office[] = {cidr("192.168.1.0/24")};
	struct sl_port_range web[] = {{443, 443}, {8000, 8100}};
	char *internal[] = {"*.internal", "secret.example"};
	struct sl_acl_rule rules[] = {
		{.allow = true, .dst = lan, .n_dst = 2, .port = web, .n_port = 2},
		{.host = internal, .n_host = 2},
		{.allow = true, .src = office, .n_src = 1},
		{0},
	};
	struct sl_acl acl = {rules, SL_ARRAY_SIZE(rules)};
	static const struct row rows[] = {
		{"1.1.1.1:9", NULL, "10.0.0.1:443", SL_ACL_ALLOW},
		{"1.1.1.1:9", "x.internal", "10.0.0.1:443", SL_ACL_ALLOW},
		{"1.1.1.1:9", NULL, "[::ffff:10.0.0.1]:443", SL_ACL_ALLOW},
		{"1.1.1.1:9", NULL, "[fd00::9]:8000", SL_ACL_ALLOW},
		{"1.1.1.1:9", NULL, "10.0.0.1:8100", SL_ACL_ALLOW},
		{"1.1.1.1:9", NULL, "10.0.0.1:8101", SL_ACL_DENY_RULE},
		{"1.1.1.1:9", NULL, "10.0.0.1:7999", SL_ACL_DENY_RULE},
		{"1.1.1.1:9", NULL, "[64:ff9b::10.0.0.1]:443", SL_ACL_DENY_RULE},
		{"192.168.1.7:9", "db.internal", "8.8.8.8:80", SL_ACL_DENY_RULE},
		{"192.168.1.7:9", "DB.Internal.", "8.8.8.8:80", SL_ACL_DENY_RULE},
		{"192.168.1.7:9", "a.b.internal", "8.8.8.8:80", SL_ACL_DENY_RULE},
		{"192.168.1.7:9", "internal", "8.8.8.8:80", SL_ACL_ALLOW},
		{"192.168.1.7:9", ".internal", "8.8.8.8:80", SL_ACL_ALLOW},
		{"192.168.1.7:9", "notinternal", "8.8.8.8:80", SL_ACL_ALLOW},
		{"192.168.1.7:9", "db.internal.example", "8.8.8.8:80", SL_ACL_ALLOW},
		{"192.168.1.7:9", "SECRET.example", "8.8.8.8:80", SL_ACL_DENY_RULE},
		{"192.168.1.7:9", "secret.example.", "8.8.8.8:80", SL_ACL_DENY_RULE},
		{"192.168.1.7:9", "x.secret.example", "8.8.8.8:80", SL_ACL_ALLOW},
		{"192.168.1.7:9", NULL, "8.8.8.8:80", SL_ACL_ALLOW},
		{"[::ffff:192.168.1.7]:9", NULL, "8.8.8.8:80", SL_ACL_ALLOW},
		{"192.168.2.7:9", NULL, "8.8.8.8:80", SL_ACL_DENY_RULE},
	};

	CHECK_ROWS(&acl, NULL, 0, rows);
}

static void the_rule_that_denied_is_told(void **state)
{
	char *host[] = {"*.internal"};
	struct sl_acl_rule rules[] = {{.allow = true, .host = host, .n_host = 1},
				      {.line = 7, .column = 5}};
	struct sl_acl acl = {rules, 2};
	struct sl_addr src = addr("1.1.1.1:9"), dst = addr("8.8.8.8:80");
	struct sl_acl_query q = {&src, SL_SLICE("example.com"), &dst};
	const struct sl_acl_rule *rule;

	assert_int_equal(sl_acl_check(&acl, NULL, 0, &q, &rule), SL_ACL_DENY_RULE);
	assert_ptr_equal(rule, &rules[1]);
}

static void a_rule_by_name_never_matches_a_literal_address(void **state)
{
	char *host[] = {"8.8.8.8", "*.8", "*.8.8.8"};
	struct sl_acl_rule rules[] = {{.host = host, .n_host = 3}};
	struct sl_acl acl = {rules, 1};
	static const struct row rows[] = {
		{"1.1.1.1:9", NULL, "8.8.8.8:80", SL_ACL_ALLOW},
		{"1.1.1.1:9", "8.8.8.8", "8.8.8.8:80", SL_ACL_ALLOW},
		{"1.1.1.1:9", "8.8.8.8.", "8.8.8.8:80", SL_ACL_ALLOW},
		{"1.1.1.1:9", "::8", "[::8]:80", SL_ACL_DENY_SPECIAL},
	};

	CHECK_ROWS(&acl, NULL, 0, rows);
}

/* Whoever owns a name under an allowed suffix can let it resolve to anything. */
static void an_allowed_name_does_not_open_the_builtin_denials(void **state)
{
	char *host[] = {"*.example.com"};
	struct sl_cidr all[] = {cidr("0.0.0.0/0"), cidr("::/0")};
	struct sl_acl_rule by_name[] = {{.allow = true, .host = host, .n_host = 1}};
	struct sl_acl_rule by_all[] = {{.allow = true, .dst = all, .n_dst = 2}};
	struct sl_acl_rule everything[] = {{.allow = true}};
	struct sl_acl acls[] = {{by_name, 1}, {by_all, 1}, {everything, 1}};
	static const struct row rows[] = {
		{"1.1.1.1:9", "x.example.com", "93.184.216.34:80", SL_ACL_ALLOW},
		{"1.1.1.1:9", "x.example.com", "169.254.169.254:80", SL_ACL_DENY_LINK_LOCAL},
		{"1.1.1.1:9", "x.example.com", "127.0.0.1:80", SL_ACL_DENY_LOOPBACK},
		{"1.1.1.1:9", "x.example.com", "[::1]:80", SL_ACL_DENY_LOOPBACK},
		{"1.1.1.1:9", "x.example.com", "[2002:7f00:1::]:80", SL_ACL_DENY_LOOPBACK},
		{"1.1.1.1:9", "x.example.com", "[fe80::1]:80", SL_ACL_DENY_LINK_LOCAL},
		{"1.1.1.1:9", "x.example.com", "[64:ff9b::a9fe:a9fe]:80", SL_ACL_DENY_LINK_LOCAL},
		{"1.1.1.1:9", "x.example.com", "0.0.0.0:80", SL_ACL_DENY_SPECIAL},
	};

	for (size_t i = 0; i < SL_ARRAY_SIZE(acls); i++)
		CHECK_ROWS(&acls[i], NULL, 0, rows);
}

static void an_allow_rule_opens_the_denied_block_that_it_names(void **state)
{
	struct sl_cidr metadata[] = {cidr("169.254.169.254/32")};
	struct sl_cidr blocks[] = {cidr("127.0.0.0/8"), cidr("fe80::/10"), cidr("100.64.0.0/10"),
				   cidr("64:ff9b::a9fe:0/112")};
	struct sl_port_range http[] = {{80, 80}};
	struct sl_acl_rule rules[] = {
		{.allow = true, .dst = metadata, .n_dst = 1, .port = http, .n_port = 1},
		{.allow = true, .dst = blocks, .n_dst = 4}};
	struct sl_acl acl = {rules, 2};
	static const struct row rows[] = {
		{"1.1.1.1:9", NULL, "169.254.169.254:80", SL_ACL_ALLOW},
		{"1.1.1.1:9", "evil.example", "169.254.169.254:80", SL_ACL_ALLOW},
		{"1.1.1.1:9", NULL, "[::ffff:169.254.169.254]:80", SL_ACL_ALLOW},
		{"1.1.1.1:9", NULL, "169.254.169.254:81", SL_ACL_DENY_LINK_LOCAL},
		{"1.1.1.1:9", NULL, "169.254.169.253:80", SL_ACL_DENY_LINK_LOCAL},
		{"1.1.1.1:9", NULL, "127.0.0.1:1", SL_ACL_ALLOW},
		{"1.1.1.1:9", NULL, "[::1]:1", SL_ACL_DENY_LOOPBACK},
		{"1.1.1.1:9", NULL, "[fe80::9]:1", SL_ACL_ALLOW},
		{"1.1.1.1:9", NULL, "100.64.0.1:1", SL_ACL_ALLOW},
		{"1.1.1.1:9", NULL, "100.100.100.200:80", SL_ACL_DENY_LINK_LOCAL},
		{"1.1.1.1:9", NULL, "[64:ff9b::169.254.169.254]:80", SL_ACL_ALLOW},
		{"1.1.1.1:9", NULL, "[64:ff9b::127.0.0.1]:80", SL_ACL_DENY_LOOPBACK},
		{"1.1.1.1:9", NULL, "[2002:a9fe:a9fe::]:80", SL_ACL_DENY_LINK_LOCAL},
	};

	CHECK_ROWS(&acl, NULL, 0, rows);
}

static void a_deny_rule_sees_through_translator_addresses(void **state)
{
	struct sl_cidr lan[] = {cidr("10.0.0.0/8")};
	struct sl_acl_rule rules[] = {{.dst = lan, .n_dst = 1}};
	struct sl_acl acl = {rules, 1};
	static const struct row rows[] = {
		{"1.1.1.1:9", NULL, "10.0.0.1:80", SL_ACL_DENY_RULE},
		{"1.1.1.1:9", NULL, "[::ffff:10.0.0.1]:80", SL_ACL_DENY_RULE},
		{"1.1.1.1:9", NULL, "[64:ff9b::10.0.0.1]:80", SL_ACL_DENY_RULE},
		{"1.1.1.1:9", NULL, "[2002:a00:1::]:80", SL_ACL_DENY_RULE},
		{"1.1.1.1:9", NULL, "[64:ff9b::11.0.0.1]:80", SL_ACL_ALLOW},
	};

	CHECK_ROWS(&acl, NULL, 0, rows);
}

static void a_destination_without_address_is_denied(void **state)
{
	struct sl_addr src = addr("127.0.0.1:9"), dst = {.family = AF_UNSPEC};
	struct sl_acl_query q = {&src, SL_SLICE("example.com"), &dst};
	struct sl_acl_rule all[] = {{.allow = true}};
	struct sl_acl acl = {all, 1};
	const struct sl_acl_rule *rule;

	assert_int_equal(sl_acl_check(&acl, NULL, 0, &q, &rule), SL_ACL_DENY_SPECIAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_rules_only_the_public_internet_is_open),
		cmocka_unit_test(loopback_is_for_clients_on_loopback),
		cmocka_unit_test(an_ipv4_address_inside_an_ipv6_one_is_judged_too),
		cmocka_unit_test(own_listeners_are_out_of_reach_by_any_spelling),
		cmocka_unit_test(the_first_matching_rule_decides),
		cmocka_unit_test(the_rule_that_denied_is_told),
		cmocka_unit_test(a_rule_by_name_never_matches_a_literal_address),
		cmocka_unit_test(an_allowed_name_does_not_open_the_builtin_denials),
		cmocka_unit_test(an_allow_rule_opens_the_denied_block_that_it_names),
		cmocka_unit_test(a_deny_rule_sees_through_translator_addresses),
		cmocka_unit_test(a_destination_without_address_is_denied),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
