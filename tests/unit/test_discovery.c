/* SPDX-License-Identifier: BSD-2-Clause */
/* proxy/discovery: what a name server says, and when it says nothing, against a fake one on loopback. */

#include "unit.h"

#include <string.h>

#include "../fake_dns.h"
#include "base/log.h"
#include "proxy/upstream/discovery.h"

#define WAIT_MS 20000

struct fixture {
	struct sl_loop *loop;
	struct fake_dns_record record[2]; /* A and AAAA of app.test */
	struct fake_dns *dns;
	char *dns_servers[2];
	struct sl_server_config servers[1];
	struct sl_upstream_config upstream;
	struct sl_config config;
	struct sl_upstreams *all;
	struct sl_upstream **list;
	struct sl_discovery *discovery;
};

static void on_change(void *owner, struct sl_upstream *u)
{
}

/* A name with one address, asked for again every 20 ms. */
static void open_fixture(struct fixture *f)
{
	struct sl_discovery_options o;

	*f = (struct fixture){0};
	sl_log_set_level(SL_LOG_ERROR);
	assert_int_equal(sl_loop_new(&f->loop), 0);
	f->record[0] = (struct fake_dns_record){
		.name = "app.test", .family = AF_INET, .addr = {"10.0.0.1"}};
	f->record[1] = (struct fake_dns_record){.name = "app.test", .family = AF_INET6};
	assert_int_equal(fake_dns_new(f->loop, f->record, 2, &f->dns), 0);
	f->dns_servers[0] = fake_dns_address(f->dns);
	f->servers[0] = (struct sl_server_config){.address = "app.test:80",
						  .host = "app.test",
						  .port = 80,
						  .weight = 1,
						  .discover = true};
	f->upstream = (struct sl_upstream_config){.name = "u",
						  .servers = f->servers,
						  .n_servers = 1,
						  .pool = {.max = 10, .idle = 10},
						  .resolve = {.min_ms = 20, .max_ms = 20}};
	f->config = (struct sl_config){
		.upstreams = &f->upstream,
		.n_upstreams = 1,
		.resolver = {.servers = f->dns_servers, .timeout_ms = 300, .tries = 1}};
	assert_int_equal(sl_upstreams_new(1, &f->all), 0);
	assert_int_equal(sl_upstreams_enlist(f->all, &f->config, &f->list), 0);
	o = (struct sl_discovery_options){.loop = f->loop,
					  .config = &f->config,
					  .upstream = f->list,
					  .listener = {.on_change = on_change}};
	assert_int_equal(sl_discovery_new(&o, &f->discovery), 0);
	assert_non_null(f->discovery);
}

static void close_fixture(struct fixture *f)
{
	sl_discovery_free(f->discovery);
	sl_upstreams_dismiss(f->all, f->list, 1);
	sl_upstreams_free(f->all);
	fake_dns_free(f->dns);
	sl_loop_free(f->loop);
}

/* How many servers are there whose address begins so. */
static size_t count(const struct fixture *f, const char *address)
{
	const struct sl_upstream *u = f->list[0];
	size_t n = 0;

	for (size_t i = 0; i < sl_upstream_len(u); i++)
		n += !sl_server_is_removed(&u->server[i]) &&
		     !strncmp(u->server[i].config->address, address, strlen(address));
	return n;
}

static void wait_for(struct fixture *f, const char *address, size_t n)
{
	uint64_t end = sl_clock_us() + WAIT_MS * 1000ull;

	while (count(f, address) != n && sl_clock_us() < end)
		sl_loop_turn(f->loop, 10);
	assert_int_equal(count(f, address), n);
}

/* So many more questions were asked, and answered or given up. */
static void wait_for_turns(struct fixture *f, unsigned n)
{
	unsigned from = fake_dns_asked(f->dns);
	uint64_t end = sl_clock_us() + WAIT_MS * 1000ull;

	while (fake_dns_asked(f->dns) < from + 2 * n && sl_clock_us() < end)
		sl_loop_turn(f->loop, 10);
	assert_true(fake_dns_asked(f->dns) >= from + 2 * n);
}

