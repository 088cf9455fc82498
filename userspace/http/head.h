/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_HTTP_HEAD_H
#define SLUICE_HTTP_HEAD_H

/* HTTP/1 message heads (RFC 9112 sections 2 to 5): bytes in, slices out, no allocation, no I/O.
 *
 * All slices point into the caller's buffer and live as long as its bytes stay in place.
 *
 * Strictness. Lines end in CRLF; a bare LF, a bare CR, a NUL, any other control character, obs-fold
 * and white space before the colon are refused (RFC 9112 2.2, 5.1, 5.2 permit refusing each of
 * them). At most one empty line before a request line is skipped (2.2). The only versions are
 * HTTP/1.0 and HTTP/1.1; an HTTP/2 preface has an error of its own. A status line may lack the
 * space before an absent reason (many servers do, and nothing is ambiguous about it). */

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"
#include "http/field.h"

/* A parse either finishes, wants more bytes, or is refused for good. */
enum sl_parse {
	SL_PARSE_DONE,
	SL_PARSE_MORE,
	SL_PARSE_BAD,
};

/* Why a message was refused. sl_http_error_name() gives the words used in logs and metrics. */
enum sl_http_error {
	SL_HTTP_OK,
	SL_HTTP_BAD_START_LINE,
	SL_HTTP_BAD_METHOD,
	SL_HTTP_BAD_TARGET,
	SL_HTTP_BAD_VERSION,   /* well-formed, but not 1.0 or 1.1: 505 */
	SL_HTTP_HTTP2_PREFACE, /* a client that speaks HTTP/2 without asking: 505 */
	SL_HTTP_BAD_STATUS,
	SL_HTTP_BAD_FIELD_NAME,	 /* also: space before the colon, no colon */
	SL_HTTP_BAD_FIELD_VALUE, /* control character */
	SL_HTTP_OBS_FOLD,
	SL_HTTP_BARE_CR,
	SL_HTTP_BARE_LF,
	SL_HTTP_START_LINE_TOO_LONG,   /* 414 */
	SL_HTTP_HEAD_TOO_LARGE,	       /* 431 */
	SL_HTTP_TOO_MANY_FIELDS,       /* 431 */
	SL_HTTP_BAD_CONTENT_LENGTH,    /* not digits, overflow, differing repeats */
	SL_HTTP_LENGTH_AND_ENCODING,   /* Content-Length with Transfer-Encoding */
	SL_HTTP_BAD_TRANSFER_ENCODING, /* chunked not final, repeated, or within HTTP/1.0: 400 */
	SL_HTTP_UNKNOWN_TRANSFER_ENCODING, /* a coding that is not chunked: 501 */
	SL_HTTP_BAD_HOST,		   /* missing (1.1), repeated or malformed */
	SL_HTTP_BAD_CONNECTION,		   /* Connection is not a list of tokens */
	SL_HTTP_BAD_EXPECT,		   /* anything but 100-continue: 417 */
	SL_HTTP_BAD_CHUNK_SIZE,
	SL_HTTP_BAD_CHUNK_EXTENSION, /* malformed or longer than the limit */
	SL_HTTP_BAD_CHUNK_DATA,	     /* not followed by CRLF */
	SL_HTTP_BAD_TRAILER,
	SL_HTTP_ERROR_COUNT,
};

/* e.g. "bare-cr"; static. */
const char *sl_http_error_name(enum sl_http_error e);
/* The status that a client's request refused so is answered with: 400, 414, 417, 431, 501, 505. */
unsigned sl_http_error_status(enum sl_http_error e);

#define SL_HEAD_FIELDS_MAX 256

struct sl_head_limits {
	uint32_t head_bytes;	   /* start line and fields, with the final empty line */
	uint32_t start_line_bytes; /* without CRLF */
	uint16_t fields;	   /* at most SL_HEAD_FIELDS_MAX */
};

struct sl_field {
	struct sl_slice name;
	struct sl_slice value; /* without surrounding white space; may be empty */
	enum sl_field_id id;   /* SL_FIELD_OTHER when the name is none of ours */
};

#define SL_METHODS(X) \
	X(GET) X(HEAD) X(POST) X(PUT) X(DELETE) X(CONNECT) X(OPTIONS) X(TRACE) X(PATCH)

enum sl_method {
	SL_METHOD_OTHER,
#define X(name) SL_METHOD_##name,
	SL_METHODS(X)
#undef X
};

