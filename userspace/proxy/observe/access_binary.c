/* SPDX-License-Identifier: BSD-2-Clause */
/* Access records as compact bytes and back. What is read may be anything: every length is checked before
 * it is believed, and a record counts only if its check does. */

#include "proxy/observe/access_binary.h"

#include <endian.h>
#include <string.h>
#include <xxhash.h>

#include "base/util.h"
#include "proxy/observe/access_format.h"

const char sl_access_header[SL_ACCESS_HEADER_LEN] = {
	'S', 'L', 'U', 'I', 'C', 'E', 'L', 'G', SL_ACCESS_BINARY_VERSION};
#define MAGIC_LEN  8
#define VARINT_MAX 10

enum { KIND_NUMBER, KIND_BYTES };

enum flags {
	FLAG_HTTP = 1,
	FLAG_REUSED = 2,
	FLAG_FAILED = 4,
	FLAG_MINOR = 8, /* HTTP/1.1, else 1.0 */
	FLAG_SAMPLED = 16,
};

/* Fields keep their numbers for good. */
enum {
	FIELD_STATUS = 8,
	FIELD_FLAGS = 9,
	FIELD_CLIENT = 10,
	FIELD_UPSTREAM = 11,
};

static const struct {
	unsigned field;
	size_t offset;
} numbers[] = {
	{1, offsetof(struct sl_access_record, start_us)},
	{2, offsetof(struct sl_access_record, duration_us)},
	{3, offsetof(struct sl_access_record, queue_us)},
	{4, offsetof(struct sl_access_record, connect_us)},
	{5, offsetof(struct sl_access_record, first_byte_us)},
	{6, offsetof(struct sl_access_record, bytes_in)},
	{7, offsetof(struct sl_access_record, bytes_out)},
};

/* --- writing --- */

static char *put_varint(char *p, uint64_t n)
{
	for (; n >= 0x80; n >>= 7)
		*p++ = (char)(n | 0x80);
	*p++ = (char)n;
	return p;
}

static char *put_number(char *p, unsigned field, uint64_t n)
{
	return n ? put_varint(put_varint(p, 2 * field + KIND_NUMBER), n) : p;
}

static char *put_bytes(char *p, unsigned field, const void *bytes, size_t len)
{
	if (!len)
		return p;
	p = put_varint(put_varint(p, 2 * field + KIND_BYTES), len);
	memcpy(p, bytes, len);
	return p + len;
}

/* Address and port in network order: 6 or 18 bytes. */
static char *put_addr(char *p, unsigned field, const struct sl_addr *a)
{
	uint16_t port = htobe16(sl_addr_port(a));
	char bytes[18];
	size_t n = a->family == AF_INET6 ? 16 : 4;

	if (a->family == AF_UNSPEC)
		return p;
	if (n == 16)
		memcpy(bytes, &a->in6.sin6_addr, n);
	else
		memcpy(bytes, &a->in.sin_addr, n);
	memcpy(bytes + n, &port, sizeof(port));
	return put_bytes(p, field, bytes, n + sizeof(port));
}

void sl_access_seal(char *out, const char *fields, size_t len)
{
	uint32_t frame[2] = {htole32((uint32_t)len), htole32((uint32_t)XXH3_64bits(fields, len))};

	memmove(out + SL_ACCESS_FRAME_LEN, fields, len);
	memcpy(out, frame, sizeof(frame));
}

size_t sl_access_encode(const struct sl_access_record *r,
			char out[SL_ACCESS_FRAME_LEN + SL_ACCESS_FIELDS_MAX])
{
	char *fields = out + SL_ACCESS_FRAME_LEN, *p = fields;
	uint64_t flags = (r->http ? FLAG_HTTP : 0) | (r->reused ? FLAG_REUSED : 0) |
			 (r->failed ? FLAG_FAILED : 0) | (r->minor ? FLAG_MINOR : 0) |
			 (r->sampled ? FLAG_SAMPLED : 0);

	for (size_t i = 0; i < SL_ARRAY_SIZE(numbers); i++)
		p = put_number(p, numbers[i].field,
			       *(const uint64_t *)((const char *)r + numbers[i].offset));
	p = put_number(p, FIELD_STATUS, r->status);
	p = put_number(p, FIELD_FLAGS, flags);
	p = put_addr(p, FIELD_CLIENT, &r->client);
	p = put_addr(p, FIELD_UPSTREAM, &r->upstream);
	for (size_t i = 0; i < SL_ACCESS_STRINGS; i++) {
		const struct sl_access_string *string = &sl_access_strings[i];
		const struct sl_slice *s =
			(const struct sl_slice *)((const char *)r + string->offset);

		p = put_bytes(p, string->field, s->p, s->len);
	}
	sl_access_seal(out, fields, (size_t)(p - fields));
	return (size_t)(p - out);
}

/* --- reading --- */

