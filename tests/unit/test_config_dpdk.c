/* SPDX-License-Identifier: BSD-2-Clause */
/* proxy/config: the section dpdk, and what it asks of the rest. */

#include "unit.h"

#include <stdio.h>
#include <string.h>

#include "proxy/config/config.h"

#define LISTENERS "listeners: [{name: a, listen: \"10.1.0.1:3128\", mode: forward}]\n"
#define PORTS	  "  ports: [{device: eth1, addresses: 10.1.0.1/24}]\n"

static void ports_are_read_with_their_addresses(void **state)
{
	static const char text[] =
		"transport: dpdk\n"
		"dpdk:\n"
		"  memory: 512m\n"
		"  huge_pages: true\n"
		"  telemetry: true\n"
		"  file_prefix: left\n"
		"  stack: kernel\n"
		"  ports:\n"
		"    - {device: eth1, driver: af_xdp, gateway: 10.1.0.254,\n"
		"       gateway6: \"fd00:1::fe\",\n"
		"       addresses: [10.1.0.1/24, \"fd00:1::1/64\"]}\n"
		"    - {device: \"0000:03:00.0\", tap: wan, addresses: [10.2.0.1/16]}\n" LISTENERS;
	struct sl_config_error error = {""};
	char address[SL_ADDR_STR_MAX];
	struct sl_config *c;

	if (sl_config_parse("t", text, sizeof(text) - 1, &c, &error))
		fail_msg("%s", error.text);
	assert_int_equal(c->transport, SL_TRANSPORT_DPDK);
	assert_int_equal(c->workers, 1);
	assert_int_equal(c->dpdk.memory, 512 << 20);
	assert_true(c->dpdk.huge_pages);
	assert_true(c->dpdk.telemetry);
	assert_string_equal(c->dpdk.file_prefix, "left");
	assert_int_equal(c->dpdk.stack, SL_DPDK_KERNEL);
	assert_int_equal(c->dpdk.n_ports, 2);
	assert_string_equal(c->dpdk.ports[0].tap, "sluice0");
	assert_string_equal(c->dpdk.ports[1].tap, "wan");
	assert_string_equal(c->dpdk.ports[0].device, "eth1");
	assert_int_equal(c->dpdk.ports[0].driver, SL_DPDK_AF_XDP);
	assert_int_equal(c->dpdk.ports[0].n_addresses, 2);
	assert_int_equal(c->dpdk.ports[0].addresses[0].bits, 24);
	assert_string_equal(sl_addr_format_host(&c->dpdk.ports[0].addresses[1].addr, address),
			    "fd00:1::1");
	assert_string_equal(sl_addr_format_host(&c->dpdk.ports[0].gateway, address), "10.1.0.254");
	assert_string_equal(sl_addr_format_host(&c->dpdk.ports[0].gateway6, address), "fd00:1::fe");
	assert_int_equal(c->dpdk.ports[1].gateway6.family, AF_UNSPEC);
	assert_int_equal(c->dpdk.ports[1].driver, SL_DPDK_AF_PACKET);
	assert_int_equal(c->dpdk.ports[1].gateway.family, AF_UNSPEC);
	sl_config_free(c);
}

