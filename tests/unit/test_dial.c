/* SPDX-License-Identifier: BSD-2-Clause */
/* proxy/dial: with streams in memory, a name server in the same loop and the real access rules. */

#include "unit.h"

#include <errno.h>
#include <string.h>

#include "../fake_dns.h"
#include "../fake_transport.h"
#include "proxy/dial.h"

#define PORT 80

static const struct fake_dns_record records[] = {
	{"one.test", AF_INET, .ttl_s = 60, .addr = {"10.0.0.1"}},
	{"two.test", AF_INET, .ttl_s = 60, .addr = {"10.0.0.1", "10.0.0.2"}},
	{"three.test", AF_INET, .ttl_s = 60, .addr = {"10.0.0.1", "10.0.0.2", "10.0.0.3"}},
	{"six.test", AF_INET, .ttl_s = 60, .many = 6}, /* 10.0.0.0 to 10.0.0.5 */
	{"mapped.test", AF_INET6, .ttl_s = 60, .addr = {"::ffff:10.0.0.1"}},
	{"metadata.test", AF_INET6, .ttl_s = 60, .addr = {"::ffff:169.254.169.254"}},
	{"mixed.test", AF_INET, .ttl_s = 60, .addr = {"169.254.169.254", "127.0.0.1", "10.0.0.3"}},
	{"servfail.test", AF_UNSPEC, FAKE_DNS_SERVFAIL},
	{"silent.test", AF_UNSPEC, FAKE_DNS_SILENT},
};

struct fixture {
	struct sl_loop *loop;
	struct fake_dns *dns;
	struct sl_resolver *resolver;
	struct sl_transport *t;
	struct sl_acceptor *acceptors[6];
	size_t n_acceptors;
	struct sl_stream *accepted[6];
	size_t n_accepted;

	struct sl_dial_options options;
	struct sl_dial *dial;
	struct sl_dial_done done;
	unsigned calls, prepared;
};

static void open_fixture(struct fixture *f)
{
	char *servers[2] = {NULL};
	struct sl_resolver_config c = {.servers = servers,
				       .timeout_ms = 1000,
				       .tries = 1,
				       .cache = 16,
				       .negative_ttl_ms = 10000,
				       .max_ttl_ms = 3600000};

	memset(f, 0, sizeof(*f));
	assert_int_equal(sl_loop_new(&f->loop), 0);
	assert_int_equal(fake_dns_new(f->loop, records, SL_ARRAY_SIZE(records), &f->dns), 0);
	servers[0] = fake_dns_address(f->dns);
	assert_int_equal(sl_resolver_new(f->loop, &c, &f->resolver), 0);
	assert_int_equal(fake_transport_new(f->loop, NULL, &f->t), 0);
	f->options = (struct sl_dial_options){
		.transport = f->t, .resolver = f->resolver, .port = PORT, .timeout_ms = 5000};
	assert_int_equal(sl_addr_parse(SL_SLICE("192.0.2.9:1234"), &f->options.src), 0);
}

static void run_for(struct fixture *f, unsigned ms)
{
	uint64_t end_us = sl_clock_us() + ms * 1000;

	while (sl_clock_us() < end_us)
		assert_int_equal(sl_loop_turn(f->loop, 2), 0);
}

static void reset(struct sl_stream *s)
{
	if (s)
		s->ops->close(s, SL_CLOSE_RESET);
}

/* destroy() aborts if the dial has left a stream behind. */
static void close_fixture(struct fixture *f)
{
	run_for(f, 3);
	assert_true(f->calls <= 1);
	reset(f->done.stream);
	for (size_t i = 0; i < f->n_accepted; i++)
		reset(f->accepted[i]);
	for (size_t i = 0; i < f->n_acceptors; i++)
		f->t->ops->unlisten(f->acceptors[i]);
	f->t->ops->destroy(f->t);
	sl_resolver_free(f->resolver);
	fake_dns_free(f->dns);
	sl_loop_free(f->loop);
}

static struct sl_addr addr_of(const char *host)
{
	struct sl_addr a;

	assert_int_equal(sl_addr_parse_host(sl_slice_str(host), PORT, &a), 0);
	return a;
}

static void ignore_event(struct sl_stream *s, unsigned events)
{
}

static void note_accept(struct sl_acceptor *a, struct sl_stream *s)
{
	struct fixture *f = a->owner;

	s->on_event = ignore_event;
	f->accepted[f->n_accepted++] = s;
}

static void listen_on(struct fixture *f, const char *host)
{
	struct sl_listen_options o = {.addr = addr_of(host)};

	assert_int_equal(
		f->t->ops->listen(f->t, &o, note_accept, f, &f->acceptors[f->n_acceptors++]), 0);
}

