/* SPDX-License-Identifier: BSD-2-Clause */
/* proxy/upstream_set and resolve_srv: servers that come and go, slots that are full or busy, and SRV
 * records as they come from the network. */

#include "unit.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "proxy/names/resolve_srv.h"
#include "proxy/upstream/upstream_set.h"

#define NOW 1000000ull

struct fixture {
	struct sl_server_config servers[2];
	struct sl_upstream_config upstream;
	struct sl_config config;
	struct sl_upstreams *all;
	struct sl_upstream **list;
	unsigned told;
	size_t most; /* servers that were present when workers were told */
	char as[16];
};

static size_t count_present(const struct sl_upstream *u)
{
	size_t n = 0;

	for (size_t i = 0; i < sl_upstream_len(u); i++)
		n += !sl_server_is_removed(&u->server[i]);
	return n;
}

static void on_change(void *owner, struct sl_upstream *u)
{
	struct fixture *f = owner;

	f->told++;
	f->most = sl_max(f->most, count_present(u));
}

static void open_fixture(struct fixture *f, enum sl_balance balance)
{
	*f = (struct fixture){0};
	f->servers[0] = (struct sl_server_config){
		.address = "10.0.0.1:80", .host = "10.0.0.1", .port = 80, .weight = 1};
	f->servers[1] = (struct sl_server_config){
		.address = "app:80", .host = "app", .port = 80, .weight = 2, .discover = true};
	f->upstream = (struct sl_upstream_config){.name = "u",
						  .servers = f->servers,
						  .n_servers = 2,
						  .balance = balance,
						  .pool = {.max = 10, .idle = 10}};
	f->config = (struct sl_config){.upstreams = &f->upstream, .n_upstreams = 1};
	sl_log_set_level(SL_LOG_ERROR);
	assert_int_equal(sl_upstreams_new(1, &f->all), 0);
	assert_int_equal(sl_upstreams_enlist(f->all, &f->config, &f->list), 0);
}

static void close_fixture(struct fixture *f)
{
	sl_upstreams_dismiss(f->all, f->list, 1);
	sl_upstreams_free(f->all);
}

/* The name has the addresses 10.0.1.from and the following ones. */
static size_t set(struct fixture *f, unsigned from, unsigned n)
{
	const struct sl_set_listener l = {.on_change = on_change, .owner = f};
	struct sl_found found[2 * SL_SERVERS_MAX];

	for (unsigned i = 0; i < n; i++) {
		found[i] = (struct sl_found){.source = &f->servers[1], .as = "app:80", .weight = 2};
		found[i].addr.in.sin_family = AF_INET;
		found[i].addr.in.sin_addr.s_addr = htonl(0x0a000100 + from + i);
		sl_addr_set_port(&found[i].addr, 80);
	}
	return sl_upstream_set(f->list[0], found, n, NOW, &l);
}

static struct sl_server *server(struct fixture *f, const char *address)
{
	return sl_upstreams_find(f->all, "u", address);
}

static void addresses_take_the_place_of_their_name(void **state)
{
	struct fixture f;

	open_fixture(&f, SL_BALANCE_ROUND_ROBIN);
	assert_non_null(server(&f, "app:80"));
	assert_int_equal(set(&f, 1, 2), 0);
	assert_null(server(&f, "app:80"));
	assert_non_null(server(&f, "10.0.0.1:80"));
	assert_string_equal(server(&f, "10.0.1.1:80")->config->found_as, "app:80");
	assert_int_equal(server(&f, "10.0.1.2:80")->config->weight, 2);
	assert_int_equal(count_present(f.list[0]), 3);
	close_fixture(&f);
}

static void nobody_is_told_of_what_did_not_change(void **state)
{
	struct fixture f;
	unsigned told;

	open_fixture(&f, SL_BALANCE_ROUND_ROBIN);
	set(&f, 1, 2);
	told = f.told;
	assert_int_equal(set(&f, 1, 2), 0);
	assert_int_equal(f.told, told);
	close_fixture(&f);
}

static void workers_are_told_of_new_servers_before_old_ones_go(void **state)
{
	struct fixture f;

	open_fixture(&f, SL_BALANCE_ROUND_ROBIN);
	set(&f, 1, 2);
	set(&f, 11, 2);
	assert_int_equal(f.most, 5);
	assert_int_equal(count_present(f.list[0]), 3);
	close_fixture(&f);
}

