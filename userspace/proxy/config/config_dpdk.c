/* SPDX-License-Identifier: BSD-2-Clause */
/* The section `dpdk` of the configuration. What devices there are, and whether DPDK can use them, shows
 * when it starts. */

#include "proxy/config/config_dpdk.h"

#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>

#include "base/util.h"

#define DEVICE_MAX 255
#define PREFIX6	   64 /* the stack knows no other */

#define READ_PORT(key, reader, field) SL_YAML_FIELD(key, reader, struct sl_dpdk_port_section, field)
#define READ_DPDK(key, reader, field) SL_YAML_FIELD(key, reader, struct sl_config, dpdk.field)

static const struct sl_yaml_choice drivers[] = {
	{"af_xdp", SL_DPDK_AF_XDP},
	{"af_packet", SL_DPDK_AF_PACKET},
	{NULL},
};

static const struct sl_yaml_choice stacks[] = {
	{"lwip", SL_DPDK_LWIP},
	{"kernel", SL_DPDK_KERNEL},
	{NULL},
};

static int read_device(struct sl_yaml *y, const yaml_node_t *n, const struct sl_yaml_key *k,
		       void *object)
{
	const char *text = sl_yaml_text(n);

	if (!text || !*text || strpbrk(text, " \t/"))
		return sl_yaml_expected(
			y, n, "a device such as eth1, 0000:03:00.0 or net_pcap0,rx_pcap=in");
	return sl_yaml_read_string(y, n, k, object);
}

/* As the kernel takes it; "%" would make it a pattern. */
static int read_tap(struct sl_yaml *y, const yaml_node_t *n, const struct sl_yaml_key *k,
		    void *object)
{
	const char *text = sl_yaml_text(n);

	if (!text || !*text || strlen(text) >= IFNAMSIZ || strpbrk(text, " \t/:%") ||
	    !strcmp(text, ".") || !strcmp(text, ".."))
		return sl_yaml_expected(
			y, n, "a name for a device such as sluice0, of at most 15 characters");
	return sl_yaml_read_string(y, n, k, object);
}

/* "10.1.0.1/24" */
static int read_prefix(struct sl_yaml *y, const yaml_node_t *n, const struct sl_yaml_key *k,
		       void *object)
{
	struct sl_dpdk_prefix *p = (void *)((char *)object + k->offset);
	const char *text = sl_yaml_text(n);
	const char *slash = text ? strchr(text, '/') : NULL;
	char *end;
	long bits;

	if (!slash ||
	    sl_addr_parse_host((struct sl_slice){text, (size_t)(slash - text)}, 0, &p->addr))
		return sl_yaml_expected(y, n, "an address such as 10.1.0.1/24 or fd00:1::1/64");
	bits = strtol(slash + 1, &end, 10);
	if (end == slash + 1 || *end || bits < 1 || bits > 32 + 96 * (p->addr.family == AF_INET6))
		return sl_yaml_expected(y, n, "an address such as 10.1.0.1/24 or fd00:1::1/64");
	if (p->addr.family == AF_INET6 && bits != PREFIX6)
		return sl_yaml_fail(y, n, "an IPv6 network of 64 bits is all that can be");
	p->bits = (uint8_t)bits;
	return 0;
}

static int read_host(struct sl_yaml *y, const yaml_node_t *n, int family, const char *expected,
		     struct sl_addr *ret)
{
	const char *text = sl_yaml_text(n);

	if (!text || sl_addr_parse_host(sl_slice_str(text), 0, ret) || ret->family != family)
		return sl_yaml_expected(y, n, expected);
	return 0;
}

static int read_gateway(struct sl_yaml *y, const yaml_node_t *n, const struct sl_yaml_key *k,
			void *object)
{
	return read_host(y, n, AF_INET, "an IPv4 address such as 10.1.0.254",
			 (void *)((char *)object + k->offset));
}

static int read_gateway6(struct sl_yaml *y, const yaml_node_t *n, const struct sl_yaml_key *k,
			 void *object)
{
	return read_host(y, n, AF_INET6, "an IPv6 address such as fd00:1::fe or fe80::1",
			 (void *)((char *)object + k->offset));
}

static const struct sl_yaml_list addresses = {
	.item = {.read = read_prefix, .size = sizeof(struct sl_dpdk_prefix)},
	.count_offset = offsetof(struct sl_dpdk_port_section, n_addresses),
	.counted = true,
	.single_too = true,
	.min = 1,
	.max = SL_DPDK_ADDRESSES_MAX,
};

static const struct sl_yaml_key port_keys[] = {
	{READ_PORT("device", read_device, device), .min = 1, .max = DEVICE_MAX, .required = true},
	{READ_PORT("driver", sl_yaml_read_choice, driver), .choices = drivers},
	{READ_PORT("addresses", sl_yaml_read_list, addresses), .list = &addresses,
	 .required = true},
	{READ_PORT("gateway", read_gateway, gateway)},
	{READ_PORT("gateway6", read_gateway6, gateway6)},
	{READ_PORT("tap", read_tap, tap), .min = 1, .max = IFNAMSIZ - 1},
};

