/* SPDX-License-Identifier: BSD-2-Clause */
/* Access rules as YAML: `- {allow: {dst: "10.0.0.0/8", port: [443, "8000-8100"]}}`.
 *
 * A condition that could never match is refused, and so is an empty list, because in a rule the
 * absence of a condition means "any": both would turn a slip into a hole. */

#include "proxy/config/config_acl.h"

#include <errno.h>
#include <string.h>

#include "proxy/access/acl.h"
#include "proxy/config/config.h"

#define RULES_MAX	 65536
#define ALTERNATIVES_MAX 65536

static int read_cidr(struct sl_yaml *y, const yaml_node_t *n, const struct sl_yaml_key *k,
		     void *object)
{
	const char *text = sl_yaml_text(n);
	struct sl_cidr c;

	if (!text || sl_cidr_parse(sl_slice_str(text), &c))
		return sl_yaml_expected(y, n,
					"an address or a prefix without host bits such as "
					"10.0.0.0/8 or fd00::/8");
	if (c.addr.family == AF_INET6 && c.bits >= 96 &&
	    IN6_IS_ADDR_V4MAPPED(&c.addr.in6.sin6_addr))
		return sl_yaml_expected(y, n, "the IPv4 form of an IPv4-mapped address");
	*(struct sl_cidr *)object = c;
	return 0;
}

static int parse_port(const char *s, size_t len, uint16_t *ret)
{
	unsigned v = 0;

	if (!len || len > 5)
		return -EINVAL;
	for (size_t i = 0; i < len; i++) {
		if (s[i] < '0' || s[i] > '9')
			return -EINVAL;
		v = v * 10 + (unsigned)(s[i] - '0');
	}
	if (!v || v > 65535)
		return -EINVAL;
	*ret = (uint16_t)v;
	return 0;
}

int sl_config_read_ports(struct sl_yaml *y, const yaml_node_t *n, const struct sl_yaml_key *k,
			 void *object)
{
	const char *text = sl_yaml_text(n);
	const char *dash = text ? strchr(text, '-') : NULL;
	struct sl_port_range range = {0};
	int r = -EINVAL;

	if (text && !dash) {
		r = parse_port(text, strlen(text), &range.from);
		range.to = range.from;
	} else if (dash) {
		r = parse_port(text, (size_t)(dash - text), &range.from);
		r = r ? r : parse_port(dash + 1, strlen(dash + 1), &range.to);
	}
	if (r || range.from > range.to)
		return sl_yaml_expected(y, n,
					"a port from 1 to 65535 or a range such as 8000-8100");
	*(struct sl_port_range *)((char *)object + k->offset) = range;
	return 0;
}

const struct sl_yaml_list sl_config_proxy_from = {
	.item = {.read = read_cidr, .size = sizeof(struct sl_cidr)},
	.count_offset = offsetof(struct sl_listener_config, n_proxy_from),
	.counted = true,
	.single_too = true,
	.min = 1,
	.max = ALTERNATIVES_MAX,
};

static int read_host(struct sl_yaml *y, const yaml_node_t *n, const struct sl_yaml_key *k,
		     void *object)
{
	struct sl_slice text = sl_slice_str(sl_yaml_text(n));
	struct sl_addr literal;

	if (text.len && text.p[text.len - 1] == '.')
		text.len--;
	if (!sl_addr_parse_host(text, 0, &literal))
		return sl_yaml_fail(y, n, "a host rule never matches an address, use dst");
	return sl_yaml_read_host(y, n, k, object);
}

#define ALTERNATIVES(reader, field)                                                               \
	{                                                                                         \
		.item = {.read = (reader), .size = sizeof(*((struct sl_acl_rule *)NULL)->field)}, \
		.count_offset = offsetof(struct sl_acl_rule, n_##field), .counted = true,         \
		.single_too = true, .min = 1, .max = ALTERNATIVES_MAX,                            \
	}

static const struct sl_yaml_list src_list = ALTERNATIVES(read_cidr, src);
static const struct sl_yaml_list dst_list = ALTERNATIVES(read_cidr, dst);
static const struct sl_yaml_list host_list = ALTERNATIVES(read_host, host);
static const struct sl_yaml_list port_list = ALTERNATIVES(sl_config_read_ports, port);

static const struct sl_yaml_key condition_keys[] = {
	{SL_YAML_FIELD("src", sl_yaml_read_list, struct sl_acl_rule, src), .list = &src_list},
	{SL_YAML_FIELD("dst", sl_yaml_read_list, struct sl_acl_rule, dst), .list = &dst_list},
	{SL_YAML_FIELD("host", sl_yaml_read_list, struct sl_acl_rule, host), .list = &host_list},
	{SL_YAML_FIELD("port", sl_yaml_read_list, struct sl_acl_rule, port), .list = &port_list},
};
static const struct sl_yaml_map condition_map = {condition_keys, SL_ARRAY_SIZE(condition_keys)};

static int read_allow(struct sl_yaml *y, const yaml_node_t *n, const struct sl_yaml_key *k,
		      void *object)
{
	((struct sl_acl_rule *)object)->allow = true;
	return sl_yaml_read_map(y, n, k, object);
}

static const struct sl_yaml_key rule_keys[] = {
	{.name = "allow", .read = read_allow, .map = &condition_map},
	{.name = "deny", .read = sl_yaml_read_map, .map = &condition_map},
};
static const struct sl_yaml_map rule_map = {rule_keys, SL_ARRAY_SIZE(rule_keys)};

/* One of the two keys is needed, and two would hide which of them comes first. */
static int read_rule(struct sl_yaml *y, const yaml_node_t *n, const struct sl_yaml_key *k,
		     void *object)
{
	const struct sl_yaml_key whole = {.map = &rule_map};

	if (n->type == YAML_MAPPING_NODE &&
	    n->data.mapping.pairs.top - n->data.mapping.pairs.start != 1)
		return sl_yaml_fail(y, n, "expected either allow or deny");
	return sl_yaml_read_map(y, n, &whole, object);
}

static void init_rule(const yaml_node_t *n, void *element)
{
	struct sl_acl_rule *rule = element;

	rule->line = (unsigned)n->start_mark.line + 1;
	rule->column = (unsigned)n->start_mark.column + 1;
}

static const struct sl_yaml_list rule_list = {
	.item = {.read = read_rule, .size = sizeof(struct sl_acl_rule)},
	.count_offset = offsetof(struct sl_acl, n_rules),
	.counted = true,
	.max = RULES_MAX,
	.init = init_rule,
};

int sl_config_read_acl(struct sl_yaml *y, const yaml_node_t *n, const struct sl_yaml_key *k,
		       void *object)
{
	const struct sl_yaml_key rules = {.offset = offsetof(struct sl_acl, rules),
					  .list = &rule_list};
	struct sl_acl *acl = calloc(1, sizeof(*acl));

	if (!acl)
		return sl_yaml_no_memory(y);
	memcpy((char *)object + k->offset, &acl, sizeof(acl));
	return sl_yaml_read_list(y, n, &rules, acl);
}