static void the_slot_of_a_removed_server_waits_for_what_is_open(void **state)
{
	struct sl_server *busy, *idle;
	struct fixture f;

	open_fixture(&f, SL_BALANCE_ROUND_ROBIN);
	set(&f, 1, 2);
	busy = server(&f, "10.0.1.1:80");
	idle = server(&f, "10.0.1.2:80");
	assert_true(sl_server_hold(busy));
	assert_true(sl_server_hold(idle) && !sl_server_keep_idle(idle));
	set(&f, 11, 2);
	assert_int_equal(sl_server_state(busy, NOW), SL_SERVER_REMOVED);
	assert_int_equal(sl_server_keep_idle(busy), -ESTALE); /* its connection is to be closed */
	set(&f, 21, 2);
	assert_string_equal(busy->config->address, "10.0.1.1:80");
	assert_string_equal(idle->config->address, "10.0.1.2:80");
	sl_server_release(busy);
	sl_server_forget_idle(idle, SL_POOL_END_IDLE);
	set(&f, 31, 4);
	assert_string_not_equal(busy->config->address, "10.0.1.1:80");
	assert_string_not_equal(idle->config->address, "10.0.1.2:80");
	close_fixture(&f);
}

static void an_address_that_is_back_is_the_same_server(void **state)
{
	struct sl_server *s;
	struct fixture f;

	open_fixture(&f, SL_BALANCE_ROUND_ROBIN);
	set(&f, 1, 1);
	s = server(&f, "10.0.1.1:80");
	assert_true(sl_server_hold(s));
	set(&f, 2, 1);
	set(&f, 1, 1);
	assert_ptr_equal(server(&f, "10.0.1.1:80"), s);
	assert_int_equal(sl_server_state(s, NOW), SL_SERVER_UP);
	close_fixture(&f);
}

/* Its slot used to go to the next address that came, and the operator's word with it. */
static void a_drained_address_that_is_back_is_still_drained(void **state)
{
	struct fixture f;

	open_fixture(&f, SL_BALANCE_ROUND_ROBIN);
	set(&f, 1, 1);
	sl_server_set_drained(server(&f, "10.0.1.1:80"), true, NOW);
	for (unsigned from = 2; from < 9; from++)
		set(&f, from, 2);
	assert_null(server(&f, "10.0.1.1:80"));
	set(&f, 1, 2);
	assert_int_equal(sl_server_state(server(&f, "10.0.1.1:80"), NOW), SL_SERVER_DRAINED);
	assert_int_equal(sl_server_state(server(&f, "10.0.1.2:80"), NOW), SL_SERVER_UP);
	/* With no other slot left, what is there goes before what was. */
	assert_int_equal(set(&f, 20, 1), 0);
	set(&f, 20, SL_SERVERS_MAX - 1);
	assert_int_equal(set(&f, 20, SL_SERVERS_MAX - 1), 0);
	close_fixture(&f);
}

static void what_finds_no_slot_is_left_out(void **state)
{
	struct fixture f;

	open_fixture(&f, SL_BALANCE_ROUND_ROBIN);
	/* One slot is that of the configured address, one of the name until it is removed. */
	assert_int_equal(set(&f, 0, SL_SERVERS_MAX + 3), 5);
	assert_int_equal(set(&f, 0, SL_SERVERS_MAX + 3), 4);
	assert_int_equal(count_present(f.list[0]), SL_SERVERS_MAX);
	assert_non_null(server(&f, "10.0.0.1:80"));
	assert_int_equal(set(&f, 0, 1), 0);
	assert_int_equal(count_present(f.list[0]), 2);
	close_fixture(&f);
}

/* Two processes that came to the same servers on different ways. */
static void the_table_of_maglev_depends_on_the_names_alone(void **state)
{
	struct sl_upstream *a, *b;
	struct fixture f, g;

	open_fixture(&f, SL_BALANCE_MAGLEV);
	open_fixture(&g, SL_BALANCE_MAGLEV);
	set(&f, 1, 3);
	set(&g, 3, 2);
	set(&g, 1, 3);
	a = f.list[0];
	b = g.list[0];
	for (size_t i = 0; i < SL_MAGLEV_SLOTS; i++)
		assert_string_equal(a->server[a->maglev->server[i]].config->address,
				    b->server[b->maglev->server[i]].config->address);
	close_fixture(&f);
	close_fixture(&g);
}

/* --- another configuration --- */

static void reconfigure(struct fixture *f, struct sl_config *config)
{
	const struct sl_set_listener l = {.on_change = on_change, .owner = f};

	sl_upstream_reconfigure(f->list[0], config, 0, NOW, &l);
}