static void on_connect(struct fixture *f, const char *host, struct fake_connect_rule rule)
{
	rule.addr = addr_of(host);
	fake_on_connect(f->t, &rule);
}

static void note_done(void *owner, const struct sl_dial_done *done)
{
	struct fixture *f = owner;

	f->calls++;
	f->done = *done;
	f->dial = NULL;
	if (done->stream)
		done->stream->on_event = ignore_event;
}

static void start(struct fixture *f, const char *host)
{
	f->options.host = sl_slice_str(host);
	assert_int_equal(sl_dial_start(&f->options, note_done, f, &f->dial), 0);
	assert_int_equal(f->calls, 0);
}

static enum sl_dial_result dial(struct fixture *f, const char *host)
{
	uint64_t give_up_us = sl_clock_us() + 10 * 1000 * 1000;

	start(f, host);
	while (!f->calls && sl_clock_us() < give_up_us)
		assert_int_equal(sl_loop_turn(f->loop, 20), 0);
	assert_int_equal(f->calls, 1);
	return f->done.result;
}

static void check_attempt(struct fixture *f, size_t i, const char *host)
{
	struct sl_addr want = addr_of(host);

	assert_true(i < fake_attempts(f->t));
	assert_true(sl_addr_eq(&fake_attempt(f->t, i)->addr, &want));
}

#define SILENT	   ((struct fake_connect_rule){.silent = true})
#define FAILS(e)   ((struct fake_connect_rule){.error = (e)})
#define AT_ONCE(e) ((struct fake_connect_rule){.at_once = (e)})
#define AFTER(ms)  ((struct fake_connect_rule){.delay_ms = (ms)})

/* One table for how two addresses end together. No acceptor: refused. */
static void failures_have_the_most_telling_result(void **state)
{
	static const struct {
		int first, second; /* errno in SL_CONNECTED; negative: of connect() itself */
		enum sl_dial_result result;
		int error;
	} rows[] = {
		{ECONNREFUSED, ECONNREFUSED, SL_DIAL_REFUSED, ECONNREFUSED},
		{ECONNREFUSED, EHOSTUNREACH, SL_DIAL_REFUSED, EHOSTUNREACH},
		{ETIMEDOUT, ETIMEDOUT, SL_DIAL_TIMEOUT, ETIMEDOUT},
		{ECONNREFUSED, ETIMEDOUT, SL_DIAL_TIMEOUT, ETIMEDOUT},
		{-ENETUNREACH, ECONNREFUSED, SL_DIAL_REFUSED, ECONNREFUSED},
		{ECONNREFUSED, -ENETUNREACH, SL_DIAL_REFUSED, ECONNREFUSED},
		{-ENETUNREACH, -ENETUNREACH, SL_DIAL_REFUSED, ENETUNREACH},
		{-EADDRNOTAVAIL, ECONNREFUSED, SL_DIAL_REFUSED, ECONNREFUSED},
		{ECONNREFUSED, -EADDRNOTAVAIL, SL_DIAL_REFUSED, ECONNREFUSED},
		{-EADDRNOTAVAIL, -EADDRNOTAVAIL, SL_DIAL_RESOURCES, EADDRNOTAVAIL},
		{-EMFILE, -EMFILE, SL_DIAL_RESOURCES, EMFILE},
		{-ENFILE, ECONNREFUSED, SL_DIAL_RESOURCES, ENFILE},
		{ECONNREFUSED, -ENOBUFS, SL_DIAL_RESOURCES, ENOBUFS},
		{-ENOMEM, -ENETUNREACH, SL_DIAL_RESOURCES, ENOMEM},
	};

	for (size_t i = 0; i < SL_ARRAY_SIZE(rows); i++) {
		struct fixture f;

		open_fixture(&f);
		on_connect(&f, "10.0.0.1",
			   rows[i].first < 0 ? AT_ONCE(-rows[i].first) : FAILS(rows[i].first));
		on_connect(&f, "10.0.0.2",
			   rows[i].second < 0 ? AT_ONCE(-rows[i].second) : FAILS(rows[i].second));
		assert_int_equal(dial(&f, "two.test"), rows[i].result);
		assert_int_equal(f.done.error, rows[i].error);
		assert_null(f.done.stream);
		close_fixture(&f);
	}
}

