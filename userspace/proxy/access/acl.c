/* SPDX-License-Identifier: BSD-2-Clause */
/* Who may go where: configured rules in order, then the built-in denials.
 *
 * Pure functions over values: no allocation, no state, any thread. Everything that can't be judged is
 * denied. Names are compared as asked for; that the address belongs to the name is the resolver's
 * word, which is why no rule by name opens a built-in denial.
 *
 * Not here: reading rules (config_acl.c), knowing the host's own interface addresses. */

#include "proxy/access/acl.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

/* The built-in denials. A more specific allow rule opens them, see sl_acl_check(). */
static const struct denied {
	uint8_t bytes[16];
	sa_family_t family;
	uint8_t bits;
	enum sl_acl_verdict verdict;
} denied[] = {
	{{0},
	 AF_INET,
	 8,
	 SL_ACL_DENY_SPECIAL}, /* "this network": Linux connects 0.0.0.0 to itself */
	{{127}, AF_INET, 8, SL_ACL_DENY_LOOPBACK},
	{{169, 254}, AF_INET, 16, SL_ACL_DENY_LINK_LOCAL},
	{{100, 100, 100, 200}, AF_INET, 32, SL_ACL_DENY_LINK_LOCAL}, /* metadata: Alibaba */
	{{168, 63, 129, 16}, AF_INET, 32, SL_ACL_DENY_LINK_LOCAL},   /* platform agent: Azure */
	{{192, 0, 0, 192}, AF_INET, 32, SL_ACL_DENY_LINK_LOCAL},     /* metadata: Oracle */
	{{224}, AF_INET, 4, SL_ACL_DENY_SPECIAL},		     /* multicast */
	{{240}, AF_INET, 4, SL_ACL_DENY_SPECIAL},		     /* reserved, broadcast */
	{{0}, AF_INET6, 128, SL_ACL_DENY_SPECIAL},
	{{[15] = 1}, AF_INET6, 128, SL_ACL_DENY_LOOPBACK},
	{{0xfe, 0x80}, AF_INET6, 10, SL_ACL_DENY_LINK_LOCAL},
	{{0xfd, 0, 0x0e, 0xc2, [14] = 2, 0x54}, AF_INET6, 128, SL_ACL_DENY_LINK_LOCAL}, /* AWS */
	{{0xfd, 0x20, 0, 0xce, [14] = 2, 0x54}, AF_INET6, 128, SL_ACL_DENY_LINK_LOCAL}, /* Google */
	{{0xfd, 0, 0, 0x42, [15] = 0x42}, AF_INET6, 128, SL_ACL_DENY_LINK_LOCAL}, /* Scaleway */
	{{0xff}, AF_INET6, 8, SL_ACL_DENY_SPECIAL},				  /* multicast */
};

/* IPv6 forms that carry an IPv4 address at byte `at`, each byte xored with `flip`. */
static const struct carrier {
	uint8_t prefix[12];
	uint8_t len, at, flip;
} carriers[] = {
	{{0}, 12, 12, 0},			 /* compatible, RFC 4291 2.5.5.1 */
	{{[8] = 0xff, 0xff}, 12, 12, 0},	 /* translated, RFC 2765 */
	{{0, 0x64, 0xff, 0x9b}, 12, 12, 0},	 /* NAT64, RFC 6052 */
	{{0, 0x64, 0xff, 0x9b, 0, 1}, 6, 12, 0}, /* NAT64 local use, RFC 8215 */
	{{0x20, 0x02}, 2, 2, 0},		 /* 6to4, RFC 3056 */
	{{0x20, 0x01, 0, 0}, 4, 12, 0xff},	 /* Teredo client, RFC 4380 */
};

/* A question with its addresses in their plain form. */
struct question {
	struct sl_addr src, dst;
	struct sl_addr carried; /* AF_UNSPEC if dst carries none */
	unsigned carried_bits;	/* bits of dst in front of the carried address */
	struct sl_slice host;	/* empty for a literal address */
};

static const uint8_t *addr_bytes(const struct sl_addr *a)
{
	return a->family == AF_INET6 ? a->in6.sin6_addr.s6_addr : (const uint8_t *)&a->in.sin_addr;
}