/* What is known of a server, and what is open to it, belongs to the server and not to the file. */
static void servers_that_stay_keep_their_state(void **state)
{
	struct sl_server_config servers[2];
	struct sl_upstream_config upstream;
	struct sl_config config;
	struct sl_server *kept;
	struct fixture f;

	open_fixture(&f, SL_BALANCE_ROUND_ROBIN);
	set(&f, 1, 2);
	kept = server(&f, "10.0.0.1:80");
	kept->idle = 3;
	sl_server_set_drained(kept, true, NOW);
	memcpy(servers, f.servers, sizeof(servers));
	servers[0].weight = 7;
	servers[1] = (struct sl_server_config){
		.address = "10.0.0.2:80", .host = "10.0.0.2", .port = 80, .weight = 1};
	upstream = f.upstream;
	upstream.servers = servers;
	config = (struct sl_config){.upstreams = &upstream, .n_upstreams = 1};
	reconfigure(&f, &config);
	assert_ptr_equal(server(&f, "10.0.0.1:80"), kept);
	assert_int_equal(kept->idle, 3);
	assert_int_equal(kept->config->weight, 7);
	assert_int_equal(sl_server_state(kept, NOW), SL_SERVER_DRAINED);
	assert_non_null(server(&f, "10.0.0.2:80"));
	assert_null(server(&f, "10.0.1.1:80"));
	assert_int_equal(count_present(f.list[0]), 2);
	assert_int_equal(config.keepers, 1);
	kept->idle = 0;
	close_fixture(&f);
	assert_int_equal(config.keepers, 0);
}

static void addresses_stay_while_their_name_does(void **state)
{
	struct sl_config config;
	struct fixture f;

	open_fixture(&f, SL_BALANCE_MAGLEV);
	set(&f, 1, 2);
	config = f.config;
	config.keepers = 0;
	f.most = 0;
	reconfigure(&f, &config);
	assert_non_null(server(&f, "10.0.1.1:80"));
	assert_null(server(&f, "app:80"));
	assert_int_equal(count_present(f.list[0]), 3);
	assert_int_equal(f.most, 3);
	assert_int_equal(set(&f, 2, 1), 0);
	assert_null(server(&f, "10.0.1.1:80"));
	close_fixture(&f);
}

static void another_balance_has_its_table(void **state)
{
	struct sl_upstream_config upstream;
	struct sl_config config;
	struct fixture f;

	open_fixture(&f, SL_BALANCE_ROUND_ROBIN);
	upstream = f.upstream;
	upstream.balance = SL_BALANCE_MAGLEV;
	config = (struct sl_config){.upstreams = &upstream, .n_upstreams = 1};
	sl_upstream_set_desk(f.list[0], 0);
	assert_int_equal(f.list[0]->desk[0].balancer.kind, SL_BALANCE_ROUND_ROBIN);
	reconfigure(&f, &config);
	sl_upstream_set_desk(f.list[0], 0);
	assert_int_equal(f.list[0]->desk[0].balancer.kind, SL_BALANCE_MAGLEV);
	assert_non_null(f.list[0]->desk[0].balancer.maglev);
	close_fixture(&f);
}

/* Two configurations have it: it goes with the second of them. */
static void an_upstream_lives_as_long_as_its_lists(void **state)
{
	struct sl_upstream **second;
	struct fixture f;

	open_fixture(&f, SL_BALANCE_ROUND_ROBIN);
	assert_int_equal(sl_upstreams_enlist(f.all, &f.config, &second), 0);
	assert_ptr_equal(second[0], f.list[0]);
	sl_upstreams_dismiss(f.all, second, 1);
	assert_non_null(server(&f, "10.0.0.1:80"));
	close_fixture(&f);
}

static void servers_without_a_free_slot_are_known_before(void **state)
{
	struct sl_server_config servers[2];
	struct sl_upstream_config upstream;
	struct fixture f;

	open_fixture(&f, SL_BALANCE_ROUND_ROBIN);
	set(&f, 0, SL_SERVERS_MAX - 2);
	set(&f, 0, SL_SERVERS_MAX - 1);
	memcpy(servers, f.servers, sizeof(servers));
	upstream = f.upstream;
	upstream.servers = servers;
	assert_true(sl_upstream_has_room(f.list[0], &upstream));
	servers[1].address = "10.9.9.9:80";
	assert_false(sl_upstream_has_room(f.list[0], &upstream));
	close_fixture(&f);
}

/* --- SRV --- */

#define HEADER(answers)	 "\1\2\x81\x80\0\1\0" answers "\0\0\0\0"
#define QUESTION	 "\2_h\1a\0\0\x21\0\1"
#define RECORD(ttl, len) "\xc0\x0c\0\x21\0\1\0\0\0" ttl "\0" len
#define TARGET		 "\1T\1a\0"

