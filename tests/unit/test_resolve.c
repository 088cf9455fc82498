/* SPDX-License-Identifier: BSD-2-Clause */
/* proxy/resolve: against a name server in the same loop. */

#include "unit.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "../fake_dns.h"
#include "base/loop.h"
#include "proxy/names/resolve.h"

static const struct fake_dns_record records[] = {
	{"a.test", AF_INET, .ttl_s = 60, .addr = {"10.0.0.1", "10.0.0.2"}},
	{"aaaa.test", AF_INET6, .ttl_s = 60, .addr = {"2001:db8::1"}},
	{"both.test", AF_INET, .ttl_s = 60, .addr = {"10.0.0.1", "10.0.0.2", "10.0.0.3"}},
	{"both.test", AF_INET6, .ttl_s = 60, .addr = {"2001:db8::1", "2001:db8::2"}},
	{"twice.test", AF_INET, .ttl_s = 60, .addr = {"10.0.0.1", "10.0.0.1"}},
	{"alias.test", AF_INET, .ttl_s = 60, .addr = {"10.0.0.9"}, .cname = "real.test"},
	{"second.test", AF_INET, .ttl_s = 1, .addr = {"10.0.0.1"}},
	{"zero.test", AF_INET, .ttl_s = 0, .addr = {"10.0.0.1"}},
	{"huge-ttl.test", AF_INET, .ttl_s = UINT32_MAX, .addr = {"10.0.0.1"}},
	{"servfail.test", AF_UNSPEC, FAKE_DNS_SERVFAIL},
	{"silent.test", AF_UNSPEC, FAKE_DNS_SILENT},
	{"no-or-fail.test", AF_INET, FAKE_DNS_NXDOMAIN},
	{"no-or-fail.test", AF_INET6, FAKE_DNS_SERVFAIL},
	{"no-or-silent.test", AF_INET, FAKE_DNS_ANSWER},
	{"no-or-silent.test", AF_INET6, FAKE_DNS_SILENT},
	{"half-fail.test", AF_INET, .ttl_s = 60, .addr = {"10.0.0.1"}},
	{"half-fail.test", AF_INET6, FAKE_DNS_SERVFAIL},
	{"half-silent.test", AF_INET, .ttl_s = 60, .addr = {"10.0.0.1"}},
	{"half-silent.test", AF_INET6, FAKE_DNS_SILENT},
	{"half-late.test", AF_INET, .ttl_s = 60, .addr = {"10.0.0.1"}},
	{"half-late.test", AF_INET6, .ttl_s = 60, .delay_ms = 400, .addr = {"2001:db8::1"}},
	{"tc.test", AF_INET, FAKE_DNS_TRUNCATED, .ttl_s = 60, .addr = {"10.0.0.7"}},
	{"many.test", AF_INET, .ttl_s = 60, .many = 3000},
	{"late.test", AF_UNSPEC, .ttl_s = 60, .delay_ms = 30, .addr = {"10.0.0.1"}},
	{"mangled.test", AF_UNSPEC, FAKE_DNS_MANGLED, .ttl_s = 60, .addr = {"10.0.0.1"}},
};

struct fixture {
	struct sl_loop *loop;
	struct fake_dns *dns;
	struct sl_resolver *r;
};

struct asker {
	struct sl_query query;
	struct sl_addrs addrs;
	int error;
	unsigned answers;
	struct asker *victim;
};

static const struct sl_resolver_config usual = {.timeout_ms = 1000,
						.tries = 1,
						.cache = 16,
						.negative_ttl_ms = 10000,
						.max_ttl_ms = 3600000};

static void open_with(struct fixture *f, const struct sl_resolver_config *c,
		      const struct fake_dns_record *table, size_t n)
{
	struct sl_resolver_config config = *c;
	char *servers[2] = {NULL};

	assert_int_equal(sl_loop_new(&f->loop), 0);
	assert_int_equal(fake_dns_new(f->loop, table, n, &f->dns), 0);
	servers[0] = fake_dns_address(f->dns);
	config.servers = servers;
	assert_int_equal(sl_resolver_new(f->loop, &config, &f->r), 0);
}

