/* SPDX-License-Identifier: BSD-2-Clause */
/* The loader: pins, layouts, devices. Needs root (BPF, a network namespace of its own).
 *
 *	namespace: sl0 ==veth== sl1
 */

#include "unit.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <bpf/bpf.h>
#include <linux/bpf.h>
#include <net/if.h>

#include "harness.h"
#include "splice/device.h"
#include "splice/links.h"

static struct harness h;

static bool has_pin(const char *name)
{
	char path[SL_PIN_PATH_MAX];
	struct stat st;

	return !sl_pin_path(path, h.folder, name) && !stat(path, &st);
}

/* Programs attached at a hook of a device, as the kernel says. */
static uint32_t attached(const char *device, int type)
{
	uint32_t ids[8], n = SL_ARRAY_SIZE(ids), flags;

	if (bpf_prog_query(if_nametoindex(device), type, 0, &flags, ids, &n))
		return 0;
	return n;
}

/* Programs at tc ingress of a device, whatever holds them there. */
static int tc_programs(const char *device)
{
	char command[128], line[256];
	int n = attached(device, 46);
	FILE *out;

	snprintf(command, sizeof(command), "tc filter show dev %s ingress", device);
	out = popen(command, "r");
	while (out && fgets(line, sizeof(line), out))
		n += strstr(line, "direct-action") != NULL;
	if (out)
		pclose(out);
	return n;
}

static bool has_xdp(const char *device)
{
	char command[128];

	snprintf(command, sizeof(command), "ip -d link show dev %s | grep -q 'xdp '", device);
	return system(command) == 0;
}

static void loading_again_keeps_what_is_there(void **state)
{
	struct sl_flow_pair pair = frame_pair(4);
	struct sl_pins_status s;

	harness_install(&h, 2, &pair);
	assert_int_equal(sl_loader_load(h.folder, 2 * HARNESS_SLOTS), 0);
	assert_int_equal(sl_pins_status(h.folder, &s), 0);
	assert_int_equal(s.slots, HARNESS_SLOTS);
	assert_int_equal(s.pairs[SL_FLOW_ACTIVE], 1);
	assert_int_equal(s.pairs[SL_FLOW_FREE], HARNESS_SLOTS - 1);
	assert_true(s.memory_bytes > HARNESS_SLOTS * sizeof(struct sl_flow_pair));
}

static void another_layout_is_refused(void **state)
{
	_sl_close_ int fd = sl_pin_open(h.folder, "layout");
	struct sl_layout good, bad;
	struct sl_pins pins;
	uint32_t zero = 0;

	assert_int_equal(bpf_map_lookup_elem(fd, &zero, &good), 0);
	bad = good;
	bad.version++;
	bpf_map_update_elem(fd, &zero, &bad, BPF_ANY);
	assert_int_equal(sl_pins_open(h.folder, &pins), -EPROTO);
	assert_int_equal(sl_loader_load(h.folder, HARNESS_SLOTS), -EPROTO);
	bpf_map_update_elem(fd, &zero, &good, BPF_ANY);
	assert_int_equal(sl_pins_open(h.folder, &pins), 0);
	sl_pins_close(&pins);
}

static void an_empty_folder_is_no_engine(void **state)
{
	struct sl_pins pins;
	struct sl_pins_status s;

	assert_int_equal(sl_pins_open("/sys/fs/bpf/sluice-no-such", &pins), -ENOENT);
	assert_int_equal(sl_pins_status("/sys/fs/bpf/sluice-no-such", &s), -ENOENT);
	assert_int_equal(sl_loader_unload("/sys/fs/bpf/sluice-no-such"), -ENOENT);
}