static void srv_records_are_read(void **state)
{
	static const struct {
		const char *what, *message;
		size_t len;
		int r;
		size_t n;
	} rows[] = {
#define ROW(what, r, n, text) {what, text, sizeof(text) - 1, r, n}
		ROW("one", 0, 1,
		    HEADER("\1") QUESTION RECORD("\x3c", "\x0b") "\0\1\0\2\0\x50" TARGET),
		ROW("two", 0, 2,
		    HEADER("\2") QUESTION RECORD("\x3c", "\x0b") "\0\1\0\2\0\x50" TARGET RECORD(
			    "\x0a", "\x0b") "\0\2\0\3\0\x51" TARGET),
		ROW("a compressed target", 0, 1,
		    HEADER("\1") QUESTION RECORD("\x3c", "\x08") "\0\1\0\2\0\x50\xc0\x0c"),
		ROW("no such service", -ENOENT, 0,
		    HEADER("\1") QUESTION RECORD("\x3c", "\x07") "\0\1\0\2\0\x50\0"),
		ROW("port 0", -ENOENT, 0,
		    HEADER("\1") QUESTION RECORD("\x3c", "\x0b") "\0\1\0\2\0\0" TARGET),
		ROW("no answers", -ENOENT, 0, HEADER("\0") QUESTION),
		ROW("more answers than there are", -EIO, 0,
		    HEADER("\2") QUESTION RECORD("\x3c", "\x0b") "\0\1\0\2\0\x50" TARGET),
		ROW("a target beyond its record", -EIO, 0,
		    HEADER("\1") QUESTION RECORD("\x3c", "\x09") "\0\1\0\2\0\x50" TARGET),
		ROW("a record without a target", -EIO, 0,
		    HEADER("\1") QUESTION RECORD("\x3c", "\x06") "\0\1\0\2\0\x50"),
		ROW("a target that is itself", -EIO, 0,
		    HEADER("\1") QUESTION RECORD("\x3c", "\x08") "\0\1\0\2\0\x50\xc0\x28"),
		ROW("a header alone", -EIO, 0, HEADER("\1")),
#undef ROW
	};

	for (size_t i = 0; i < SL_ARRAY_SIZE(rows); i++) {
		struct sl_srvs srvs = {0};
		/* Of its own size, so that reading beyond it is found. */
		unsigned char *copy = malloc(rows[i].len);
		int r;

		memcpy(copy, rows[i].message, rows[i].len);
		r = sl_srv_parse(copy, rows[i].len, &srvs);
		if (r != rows[i].r || srvs.n != rows[i].n)
			fail_msg("%s: %d, %zu records", rows[i].what, r, srvs.n);
		for (size_t cut = 0; cut < rows[i].len; cut++) {
			unsigned char *part = malloc(cut + 1);

			memcpy(part, copy, cut);
			sl_srv_parse(part, cut, &srvs);
			free(part);
		}
		free(copy);
	}
}

static void srv_records_mean_what_they_say(void **state)
{
	static const char two[] =
		HEADER("\2") QUESTION RECORD("\x3c", "\x0b") "\0\1\0\2\0\x50" TARGET RECORD(
			"\x0a", "\x0b") "\0\2\0\3\x1f\x90" TARGET;
	struct sl_srvs srvs;

	assert_int_equal(sl_srv_parse((const unsigned char *)two, sizeof(two) - 1, &srvs), 0);
	assert_int_equal(srvs.ttl_s, 10);
	assert_string_equal(srvs.srv[1].target, "t.a");
	assert_int_equal(srvs.srv[1].priority, 2);
	assert_int_equal(srvs.srv[1].weight, 3);
	assert_int_equal(srvs.srv[1].port, 8080);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(addresses_take_the_place_of_their_name),
		cmocka_unit_test(nobody_is_told_of_what_did_not_change),
		cmocka_unit_test(workers_are_told_of_new_servers_before_old_ones_go),
		cmocka_unit_test(the_slot_of_a_removed_server_waits_for_what_is_open),
		cmocka_unit_test(an_address_that_is_back_is_the_same_server),
		cmocka_unit_test(a_drained_address_that_is_back_is_still_drained),
		cmocka_unit_test(what_finds_no_slot_is_left_out),
		cmocka_unit_test(servers_that_stay_keep_their_state),
		cmocka_unit_test(addresses_stay_while_their_name_does),
		cmocka_unit_test(another_balance_has_its_table),
		cmocka_unit_test(an_upstream_lives_as_long_as_its_lists),
		cmocka_unit_test(servers_without_a_free_slot_are_known_before),
		cmocka_unit_test(the_table_of_maglev_depends_on_the_names_alone),
		cmocka_unit_test(srv_records_are_read),
		cmocka_unit_test(srv_records_mean_what_they_say),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