static void open_fixture(struct fixture *f, const struct sl_resolver_config *c)
{
	open_with(f, c, records, SL_ARRAY_SIZE(records));
}

static void close_fixture(struct fixture *f)
{
	sl_resolver_free(f->r);
	fake_dns_free(f->dns);
	sl_loop_free(f->loop);
}

static void note_answer(struct sl_query *q, int error, const struct sl_addrs *addrs)
{
	struct asker *a = sl_container_of(q, struct asker, query);

	a->answers++;
	a->error = error;
	if (!error)
		a->addrs = *addrs;
	if (a->victim)
		sl_resolve_cancel(&a->victim->query);
}

static int ask(struct fixture *f, const char *name, struct asker *a)
{
	memset(a, 0, sizeof(*a));
	a->query.on_answer = note_answer;
	return sl_resolve(f->r, sl_slice_str(name), &a->query, &a->addrs);
}

static void wait_for(struct fixture *f, struct asker *a)
{
	uint64_t give_up_us = sl_clock_us() + 10 * 1000 * 1000;

	while (!a->answers && sl_clock_us() < give_up_us)
		assert_int_equal(sl_loop_turn(f->loop, 20), 0);
	assert_int_equal(a->answers, 1);
}

static void run_for(struct fixture *f, unsigned ms)
{
	uint64_t end_us = sl_clock_us() + ms * 1000;

	while (sl_clock_us() < end_us)
		assert_int_equal(sl_loop_turn(f->loop, 5), 0);
}

/* The answer, at once or later. */
static int resolve(struct fixture *f, const char *name, struct asker *a)
{
	int r = ask(f, name, a);

	if (r != -EINPROGRESS)
		return r;
	assert_int_equal(a->answers, 0);
	wait_for(f, a);
	return a->error;
}

static void check_addr(const struct asker *a, size_t i, const char *want)
{
	char text[SL_ADDR_STR_MAX];

	assert_true(i < a->addrs.n);
	assert_string_equal(sl_addr_format_host(&a->addrs.addr[i], text), want);
	assert_int_equal(sl_addr_port(&a->addrs.addr[i]), 0);
}

static void each_kind_of_answer_has_its_result(void **state)
{
	static const struct {
		const char *name;
		int error;
		size_t n;
		const char *first;
	} rows[] = {
		{"a.test", 0, 2, "10.0.0.1"},
		{"aaaa.test", 0, 1, "2001:db8::1"},
		{"both.test", 0, 5, NULL},
		{"twice.test", 0, 1, "10.0.0.1"},
		{"alias.test", 0, 1, "10.0.0.9"},
		{"huge-ttl.test", 0, 1, "10.0.0.1"},
		{"unknown.test", -ENOENT, 0, NULL},
		{"servfail.test", -EIO, 0, NULL},
		{"silent.test", -ETIMEDOUT, 0, NULL},
		{"no-or-fail.test", -EIO, 0, NULL},
		{"no-or-silent.test", -ETIMEDOUT, 0, NULL},
		{"half-fail.test", 0, 1, "10.0.0.1"},
		{"half-silent.test", 0, 1, "10.0.0.1"},
		{"tc.test", 0, 1, "10.0.0.7"},
		{"many.test", 0, SL_RESOLVE_MAX, "10.0.0.0"},
	};
	struct fixture f;
	struct asker a;

	open_fixture(&f, &usual);
	for (size_t i = 0; i < SL_ARRAY_SIZE(rows); i++) {
		assert_int_equal(resolve(&f, rows[i].name, &a), rows[i].error);
		assert_int_equal(a.addrs.n, rows[i].n);
		if (rows[i].first)
			check_addr(&a, 0, rows[i].first);
	}
	assert_int_equal(fake_dns_asked_tcp(f.dns), 2);
	close_fixture(&f);
}

static bool host_has_ipv6_route(void)
{
	struct sl_addr a;
	_sl_close_ int fd = socket(AF_INET6, SOCK_DGRAM, 0);

	assert_int_equal(sl_addr_parse_host(SL_SLICE("2001:db8::1"), 9, &a), 0);
	return fd >= 0 && !connect(fd, &a.sa, sl_addr_len(&a));
}