static void devices_are_attached_once_and_stay_so(void **state)
{
	const char *how = NULL;
	char pin[64];

	assert_int_equal(sl_loader_attach(h.folder, "sl-none", SL_HOOK_AUTO, &how), -ENODEV);
	for (int i = 0; i < 2; i++)
		assert_int_equal(sl_loader_attach(h.folder, "sl0", SL_HOOK_AUTO, &how), 0);
	assert_int_equal(tc_programs("sl0"), 1);
	if (!strcmp(how, "tc (tcx)")) {
		snprintf(pin, sizeof(pin), "link_sl0_%u_tc", if_nametoindex("sl0"));
		assert_true(has_pin(pin));
	}
	for (int i = 0; i < 2; i++)
		assert_int_equal(sl_loader_attach(h.folder, "sl1", SL_HOOK_XDP, &how), 0);
	assert_string_equal(how, "xdp (native)");
	assert_true(has_xdp("sl1"));
	assert_int_equal(sl_loader_attach(h.folder, "lo", SL_HOOK_XDP, &how), -EOPNOTSUPP);
	assert_int_equal(sl_loader_attach(h.folder, "lo", SL_HOOK_XDP_GENERIC, &how), 0);
}

/* With clsact, the second used to take the first one's place. */
static void two_folders_share_a_device(void **state)
{
	int n = tc_programs("sl0");
	const char *how = NULL;
	char folder[80];

	assert_int_equal(n, 1);
	snprintf(folder, sizeof(folder), "%s-other", h.folder);
	assert_int_equal(sl_loader_load(folder, HARNESS_SLOTS), 0);
	for (int i = 0; i < 2; i++)
		assert_int_equal(sl_loader_attach(folder, "sl0", SL_HOOK_TC, &how), 0);
	n = tc_programs("sl0");
	assert_int_equal(sl_loader_unload(folder), 0);
	assert_int_equal(n, 2);
	assert_int_equal(tc_programs("sl0"), 1);
}

/* The verifier takes as long for it as for all others, and most hosts have no use for it. */
static void the_xdp_program_is_loaded_when_a_device_asks_for_it(void **state)
{
	const char *how;
	char folder[80];
	int before;

	snprintf(folder, sizeof(folder), "%s-lazy", h.folder);
	assert_int_equal(sl_loader_load(folder, HARNESS_SLOTS), 0);
	before = sl_pin_open(folder, "splice_xdp");
	assert_int_equal(sl_loader_attach(folder, "sl0", SL_HOOK_XDP, &how), 0);
	assert_int_equal(sl_loader_load_xdp(folder), 0);
	assert_int_equal(sl_loader_unload(folder), 0);
	assert_int_equal(before, -ENOENT);
}

static void a_device_has_one_hook_at_a_time(void **state)
{
	uint32_t ifindex = if_nametoindex("sl0");
	struct sl_attachment a;
	const char *how;

	assert_int_equal(sl_loader_attach(h.folder, "sl0", SL_HOOK_XDP, &how), 0);
	assert_int_equal(sl_links_find(h.folder, ifindex, &a), 0);
	assert_int_equal(a.hook, SL_HOOK_XDP);
	assert_string_equal(a.device, "sl0");
	assert_int_equal(tc_programs("sl0"), 0);
	assert_int_equal(sl_loader_attach(h.folder, "sl0", SL_HOOK_TC, &how), 0);
	assert_int_equal(sl_links_find(h.folder, ifindex, &a), 0);
	assert_int_equal(a.hook, SL_HOOK_TC);
	assert_false(has_xdp("sl0"));
	assert_int_equal(sl_links_find(h.folder, 999, &a), -ENOENT);
}

static int is_lo(void *context, const struct sl_link *l)
{
	(*(int *)context)++;
	return l->loopback ? 17 : 0;
}

