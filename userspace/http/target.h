/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_HTTP_TARGET_H
#define SLUICE_HTTP_TARGET_H

/* Request targets (RFC 9112 3.2) and authorities (RFC 3986 3.2). Bytes in, slices out. */

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"
#include "http/head.h"

enum sl_target_form {
	SL_TARGET_ORIGIN,    /* "/path?query" */
	SL_TARGET_ABSOLUTE,  /* "http://host:port/path?query" */
	SL_TARGET_AUTHORITY, /* "host:port", CONNECT only */
	SL_TARGET_ASTERISK,  /* "*", OPTIONS only */
};

struct sl_authority {
	struct sl_slice text; /* as written, without userinfo */
	struct sl_slice
		host;	   /* without brackets; a name, an IPv4 or an IPv6 literal; never empty */
	bool ipv6_literal; /* host was in brackets */
	bool has_port;
	uint16_t port; /* 0 without has_port */
};

struct sl_target {
	enum sl_target_form form;
	struct sl_slice scheme;	       /* absolute form; as written */
	struct sl_authority authority; /* absolute and authority form */
	struct sl_slice path_query; /* origin and absolute form: "/..." or, where the absolute form
					  has no path, "" or "?query" (the forwarder writes "/" first;
					  for OPTIONS without path and query it writes "*", 3.2.4) */
};

/* Host names: letters, digits, '-', '_', '.' (RFC 3986 reg-name without pct-encoding, because such
 * a host could not be resolved anyway), at most 253 bytes, labels of 1 to 63, one optional final
 * dot; a last label that is a number (127.1, 0x7f.1, 1.2.3.256) makes a name only inet_aton(3) would
 * like, and is refused unless the whole is a dotted quad. Ports: 1 to 5 digits, 0 < port < 65536; an empty port ("host:") counts as none except in
 * authority form. IPv6 literals as inet_pton(3); zone ids and IPvFuture are refused. Userinfo is
 * refused in every form (RFC 9110 4.2.4: untrusted sources).  -EINVAL if malformed. */
int sl_authority_parse(struct sl_slice s, struct sl_authority *ret);

/* Checks that the form fits the method (CONNECT: authority form with a port, and only that;
 * asterisk: OPTIONS only). Fragments are refused. 0 or SL_HTTP_BAD_TARGET. */
enum sl_http_error sl_target_parse(const struct sl_head *request, struct sl_target *ret);

/* Host field rules (RFC 9112 3.2): exactly one in HTTP/1.1, at most one in 1.0; its value an
 * authority without userinfo, or empty. 0 and *ret (host.len 0 if absent or empty), or
 * SL_HTTP_BAD_HOST. */
enum sl_http_error sl_host_field(const struct sl_head *request, struct sl_authority *ret);

#endif