static void families_alternate_and_ipv6_is_first_where_there_is_a_way(void **state)
{
	static const char *const with_v6[] = {"2001:db8::1", "10.0.0.1", "2001:db8::2", "10.0.0.2",
					      "10.0.0.3"};
	static const char *const without[] = {"10.0.0.1", "2001:db8::1", "10.0.0.2", "2001:db8::2",
					      "10.0.0.3"};
	const char *const *want = host_has_ipv6_route() ? with_v6 : without;
	struct fixture f;
	struct asker a;

	open_fixture(&f, &usual);
	assert_int_equal(resolve(&f, "both.test", &a), 0);
	for (size_t i = 0; i < 5; i++)
		check_addr(&a, i, want[i]);
	close_fixture(&f);
}

static void case_and_one_final_dot_do_not_matter(void **state)
{
	static const char *const same[] = {"A.TeSt", "a.test.", "a.test"};
	struct fixture f;
	struct asker a;

	open_fixture(&f, &usual);
	assert_int_equal(resolve(&f, "a.test", &a), 0);
	assert_int_equal(fake_dns_asked(f.dns), 2);
	for (size_t i = 0; i < SL_ARRAY_SIZE(same); i++)
		assert_int_equal(ask(&f, same[i], &a), 0);
	assert_int_equal(fake_dns_asked(f.dns), 2);
	assert_int_equal(sl_resolver_stats(f.r)->cached, 3);
	close_fixture(&f);
}

static void what_no_host_is_called_is_not_asked(void **state)
{
	char label[65], longest[256];
	const char *bad[] = {"",	 ".",	  "..",	   "a..test",  ".a.test",	"a.test..",
			     "a b.test", "a\\.b", "a/b",   "a\n.test", "\xc3\xa4.test", "*.test",
			     "a%2e.t",	 "a:80",  "[::1]", label,      longest};
	struct fixture f;
	struct asker a;

	memset(label, 'a', 64);
	label[64] = '\0';
	for (size_t i = 0; i < 255; i++)
		longest[i] = i % 2 ? '.' : 'a';
	longest[255] = '\0';
	open_fixture(&f, &usual);
	for (size_t i = 0; i < SL_ARRAY_SIZE(bad); i++)
		assert_int_equal(ask(&f, bad[i], &a), -ENOENT);
	memset(&a, 0, sizeof(a));
	assert_int_equal(sl_resolve(f.r, sl_slice("a\0.test", 7), &a.query, &a.addrs), -ENOENT);
	longest[253] = '\0';
	assert_int_equal(resolve(&f, longest, &a), -ENOENT);
	assert_int_equal(fake_dns_asked(f.dns), 2); /* the last one is a name */
	close_fixture(&f);
}

static void a_name_is_asked_as_it_is_told(void **state)
{
	struct fixture f;
	struct asker a;

	setenv("LOCALDOMAIN", "search.test", 1);
	setenv("HOSTALIASES", "/dev/null", 1);
	open_fixture(&f, &usual);
	assert_int_equal(resolve(&f, "single", &a), -ENOENT);
	assert_string_equal(fake_dns_last_name(f.dns), "single");
	assert_int_equal(fake_dns_asked(f.dns), 2);
	close_fixture(&f);
	unsetenv("LOCALDOMAIN");
	unsetenv("HOSTALIASES");
}

static void the_hosts_file_comes_first_and_at_once(void **state)
{
	struct fixture f;
	struct asker a;

	if (access("/etc/hosts", R_OK)) {
		print_message("there is no /etc/hosts here\n");
		skip();
	}
	open_fixture(&f, &usual);
	assert_int_equal(ask(&f, "localhost", &a), 0);
	assert_true(a.addrs.n > 0);
	assert_int_equal(ask(&f, "LOCALHOST.", &a), 0);
	assert_int_equal(sl_resolver_stats(f.r)->cached, 1);
	assert_int_equal(fake_dns_asked(f.dns), 0);
	close_fixture(&f);
}