static bool get_varint(struct sl_slice *s, uint64_t *ret)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < VARINT_MAX && i < s->len; i++) {
		uint8_t byte = (uint8_t)s->p[i];

		if (i == VARINT_MAX - 1 && byte > 1)
			return false; /* more than 64 bits */
		n |= (uint64_t)(byte & 0x7f) << (7 * i);
		if (byte & 0x80)
			continue;
		*s = sl_slice(s->p + i + 1, s->len - i - 1);
		*ret = n;
		return true;
	}
	return false;
}

static void take_number(struct sl_access_record *r, uint64_t field, uint64_t n)
{
	if (field == FIELD_STATUS)
		r->status = n < 1000 ? (uint16_t)n : 0;
	if (field == FIELD_FLAGS) {
		r->http = n & FLAG_HTTP;
		r->reused = !!(n & FLAG_REUSED);
		r->failed = n & FLAG_FAILED;
		r->minor = !!(n & FLAG_MINOR);
		r->sampled = n & FLAG_SAMPLED;
	}
	for (size_t i = 0; i < SL_ARRAY_SIZE(numbers); i++)
		if (numbers[i].field == field)
			*(uint64_t *)((char *)r + numbers[i].offset) = n;
}

static bool take_addr(struct sl_slice bytes, struct sl_addr *ret)
{
	struct sl_addr a = {.family = bytes.len == 18 ? AF_INET6 : AF_INET};
	uint16_t port;

	if (bytes.len != 6 && bytes.len != 18)
		return false;
	memcpy(&port, bytes.p + bytes.len - sizeof(port), sizeof(port));
	if (a.family == AF_INET6) {
		memcpy(&a.in6.sin6_addr, bytes.p, 16);
		a.in6.sin6_port = port;
	} else {
		memcpy(&a.in.sin_addr, bytes.p, 4);
		a.in.sin_port = port;
	}
	*ret = a;
	return true;
}

static bool take_bytes(struct sl_access_record *r, uint64_t field, struct sl_slice bytes)
{
	if (field == FIELD_CLIENT)
		return take_addr(bytes, &r->client);
	if (field == FIELD_UPSTREAM)
		return take_addr(bytes, &r->upstream);
	for (size_t i = 0; i < SL_ACCESS_STRINGS; i++) {
		const struct sl_access_string *string = &sl_access_strings[i];

		if (string->field != field)
			continue;
		if (bytes.len > string->max + SL_ACCESS_MARK_LEN)
			return false;
		*(struct sl_slice *)((char *)r + string->offset) = bytes;
	}
	return true;
}

static bool take_fields(struct sl_slice s, struct sl_access_record *ret)
{
	struct sl_access_record r = {0};
	uint64_t tag, value;

	while (s.len) {
		if (!get_varint(&s, &tag) || !get_varint(&s, &value))
			return false;
		if ((tag & 1) == KIND_NUMBER) {
			take_number(&r, tag / 2, value);
			continue;
		}
		if (value > s.len || !take_bytes(&r, tag / 2, sl_slice(s.p, value)))
			return false;
		s = sl_slice(s.p + value, s.len - value);
	}
	*ret = r;
	return true;
}

static uint32_t word_at(const char *p)
{
	uint32_t n;

	memcpy(&n, p, sizeof(n));
	return le32toh(n);
}

size_t sl_access_frame(const char *p, size_t len)
{
	size_t n = len >= SL_ACCESS_FRAME_LEN ? SL_ACCESS_FRAME_LEN + word_at(p) : 0;

	return n <= len ? n : 0;
}

enum sl_access_read sl_access_decode(const char *p, size_t len, struct sl_access_record *ret,
				     size_t *ret_len)
{
	size_t n;

	if (len && !memcmp(p, sl_access_header, sl_min(len, (size_t)MAGIC_LEN))) {
		if (len < SL_ACCESS_HEADER_LEN)
			return SL_ACCESS_READ_MORE;
		if (memcmp(p, sl_access_header, SL_ACCESS_HEADER_LEN))
			return SL_ACCESS_READ_VERSION;
		*ret_len = SL_ACCESS_HEADER_LEN;
		return SL_ACCESS_READ_HEADER;
	}
	if (len < SL_ACCESS_FRAME_LEN)
		return SL_ACCESS_READ_MORE;
	if (word_at(p) > SL_ACCESS_FIELDS_MAX)
		return SL_ACCESS_READ_DAMAGED;
	n = sl_access_frame(p, len);
	if (!n)
		return SL_ACCESS_READ_MORE;
	p += SL_ACCESS_FRAME_LEN;
	if ((uint32_t)XXH3_64bits(p, n - SL_ACCESS_FRAME_LEN) != word_at(p - sizeof(uint32_t)) ||
	    !take_fields(sl_slice(p, n - SL_ACCESS_FRAME_LEN), ret))
		return SL_ACCESS_READ_DAMAGED;
	*ret_len = n;
	return SL_ACCESS_READ_RECORD;
}