static void netlink_tells_of_links_and_routes(void **state)
{
	_sl_close_ int fd = -1, watch = -1;
	struct sl_addr to, from;
	struct sl_route route;
	struct sl_link l;
	int seen = 0;

	assert_int_equal(sl_netlink_open(&fd), 0);
	assert_int_equal(sl_netlink_watch(&watch), 0);
	assert_false(sl_netlink_changed(watch));
	assert_int_equal(system("ip addr add 10.9.0.1/24 dev sl0 && ip route add 10.8.0.0/16 via "
				"10.9.0.2 mtu 1234"),
			 0);
	assert_true(sl_netlink_changed(watch));
	assert_int_equal(sl_netlink_links(fd, is_lo, &seen), 17);
	assert_true(seen >= 1);
	assert_int_equal(sl_netlink_link(fd, if_nametoindex("sl0"), &l), 0);
	assert_string_equal(l.name, "sl0");
	assert_string_equal(l.kind, "veth");
	assert_int_equal(l.mtu, 1500);
	assert_true(l.up);
	assert_int_equal(sl_netlink_link(fd, 999, &l), -ENODEV);

	assert_int_equal(sl_addr_parse(sl_slice_str("10.8.1.1:0"), &to), 0);
	assert_int_equal(sl_netlink_route(fd, &to, NULL, &route), 0);
	assert_int_equal(route.ifindex, if_nametoindex("sl0"));
	assert_int_equal(route.mtu, 1234);
	assert_int_equal(sl_addr_parse(sl_slice_str("10.9.0.1:0"), &from), 0);
	assert_true(sl_addr_eq_host(&route.source, &from));
	assert_int_equal(sl_netlink_route(fd, &to, &from, &route), 0);
	assert_int_equal(sl_addr_parse(sl_slice_str("127.0.0.1:0"), &to), 0);
	assert_int_equal(sl_netlink_route(fd, &to, NULL, &route), 0);
	assert_int_equal(route.ifindex, if_nametoindex("lo"));
	assert_int_equal(sl_addr_parse(sl_slice_str("[::1]:0"), &to), 0);
	assert_int_equal(sl_netlink_route(fd, &to, NULL, &route), 0);
	assert_int_equal(route.source.family, AF_INET6);
	assert_int_equal(sl_addr_parse(sl_slice_str("192.0.2.1:0"), &to), 0);
	assert_int_equal(sl_netlink_route(fd, &to, NULL, &route), -ENETUNREACH);
}

/* What is asked for, and what it is: hardware whose driver has all of XDP unless said otherwise. */
static void the_hook_suits_the_device(void **state)
{
	enum { ALL = SL_XDP_BASIC | SL_XDP_REDIRECT | SL_XDP_XMIT };
	const struct {
		struct sl_device device;
		enum sl_hook wanted, hook;
	} rows[] = {
		{{.physical = true, .xdp_known = true, .xdp_features = ALL},
		 SL_HOOK_AUTO,
		 SL_HOOK_XDP},
		{{.physical = true,
		  .xdp_known = true,
		  .xdp_features = ALL,
		  .receives_merged = true},
		 SL_HOOK_AUTO,
		 SL_HOOK_TC},
		{{.physical = true, .xdp_known = true, .xdp_features = SL_XDP_BASIC},
		 SL_HOOK_AUTO,
		 SL_HOOK_TC},
		{{.physical = true}, SL_HOOK_AUTO, SL_HOOK_TC},
		{{.xdp_known = true, .xdp_features = ALL}, SL_HOOK_AUTO, SL_HOOK_TC},
		{{.link.loopback = true, .link.type = 772}, SL_HOOK_AUTO, SL_HOOK_TC},
		{{.link.loopback = true, .link.type = 772}, SL_HOOK_XDP, SL_HOOK_AUTO},
		{{.link.loopback = true, .link.type = 772},
		 SL_HOOK_XDP_GENERIC,
		 SL_HOOK_XDP_GENERIC},
		{{.xdp_known = true}, SL_HOOK_XDP, SL_HOOK_AUTO},
		{{.xdp_known = false}, SL_HOOK_XDP, SL_HOOK_XDP},
		{{.xdp_known = true, .xdp_features = ALL}, SL_HOOK_TC, SL_HOOK_TC},
		{{.link.type = 65534}, SL_HOOK_TC, SL_HOOK_AUTO},
	};

	for (size_t i = 0; i < SL_ARRAY_SIZE(rows); i++) {
		struct sl_device d = rows[i].device;
		const char *why = NULL;

		if (!d.link.type)
			d.link.type = 1;
		if (sl_device_choose(&d, rows[i].wanted, &why) != rows[i].hook)
			fail_msg("row %zu: %s", i, why);
		assert_non_null(why);
	}
}

static void a_device_is_looked_at(void **state)
{
	_sl_close_ int fd = -1;
	struct sl_device d;

	assert_int_equal(sl_netlink_open(&fd), 0);
	assert_int_equal(sl_device_look(fd, if_nametoindex("sl0"), &d), 0);
	assert_false(d.physical);
	if (d.xdp_known)
		assert_true(d.xdp_features & SL_XDP_BASIC);
	assert_int_equal(sl_device_look(fd, if_nametoindex("lo"), &d), 0);
	assert_true(d.link.loopback);
	assert_false(d.xdp_features & SL_XDP_BASIC);
}