static void an_answer_lives_as_long_as_its_ttl(void **state)
{
	static const char *const unkept[] = {"zero.test", "alias.test", "huge-ttl.test"};
	struct fixture f;
	struct asker a;

	open_fixture(&f, &usual);
	assert_int_equal(resolve(&f, "second.test", &a), 0);
	assert_int_equal(ask(&f, "second.test", &a), 0);
	run_for(&f, 1050);
	assert_int_equal(ask(&f, "second.test", &a), -EINPROGRESS);
	wait_for(&f, &a);
	/* Zero is "this answer only": of a record, of an alias before it, of what is above 2^31. */
	for (size_t i = 0; i < SL_ARRAY_SIZE(unkept); i++) {
		assert_int_equal(resolve(&f, unkept[i], &a), 0);
		assert_int_equal(ask(&f, unkept[i], &a), -EINPROGRESS);
		wait_for(&f, &a);
	}
	close_fixture(&f);
}

static void ttls_are_cut_to_the_configured_most(void **state)
{
	struct sl_resolver_config c = usual;
	struct fixture f;
	struct asker a;

	c.max_ttl_ms = c.negative_ttl_ms = 300;
	open_fixture(&f, &c);
	assert_int_equal(resolve(&f, "a.test", &a), 0);
	assert_int_equal(resolve(&f, "unknown.test", &a), -ENOENT);
	assert_int_equal(ask(&f, "unknown.test", &a), -ENOENT);
	run_for(&f, 320);
	assert_int_equal(ask(&f, "a.test", &a), -EINPROGRESS);
	wait_for(&f, &a);
	assert_int_equal(ask(&f, "unknown.test", &a), -EINPROGRESS);
	wait_for(&f, &a);
	close_fixture(&f);
}

static void failures_are_remembered_for_a_second(void **state)
{
	static const char *const names[] = {"servfail.test", "silent.test", "half-fail.test"};
	static const int errors[] = {-EIO, -ETIMEDOUT, 0};
	struct fixture f;
	struct asker a;

	open_fixture(&f, &usual);
	for (size_t i = 0; i < SL_ARRAY_SIZE(names); i++) {
		assert_int_equal(resolve(&f, names[i], &a), errors[i]);
		assert_int_equal(ask(&f, names[i], &a), errors[i]);
	}
	assert_int_equal(sl_resolver_stats(f.r)->cached, 3);
	assert_int_equal(sl_resolver_stats(f.r)->negative, 2);
	run_for(&f, 1020);
	for (size_t i = 0; i < SL_ARRAY_SIZE(names); i++)
		assert_int_equal(ask(&f, names[i], &a), -EINPROGRESS), sl_resolve_cancel(&a.query);
	close_fixture(&f);
}

static void a_silent_family_does_not_hold_back_the_other(void **state)
{
	struct sl_resolver_config c = usual;
	struct fixture f;
	struct asker a, b;
	uint64_t asked_us;

	c.timeout_ms = 5000;
	open_fixture(&f, &c);
	asked_us = sl_clock_us();
	assert_int_equal(ask(&f, "half-silent.test", &a), -EINPROGRESS);
	wait_for(&f, &a);
	assert_true(sl_clock_us() - asked_us >= 50 * 1000); /* so much the other has */
	assert_int_equal(a.error, 0);
	check_addr(&a, 0, "10.0.0.1");
	/* The question is still open; what is known of it is told at once. */
	assert_int_equal(ask(&f, "half-silent.test", &b), 0);
	check_addr(&b, 0, "10.0.0.1");
	assert_int_equal(sl_resolver_stats(f.r)->asked, 1);
	close_fixture(&f);
}

static void a_late_family_is_there_for_the_next_asker(void **state)
{
	struct fixture f;
	struct asker a;

	open_fixture(&f, &usual);
	assert_int_equal(resolve(&f, "half-late.test", &a), 0);
	assert_int_equal(a.addrs.n, 1);
	run_for(&f, 500);
	assert_int_equal(ask(&f, "half-late.test", &a), 0);
	assert_int_equal(a.addrs.n, 2);
	close_fixture(&f);
}

