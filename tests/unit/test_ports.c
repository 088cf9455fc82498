/* SPDX-License-Identifier: BSD-2-Clause */
/* Source ports of the packet engine, by the texts of the kernel's settings; and the claim of a network
 * namespace. */

#include "unit.h"

#include <errno.h>
#include <sched.h>

#include "base/util.h"
#include "splice/packet_ports.h"

static void ports_are_where_the_kernel_takes_none(void **state)
{
	const struct {
		const char *range, *reserved;
		uint16_t wanted_first, wanted_last;
		int r;
		uint16_t first, last;
	} rows[] = {
		{"32768\t60999\n", "\n", 0, 0, 0, 61000, 65535},
		{"10000 65279", "", 0, 0, 0, 65280, 65535},
		{"10000 65280", "", 0, 0, 0, 1808, 9999},
		{"5000 65535", "", 0, 0, 0, 1024, 4999},
		{"1279 65535", "", 0, 0, -EADDRNOTAVAIL, 0, 0},
		{"32768 60999", "", 61000, 65535, 0, 61000, 65535},
		{"32768 60999", "", 2000, 2000, 0, 2000, 2000},
		{"32768 60999", "", 60999, 61005, -EADDRINUSE, 60999, 61005},
		{"32768 60999", "40000-49999\n", 40000, 49999, 0, 40000, 49999},
		{"32768 60999", "8080,40000-44999,45000-49999\n", 40000, 49999, 0, 40000, 49999},
		{"32768 60999", "40000-44999,45001-49999\n", 40000, 49999, -EADDRINUSE, 40000,
		 49999},
		{"32768 60999", "60000-60999\n", 60000, 65535, 0, 60000, 65535},
		{"32768 60999", "32768-33000\n", 32000, 33000, 0, 32000, 33000},
		{"32768 60999", "x-y", 40000, 40001, -EADDRINUSE, 40000, 40001},
		{"32768 60999", "40000-", 40000, 40001, -EADDRINUSE, 40000, 40001},
		{"32768 60999", "40001-40000", 40000, 40001, -EADDRINUSE, 40000, 40001},
		{"32768 60999", NULL, 40000, 40001, -EADDRINUSE, 40000, 40001},
		{"60999 32768", "", 0, 0, -EPROTO, 0, 0},
		{"1 65536", "", 0, 0, -EPROTO, 0, 0},
		{"", "", 0, 0, -EPROTO, 0, 0},
		{NULL, "", 0, 0, -EPROTO, 0, 0},
	};

	for (size_t i = 0; i < SL_ARRAY_SIZE(rows); i++) {
		struct sl_packet_ports p = {rows[i].wanted_first, rows[i].wanted_last};
		int r = sl_packet_choose_ports_from(rows[i].range, rows[i].reserved, &p);

		if (r != rows[i].r || p.first != rows[i].first || p.last != rows[i].last)
			fail_msg("row %zu: %d, %u-%u", i, r, p.first, p.last);
	}
}

static void a_namespace_is_claimed_once(void **state)
{
	int one = -1, other = -1;

	assert_int_equal(sl_packet_claim_namespace(&one), 0);
	assert_int_equal(sl_packet_claim_namespace(&other), -EADDRINUSE);
	assert_int_equal(other, -1);
	one = sl_close(one);
	assert_int_equal(sl_packet_claim_namespace(&one), 0);
	sl_close(one);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ports_are_where_the_kernel_takes_none),
		cmocka_unit_test(a_namespace_is_claimed_once),
	};

	/* Other tests, and a sluice on this host, claim the namespace that all share. */
	if (unshare(CLONE_NEWUSER | CLONE_NEWNET))
		print_message("no namespace of its own: the claim may be another's\n");
	return cmocka_run_group_tests_name("ports", tests, NULL, NULL);
}
