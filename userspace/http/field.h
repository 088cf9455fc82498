/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_HTTP_FIELD_H
#define SLUICE_HTTP_FIELD_H

/* Field names that the proxy has to understand, and the field syntax shared by several of them. */

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"

#define SL_FIELDS(X)                                  \
	X(CONNECTION, "Connection")                   \
	X(CONTENT_LENGTH, "Content-Length")           \
	X(CONTENT_TYPE, "Content-Type")               \
	X(DATE, "Date")                               \
	X(EXPECT, "Expect")                           \
	X(FORWARDED, "Forwarded")                     \
	X(HOST, "Host")                               \
	X(HTTP2_SETTINGS, "HTTP2-Settings")           \
	X(KEEP_ALIVE, "Keep-Alive")                   \
	X(MAX_FORWARDS, "Max-Forwards")               \
	X(PROXY_AUTHENTICATE, "Proxy-Authenticate")   \
	X(PROXY_AUTHORIZATION, "Proxy-Authorization") \
	X(PROXY_CONNECTION, "Proxy-Connection")       \
	X(REFERER, "Referer")                         \
	X(SERVER, "Server")                           \
	X(TE, "TE")                                   \
	X(TRAILER, "Trailer")                         \
	X(TRANSFER_ENCODING, "Transfer-Encoding")     \
	X(UPGRADE, "Upgrade")                         \
	X(USER_AGENT, "User-Agent")                   \
	X(VIA, "Via")                                 \
	X(X_FORWARDED_FOR, "X-Forwarded-For")         \
	X(X_FORWARDED_PROTO, "X-Forwarded-Proto")     \
	X(X_REQUEST_ID, "X-Request-ID")

enum sl_field_id {
	SL_FIELD_OTHER,
#define X(id, name) SL_FIELD_##id,
	SL_FIELDS(X)
#undef X
		SL_FIELD_COUNT,
};

/* The id of a name, ASCII case ignored; SL_FIELD_OTHER if unknown. */
enum sl_field_id sl_field_lookup(struct sl_slice name);
/* Canonical spelling; "" for SL_FIELD_OTHER. */
const char *sl_field_name(enum sl_field_id id);

/* Content-Length, Transfer-Encoding. */
bool sl_field_is_framing(enum sl_field_id id);
/* Fields that may never appear in a trailer section (RFC 9110 6.5.1): framing, routing,
 * authentication, connection control. */
bool sl_field_forbidden_in_trailer(enum sl_field_id id, struct sl_slice name);

/* RFC 9110 5.6.2. Empty is no token. */
bool sl_is_token(struct sl_slice s);

/* Walks a comma-separated list (RFC 9110 5.6.1): takes the next non-empty member off *list, without
 * surrounding white space; false at the end. Commas inside quoted strings don't separate. */
bool sl_list_next(struct sl_slice *list, struct sl_slice *ret_member);

#endif
