/* SPDX-License-Identifier: BSD-2-Clause */
/* The table of neighbours: who is kept, for how long, who gives way, and which frames say what. */

#include "unit.h"

#include <arpa/inet.h>
#include <string.h>

#include "dpdk/neighbours.h"
#include "frames.h"

static const uint8_t mac[6] = {2, 0, 0, 0, 0, 9}, other_mac[6] = {2, 0, 0, 0, 0, 10};

static struct sl_neighbour_at host(uint32_t n)
{
	struct sl_neighbour_at at = {.address = {0xfd}, .port = n & 1};

	memcpy(at.address + 12, &n, 4);
	return at;
}

static int forget(void **state)
{
	sl_neighbours_forget_all();
	return 0;
}

static void hosts_are_learnt_and_brought_up_to_date(void **state)
{
	const struct sl_neighbour_at at = host(2), elsewhere = {.address = {0xfd}, .port = 3};
	uint8_t got[6];

	sl_neighbour_heard(&at, mac, false, 5);
	assert_int_equal(sl_neighbour_find(&at, 5, got), SL_NEIGHBOUR_UNKNOWN);
	sl_neighbour_heard(&at, mac, true, 5);
	assert_int_equal(sl_neighbour_find(&at, 5, got), SL_NEIGHBOUR_KNOWN);
	assert_memory_equal(got, mac, 6);
	sl_neighbour_heard(&at, other_mac, false, 6);
	assert_int_equal(sl_neighbour_find(&at, 6, got), SL_NEIGHBOUR_KNOWN);
	assert_memory_equal(got, other_mac, 6);
	assert_int_equal(sl_neighbour_find(&elsewhere, 6, got), SL_NEIGHBOUR_UNKNOWN);
}

/* Across the clock's end, too. */
static void who_was_not_heard_of_is_asked_and_then_forgotten(void **state)
{
	static const struct {
		uint32_t after_ms;
		enum sl_neighbour found;
	} rows[] = {
		{29999, SL_NEIGHBOUR_KNOWN},   {30000, SL_NEIGHBOUR_OLD},
		{30999, SL_NEIGHBOUR_KNOWN},   {31000, SL_NEIGHBOUR_OLD},
		{89999, SL_NEIGHBOUR_OLD},     {90000, SL_NEIGHBOUR_KNOWN},
		{90001, SL_NEIGHBOUR_UNKNOWN},
	};
	const uint32_t start = UINT32_MAX - 30500;
	const struct sl_neighbour_at at = host(7);
	uint8_t got[6];

	sl_neighbour_heard(&at, mac, true, start);
	for (size_t i = 0; i < SL_ARRAY_SIZE(rows); i++)
		assert_int_equal(sl_neighbour_find(&at, start + rows[i].after_ms, got),
				 rows[i].found);
}

static void a_thousand_fit_and_the_oldest_give_way(void **state)
{
	uint8_t got[6];
	unsigned known = 0;

	for (uint32_t i = 0; i < 1000; i++) {
		struct sl_neighbour_at at = host(i);

		sl_neighbour_heard(&at, mac, true, i);
	}
	for (uint32_t i = 0; i < 1000; i++) {
		struct sl_neighbour_at at = host(i);

		known += sl_neighbour_find(&at, 1000, got) == SL_NEIGHBOUR_KNOWN;
	}
	assert_true(known > 980); /* 8 of 4096 in a set of 2 on average */
	for (uint32_t i = 0; i < 50000; i++) {
		struct sl_neighbour_at at = host(1000 + i);

		sl_neighbour_heard(&at, mac, true, 1000 + i / 10);
		assert_int_equal(sl_neighbour_find(&at, 1000 + i / 10, got), SL_NEIGHBOUR_KNOWN);
	}
}