/* A parsed head. Big (some 10 KiB): one per worker as scratch, never one per connection. */
struct sl_head {
	enum sl_method method;	      /* request */
	struct sl_slice method_token; /* request; case-sensitive (RFC 9110 9.1) */
	struct sl_slice target;	      /* request; visible ASCII only */
	uint16_t status;	      /* response: 100..999 */
	struct sl_slice reason;	      /* response; may be empty */
	uint8_t minor;		      /* HTTP/1.minor: 0 or 1 */
	uint16_t n_fields;
	enum sl_http_error error; /* with SL_PARSE_BAD */
	uint32_t len;		  /* with SL_PARSE_DONE: bytes of the head, from data */
	struct sl_field field[SL_HEAD_FIELDS_MAX];
};

/* Parses a head at data[0..len). *scanned is 0 for a new message and is kept by the caller between
 * calls on the same, growing message: bytes are searched for the head's end only once, so that a
 * dribbled head costs linear time. Limits are enforced on incomplete heads, too: SL_PARSE_MORE is
 * never returned once head_bytes are there, and a malformed start line is refused as soon as its
 * line is complete. */
enum sl_parse sl_head_parse_request(const char *data, size_t len, size_t *scanned,
				    const struct sl_head_limits *limits, struct sl_head *ret);
enum sl_parse sl_head_parse_response(const char *data, size_t len, size_t *scanned,
				     const struct sl_head_limits *limits, struct sl_head *ret);

/* The first field with that id, or NULL. */
const struct sl_field *sl_head_find(const struct sl_head *h, enum sl_field_id id);

/* --- meaning of a parsed head --- */

/* How the end of a body is known (RFC 9112 6.3). */
enum sl_framing_kind {
	SL_FRAMING_NONE,   /* no body */
	SL_FRAMING_LENGTH, /* length bytes (0 allowed) */
	SL_FRAMING_CHUNKED,
	SL_FRAMING_CLOSE, /* response only: until the connection closes */
};

struct sl_framing {
	enum sl_framing_kind kind;
	uint64_t length;
};

/* 0 and *ret, or an enum sl_http_error. Refused: Content-Length with Transfer-Encoding; repeated
 * Content-Length unless all values are equal (then it counts once, and the forwarder must emit one);
 * signs, inner spaces, lists that differ or have empty members, more than 18 digits;
 * Transfer-Encoding that is not exactly one `chunked` (case-insensitive, no empty members); any
 * Transfer-Encoding in HTTP/1.0. */
enum sl_http_error sl_request_framing(const struct sl_head *h, struct sl_framing *ret);
/* The same for a response to `method`: HEAD, 1xx, 204, 304 and a 2xx to CONNECT have no body
 * (a Content-Length there describes nothing and is ignored for framing, RFC 9112 6.3); a response
 * without either is SL_FRAMING_CLOSE. To HEAD and with 304, where Content-Length is forwarded as a
 * description, a malformed one is still refused. */
enum sl_http_error sl_response_framing(const struct sl_head *h, enum sl_method method,
				       struct sl_framing *ret);

/* What the connection-level fields say. */
struct sl_hop {
	bool persistent;      /* RFC 9112 9.3: version, Connection: close | keep-alive */
	bool upgrade;	      /* Connection names upgrade and an Upgrade field is there, in 1.1 */
	bool te_trailers;     /* Connection names TE and TE lists trailers */
	bool expect_continue; /* Expect: 100-continue in a 1.1 request */
};

/* Most members of all Connection fields of a head; more are SL_HTTP_BAD_CONNECTION. */
#define SL_CONNECTION_OPTIONS_MAX 32

/* 0 and *ret, or SL_HTTP_BAD_CONNECTION / SL_HTTP_BAD_EXPECT (requests only). */
enum sl_http_error sl_head_hop(const struct sl_head *h, struct sl_hop *ret);

/* True if an intermediary must not forward the field (RFC 9110 7.6.1): a hop-by-hop field, or one
 * that a Connection field of this head names. Framing fields, Host and Via are never dropped for
 * being named; Content-Length and Transfer-Encoding are reported as droppable only through
 * sl_field_is_framing(), because the forwarder writes framing itself. Call it only on a head that
 * sl_head_hop() accepted. */
bool sl_head_drops(const struct sl_head *h, const struct sl_field *f);

#endif
