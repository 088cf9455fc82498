/* SPDX-License-Identifier: BSD-2-Clause */
/* PROXY protocol headers. Extensions of version 2 (TLVs) must have lengths that add up; what they say is
 * not used, and none is written. */

#include "proxy/proxy_header.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/util.h"

#define V1_MAX	   107
#define V2_START   16
#define V2_LOCAL   0x20
#define V2_PROXY   0x21
#define V2_TCP4	   0x11
#define V2_TCP6	   0x21
#define V2_UNIX	   0x31
#define TCP4_BYTES 12
#define TCP6_BYTES 36
#define UNIX_BYTES 216
#define TLV_HEADER 3

static const char v2_signature[] = "\r\n\r\n\0\r\nQUIT\n";
#define V2_SIGNATURE 12

/* --- version 1 --- */

/* Cuts the next word, up to a single space or the end. */
static struct sl_slice next_word(struct sl_slice *rest)
{
	const char *space = rest->len ? memchr(rest->p, ' ', rest->len) : NULL;
	struct sl_slice word = *rest;

	if (!space) {
		*rest = (struct sl_slice){0};
		return word;
	}
	word.len = (size_t)(space - rest->p);
	*rest = sl_slice(space + 1, rest->len - word.len - 1);
	return word;
}

/* Decimal, without leading zeros. */
static bool read_port(struct sl_slice s, uint16_t *ret)
{
	uint32_t port = 0;

	if (!s.len || s.len > 5 || (s.p[0] == '0' && s.len > 1))
		return false;
	for (size_t i = 0; i < s.len; i++) {
		if (s.p[i] < '0' || s.p[i] > '9')
			return false;
		port = port * 10 + (uint32_t)(s.p[i] - '0');
	}
	*ret = (uint16_t)port;
	return port <= UINT16_MAX;
}

static bool read_v1_addresses(struct sl_slice rest, sa_family_t family, struct sl_proxy_header *ret)
{
	struct sl_slice src = next_word(&rest), dst = next_word(&rest);
	struct sl_slice sport = next_word(&rest);
	uint16_t from, to;

	if (!read_port(sport, &from) || !read_port(rest, &to))
		return false;
	if (sl_addr_parse_host(src, from, &ret->src) || sl_addr_parse_host(dst, to, &ret->dst))
		return false;
	return ret->src.family == family && ret->dst.family == family;
}

/* line: without CR LF. Whatever follows UNKNOWN is to be ignored. */
static bool read_v1_line(struct sl_slice line, struct sl_proxy_header *ret)
{
	struct sl_slice protocol;

	next_word(&line);
	protocol = next_word(&line);
	if (sl_slice_eq(protocol, SL_SLICE("TCP4")))
		return read_v1_addresses(line, AF_INET, ret);
	if (sl_slice_eq(protocol, SL_SLICE("TCP6")))
		return read_v1_addresses(line, AF_INET6, ret);
	return sl_slice_eq(protocol, SL_SLICE("UNKNOWN"));
}

static enum sl_proxy_result read_v1(struct sl_slice bytes, struct sl_proxy_header *ret)
{
	size_t most = sl_min(bytes.len, (size_t)V1_MAX);
	const char *lf = memchr(bytes.p, '\n', most);
	size_t len;

	if (!lf)
		return most == V1_MAX ? SL_PROXY_MALFORMED : SL_PROXY_MORE;
	len = (size_t)(lf - bytes.p);
	if (lf[-1] != '\r' || !read_v1_line(sl_slice(bytes.p, len - 1), ret))
		return SL_PROXY_MALFORMED;
	ret->len = len + 1;
	return SL_PROXY_OK;
}

/* --- version 2 --- */

static uint16_t get16(const char *p)
{
	return (uint16_t)((uint8_t)p[0] << 8 | (uint8_t)p[1]);
}

static void take_ip4(struct sl_addr *a, const char *address, const char *port)
{
	*a = (struct sl_addr){.in = {.sin_family = AF_INET}};
	memcpy(&a->in.sin_addr, address, 4);
	sl_addr_set_port(a, get16(port));
}

static void take_ip6(struct sl_addr *a, const char *address, const char *port)
{
	*a = (struct sl_addr){.in6 = {.sin6_family = AF_INET6}};
	memcpy(&a->in6.sin6_addr, address, 16);
	sl_addr_set_port(a, get16(port));
}

static bool tlvs_add_up(struct sl_slice s)
{
	while (s.len) {
		size_t len;

		if (s.len < TLV_HEADER)
			return false;
		len = TLV_HEADER + (size_t)get16(s.p + 1);
		if (len > s.len)
			return false;
		s = sl_slice(s.p + len, s.len - len);
	}
	return true;
}

/* Bytes of addresses before the TLVs; false if the protocol can't be that of a TCP connection. A
 * family that is not known has none that could be told from TLVs. */