static const struct {
	const char *text, *error;
} bad[] = {
	{"transport: carrier-pigeon\n",
	 "t:1:12: transport: expected one of: socket, dpdk, got 'carrier-pigeon'"},
	{"transport: dpdk\n", "t:1:1: transport: dpdk needs a section dpdk with ports"},
	{"dpdk:\n" PORTS, "t:1:1: section dpdk needs transport: dpdk"},
	{"transport: dpdk\nworkers: 2\ndpdk:\n" PORTS,
	 "t:1:1: transport: dpdk has one worker, not 2"},
	{"transport: dpdk\ndpdk: {memory: 64m}\n", "t:2:7: dpdk: missing key 'ports'"},
	{"transport: dpdk\ndpdk: {ports: [{device: eth1}]}\n",
	 "t:2:16: dpdk.ports[0]: missing key 'addresses'"},
	{"transport: dpdk\ndpdk: {ports: [{device: a b, addresses: 10.0.0.1/8}]}\n",
	 "t:2:25: dpdk.ports[0].device: expected a device such as eth1, 0000:03:00.0 or "
	 "net_pcap0,rx_pcap=in, got 'a b'"},
	{"transport: dpdk\ndpdk: {ports: [{device: a, addresses: 10.0.0.1}]}\n",
	 "t:2:39: dpdk.ports[0].addresses: expected an address such as 10.1.0.1/24 or "
	 "fd00:1::1/64, got '10.0.0.1'"},
	{"transport: dpdk\ndpdk: {ports: [{device: a, addresses: 10.0.0.1/33}]}\n",
	 "t:2:39: dpdk.ports[0].addresses: expected an address such as 10.1.0.1/24 or "
	 "fd00:1::1/64, got '10.0.0.1/33'"},
	{"transport: dpdk\ndpdk: {ports: [{device: a, addresses: [10.0.0.1/8, 10.0.0.2/8]}]}\n",
	 "t:2:16: dpdk.ports[0]: a port has one IPv4 address at most"},
	{"transport: dpdk\ndpdk: {ports: [{device: a, addresses: \"fd00::1/48\"}]}\n",
	 "t:2:39: dpdk.ports[0].addresses: an IPv6 network of 64 bits is all that can be"},
	{"transport: dpdk\ndpdk: {ports: [{device: a, addresses: \"fd00::1/64\", gateway6: "
	 "10.0.0.1}]}\n",
	 "t:2:63: dpdk.ports[0].gateway6: expected an IPv6 address such as fd00:1::fe or fe80::1, "
	 "got "
	 "'10.0.0.1'"},
	{"transport: dpdk\ndpdk: {ports: [{device: a, addresses: \"fd00::1/64\", gateway6: "
	 "\"fd01::1\"}]}\n",
	 "t:2:16: dpdk.ports[0]: gateway6 is in no network of the port's"},
	{"transport: dpdk\nlimits: {when_full: wait}\ndpdk: {ports: [{device: a, addresses: "
	 "10.0.0.1/8}]}\n",
	 "t:1:1: limits.when_full: wait needs the kernel's TCP: lwIP has no queue to wait in"},
	{"transport: dpdk\ndpdk:\n  stack: home-made\n" PORTS,
	 "t:3:10: dpdk.stack: expected one of: lwip, kernel, got 'home-made'"},
	{"transport: dpdk\ndpdk: {ports: [{device: a, addresses: 10.0.0.1/8, tap: t}]}\n",
	 "t:1:1: dpdk.ports.tap needs dpdk.stack: kernel"},
	{"transport: dpdk\ndpdk: {ports: [{device: a, tap: a-name-too-long0}]}\n",
	 "t:2:33: dpdk.ports[0].tap: expected a name for a device such as sluice0, of at most "
	 "15 characters, got 'a-name-too-long0'"},
	{"transport: dpdk\ndpdk: {ports: [{device: a, tap: \"a/b\"}]}\n",
	 "t:2:33: dpdk.ports[0].tap: expected a name for a device such as sluice0, of at most "
	 "15 characters, got 'a/b'"},
	{"transport: dpdk\ndpdk: {stack: kernel, ports: [{device: a, addresses: 10.0.0.1/8},\n"
	 "  {device: b, addresses: 10.1.0.1/8, tap: sluice0}]}\n",
	 "t:1:1: two of dpdk.ports have the tap sluice0"},
	{"transport: dpdk\ndpdk: {memory: 1m}\n",
	 "t:2:16: dpdk.memory: expected 64m to 64g, got '1m'"},
};

static void every_error_tells_its_place_and_what_was_expected(void **state)
{
	for (size_t i = 0; i < SL_ARRAY_SIZE(bad); i++) {
		struct sl_config_error error = {""};
		struct sl_config *c = NULL;
		char text[512];
		int n = snprintf(text, sizeof(text), "%s" LISTENERS, bad[i].text);

		assert_int_not_equal(sl_config_parse("t", text, (size_t)n, &c, &error), 0);
		assert_string_equal(error.text, bad[i].error);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ports_are_read_with_their_addresses),
		cmocka_unit_test(every_error_tells_its_place_and_what_was_expected),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