/* A link-local address is. */
static bool is_near6(const struct sl_dpdk_port_section *p)
{
	const struct in6_addr *gateway = &p->gateway6.in6.sin6_addr;

	if (p->gateway6.family == AF_UNSPEC || IN6_IS_ADDR_LINKLOCAL(gateway))
		return true;
	for (size_t i = 0; i < p->n_addresses; i++)
		if (p->addresses[i].addr.family == AF_INET6 &&
		    !memcmp(&p->addresses[i].addr.in6.sin6_addr, gateway, PREFIX6 / 8))
			return true;
	return false;
}

static int check_port(struct sl_yaml *y, const yaml_node_t *n, void *object)
{
	const struct sl_dpdk_port_section *p = object;
	unsigned n4 = 0;

	for (size_t i = 0; i < p->n_addresses; i++)
		n4 += p->addresses[i].addr.family == AF_INET;
	if (n4 > 1)
		return sl_yaml_fail(y, n, "a port has one IPv4 address at most");
	return is_near6(p) ? 0 : sl_yaml_fail(y, n, "gateway6 is in no network of the port's");
}

static const struct sl_yaml_map port_map = {port_keys, SL_ARRAY_SIZE(port_keys), check_port};

static const struct sl_yaml_list port_list = {
	.item = {.read = sl_yaml_read_map,
		 .size = sizeof(struct sl_dpdk_port_section),
		 .map = &port_map},
	.count_offset = offsetof(struct sl_config, dpdk.n_ports),
	.counted = true,
	.min = 1,
	.max = SL_DPDK_PORTS_MAX,
};

static const struct sl_yaml_key dpdk_keys[] = {
	{READ_DPDK("ports", sl_yaml_read_list, ports), .list = &port_list, .required = true},
	{READ_DPDK("stack", sl_yaml_read_choice, stack), .choices = stacks},
	{READ_DPDK("memory", sl_yaml_read_bytes, memory), .min = 64 << 20, .max = 64ull << 30},
	{READ_DPDK("huge_pages", sl_yaml_read_bool, huge_pages)},
	{READ_DPDK("telemetry", sl_yaml_read_bool, telemetry)},
	{READ_DPDK("file_prefix", sl_yaml_read_name, file_prefix), .min = 1, .max = 64},
};

const struct sl_yaml_map sl_config_dpdk_map = {dpdk_keys, SL_ARRAY_SIZE(dpdk_keys)};

/* Names that were not given are sluice0, sluice1, ... */
static int name_taps(struct sl_yaml *y, const yaml_node_t *n, struct sl_dpdk_section *d)
{
	for (size_t i = 0; i < d->n_ports; i++) {
		struct sl_dpdk_port_section *p = &d->ports[i];

		if (d->stack != SL_DPDK_KERNEL && p->tap)
			return sl_yaml_fail(y, n, "dpdk.ports.tap needs dpdk.stack: kernel");
		if (d->stack == SL_DPDK_KERNEL && !p->tap &&
		    asprintf(&p->tap, "sluice%zu", i) < 0) {
			p->tap = NULL;
			return -ENOMEM;
		}
		for (size_t k = 0; p->tap && k < i; k++)
			if (!strcmp(d->ports[k].tap, p->tap))
				return sl_yaml_fail(y, n, "two of dpdk.ports have the tap %s",
						    p->tap);
	}
	return 0;
}

int sl_config_check_dpdk(struct sl_yaml *y, const yaml_node_t *n, struct sl_config *c)
{
	if (c->transport != SL_TRANSPORT_DPDK)
		return c->dpdk.ports ? sl_yaml_fail(y, n, "section dpdk needs transport: dpdk") : 0;
	if (!c->dpdk.ports)
		return sl_yaml_fail(y, n, "transport: dpdk needs a section dpdk with ports");
	if (c->workers > 1)
		return sl_yaml_fail(y, n, "transport: dpdk has one worker, not %u", c->workers);
	if (c->limits.when_full == SL_WHEN_FULL_WAIT && c->dpdk.stack == SL_DPDK_LWIP)
		return sl_yaml_fail(y, n,
				    "limits.when_full: wait needs the kernel's TCP: lwIP has no "
				    "queue to wait in");
	c->workers = 1;
	return name_taps(y, n, &c->dpdk);
}

void sl_config_free_dpdk(struct sl_dpdk_section *d)
{
	for (size_t i = 0; i < d->n_ports; i++) {
		free(d->ports[i].device);
		free(d->ports[i].addresses);
		free(d->ports[i].tap);
	}
	free(d->ports);
	free(d->file_prefix);
}