static void a_literal_is_connected_without_asking(void **state)
{
	static const char *const hosts[] = {"10.0.0.1", "2001:db8::1", "::ffff:10.0.0.1"};

	for (size_t i = 0; i < SL_ARRAY_SIZE(hosts); i++) {
		struct fixture f;

		open_fixture(&f);
		listen_on(&f, "10.0.0.1");
		listen_on(&f, "2001:db8::1");
		assert_int_equal(dial(&f, hosts[i]), SL_DIAL_OK);
		assert_int_equal(fake_dns_asked(f.dns), 0);
		check_attempt(&f, 0, i == 1 ? hosts[1] : hosts[0]);
		assert_int_equal(f.done.events, SL_WRITABLE);
		assert_int_equal(f.done.error, 0);
		close_fixture(&f);
	}
}

static void a_name_is_resolved_and_connected(void **state)
{
	struct fixture f;

	open_fixture(&f);
	listen_on(&f, "10.0.0.1");
	assert_int_equal(dial(&f, "One.Test."), SL_DIAL_OK);
	assert_ptr_equal(fake_peer(f.done.stream), f.accepted[0]);
	reset(SL_TAKE_PTR(f.done.stream));
	f.calls = 0;
	assert_int_equal(dial(&f, "one.test"), SL_DIAL_OK); /* from the cache */
	assert_int_equal(fake_dns_asked(f.dns), 2);
	close_fixture(&f);
}

static void the_next_address_is_tried_at_once_after_a_failure(void **state)
{
	struct fixture f;

	open_fixture(&f);
	on_connect(&f, "10.0.0.2", AT_ONCE(ENETUNREACH));
	listen_on(&f, "10.0.0.3");
	/* The first is refused for want of an acceptor. */
	assert_int_equal(dial(&f, "three.test"), SL_DIAL_OK);
	assert_int_equal(fake_attempts(f.t), 2);
	check_attempt(&f, 1, "10.0.0.3");
	assert_true(fake_attempt(f.t, 0)->closed);
	assert_false(fake_attempt(f.t, 1)->closed);
	close_fixture(&f);
}

static void a_silent_address_is_overtaken_after_250_ms(void **state)
{
	struct fixture f;

	open_fixture(&f);
	on_connect(&f, "10.0.0.1", SILENT);
	listen_on(&f, "10.0.0.2");
	assert_int_equal(dial(&f, "two.test"), SL_DIAL_OK);
	check_attempt(&f, 0, "10.0.0.1");
	check_attempt(&f, 1, "10.0.0.2");
	assert_true(fake_attempt(f.t, 1)->at_ms - fake_attempt(f.t, 0)->at_ms >= 250);
	assert_true(fake_attempt(f.t, 0)->closed);
	assert_int_equal(fake_attempt(f.t, 0)->how, SL_CLOSE_RESET);
	assert_false(fake_attempt(f.t, 1)->closed);
	close_fixture(&f);
}

static void a_slow_address_may_still_win(void **state)
{
	struct fixture f;

	open_fixture(&f);
	on_connect(&f, "10.0.0.1", AFTER(400));
	on_connect(&f, "10.0.0.2", SILENT);
	listen_on(&f, "10.0.0.1");
	assert_int_equal(dial(&f, "two.test"), SL_DIAL_OK);
	assert_int_equal(fake_attempts(f.t), 2);
	assert_false(fake_attempt(f.t, 0)->closed);
	assert_true(fake_attempt(f.t, 1)->closed);
	close_fixture(&f);
}

static void no_more_than_four_race(void **state)
{
	static const char *const silent[] = {"10.0.0.0", "10.0.0.2", "10.0.0.3"};
	struct fixture f;

	open_fixture(&f);
	for (size_t i = 0; i < SL_ARRAY_SIZE(silent); i++)
		on_connect(&f, silent[i], SILENT);
	on_connect(&f, "10.0.0.1",
		   (struct fake_connect_rule){.delay_ms = 1500, .error = ECONNREFUSED});
	listen_on(&f, "10.0.0.4");
	assert_int_equal(dial(&f, "six.test"), SL_DIAL_OK);
	/* The fifth had to wait until the second had failed. */
	assert_int_equal(fake_attempts(f.t), 5);
	assert_true(fake_attempt(f.t, 4)->at_ms - fake_attempt(f.t, 1)->at_ms >= 1500);
	close_fixture(&f);
}

static void one_deadline_bounds_everything(void **state)
{
	struct fixture f;

	open_fixture(&f);
	on_connect(&f, "10.0.0.1", SILENT);
	on_connect(&f, "10.0.0.2", SILENT);
	f.options.timeout_ms = 300;
	assert_int_equal(dial(&f, "two.test"), SL_DIAL_TIMEOUT);
	assert_int_equal(f.done.error, ETIMEDOUT);
	for (size_t i = 0; i < fake_attempts(f.t); i++)
		assert_true(fake_attempt(f.t, i)->closed);
	close_fixture(&f);
}

