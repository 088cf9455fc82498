/* SPDX-License-Identifier: BSD-2-Clause */
/* Request targets and authorities.
 *
 * Cuts and checks, never rewrites: no decoding, no dot segments. Where a target goes is decided
 * elsewhere, on the very slices cut here. */

#include "http/target.h"

#include <errno.h>

#include "base/addr.h"
#include "base/util.h"

#define HOST_BYTES_MAX	253
#define LABEL_BYTES_MAX 63

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_alpha(char c)
{
	c = sl_ascii_lower(c);
	return c >= 'a' && c <= 'z';
}

/* Digits, or 0x and hex digits: what inet_aton(3) would take for a number. */
static bool is_number(struct sl_slice s)
{
	size_t i = 0;

	if (s.len >= 2 && s.p[0] == '0' && sl_ascii_lower(s.p[1]) == 'x') {
		for (i = 2; i < s.len; i++)
			if (!is_digit(s.p[i]) &&
			    (sl_ascii_lower(s.p[i]) < 'a' || sl_ascii_lower(s.p[i]) > 'f'))
				return false;
		return true;
	}
	while (i < s.len && is_digit(s.p[i]))
		i++;
	return i == s.len;
}

/* A name: labels between dots. The last one must not be a number. */
static bool is_name(struct sl_slice s)
{
	size_t start = 0;

	if (s.len && s.p[s.len - 1] == '.')
		s.len--;
	if (!s.len || s.len > HOST_BYTES_MAX)
		return false;
	for (size_t i = 0; i < s.len; i++) {
		if (s.p[i] == '.') {
			if (i == start || i - start > LABEL_BYTES_MAX)
				return false;
			start = i + 1;
		} else if (!is_alpha(s.p[i]) && !is_digit(s.p[i]) && s.p[i] != '-' &&
			   s.p[i] != '_') {
			return false;
		}
	}
	return start < s.len && s.len - start <= LABEL_BYTES_MAX &&
	       !is_number(sl_slice(s.p + start, s.len - start));
}

static bool is_host(struct sl_slice s, bool bracketed)
{
	struct sl_addr a;

	if (!sl_addr_parse_host(s, 0, &a))
		return bracketed == (a.family == AF_INET6);
	return !bracketed && is_name(s);
}

/* What follows the host: nothing, ":" or ":port". */
static int parse_port(struct sl_slice s, struct sl_authority *ret)
{
	unsigned port = 0;

	if (!s.len || (s.len == 1 && *s.p == ':'))
		return 0;
	if (*s.p != ':' || s.len > 6)
		return -EINVAL;
	for (size_t i = 1; i < s.len; i++) {
		if (!is_digit(s.p[i]))
			return -EINVAL;
		port = port * 10 + (unsigned)(s.p[i] - '0');
	}
	if (!port || port > UINT16_MAX)
		return -EINVAL;
	ret->has_port = true;
	ret->port = (uint16_t)port;
	return 0;
}

int sl_authority_parse(struct sl_slice s, struct sl_authority *ret)
{
	struct sl_authority a = {.text = s, .ipv6_literal = s.len && *s.p == '['};
	const char *end = s.len ? memchr(s.p, a.ipv6_literal ? ']' : ':', s.len) : NULL;
	const char *rest = end ? end : s.p + s.len;

	if (!s.len || (a.ipv6_literal && !end))
		return -EINVAL;
	a.host = sl_slice(s.p, (size_t)(rest - s.p));
	if (a.ipv6_literal) {
		a.host = sl_slice(s.p + 1, (size_t)(end - s.p - 1));
		rest++;
	}
	if (!is_host(a.host, a.ipv6_literal) ||
	    parse_port(sl_slice(rest, (size_t)(s.p + s.len - rest)), &a))
		return -EINVAL;
	*ret = a;
	return 0;
}

/* scheme "://" authority [ path ] [ "?" query ]; the fragment was refused before. */
static bool parse_absolute(struct sl_slice s, struct sl_target *t)
{
	const char *colon = memchr(s.p, ':', s.len), *start, *end = s.p + s.len, *p;

	if (!colon || !is_alpha(*s.p) || end - colon < 3 || colon[1] != '/' || colon[2] != '/')
		return false;
	for (p = s.p; p < colon; p++)
		if (!is_alpha(*p) && !is_digit(*p) && *p != '+' && *p != '-' && *p != '.')
			return false;
	start = colon + 3;
	for (p = start; p < end && *p != '/' && *p != '?'; p++)
		;
	t->scheme = sl_slice(s.p, (size_t)(colon - s.p));
	t->path_query = sl_slice(p, (size_t)(end - p));
	return !sl_authority_parse(sl_slice(start, (size_t)(p - start)), &t->authority);
}

enum sl_http_error sl_target_parse(const struct sl_head *request, struct sl_target *ret)
{
	struct sl_slice s = request->target;
	struct sl_target t = {0};
	bool good;

	if (!s.len || memchr(s.p, '#', s.len))
		return SL_HTTP_BAD_TARGET;
	if (request->method == SL_METHOD_CONNECT) {
		t.form = SL_TARGET_AUTHORITY;
		good = !sl_authority_parse(s, &t.authority) && t.authority.has_port;
	} else if (*s.p == '/') {
		t.form = SL_TARGET_ORIGIN;
		t.path_query = s;
		good = true;
	} else if (sl_slice_eq(s, SL_SLICE("*"))) {
		t.form = SL_TARGET_ASTERISK;
		good = request->method == SL_METHOD_OPTIONS;
	} else {
		t.form = SL_TARGET_ABSOLUTE;
		good = parse_absolute(s, &t);
	}
	if (!good)
		return SL_HTTP_BAD_TARGET;
	*ret = t;
	return SL_HTTP_OK;
}

enum sl_http_error sl_host_field(const struct sl_head *request, struct sl_authority *ret)
{
	const struct sl_field *host = NULL;
	struct sl_authority a = {0};

	for (unsigned i = 0; i < request->n_fields; i++) {
		if (request->field[i].id != SL_FIELD_HOST)
			continue;
		if (host)
			return SL_HTTP_BAD_HOST;
		host = &request->field[i];
	}
	if (!host && request->minor)
		return SL_HTTP_BAD_HOST;
	if (host && host->value.len && sl_authority_parse(host->value, &a))
		return SL_HTTP_BAD_HOST;
	*ret = a;
	return SL_HTTP_OK;
}