static void equal_questions_are_asked_once(void **state)
{
	struct fixture f;
	struct asker a[5];

	open_fixture(&f, &usual);
	for (size_t i = 0; i < SL_ARRAY_SIZE(a); i++)
		assert_int_equal(ask(&f, i % 2 ? "late.test" : "LATE.test.", &a[i]), -EINPROGRESS);
	sl_resolve_cancel(&a[2].query);
	sl_resolve_cancel(&a[2].query);
	a[0].victim = &a[3];
	wait_for(&f, &a[0]);
	for (size_t i = 0; i < SL_ARRAY_SIZE(a); i++)
		assert_int_equal(a[i].answers, i == 2 || i == 3 ? 0 : 1);
	assert_int_equal(fake_dns_asked(f.dns), 2);
	assert_int_equal(sl_resolver_stats(f.r)->joined, 4);
	close_fixture(&f);
}

static void a_question_that_nobody_waits_for_still_fills_the_cache(void **state)
{
	struct fixture f;
	struct asker *gone = calloc(1, sizeof(*gone)), a;

	open_fixture(&f, &usual);
	assert_int_equal(ask(&f, "late.test", gone), -EINPROGRESS);
	sl_resolve_cancel(&gone->query);
	free(gone);
	run_for(&f, 200);
	assert_int_equal(ask(&f, "late.test", &a), 0);
	close_fixture(&f);
}

static void ask_again(struct sl_query *q, int error, const struct sl_addrs *addrs)
{
	struct asker *a = sl_container_of(q, struct asker, query);
	struct fixture *f = (struct fixture *)a->victim;

	a->answers++;
	a->error = sl_resolve(f->r, SL_SLICE("late.test"), q, &a->addrs);
}

static void an_asker_may_ask_from_its_answer(void **state)
{
	struct fixture f;
	struct asker a;

	open_fixture(&f, &usual);
	assert_int_equal(ask(&f, "zero.test", &a), -EINPROGRESS);
	a.query.on_answer = ask_again;
	a.victim = (void *)&f;
	wait_for(&f, &a);
	assert_int_equal(a.error, -EINPROGRESS);
	run_for(&f, 200);
	assert_int_equal(a.answers, 2);
	assert_int_equal(a.error, 0); /* from the cache */
	close_fixture(&f);
}

static void freeing_the_resolver_forgets_its_askers(void **state)
{
	struct fixture f;
	struct asker a, b;

	open_fixture(&f, &usual);
	assert_int_equal(ask(&f, "silent.test", &a), -EINPROGRESS);
	assert_int_equal(ask(&f, "tc.test", &b), -EINPROGRESS);
	run_for(&f, 5);
	sl_resolver_free(f.r);
	f.r = NULL;
	assert_false(a.query.pending);
	sl_resolve_cancel(&a.query);
	run_for(&f, 20);
	assert_int_equal(a.answers, 0);
	close_fixture(&f);
}

static void the_cache_keeps_the_names_used_last(void **state)
{
	static const struct fake_dns_record any[] = {
		{"*", AF_INET, .ttl_s = 60, .addr = {"10.0.0.1"}}};
	char name[32];
	struct fixture f;
	struct asker a;

	open_with(&f, &usual, any, 1);
	for (int i = 0; i < 100; i++) {
		assert_int_equal(resolve(&f, "hot.test", &a), 0);
		snprintf(name, sizeof(name), "n%d.test", i);
		assert_int_equal(resolve(&f, name, &a), 0);
	}
	assert_int_equal(sl_resolver_stats(f.r)->asked, 101);
	/* 15 and the hot one are left. */
	for (int i = 99; i >= 85; i--) {
		snprintf(name, sizeof(name), "n%d.test", i);
		assert_int_equal(ask(&f, name, &a), 0);
	}
	assert_int_equal(ask(&f, "n84.test", &a), -EINPROGRESS);
	close_fixture(&f);
}

static void without_a_cache_everything_is_asked(void **state)
{
	struct sl_resolver_config c = usual;
	struct fixture f;
	struct asker a;

	c.cache = 0;
	open_fixture(&f, &c);
	for (int i = 0; i < 3; i++)
		assert_int_equal(resolve(&f, "a.test", &a), 0);
	assert_int_equal(sl_resolver_stats(f.r)->asked, 3);
	close_fixture(&f);
}