static bool address_bytes(uint8_t protocol, size_t *ret)
{
	switch (protocol) {
	case V2_TCP4:
		*ret = TCP4_BYTES;
		return true;
	case V2_TCP6:
		*ret = TCP6_BYTES;
		return true;
	case V2_UNIX:
		*ret = UNIX_BYTES;
		return true;
	default:
		*ret = 0;
		return !protocol;
	}
}

static bool read_v2_body(uint8_t command, uint8_t protocol, struct sl_slice body,
			 struct sl_proxy_header *ret)
{
	const char *p = body.p;
	size_t n;

	if (command == V2_LOCAL) /* what it carries is to be stepped over unseen */
		return true;
	if (command != V2_PROXY || !address_bytes(protocol, &n) || body.len < n)
		return false;
	if (protocol && !tlvs_add_up(sl_slice(p + n, body.len - n)))
		return false;
	if (protocol == V2_TCP4) {
		take_ip4(&ret->src, p, p + 8);
		take_ip4(&ret->dst, p + 4, p + 10);
	} else if (protocol == V2_TCP6) {
		take_ip6(&ret->src, p, p + 32);
		take_ip6(&ret->dst, p + 16, p + 34);
	}
	return true;
}

static enum sl_proxy_result read_v2(struct sl_slice bytes, struct sl_proxy_header *ret)
{
	size_t len;

	if (bytes.len < V2_START)
		return SL_PROXY_MORE;
	len = V2_START + (size_t)get16(bytes.p + 14);
	if (len > SL_PROXY_HEADER_MAX)
		return SL_PROXY_TOO_LARGE;
	if (bytes.len < len)
		return SL_PROXY_MORE;
	if (!read_v2_body((uint8_t)bytes.p[12], (uint8_t)bytes.p[13],
			  sl_slice(bytes.p + V2_START, len - V2_START), ret))
		return SL_PROXY_MALFORMED;
	ret->len = len;
	return SL_PROXY_OK;
}

/* --- both --- */

static bool begins(struct sl_slice bytes, const char *with, size_t len)
{
	return !memcmp(bytes.p, with, sl_min(bytes.len, len));
}

enum sl_proxy_result sl_proxy_header_read(struct sl_slice bytes, struct sl_proxy_header *ret)
{
	struct sl_proxy_header h = {0};
	enum sl_proxy_result r = SL_PROXY_MALFORMED;

	if (!bytes.len)
		return SL_PROXY_MORE;
	if (begins(bytes, v2_signature, V2_SIGNATURE))
		r = read_v2(bytes, &h);
	else if (begins(bytes, "PROXY ", 6))
		r = read_v1(bytes, &h);
	if (r == SL_PROXY_OK)
		*ret = h;
	return r;
}

/* --- writing --- */

static bool are_alike(const struct sl_addr *src, const struct sl_addr *dst)
{
	return src->family == dst->family && (src->family == AF_INET || src->family == AF_INET6);
}

size_t sl_proxy_header_write_v1(char out[SL_PROXY_WRITE_MAX], const struct sl_addr *src,
				const struct sl_addr *dst)
{
	char from[SL_ADDR_STR_MAX], to[SL_ADDR_STR_MAX];

	if (!are_alike(src, dst))
		return (size_t)snprintf(out, SL_PROXY_WRITE_MAX, "PROXY UNKNOWN\r\n");
	return (size_t)snprintf(out, SL_PROXY_WRITE_MAX, "PROXY TCP%c %s %s %u %u\r\n",
				src->family == AF_INET ? '4' : '6', sl_addr_format_host(src, from),
				sl_addr_format_host(dst, to), sl_addr_port(src), sl_addr_port(dst));
}

static char *put(char *at, const void *bytes, size_t len)
{
	memcpy(at, bytes, len);
	return at + len;
}

size_t sl_proxy_header_write_v2(char out[SL_PROXY_WRITE_MAX], const struct sl_addr *src,
				const struct sl_addr *dst)
{
	bool alike = are_alike(src, dst), ip4 = src->family == AF_INET;
	uint8_t len = !alike ? 0 : ip4 ? TCP4_BYTES : TCP6_BYTES;
	const uint8_t rest[] = {alike ? V2_PROXY : V2_LOCAL,
				!alike ? 0
				: ip4  ? V2_TCP4
				       : V2_TCP6,
				0, len};
	char *at = put(out, v2_signature, V2_SIGNATURE);

	at = put(at, rest, sizeof(rest));
	if (!alike)
		return V2_START;
	if (ip4) {
		at = put(at, &src->in.sin_addr, 4);
		at = put(at, &dst->in.sin_addr, 4);
		at = put(at, &src->in.sin_port, 2);
		put(at, &dst->in.sin_port, 2);
	} else {
		at = put(at, &src->in6.sin6_addr, 16);
		at = put(at, &dst->in6.sin6_addr, 16);
		at = put(at, &src->in6.sin6_port, 2);
		put(at, &dst->in6.sin6_port, 2);
	}
	return V2_START + (size_t)len;
}