static void each_failure_of_the_name_has_its_result(void **state)
{
	static const struct {
		const char *host;
		uint32_t timeout_ms;
		enum sl_dial_result result;
	} rows[] = {
		{"unknown.test", 5000, SL_DIAL_NO_NAME},
		{"not a name", 5000, SL_DIAL_NO_NAME},
		{"10.0.0.256", 5000, SL_DIAL_NO_NAME},
		{"servfail.test", 5000, SL_DIAL_NAME_FAILED},
		{"silent.test", 5000, SL_DIAL_NAME_TIMEOUT},
		{"silent.test", 100, SL_DIAL_NAME_TIMEOUT},
	};

	for (size_t i = 0; i < SL_ARRAY_SIZE(rows); i++) {
		struct fixture f;

		open_fixture(&f);
		f.options.timeout_ms = rows[i].timeout_ms;
		assert_int_equal(dial(&f, rows[i].host), rows[i].result);
		assert_int_equal(fake_attempts(f.t), 0);
		close_fixture(&f);
	}
}

static void only_allowed_addresses_are_connected(void **state)
{
	struct fixture f;

	open_fixture(&f);
	listen_on(&f, "169.254.169.254");
	listen_on(&f, "127.0.0.1");
	listen_on(&f, "10.0.0.3");
	assert_int_equal(dial(&f, "mixed.test"), SL_DIAL_OK);
	assert_int_equal(fake_attempts(f.t), 1);
	check_attempt(&f, 0, "10.0.0.3");
	close_fixture(&f);
}

static void a_denied_target_is_never_connected(void **state)
{
	static const char *const hosts[] = {"169.254.169.254", "::ffff:169.254.169.254",
					    "metadata.test"};

	for (size_t i = 0; i < SL_ARRAY_SIZE(hosts); i++) {
		struct fixture f;

		open_fixture(&f);
		listen_on(&f, "169.254.169.254");
		assert_int_equal(dial(&f, hosts[i]), SL_DIAL_DENIED);
		assert_int_equal(f.done.verdict, SL_ACL_DENY_LINK_LOCAL);
		assert_null(f.done.rule);
		assert_int_equal(fake_attempts(f.t), 0);
		close_fixture(&f);
	}
}

static void the_rule_that_denied_is_told(void **state)
{
	char *hosts[] = {"*.test"};
	struct sl_acl_rule rule = {.host = hosts, .n_host = 1};
	struct sl_acl acl = {.rules = &rule, .n_rules = 1};
	struct fixture f;

	open_fixture(&f);
	listen_on(&f, "10.0.0.1");
	f.options.acl = &acl;
	assert_int_equal(dial(&f, "ONE.test"), SL_DIAL_DENIED);
	assert_int_equal(f.done.verdict, SL_ACL_DENY_RULE);
	assert_ptr_equal(f.done.rule, &rule);
	f.calls = 0;
	assert_int_equal(dial(&f, "10.0.0.1"), SL_DIAL_OK); /* a literal has no name */
	close_fixture(&f);
}

static void own_listeners_are_not_reached(void **state)
{
	struct sl_addr own = addr_of("10.0.0.1");
	struct fixture f;

	open_fixture(&f);
	listen_on(&f, "10.0.0.1");
	f.options.own = &own;
	f.options.n_own = 1;
	assert_int_equal(dial(&f, "mapped.test"), SL_DIAL_DENIED);
	assert_int_equal(f.done.verdict, SL_ACL_DENY_OWN);
	close_fixture(&f);
}

static void change_options(void *owner, struct sl_connect_options *o)
{
	struct fixture *f = owner;

	f->prepared++;
	o->addr = addr_of("169.254.169.254");
	assert_int_equal(sl_addr_parse(SL_SLICE("10.9.9.9:777"), &o->source), 0);
}

static void a_preparation_may_change_all_but_the_address(void **state)
{
	struct fixture f;

	open_fixture(&f);
	listen_on(&f, "10.0.0.2");
	f.options.prepare = change_options;
	assert_int_equal(dial(&f, "two.test"), SL_DIAL_OK);
	assert_int_equal(f.prepared, 2);
	check_attempt(&f, 0, "10.0.0.1");
	check_attempt(&f, 1, "10.0.0.2");
	assert_int_equal(sl_addr_port(&fake_attempt(f.t, 1)->source), 777);
	close_fixture(&f);
}

