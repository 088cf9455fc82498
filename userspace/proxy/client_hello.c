/* SPDX-License-Identifier: BSD-2-Clause */
/* ClientHello. A handshake message may be cut into records anywhere, so everything is read through a
 * cursor that steps over record headers.
 *
 * Strict about lengths: each vector must fill what encloses it exactly. What is not understood (GREASE
 * of RFC 8701, new extensions, Encrypted Client Hello) is stepped over. Bytes after the message are not
 * looked at: early data may follow. */

#include "proxy/client_hello.h"

#include <stdbool.h>

#define RECORD_HEADER	    5
#define RECORD_MAX	    16384
#define TYPE_HANDSHAKE	    22
#define TYPE_CLIENT_HELLO   1
#define EXTENSION_SNI	    0
#define NAME_TYPE_HOST	    0
#define LEGACY_VERSION	    2
#define RANDOM		    32
#define SESSION_ID_MAX	    32
#define CIPHER_SUITES_LEAST 2

/* 21: alert; 3.3: TLS 1.2 and 1.3; 2 bytes; 2: fatal. */
#define ALERT(description)                                          \
	{                                                           \
		(const char[]){21, 3, 3, 0, 2, 2, (description)}, 7 \
	}
const struct sl_slice sl_hello_unrecognized_name = ALERT(112);
const struct sl_slice sl_hello_decode_error = ALERT(50);

/* Where the reader is: `record` bytes are left of the record, `message` of the innermost vector that is
 * being read. Once verdict is something else than NAME, nothing moves any more. */
struct cursor {
	const uint8_t *p, *end;
	uint32_t record;
	uint32_t message;
	enum sl_hello_result verdict;
};

static bool stop(struct cursor *c, enum sl_hello_result verdict)
{
	if (c->verdict == SL_HELLO_NAME)
		c->verdict = verdict;
	return false;
}

/* Version 3.x; a record of nothing is forbidden for handshakes (RFC 8446 5.1). */
static bool open_record(struct cursor *c)
{
	uint32_t len;

	if (c->end - c->p < RECORD_HEADER)
		return stop(c, SL_HELLO_MORE);
	len = (uint32_t)c->p[3] << 8 | c->p[4];
	if (c->p[0] != TYPE_HANDSHAKE || c->p[1] != 3 || !len || len > RECORD_MAX)
		return stop(c, SL_HELLO_MALFORMED);
	c->p += RECORD_HEADER;
	c->record = len;
	return true;
}

/* Takes n bytes of the message, and copies them if out is not NULL. */
static bool take(struct cursor *c, uint32_t n, uint8_t *out)
{
	if (c->verdict != SL_HELLO_NAME || n > c->message)
		return stop(c, SL_HELLO_MALFORMED);
	c->message -= n;
	while (n) {
		uint32_t piece;

		if (!c->record && !open_record(c))
			return false;
		piece = n < c->record ? n : c->record;
		if (piece > (size_t)(c->end - c->p))
			return stop(c, SL_HELLO_MORE);
		if (out) {
			memcpy(out, c->p, piece);
			out += piece;
		}
		c->p += piece;
		c->record -= piece;
		n -= piece;
	}
	return true;
}

/* A big-endian number of 1 to 3 bytes. */
static bool number(struct cursor *c, uint32_t bytes, uint32_t *ret)
{
	uint8_t b[3];

	*ret = 0;
	if (!take(c, bytes, b))
		return false;
	for (uint32_t i = 0; i < bytes; i++)
		*ret = *ret << 8 | b[i];
	return true;
}

/* Enters a vector whose length takes `bytes`; *ret_after is what will be left behind it. */
static bool enter(struct cursor *c, uint32_t bytes, uint32_t *ret_after)
{
	uint32_t len;

	if (!number(c, bytes, &len))
		return false;
	if (len > c->message)
		return stop(c, SL_HELLO_MALFORMED);
	*ret_after = c->message - len;
	c->message = len;
	return true;
}

/* Leaves a vector, which must have been read to its end. */
static bool leave(struct cursor *c, uint32_t after)
{
	if (c->message)
		return stop(c, SL_HELLO_MALFORMED);
	c->message = after;
	return true;
}

static bool skip_vector(struct cursor *c, uint32_t bytes, uint32_t least, uint32_t most)
{
	uint32_t after;

	if (!enter(c, bytes, &after))
		return false;
	if (c->message < least || c->message > most)
		return stop(c, SL_HELLO_MALFORMED);
	return take(c, c->message, NULL) && leave(c, after);
}

