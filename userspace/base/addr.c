/* SPDX-License-Identifier: BSD-2-Clause */
/* Addresses as text and values. Strict: what inet_pton(3) refuses is refused here. */

#include "base/addr.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

_Static_assert(sizeof(struct sl_addr) == 28, "streams hold two of them");

socklen_t sl_addr_len(const struct sl_addr *a)
{
	return a->family == AF_INET6 ? sizeof(a->in6) : sizeof(a->in);
}

uint16_t sl_addr_port(const struct sl_addr *a)
{
	return ntohs(a->family == AF_INET6 ? a->in6.sin6_port : a->in.sin_port);
}

void sl_addr_set_port(struct sl_addr *a, uint16_t port)
{
	if (a->family == AF_INET6)
		a->in6.sin6_port = htons(port);
	else
		a->in.sin_port = htons(port);
}

bool sl_addr_eq_host(const struct sl_addr *a, const struct sl_addr *b)
{
	if (a->family != b->family)
		return false;
	if (a->family == AF_INET)
		return a->in.sin_addr.s_addr == b->in.sin_addr.s_addr;
	if (a->family == AF_INET6)
		return !memcmp(&a->in6.sin6_addr, &b->in6.sin6_addr, 16) &&
		       a->in6.sin6_scope_id == b->in6.sin6_scope_id;
	return true;
}

bool sl_addr_eq(const struct sl_addr *a, const struct sl_addr *b)
{
	return sl_addr_eq_host(a, b) && sl_addr_port(a) == sl_addr_port(b);
}

uint16_t sl_addr_map(const struct sl_addr *a, uint8_t ret[16])
{
	static const uint8_t mapped[12] = {[10] = 0xff, 0xff};

	if (a->family == AF_INET6) {
		memcpy(ret, &a->in6.sin6_addr, 16);
		return a->in6.sin6_port;
	}
	memcpy(ret, mapped, sizeof(mapped));
	memcpy(ret + 12, &a->in.sin_addr, 4);
	return a->in.sin_port;
}

void sl_addr_unmap(struct sl_addr *a)
{
	struct in_addr in;
	uint16_t port;

	if (a->family != AF_INET6 || !IN6_IS_ADDR_V4MAPPED(&a->in6.sin6_addr))
		return;
	memcpy(&in, &a->in6.sin6_addr.s6_addr[12], sizeof(in));
	port = sl_addr_port(a);
	memset(a, 0, sizeof(*a));
	a->family = AF_INET;
	a->in.sin_addr = in;
	sl_addr_set_port(a, port);
}

int sl_addr_parse_host(struct sl_slice s, uint16_t port, struct sl_addr *ret)
{
	char text[INET6_ADDRSTRLEN];
	struct sl_addr a = {0};

	if (!s.len || s.len >= sizeof(text) || memchr(s.p, '\0', s.len))
		return -EINVAL;
	memcpy(text, s.p, s.len);
	text[s.len] = '\0';
	if (inet_pton(AF_INET, text, &a.in.sin_addr) == 1)
		a.family = AF_INET;
	else if (inet_pton(AF_INET6, text, &a.in6.sin6_addr) == 1)
		a.family = AF_INET6;
	else
		return -EINVAL;
	sl_addr_set_port(&a, port);
	*ret = a;
	return 0;
}

/* 1 to 5 digits, at most max. */
static int parse_number(struct sl_slice s, unsigned max, unsigned *ret)
{
	unsigned n = 0;

	if (!s.len || s.len > 5)
		return -EINVAL;
	for (size_t i = 0; i < s.len; i++) {
		if (s.p[i] < '0' || s.p[i] > '9')
			return -EINVAL;
		n = n * 10 + (unsigned)(s.p[i] - '0');
	}
	if (n > max)
		return -ERANGE;
	*ret = n;
	return 0;
}

int sl_addr_parse(struct sl_slice s, struct sl_addr *ret)
{
	struct sl_slice host;
	const char *colon = s.len ? memrchr(s.p, ':', s.len) : NULL;
	unsigned port;
	bool bracketed;
	struct sl_addr a;
	int r;

	if (!colon)
		return -EINVAL;
	r = parse_number(sl_slice(colon + 1, (size_t)(s.p + s.len - colon - 1)), 65535, &port);
	if (r)
		return r;
	host = sl_slice(s.p, (size_t)(colon - s.p));
	bracketed = host.len > 2 && host.p[0] == '[' && host.p[host.len - 1] == ']';
	if (bracketed)
		host = sl_slice(host.p + 1, host.len - 2);
	r = sl_addr_parse_host(host, (uint16_t)port, &a);
	if (r)
		return r;
	if (bracketed != (a.family == AF_INET6))
		return -EINVAL;
	*ret = a;
	return 0;
}

const char *sl_addr_format_host(const struct sl_addr *a, char buf[SL_ADDR_STR_MAX])
{
	const void *raw = a->family == AF_INET6 ? (const void *)&a->in6.sin6_addr
						: (const void *)&a->in.sin_addr;

	if ((a->family != AF_INET && a->family != AF_INET6) ||
	    !inet_ntop(a->family, raw, buf, SL_ADDR_STR_MAX))
		strcpy(buf, "-");
	return buf;
}

const char *sl_addr_format(const struct sl_addr *a, char buf[SL_ADDR_STR_MAX])
{
	char host[SL_ADDR_STR_MAX];

	sl_addr_format_host(a, host);
	if (a->family == AF_INET6)
		snprintf(buf, SL_ADDR_STR_MAX, "[%.45s]:%u", host, sl_addr_port(a));
	else if (a->family == AF_INET)
		snprintf(buf, SL_ADDR_STR_MAX, "%.45s:%u", host, sl_addr_port(a));
	else
		strcpy(buf, "-");
	return buf;
}

/* The address's bytes in wire order. */
static const uint8_t *addr_bytes(const struct sl_addr *a, unsigned *ret_bits)
{
	*ret_bits = a->family == AF_INET6 ? 128 : 32;
	return a->family == AF_INET6 ? (const uint8_t *)&a->in6.sin6_addr
				     : (const uint8_t *)&a->in.sin_addr;
}

static bool bit_at(const uint8_t *bytes, unsigned i)
{
	return bytes[i / 8] & (0x80 >> (i % 8));
}

int sl_cidr_parse(struct sl_slice s, struct sl_cidr *ret)
{
	const char *slash = s.len ? memchr(s.p, '/', s.len) : NULL;
	struct sl_cidr c = {0};
	const uint8_t *bytes;
	unsigned width, bits;

	if (sl_addr_parse_host(sl_slice(s.p, slash ? (size_t)(slash - s.p) : s.len), 0, &c.addr))
		return -EINVAL;
	bytes = addr_bytes(&c.addr, &width);
	bits = width;
	if (slash &&
	    parse_number(sl_slice(slash + 1, (size_t)(s.p + s.len - slash - 1)), width, &bits))
		return -EINVAL;
	for (unsigned i = bits; i < width; i++)
		if (bit_at(bytes, i))
			return -EINVAL;
	c.bits = (uint8_t)bits;
	*ret = c;
	return 0;
}

bool sl_cidr_contains(const struct sl_cidr *c, const struct sl_addr *a)
{
	const uint8_t *net, *host;
	unsigned width, whole = c->bits / 8, rest = c->bits % 8;

	if (c->addr.family != a->family)
		return false;
	net = addr_bytes(&c->addr, &width);
	host = addr_bytes(a, &width);
	if (memcmp(net, host, whole))
		return false;
	return !rest || !((net[whole] ^ host[whole]) >> (8 - rest));
}