static bool in_block(const struct denied *d, const struct sl_addr *a)
{
	const uint8_t *bytes = addr_bytes(a);
	unsigned whole = d->bits / 8, rest = d->bits % 8;

	if (d->family != a->family || memcmp(d->bytes, bytes, whole))
		return false;
	return !rest || !((d->bytes[whole] ^ bytes[whole]) >> (8 - rest));
}

static bool is_unspecified(const struct sl_addr *a)
{
	return a->family == AF_INET6 ? IN6_IS_ADDR_UNSPECIFIED(&a->in6.sin6_addr)
				     : a->in.sin_addr.s_addr == htonl(INADDR_ANY);
}

static bool is_loopback(const struct sl_addr *a)
{
	return a->family == AF_INET6 ? IN6_IS_ADDR_LOOPBACK(&a->in6.sin6_addr)
				     : a->family == AF_INET && addr_bytes(a)[0] == 127;
}

/* Sets q->carried if q->dst is one of the carrying forms. */
static void find_carried(struct question *q)
{
	const uint8_t *bytes = addr_bytes(&q->dst);
	uint8_t v4[4];

	if (q->dst.family != AF_INET6 || is_unspecified(&q->dst) || is_loopback(&q->dst))
		return;
	for (size_t i = 0; i < SL_ARRAY_SIZE(carriers); i++) {
		const struct carrier *c = &carriers[i];

		if (memcmp(bytes, c->prefix, c->len))
			continue;
		for (size_t b = 0; b < sizeof(v4); b++)
			v4[b] = bytes[c->at + b] ^ c->flip;
		q->carried.family = AF_INET;
		memcpy(&q->carried.in.sin_addr, v4, sizeof(v4));
		sl_addr_set_port(&q->carried, sl_addr_port(&q->dst));
		q->carried_bits = c->at * 8u;
		return;
	}
}

static struct sl_slice plain_host(struct sl_slice host)
{
	struct sl_addr literal;

	if (host.len && host.p[host.len - 1] == '.')
		host.len--;
	if (!sl_addr_parse_host(host, 0, &literal))
		return sl_slice(NULL, 0);
	return host;
}

static struct question plain_question(const struct sl_acl_query *query)
{
	struct question q = {.src = *query->src, .dst = *query->dst};

	sl_addr_unmap(&q.src);
	sl_addr_unmap(&q.dst);
	find_carried(&q);
	q.host = plain_host(query->host);
	return q;
}

/* The longest of the prefixes that contain a; -1 if none does. */
static int longest_match(const struct sl_cidr *c, size_t n, const struct sl_addr *a)
{
	int longest = -1;

	for (size_t i = 0; i < n; i++)
		if (c[i].bits > longest && sl_cidr_contains(&c[i], a))
			longest = c[i].bits;
	return longest;
}

static bool host_matches(const char *pattern, struct sl_slice host)
{
	struct sl_slice p = sl_slice_str(pattern);

	if (p.len < 2 || p.p[0] != '*')
		return sl_slice_eq_nocase(p, host);
	p = sl_slice(p.p + 1, p.len - 1); /* keeps the dot: "*.a" is not for "ba" */
	return host.len > p.len && sl_slice_ends_nocase(host, p);
}

static bool any_host_matches(const struct sl_acl_rule *rule, struct sl_slice host)
{
	for (size_t i = 0; host.len && i < rule->n_host; i++)
		if (host_matches(rule->host[i], host))
			return true;
	return false;
}

static bool any_port_matches(const struct sl_acl_rule *rule, uint16_t port)
{
	for (size_t i = 0; i < rule->n_port; i++)
		if (port >= rule->port[i].from && port <= rule->port[i].to)
			return true;
	return false;
}

/* *ret_bits: length of the dst prefix that matched, 0 for a rule without dst. */
static bool rule_matches(const struct sl_acl_rule *rule, const struct question *q, int *ret_bits)
{
	int bits = 0;

	if (rule->n_src && longest_match(rule->src, rule->n_src, &q->src) < 0)
		return false;
	if (rule->n_host && !any_host_matches(rule, q->host))
		return false;
	if (rule->n_port && !any_port_matches(rule, sl_addr_port(&q->dst)))
		return false;
	if (rule->n_dst)
		bits = longest_match(rule->dst, rule->n_dst, &q->dst);
	if (bits < 0 && !rule->allow && q->carried.family != AF_UNSPEC)
		bits = longest_match(rule->dst, rule->n_dst, &q->carried);
	if (bits < 0)
		return false;
	*ret_bits = bits;
	return true;
}

