/* SPDX-License-Identifier: BSD-2-Clause */
/* How the end of a message body is known (RFC 9112 6).
 *
 * Invariant: whatever two recipients could read differently is refused, never repaired; the one
 * exception is a Content-Length repeated with the same value (RFC 9110 8.6), of which the forwarder
 * writes one. */

#include <stdbool.h>

#include "http/head.h"

#define LENGTH_DIGITS_MAX 18

/* One member of a Content-Length list: blanks around digits. */
static bool length_value(struct sl_slice s, uint64_t *ret)
{
	size_t digits = 0;
	uint64_t n = 0;
	size_t i = 0;

	while (i < s.len && (s.p[i] == ' ' || s.p[i] == '\t'))
		i++;
	for (; i < s.len && s.p[i] >= '0' && s.p[i] <= '9'; i++) {
		if (++digits > LENGTH_DIGITS_MAX)
			return false;
		n = n * 10 + (uint64_t)(s.p[i] - '0');
	}
	while (i < s.len && (s.p[i] == ' ' || s.p[i] == '\t'))
		i++;
	*ret = n;
	return digits && i == s.len;
}

/* All members of one field value; *seen and *length carry over from earlier fields. */
static bool length_list(struct sl_slice list, bool *seen, uint64_t *length)
{
	const char *p = list.p, *end = list.p + list.len;
	uint64_t n;

	for (;;) {
		const char *comma = p < end ? memchr(p, ',', (size_t)(end - p)) : NULL;
		const char *stop = comma ? comma : end;

		if (!length_value(sl_slice(p, (size_t)(stop - p)), &n) || (*seen && n != *length))
			return false;
		*seen = true;
		*length = n;
		if (!comma)
			return true;
		p = comma + 1;
	}
}

static enum sl_http_error content_length(const struct sl_head *h, bool *ret_seen, uint64_t *ret)
{
	bool seen = false;
	uint64_t length = 0;

	for (unsigned i = 0; i < h->n_fields; i++)
		if (h->field[i].id == SL_FIELD_CONTENT_LENGTH &&
		    !length_list(h->field[i].value, &seen, &length))
			return SL_HTTP_BAD_CONTENT_LENGTH;
	*ret_seen = seen;
	*ret = length;
	return SL_HTTP_OK;
}

/* Why a Transfer-Encoding that is not exactly `chunked` is refused: codings that we don't know, put
 * together properly, are one thing (501), everything else is malformed (400). */
static enum sl_http_error encoding_error(const struct sl_head *h)
{
	struct sl_slice list, member;
	bool chunked = false, unknown = false;

	for (unsigned i = 0; i < h->n_fields; i++) {
		if (h->field[i].id != SL_FIELD_TRANSFER_ENCODING)
			continue;
		list = h->field[i].value;
		while (sl_list_next(&list, &member)) {
			const char *semicolon = memchr(member.p, ';', member.len);
			struct sl_slice coding = member;

			if (semicolon)
				coding.len = (size_t)(semicolon - member.p);
			while (coding.len && (coding.p[coding.len - 1] == ' ' ||
					      coding.p[coding.len - 1] == '\t'))
				coding.len--;
			if (chunked || !sl_is_token(coding))
				return SL_HTTP_BAD_TRANSFER_ENCODING;
			chunked = sl_slice_eq_nocase(coding, SL_SLICE("chunked"));
			if (chunked && semicolon)
				return SL_HTTP_BAD_TRANSFER_ENCODING;
			unknown |= !chunked;
		}
	}
	return unknown ? SL_HTTP_UNKNOWN_TRANSFER_ENCODING : SL_HTTP_BAD_TRANSFER_ENCODING;
}

static enum sl_http_error transfer_encoding(const struct sl_head *h, bool *ret_chunked)
{
	const struct sl_field *f = NULL;
	unsigned n = 0;

	for (unsigned i = 0; i < h->n_fields; i++) {
		if (h->field[i].id == SL_FIELD_TRANSFER_ENCODING) {
			f = &h->field[i];
			n++;
		}
	}
	if (n && !h->minor)
		return SL_HTTP_BAD_TRANSFER_ENCODING;
	if (n && (n > 1 || !sl_slice_eq_nocase(f->value, SL_SLICE("chunked"))))
		return encoding_error(h);
	*ret_chunked = n;
	return SL_HTTP_OK;
}

/* What the fields say, with `otherwise` for a head that says nothing. */
static enum sl_http_error fields_framing(const struct sl_head *h, enum sl_framing_kind otherwise,
					 struct sl_framing *ret)
{
	bool chunked, has_length;
	uint64_t length;
	enum sl_http_error e;

	if (sl_head_find(h, SL_FIELD_CONTENT_LENGTH) && sl_head_find(h, SL_FIELD_TRANSFER_ENCODING))
		return SL_HTTP_LENGTH_AND_ENCODING;
	e = transfer_encoding(h, &chunked);
	if (!e)
		e = content_length(h, &has_length, &length);
	if (e)
		return e;
	ret->kind = chunked ? SL_FRAMING_CHUNKED : has_length ? SL_FRAMING_LENGTH : otherwise;
	ret->length = length;
	return SL_HTTP_OK;
}

enum sl_http_error sl_request_framing(const struct sl_head *h, struct sl_framing *ret)
{
	return fields_framing(h, SL_FRAMING_NONE, ret);
}

enum sl_http_error sl_response_framing(const struct sl_head *h, enum sl_method method,
				       struct sl_framing *ret)
{
	bool has_length;
	uint64_t length;
	enum sl_http_error e = SL_HTTP_OK;

	if (h->status / 100 == 1 || h->status == 204 ||
	    (method == SL_METHOD_CONNECT && h->status / 100 == 2)) {
		*ret = (struct sl_framing){SL_FRAMING_NONE, 0};
		return SL_HTTP_OK;
	}
	if (method != SL_METHOD_HEAD && h->status != 304)
		return fields_framing(h, SL_FRAMING_CLOSE, ret);
	e = content_length(h, &has_length, &length);
	if (!e)
		*ret = (struct sl_framing){SL_FRAMING_NONE, 0};
	return e;
}