static void the_entry_for_old_kernels_answers_the_same(void **state)
{
	struct sl_flow_pair pair = frame_pair(4);
	struct sl_control call, frame;

	assert_true(h.pins.control >= 0);
	pair.generation = 9;
	pair.leg[0].peer_port = 1;
	pair.leg[1].local_port = 2;
	assert_int_equal(harness_control(&h, SL_CONTROL_WATCH, 6, &pair, 0, &call), 0);
	assert_int_equal(harness_control(&h, SL_CONTROL_RELEASE, 6, &pair, 0, NULL), 0);
	assert_int_equal(harness_use_control_frame(&h), 0);
	assert_false(h.pins.control_is_call);
	assert_int_equal(harness_control(&h, SL_CONTROL_WATCH, 6, &pair, 0, &frame), 0);
	assert_memory_equal(&call, &frame, sizeof(call));
	assert_int_equal(harness_control(&h, SL_CONTROL_RELEASE, 6, &pair, 0, NULL), 0);
}

static void unloading_leaves_nothing(void **state)
{
	struct sl_attachment a[8];
	struct sl_pins_status s;

	assert_true(sl_links_list(h.folder, a, SL_ARRAY_SIZE(a)) >= 3);
	assert_int_equal(sl_loader_unload(h.folder), 0);
	assert_int_equal(tc_programs("sl0"), 0);
	assert_false(has_xdp("sl1"));
	assert_int_equal(sl_pins_status(h.folder, &s), -ENOENT);
}

static unsigned long long available_kb(void)
{
	FILE *f = fopen("/proc/meminfo", "re");
	unsigned long long kb = 0;
	char line[128];

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "MemAvailable: %llu", &kb) == 1)
			break;
	if (f)
		fclose(f);
	return kb;
}

/* As far as a kernel tells what hash tables take (Linux 6.4). */
static void a_million_pairs_can_be_loaded(void **state)
{
	struct sl_pins_status s;
	char folder[80];

	if (available_kb() < 2 << 20)
		skip();
	snprintf(folder, sizeof(folder), "%s-million", h.folder);
	assert_int_equal(sl_loader_load(folder, 1000000), 0);
	assert_int_equal(sl_pins_status(folder, &s), 0);
	assert_int_equal(sl_loader_unload(folder), 0);
	print_message("1,000,000 pairs: %llu bytes\n", (unsigned long long)s.memory_bytes);
	assert_int_equal(s.slots, 1000000);
	assert_int_equal(s.pairs[SL_FLOW_FREE], 1000000);
	assert_true(s.memory_bytes < 272u * 1000000); /* docs/engines.md, "Memory" */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(loading_again_keeps_what_is_there),
		cmocka_unit_test(another_layout_is_refused),
		cmocka_unit_test(an_empty_folder_is_no_engine),
		cmocka_unit_test(devices_are_attached_once_and_stay_so),
		cmocka_unit_test(two_folders_share_a_device),
		cmocka_unit_test(the_xdp_program_is_loaded_when_a_device_asks_for_it),
		cmocka_unit_test(a_device_has_one_hook_at_a_time),
		cmocka_unit_test(netlink_tells_of_links_and_routes),
		cmocka_unit_test(the_hook_suits_the_device),
		cmocka_unit_test(a_device_is_looked_at),
		cmocka_unit_test(the_entry_for_old_kernels_answers_the_same),
		cmocka_unit_test(a_million_pairs_can_be_loaded),
		cmocka_unit_test(unloading_leaves_nothing),
	};
	int failed;

	if (unshare(CLONE_NEWNET) || system("ip link add sl0 type veth peer name sl1 && "
					    "ip link set lo up && ip link set sl0 up && "
					    "ip link set sl1 up")) {
		printf("1..0 # SKIP no network namespace can be made here\n");
		return HARNESS_SKIP;
	}
	if (harness_open(&h, HARNESS_SLOTS))
		return HARNESS_SKIP;
	failed = cmocka_run_group_tests_name("loader", tests, NULL, NULL);
	harness_close(&h);
	return failed;
}