static void too_many_questions_are_refused(void **state)
{
	enum { N = 1100 };
	static const struct fake_dns_record any[] = {{"*", AF_UNSPEC, FAKE_DNS_SILENT}};
	struct asker *a = calloc(N, sizeof(*a)), again;
	unsigned refused = 0;
	struct fixture f;
	char name[32];

	open_with(&f, &usual, any, 1);
	for (int i = 0; i < N; i++) {
		int r;

		snprintf(name, sizeof(name), "n%d.test", i);
		r = ask(&f, name, &a[i]);
		assert_true(r == -EINPROGRESS || r == -ENOBUFS);
		refused += r == -ENOBUFS;
	}
	assert_int_equal(refused, N - 1024);
	assert_int_equal(sl_resolver_stats(f.r)->refused, refused);
	for (int i = 0; i < 1024; i++) {
		wait_for(&f, &a[i]);
		assert_int_equal(a[i].error, -ETIMEDOUT);
	}
	assert_int_equal(ask(&f, "next.test", &again), -EINPROGRESS);
	close_fixture(&f);
	free(a);
}

static void mangled_answers_end_every_question(void **state)
{
	struct sl_resolver_config c = usual;
	struct fixture f;
	struct asker a;

	c.timeout_ms = 15;
	c.cache = 0;
	open_fixture(&f, &c);
	for (int i = 0; i < 300; i++) {
		int r = resolve(&f, "mangled.test", &a);

		assert_true(r == 0 || r == -ENOENT || r == -EIO || r == -ETIMEDOUT);
		assert_true(a.addrs.n <= SL_RESOLVE_MAX);
		assert_int_equal(r == 0, a.addrs.n > 0);
	}
	close_fixture(&f);
}

static void a_server_that_is_no_address_is_refused(void **state)
{
	static char *const bad[] = {"", "dns.test", "127.0.0.1:", "127.0.0.1:99999", "::1:53:"};
	char *servers[20] = {NULL};
	struct sl_resolver_config c = usual;
	struct sl_resolver *r;
	struct sl_loop *loop;

	assert_int_equal(sl_loop_new(&loop), 0);
	c.servers = servers;
	for (size_t i = 0; i < SL_ARRAY_SIZE(bad); i++) {
		servers[0] = bad[i];
		assert_int_equal(sl_resolver_new(loop, &c, &r), -EINVAL);
	}
	for (size_t i = 0; i < 17; i++)
		servers[i] = "127.0.0.1";
	assert_int_equal(sl_resolver_new(loop, &c, &r), -EINVAL);
	servers[2] = NULL;
	servers[1] = "[::1]:53";
	assert_int_equal(sl_resolver_new(loop, &c, &r), 0);
	sl_resolver_free(r);
	sl_resolver_free(NULL);
	sl_loop_free(loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_kind_of_answer_has_its_result),
		cmocka_unit_test(families_alternate_and_ipv6_is_first_where_there_is_a_way),
		cmocka_unit_test(case_and_one_final_dot_do_not_matter),
		cmocka_unit_test(what_no_host_is_called_is_not_asked),
		cmocka_unit_test(a_name_is_asked_as_it_is_told),
		cmocka_unit_test(the_hosts_file_comes_first_and_at_once),
		cmocka_unit_test(an_answer_lives_as_long_as_its_ttl),
		cmocka_unit_test(ttls_are_cut_to_the_configured_most),
		cmocka_unit_test(failures_are_remembered_for_a_second),
		cmocka_unit_test(a_silent_family_does_not_hold_back_the_other),
		cmocka_unit_test(a_late_family_is_there_for_the_next_asker),
		cmocka_unit_test(equal_questions_are_asked_once),
		cmocka_unit_test(a_question_that_nobody_waits_for_still_fills_the_cache),
		cmocka_unit_test(an_asker_may_ask_from_its_answer),
		cmocka_unit_test(freeing_the_resolver_forgets_its_askers),
		cmocka_unit_test(the_cache_keeps_the_names_used_last),
		cmocka_unit_test(without_a_cache_everything_is_asked),
		cmocka_unit_test(too_many_questions_are_refused),
		cmocka_unit_test(mangled_answers_end_every_question),
		cmocka_unit_test(a_server_that_is_no_address_is_refused),
	};

	return cmocka_run_group_tests_name("resolve", tests, NULL, NULL);
}
