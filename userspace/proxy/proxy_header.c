/* SPDX-License-Identifier: BSD-2-Clause */
/* PROXY protocol headers. Extensions of version 2 (TLVs) must have lengths that add up; what they say is
 * not used, only passed on. */

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
#define TLV_CRC32C 0x03
#define TLV_NOOP   0x04

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

/* Cuts the next extension off. False if its length doesn't add up. */
static bool next_tlv(struct sl_slice *rest, struct sl_slice *ret)
{
	size_t len = rest->len < TLV_HEADER ? SIZE_MAX : TLV_HEADER + (size_t)get16(rest->p + 1);

	if (len > rest->len)
		return false;
	*ret = sl_slice(rest->p, len);
	*rest = sl_slice(rest->p + len, rest->len - len);
	return true;
}

static bool tlvs_add_up(struct sl_slice s)
{
	struct sl_slice tlv;

	while (s.len)
		if (!next_tlv(&s, &tlv))
			return false;
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
	if (ret->src.family != AF_UNSPEC)
		ret->tlvs = sl_slice(p + n, body.len - n);
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

size_t sl_proxy_header_write_v1(char out[SL_PROXY_HEADER_MAX], const struct sl_addr *src,
				const struct sl_addr *dst)
{
	char from[SL_ADDR_STR_MAX], to[SL_ADDR_STR_MAX];

	if (!are_alike(src, dst))
		return (size_t)snprintf(out, SL_PROXY_HEADER_MAX, "PROXY UNKNOWN\r\n");
	return (size_t)snprintf(out, SL_PROXY_HEADER_MAX, "PROXY TCP%c %s %s %u %u\r\n",
				src->family == AF_INET ? '4' : '6', sl_addr_format_host(src, from),
				sl_addr_format_host(dst, to), sl_addr_port(src), sl_addr_port(dst));
}

static char *put(char *at, const void *bytes, size_t len)
{
	memcpy(at, bytes, len);
	return at + len;
}

static char *put_addresses(char *at, const struct sl_addr *src, const struct sl_addr *dst)
{
	if (src->family == AF_INET) {
		at = put(at, &src->in.sin_addr, 4);
		at = put(at, &dst->in.sin_addr, 4);
		at = put(at, &src->in.sin_port, 2);
		return put(at, &dst->in.sin_port, 2);
	}
	at = put(at, &src->in6.sin6_addr, 16);
	at = put(at, &dst->in6.sin6_addr, 16);
	at = put(at, &src->in6.sin6_port, 2);
	return put(at, &dst->in6.sin6_port, 2);
}

static char *put_tlvs(char *at, const char *end, struct sl_slice tlvs)
{
	struct sl_slice tlv;

	while (tlvs.len && next_tlv(&tlvs, &tlv))
		if (tlv.p[0] != TLV_CRC32C && tlv.p[0] != TLV_NOOP && tlv.len <= (size_t)(end - at))
			at = put(at, tlv.p, tlv.len);
	return at;
}

size_t sl_proxy_header_write_v2(char out[SL_PROXY_HEADER_MAX], const struct sl_addr *src,
				const struct sl_addr *dst, struct sl_slice tlvs)
{
	bool alike = are_alike(src, dst);
	char *at = put(out, v2_signature, V2_SIGNATURE);
	uint16_t len;

	*at++ = alike ? V2_PROXY : V2_LOCAL;
	*at++ = !alike ? 0 : src->family == AF_INET ? V2_TCP4 : V2_TCP6;
	at += sizeof(len);
	if (alike) {
		at = put_addresses(at, src, dst);
		at = put_tlvs(at, out + SL_PROXY_HEADER_MAX, tlvs);
	}
	len = (uint16_t)(at - out - V2_START);
	out[V2_START - 2] = (char)(len >> 8);
	out[V2_START - 1] = (char)len;
	return V2_START + (size_t)len;
}