static void arp_tells_its_sender(void **state)
{
	uint8_t f[60] = {[12] = 8, [13] = 6};
	struct sl_neighbour_word w;

	memcpy(f + 14, (uint8_t[]){0, 1, 8, 0, 6, 4, 0, 1}, 8);
	memcpy(f + 22, mac, 6);
	inet_pton(AF_INET, "10.0.0.2", f + 28);
	inet_pton(AF_INET, "10.0.0.1", f + 38);
	assert_true(sl_neighbour_read(f, sizeof(f), &w));
	assert_memory_equal(w.mac, mac, 6);
	assert_memory_equal(w.address + 10, ((uint8_t[]){0xff, 0xff, 10, 0, 0, 2}), 6);
	assert_memory_equal(w.target + 10, ((uint8_t[]){0xff, 0xff, 10, 0, 0, 1}), 6);
	for (size_t cut = 0; cut < 42; cut++)
		assert_false(sl_neighbour_read(f, cut, &w));
	f[22] = 3; /* a group is nobody's address */
	assert_false(sl_neighbour_read(f, sizeof(f), &w));
	f[22] = 2;
	f[18] = 8;
	assert_false(sl_neighbour_read(f, sizeof(f), &w));
}

static void set_sum(uint8_t *f)
{
	uint8_t *ip = f + 14, *icmp = ip + 40;
	uint32_t sum;

	icmp[2] = icmp[3] = 0;
	sum = ~frame_sum(icmp, 32, frame_sum(ip + 8, 32, 58 + 32)) & 0xffff;
	icmp[2] = (uint8_t)(sum >> 8);
	icmp[3] = (uint8_t)sum;
}

/* As it changes from one that counts: what, byte, value, and whether it counts still. */
static void discovery_is_believed_if_it_is_whole_and_meant(void **state)
{
	static const struct {
		const char *what;
		uint8_t type, option;
		size_t at;
		uint8_t value;
		bool bad_sum, said;
	} rows[] = {
		{"a solicitation", 135, 1, 0, 0, false, true},
		{"an advertisement", 136, 2, 0, 0, false, true},
		{"one by an address that has moved", 136, 2, 14 + 40 + 4, 0x20, false, true},
		{"one that was not asked for", 136, 2, 14 + 40 + 4, 0x80, false, false},
		{"another message", 134, 1, 0, 0, false, false},
		{"a bad checksum", 135, 1, 0, 0, true, false},
		{"a router came by", 135, 1, 14 + 7, 254, false, false},
		{"no ICMP", 135, 1, 14 + 6, 6, false, false},
		{"the other's option", 135, 2, 0, 0, false, false},
		{"an option without length", 135, 1, 14 + 40 + 25, 0, false, false},
		{"an option too long", 135, 1, 14 + 40 + 25, 2, false, false},
		{"longer than its frame", 135, 1, 14 + 5, 33, false, false},
		{"shorter than its head", 135, 1, 14 + 5, 23, false, false},
	};

	for (size_t i = 0; i < SL_ARRAY_SIZE(rows); i++) {
		uint8_t f[86] = {
			[12] = 0x86, [13] = 0xdd, [14] = 0x60, [19] = 32, [20] = 58, [21] = 255};
		uint8_t *ip = f + 14, *icmp = ip + 40;
		struct sl_neighbour_word w;

		inet_pton(AF_INET6, "fd00::2", ip + 8);
		inet_pton(AF_INET6, "fd00::1", ip + 24);
		icmp[0] = rows[i].type;
		icmp[4] = rows[i].type == 136 ? 0x60 : 0;
		inet_pton(AF_INET6, "fd00::3", icmp + 8);
		icmp[24] = rows[i].option;
		icmp[25] = 1;
		memcpy(icmp + 26, mac, 6);
		if (rows[i].at)
			f[rows[i].at] = rows[i].value;
		set_sum(f);
		icmp[2] ^= rows[i].bad_sum;
		if (sl_neighbour_read(f, sizeof(f), &w) != rows[i].said)
			fail_msg("%s", rows[i].what);
		if (!rows[i].said)
			continue;
		assert_int_equal(w.address[15], rows[i].type == 135 ? 2 : 3);
		assert_int_equal(w.target[15], rows[i].type == 135 ? 3 : 1);
		assert_memory_equal(w.mac, mac, 6);
		for (size_t cut = 0; cut < sizeof(f); cut++)
			assert_false(sl_neighbour_read(f, cut, &w));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(hosts_are_learnt_and_brought_up_to_date, forget),
		cmocka_unit_test_setup(who_was_not_heard_of_is_asked_and_then_forgotten, forget),
		cmocka_unit_test_setup(a_thousand_fit_and_the_oldest_give_way, forget),
		cmocka_unit_test(arp_tells_its_sender),
		cmocka_unit_test(discovery_is_believed_if_it_is_whole_and_meant),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