/* Cancelled while resolving, racing, or with a failure waiting to be told. */
static void a_cancelled_dial_is_silent(void **state)
{
	static const struct {
		const char *host;
		unsigned after_ms;
	} rows[] = {
		{"silent.test", 0}, {"silent.test", 20}, {"10.0.0.1", 0},
		{"10.0.0.1", 20},   {"two.test", 300},	 {"two.test", 0},
		{"bad name", 0},    {"169.254.1.1", 0},	 {"::ffff:10.0.0.9", 0},
	};

	for (size_t i = 0; i < SL_ARRAY_SIZE(rows); i++) {
		struct fixture f;

		open_fixture(&f);
		on_connect(&f, "10.0.0.1", SILENT);
		on_connect(&f, "10.0.0.2", SILENT);
		on_connect(&f, "10.0.0.9", AT_ONCE(EMFILE));
		start(&f, rows[i].host);
		if (rows[i].after_ms)
			run_for(&f, rows[i].after_ms);
		assert_int_equal(f.calls, 0);
		sl_dial_cancel(f.dial);
		run_for(&f, 20);
		assert_int_equal(f.calls, 0);
		assert_int_equal(fake_open_streams(f.t), 0);
		close_fixture(&f);
	}
	sl_dial_cancel(NULL);
}

static void dial_again(void *owner, const struct sl_dial_done *done)
{
	struct fixture *f = owner;

	f->calls++;
	assert_int_equal(done->result, SL_DIAL_REFUSED);
	f->options.host = SL_SLICE("10.0.0.2");
	f->calls = 0;
	assert_int_equal(sl_dial_start(&f->options, note_done, f, &f->dial), 0);
}

static void a_failed_dial_may_start_the_next(void **state)
{
	struct fixture f;

	open_fixture(&f);
	listen_on(&f, "10.0.0.2");
	f.options.host = SL_SLICE("10.0.0.1");
	assert_int_equal(sl_dial_start(&f.options, dial_again, &f, &f.dial), 0);
	run_for(&f, 100);
	assert_int_equal(f.calls, 1);
	assert_int_equal(f.done.result, SL_DIAL_OK);
	close_fixture(&f);
}

static void a_host_of_no_or_too_many_bytes_is_refused(void **state)
{
	char host[SL_DIAL_HOST_MAX + 1];
	struct fixture f;

	memset(host, 'a', sizeof(host));
	open_fixture(&f);
	f.options.host = sl_slice(host, sizeof(host));
	assert_int_equal(sl_dial_start(&f.options, note_done, &f, &f.dial), -EINVAL);
	f.options.host.len = 0;
	assert_int_equal(sl_dial_start(&f.options, note_done, &f, &f.dial), -EINVAL);
	f.options.host.len = SL_DIAL_HOST_MAX;
	assert_int_equal(sl_dial_start(&f.options, note_done, &f, &f.dial), 0);
	run_for(&f, 20);
	assert_int_equal(f.done.result, SL_DIAL_NO_NAME);
	close_fixture(&f);
}

static void every_result_has_a_name(void **state)
{
	for (int r = 0; r < SL_DIAL_RESULT_COUNT; r++)
		assert_string_not_equal(sl_dial_result_name(r), "unknown");
	assert_string_equal(sl_dial_result_name(SL_DIAL_RESULT_COUNT), "unknown");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(failures_have_the_most_telling_result),
		cmocka_unit_test(a_literal_is_connected_without_asking),
		cmocka_unit_test(a_name_is_resolved_and_connected),
		cmocka_unit_test(the_next_address_is_tried_at_once_after_a_failure),
		cmocka_unit_test(a_silent_address_is_overtaken_after_250_ms),
		cmocka_unit_test(a_slow_address_may_still_win),
		cmocka_unit_test(no_more_than_four_race),
		cmocka_unit_test(one_deadline_bounds_everything),
		cmocka_unit_test(each_failure_of_the_name_has_its_result),
		cmocka_unit_test(only_allowed_addresses_are_connected),
		cmocka_unit_test(a_denied_target_is_never_connected),
		cmocka_unit_test(the_rule_that_denied_is_told),
		cmocka_unit_test(own_listeners_are_not_reached),
		cmocka_unit_test(a_preparation_may_change_all_but_the_address),
		cmocka_unit_test(a_cancelled_dial_is_silent),
		cmocka_unit_test(a_failed_dial_may_start_the_next),
		cmocka_unit_test(a_host_of_no_or_too_many_bytes_is_refused),
		cmocka_unit_test(every_result_has_a_name),
	};

	return cmocka_run_group_tests_name("dial", tests, NULL, NULL);
}