static void addresses_follow_the_answers(void **state)
{
	struct fixture f;

	open_fixture(&f);
	assert_int_equal(count(&f, "app.test:80"), 1);
	wait_for(&f, "10.0.0.1:80", 1);
	assert_int_equal(count(&f, "app.test"), 0);
	f.record[0].addr[1] = "10.0.0.2";
	f.record[1].addr[0] = "2001:db8::1";
	wait_for(&f, "[2001:db8::1]:80", 1);
	assert_int_equal(count(&f, "10.0.0."), 2);
	f.record[0].addr[0] = "10.0.0.2";
	f.record[0].addr[1] = NULL;
	wait_for(&f, "10.0.0.1:80", 0);
	assert_int_equal(count(&f, "10.0.0.2:80"), 1);
	close_fixture(&f);
}

/* A name server that is ill must not empty an upstream. */
static void what_was_known_stays_when_the_name_server_is_ill(void **state)
{
	static const enum fake_dns_how ways[] = {FAKE_DNS_NXDOMAIN, FAKE_DNS_SERVFAIL,
						 FAKE_DNS_SILENT, FAKE_DNS_MANGLED};
	struct fixture f;

	open_fixture(&f);
	wait_for(&f, "10.0.0.1:80", 1);
	for (size_t i = 0; i < SL_ARRAY_SIZE(ways); i++) {
		f.record[0].how = f.record[1].how = ways[i];
		wait_for_turns(&f, 2);
		if (ways[i] != FAKE_DNS_MANGLED)
			assert_int_equal(count(&f, "10.0.0.1:80"), 1);
		assert_true(count(&f, "") >= 1);
	}
	f.record[0].how = f.record[1].how = FAKE_DNS_ANSWER;
	f.record[0].addr[0] = "10.0.0.9";
	wait_for(&f, "10.0.0.9:80", 1);
	assert_int_equal(count(&f, ""), 1);
	close_fixture(&f);
}

static void one_family_that_fails_takes_nothing_from_itself_or_the_other(void **state)
{
	struct fixture f;

	open_fixture(&f);
	f.record[1].addr[0] = "2001:db8::1";
	wait_for(&f, "[2001:db8::1]:80", 1);
	f.record[1].how = FAKE_DNS_SERVFAIL;
	f.record[0].addr[0] = "10.0.0.2";
	wait_for(&f, "10.0.0.2:80", 1);
	assert_int_equal(count(&f, "[2001:db8::1]:80"), 1);
	f.record[1].how = FAKE_DNS_ANSWER;
	f.record[1].addr[0] = NULL;
	wait_for(&f, "[2001:db8::1]:80", 0);
	assert_int_equal(count(&f, ""), 1);
	close_fixture(&f);
}

static void a_name_that_never_answers_is_a_server_that_is_down(void **state)
{
	struct fixture f;

	open_fixture(&f);
	f.record[0].how = f.record[1].how = FAKE_DNS_SERVFAIL;
	wait_for_turns(&f, 2);
	assert_int_equal(count(&f, ""), 1);
	assert_int_equal(sl_server_state(&f.list[0]->server[0], 0), SL_SERVER_DOWN);
	assert_string_equal(f.list[0]->server[0].health.why, "dns-failed");
	f.record[0].how = f.record[1].how = FAKE_DNS_ANSWER;
	wait_for(&f, "10.0.0.1:80", 1);
	assert_int_equal(count(&f, ""), 1);
	close_fixture(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(addresses_follow_the_answers),
		cmocka_unit_test(what_was_known_stays_when_the_name_server_is_ill),
		cmocka_unit_test(one_family_that_fails_takes_nothing_from_itself_or_the_other),
		cmocka_unit_test(a_name_that_never_answers_is_a_server_that_is_down),
	};

	return cmocka_run_group_tests_name("discovery", tests, NULL, NULL);
}