static const struct sl_acl_rule *first_match(const struct sl_acl *acl, const struct question *q,
					     int *ret_bits)
{
	for (size_t i = 0; acl && i < acl->n_rules; i++)
		if (rule_matches(&acl->rules[i], q, ret_bits))
			return &acl->rules[i];
	return NULL;
}

/* Would a connection to dst arrive at the listening address own? */
static bool reaches(const struct sl_addr *own, const struct sl_addr *dst)
{
	struct sl_addr o = *own;

	sl_addr_unmap(&o);
	if (sl_addr_port(&o) != sl_addr_port(dst))
		return false;
	if (is_unspecified(dst)) /* the kernel connects it to this host */
		return true;
	if (is_unspecified(&o)) /* [::] takes IPv4, too */
		return is_loopback(dst) && (o.family == AF_INET6 || dst->family == AF_INET);
	return o.family == dst->family &&
	       !memcmp(addr_bytes(&o), addr_bytes(dst), o.family == AF_INET6 ? 16 : 4);
}

static bool is_own(const struct sl_addr *own, size_t n_own, const struct question *q)
{
	for (size_t i = 0; i < n_own; i++) {
		if (own[i].family != AF_INET && own[i].family != AF_INET6)
			continue;
		if (reaches(&own[i], &q->dst))
			return true;
		if (q->carried.family != AF_UNSPEC && reaches(&own[i], &q->carried))
			return true;
	}
	return false;
}

/* Blocks whose prefix, as part of the address that is connected, is not longer than opened_bits were
 * named by the rule that allowed. */
static enum sl_acl_verdict check_blocks(const struct sl_addr *a, unsigned bits_before,
					unsigned opened_bits, bool src_is_local)
{
	for (size_t i = 0; i < SL_ARRAY_SIZE(denied); i++) {
		if (!in_block(&denied[i], a))
			continue;
		if (bits_before + denied[i].bits <= opened_bits)
			continue;
		if (denied[i].verdict == SL_ACL_DENY_LOOPBACK && src_is_local)
			continue;
		return denied[i].verdict;
	}
	return SL_ACL_ALLOW;
}

enum sl_acl_verdict sl_acl_check(const struct sl_acl *acl, const struct sl_addr *own, size_t n_own,
				 const struct sl_acl_query *query,
				 const struct sl_acl_rule **ret_rule)
{
	struct question q = plain_question(query);
	const struct sl_acl_rule *rule;
	enum sl_acl_verdict v;
	int opened_bits = 0;

	*ret_rule = NULL;
	if (q.dst.family != AF_INET && q.dst.family != AF_INET6)
		return SL_ACL_DENY_SPECIAL;
	if (is_own(own, n_own, &q))
		return SL_ACL_DENY_OWN;
	rule = first_match(acl, &q, &opened_bits);
	if (rule && !rule->allow) {
		*ret_rule = rule;
		return SL_ACL_DENY_RULE;
	}
	v = check_blocks(&q.dst, 0, (unsigned)opened_bits, is_loopback(&q.src));
	if (v == SL_ACL_ALLOW && q.carried.family != AF_UNSPEC)
		v = check_blocks(&q.carried, q.carried_bits, (unsigned)opened_bits,
				 is_loopback(&q.src));
	return v;
}

const char *sl_acl_verdict_name(enum sl_acl_verdict v)
{
	static const char *const names[] = {
		[SL_ACL_ALLOW] = "acl-allow",		[SL_ACL_DENY_RULE] = "acl-rule",
		[SL_ACL_DENY_OWN] = "acl-own-listener", [SL_ACL_DENY_LINK_LOCAL] = "acl-link-local",
		[SL_ACL_DENY_SPECIAL] = "acl-special",	[SL_ACL_DENY_LOOPBACK] = "acl-loopback",
	};

	return (size_t)v < SL_ARRAY_SIZE(names) ? names[v] : "acl-unknown";
}

void sl_acl_free(struct sl_acl *acl)
{
	if (!acl)
		return;
	for (size_t i = 0; i < acl->n_rules; i++) {
		struct sl_acl_rule *r = &acl->rules[i];

		for (size_t h = 0; r->host && h < r->n_host; h++)
			free(r->host[h]);
		free(r->src);
		free(r->dst);
		free(r->host);
		free(r->port);
	}
	free(acl->rules);
	free(acl);
}