/* A host name of letters, digits, '-', '_' and single dots, not an address (RFC 6066 3). */
static bool is_name(const char *s, size_t len)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyz0123456789-_.";
	bool only_number = true;

	for (size_t i = 0; i < len; i++) {
		if (!s[i] || !strchr(allowed, s[i]))
			return false;
		if (s[i] == '.' && (!i || s[i - 1] == '.'))
			return false;
		only_number &= s[i] == '.' || (s[i] >= '0' && s[i] <= '9');
	}
	return len && s[len - 1] != '.' && !only_number;
}

static bool read_name(struct cursor *c, struct sl_hello *ret)
{
	uint32_t len = c->message;

	if (len > SL_HELLO_NAME_MAX)
		return stop(c, SL_HELLO_MALFORMED);
	if (!take(c, len, (uint8_t *)ret->name))
		return false;
	for (uint32_t i = 0; i < len; i++)
		ret->name[i] = sl_ascii_lower(ret->name[i]);
	if (len && ret->name[len - 1] == '.')
		len--;
	ret->name_len = (uint8_t)len;
	return is_name(ret->name, len) || stop(c, SL_HELLO_MALFORMED);
}

/* server_name: a list of names of different types, of which only one is defined. */
static bool read_server_name(struct cursor *c, struct sl_hello *ret)
{
	uint32_t type, after_list, after_name;

	if (ret->name_len || !enter(c, 2, &after_list))
		return stop(c, SL_HELLO_MALFORMED);
	while (c->message) {
		if (!number(c, 1, &type) || !enter(c, 2, &after_name))
			return false;
		if (type != NAME_TYPE_HOST || ret->name_len)
			return stop(c, SL_HELLO_MALFORMED);
		if (!read_name(c, ret) || !leave(c, after_name))
			return false;
	}
	return leave(c, after_list) && (ret->name_len || stop(c, SL_HELLO_MALFORMED));
}

static bool read_extensions(struct cursor *c, struct sl_hello *ret)
{
	uint32_t type, after_all, after;

	if (!enter(c, 2, &after_all))
		return false;
	while (c->message) {
		if (!number(c, 2, &type) || !enter(c, 2, &after))
			return false;
		if (type == EXTENSION_SNI ? !read_server_name(c, ret) : !take(c, c->message, NULL))
			return false;
		if (!leave(c, after))
			return false;
	}
	return leave(c, after_all);
}

/* Before TLS 1.3 a ClientHello may end without extensions. */
static bool read_message(struct cursor *c, struct sl_hello *ret)
{
	uint32_t type, after;

	c->message = 4;
	if (!number(c, 1, &type))
		return false;
	if (type != TYPE_CLIENT_HELLO)
		return stop(c, SL_HELLO_MALFORMED);
	if (!number(c, 3, &after))
		return false;
	if (after > SL_HELLO_BYTES_MAX)
		return stop(c, SL_HELLO_TOO_LARGE);
	c->message = after;
	return take(c, LEGACY_VERSION + RANDOM, NULL) && skip_vector(c, 1, 0, SESSION_ID_MAX) &&
	       skip_vector(c, 2, CIPHER_SUITES_LEAST, UINT16_MAX) &&
	       skip_vector(c, 1, 1, UINT8_MAX) && (!c->message || read_extensions(c, ret)) &&
	       leave(c, 0);
}

/* What can be told before a record header is whole: "GET /" must not wait for a fifth byte. */
static bool is_tls(struct sl_slice bytes)
{
	return bytes.len < 1 ||
	       (bytes.p[0] == TYPE_HANDSHAKE && (bytes.len < 2 || bytes.p[1] == 3));
}

enum sl_hello_result sl_hello_read(struct sl_slice bytes, struct sl_hello *ret)
{
	struct cursor c = {
		.p = (const uint8_t *)bytes.p,
		.end = (const uint8_t *)bytes.p + bytes.len,
		.verdict = SL_HELLO_NAME,
	};
	struct sl_hello hello = {0};

	if (!is_tls(bytes))
		return SL_HELLO_NOT_TLS;
	if (!read_message(&c, &hello)) {
		if (c.verdict == SL_HELLO_MORE && bytes.len >= SL_HELLO_BYTES_MAX)
			return SL_HELLO_TOO_LARGE;
		return c.verdict;
	}
	*ret = hello;
	return hello.name_len ? SL_HELLO_NAME : SL_HELLO_NO_NAME;
}

const char *sl_hello_result_name(enum sl_hello_result r)
{
	static const char *const names[] = {
		[SL_HELLO_MORE] = "hello-incomplete",	   [SL_HELLO_NAME] = "hello",
		[SL_HELLO_NO_NAME] = "hello-without-name", [SL_HELLO_NOT_TLS] = "not-tls",
		[SL_HELLO_MALFORMED] = "hello-malformed",  [SL_HELLO_TOO_LARGE] = "hello-too-large",
	};

	return names[r];
}
