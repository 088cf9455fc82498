/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_PROXY_ACL_H
#define SLUICE_PROXY_ACL_H

/* Ordered allow/deny rules: who may go where. The first rule that matches decides; what no rule
 * denies still meets the built-in rules, which come last.
 *
 * A rule's conditions are all needed (and); the alternatives inside one are enough (or). A rule with
 * `dst` can only be judged on an address, so rules are walked for every resolved address, and the
 * very address that was allowed is the one that is connected: no second look-up lies between.
 *
 * Built-in rules: deny the unspecified addresses and 0.0.0.0/8, link-local (169.254.0.0/16,
 * fe80::/10: the clouds' metadata services live there), the known metadata addresses outside of it,
 * multicast, broadcast and reserved addresses; deny loopback to clients that don't come from
 * loopback; allow the rest. The table is in acl.c and in docs/sluice.yaml.md.
 *
 * An allow rule opens a built-in denial only by naming it: one of its `dst` prefixes must contain
 * the address and lie inside the denied block. `allow: {dst: "169.254.169.254/32"}` opens that one
 * address; `allow: {host: "*.example.com"}` and `allow: {dst: "0.0.0.0/0"}` open nothing, or else
 * whoever controls a name could point it at a metadata service.
 *
 * Spelling doesn't help: an IPv4-mapped IPv6 address is the IPv4 address; an IPv6 address that
 * carries an IPv4 address for a translator or tunnel (IPv4-compatible, IPv4-translated, NAT64, 6to4,
 * Teredo) is judged by both: built-in rules, own addresses and deny rules see the carried address,
 * too, allow rules don't.
 *
 * Sluice's own listeners, admin and metrics addresses are always denied, even to an allow rule: a
 * loop is never what was meant. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/slice.h"

struct sl_acl_rule {
	bool allow;
	struct sl_cidr *src; /* client address in one of these; n_src 0: any */
	size_t n_src;
	struct sl_cidr *dst; /* resolved address in one of these */
	size_t n_dst;
	char **host; /* "name", "*.suffix" (any depth below, not the suffix itself), lower case,
			without a final dot; never matches a literal address */
	size_t n_host;
	struct sl_port_range {
		uint16_t from, to;
	} * port;
	size_t n_port;
	unsigned line, column; /* where it stands in the file, for the log */
};

struct sl_acl {
	struct sl_acl_rule *rules;
	size_t n_rules;
};

struct sl_acl_query {
	const struct sl_addr *src;
	struct sl_slice host; /* as asked for; empty if it was a literal address. Case and one final
				 dot don't matter. */
	const struct sl_addr *dst; /* address and port that would be connected */
};

enum sl_acl_verdict {
	SL_ACL_ALLOW,
	SL_ACL_DENY_RULE,	/* a configured rule; *ret_rule tells which */
	SL_ACL_DENY_OWN,	/* one of sluice's own listeners */
	SL_ACL_DENY_LINK_LOCAL, /* built-in: link-local and metadata addresses */
	SL_ACL_DENY_SPECIAL,	/* built-in: unspecified, multicast, broadcast, reserved */
	SL_ACL_DENY_LOOPBACK, /* built-in: the proxy host's own loopback, unless the client is there, too */
};
/* e.g. "acl-rule", "acl-link-local"; static. */
const char *sl_acl_verdict_name(enum sl_acl_verdict v);

/* own[0..n_own): sluice's listening addresses; a wildcard address there matches every local address
 * with that port (loopback is local; other local addresses are the caller's to list). acl may be
 * NULL. *ret_rule is the rule that denied with SL_ACL_DENY_RULE, else NULL. A destination that is
 * neither IPv4 nor IPv6 is denied. */
enum sl_acl_verdict sl_acl_check(const struct sl_acl *acl, const struct sl_addr *own, size_t n_own,
				 const struct sl_acl_query *q, const struct sl_acl_rule **ret_rule);
/* Takes NULL. */
void sl_acl_free(struct sl_acl *acl);

#endif
