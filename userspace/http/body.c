/* SPDX-License-Identifier: BSD-2-Clause */
/* Bodies (RFC 9112 6 and 7): content out of framing, one event a call.
 *
 * Invariants: content slices lie in the caller's buffer; a refused body stays refused; what an
 * event consumed never has to be seen again. Sizes, extensions and trailers are bounded. The
 * decoder does not judge which trailer fields may be forwarded. */

#include "http/body.h"

#include "base/util.h"
#include "http/line.h"
#include "http/scan.h"

#define SIZE_DIGITS_MAX 15

/* Where the next byte belongs. Extensions: *( BWS ";" BWS name [ BWS "=" BWS value ] ). */
enum state {
	STATE_BODY,	  /* content of a body that is not chunked */
	STATE_SIZE,	  /* chunk-size digits */
	STATE_BEFORE_EXT, /* white space that a ";" must follow */
	STATE_EXT_START,  /* behind ";" */
	STATE_EXT_NAME,
	STATE_AFTER_NAME,  /* white space that "=" or ";" must follow */
	STATE_VALUE_START, /* behind "=" */
	STATE_VALUE,
	STATE_QUOTED,
	STATE_QUOTED_PAIR, /* behind a backslash */
	STATE_QUOTED_END,  /* behind the closing quote */
	STATE_SIZE_LF,
	STATE_DATA,
	STATE_DATA_CR,
	STATE_DATA_LF,
	STATE_TRAILER,
	STATE_END,
	STATE_BAD,
};

void sl_body_init(struct sl_body *b, const struct sl_framing *f)
{
	*b = (struct sl_body){.kind = f->kind, .state = STATE_BODY};
	if (f->kind == SL_FRAMING_LENGTH)
		b->remaining = f->length;
	if (f->kind == SL_FRAMING_CHUNKED)
		b->state = STATE_SIZE;
	else if (f->kind != SL_FRAMING_CLOSE && !b->remaining)
		b->state = STATE_END;
}

bool sl_body_ended(const struct sl_body *b)
{
	return b->state == STATE_END;
}

static enum sl_body_event bad(struct sl_body *b, enum sl_http_error error)
{
	b->state = STATE_BAD;
	b->error = error;
	return SL_BODY_BAD;
}

/* Yields what is there of the `remaining` bytes. */
static enum sl_body_event content(struct sl_body *b, const char *data, size_t len, uint8_t next,
				  size_t *used, struct sl_slice *ret_data)
{
	size_t n = b->kind == SL_FRAMING_CLOSE ? len : (size_t)sl_min((uint64_t)len, b->remaining);

	if (!n)
		return SL_BODY_MORE;
	*ret_data = sl_slice(data, n);
	*used += n;
	b->content_bytes += n;
	if (b->kind != SL_FRAMING_CLOSE) {
		b->remaining -= n;
		if (!b->remaining)
			b->state = next;
	}
	return SL_BODY_DATA;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = sl_ascii_lower(c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static enum sl_http_error size_digit(struct sl_body *b, char c)
{
	int digit = hex_digit(c);

	if (digit >= 0) {
		if (++b->size_digits > SIZE_DIGITS_MAX)
			return SL_HTTP_BAD_CHUNK_SIZE;
		b->remaining = b->remaining << 4 | (unsigned)digit;
		return SL_HTTP_OK;
	}
	if (c == '\n')
		return SL_HTTP_BARE_LF;
	if (!b->size_digits || (c != '\r' && c != ';' && !is_blank(c)))
		return SL_HTTP_BAD_CHUNK_SIZE;
	b->state = c == '\r' ? STATE_SIZE_LF : c == ';' ? STATE_EXT_START : STATE_BEFORE_EXT;
	b->extension_bytes += c != '\r';
	return SL_HTTP_OK;
}

/* The state that byte c leads to within an extension, or STATE_BAD. */
static enum state extension_next(enum state s, char c)
{
	bool tchar = sl_scan_scalar(SL_SCAN_TOKEN, &c, 1);
	bool text = sl_scan_scalar(SL_SCAN_VALUE, &c, 1);

	switch (s) {
	case STATE_EXT_START:
		return tchar ? STATE_EXT_NAME : is_blank(c) ? STATE_EXT_START : STATE_BAD;
	case STATE_VALUE_START:
		return tchar	     ? STATE_VALUE
		       : c == '"'    ? STATE_QUOTED
		       : is_blank(c) ? STATE_VALUE_START
				     : STATE_BAD;
	case STATE_QUOTED:
		return c == '"'	   ? STATE_QUOTED_END
		       : c == '\\' ? STATE_QUOTED_PAIR
		       : text	   ? STATE_QUOTED
				   : STATE_BAD;
	case STATE_QUOTED_PAIR:
		return text ? STATE_QUOTED : STATE_BAD;
	case STATE_EXT_NAME:
		if (tchar)
			return STATE_EXT_NAME;
		if (is_blank(c))
			return STATE_AFTER_NAME;
		break;
	case STATE_AFTER_NAME:
	case STATE_BEFORE_EXT:
		if (is_blank(c))
			return s;
		break;
	default: /* STATE_VALUE, STATE_QUOTED_END */
		if (tchar && s == STATE_VALUE)
			return STATE_VALUE;
		if (is_blank(c))
			return STATE_BEFORE_EXT;
		break;
	}
	if (c == '=' && (s == STATE_EXT_NAME || s == STATE_AFTER_NAME))
		return STATE_VALUE_START;
	if (c == ';')
		return STATE_EXT_START;
	return c == '\r' && s != STATE_AFTER_NAME && s != STATE_BEFORE_EXT ? STATE_SIZE_LF
									   : STATE_BAD;
}

static enum sl_http_error extension_byte(struct sl_body *b, char c)
{
	enum state next = extension_next(b->state, c);

	if (c == '\n')
		return SL_HTTP_BARE_LF;
	if (next == STATE_BAD || ++b->extension_bytes > SL_BODY_EXTENSION_BYTES_MAX)
		return SL_HTTP_BAD_CHUNK_EXTENSION;
	b->state = next;
	return SL_HTTP_OK;
}

/* One byte around the data of a chunk. */
static enum sl_http_error chunk_byte(struct sl_body *b, char c)
{
	switch (b->state) {
	case STATE_SIZE:
		return size_digit(b, c);
	case STATE_SIZE_LF:
		if (c != '\n')
			return SL_HTTP_BARE_CR;
		b->state = b->remaining ? STATE_DATA : STATE_TRAILER;
		return SL_HTTP_OK;
	case STATE_DATA_CR:
		b->state = STATE_DATA_LF;
		return c == '\r' ? SL_HTTP_OK : SL_HTTP_BAD_CHUNK_DATA;
	case STATE_DATA_LF:
		b->state = STATE_SIZE;
		b->size_digits = 0;
		return c == '\n' ? SL_HTTP_OK : SL_HTTP_BAD_CHUNK_DATA;
	default:
		return extension_byte(b, c);
	}
}

/* The whole trailer section or nothing of it. */
static enum sl_body_event trailer(struct sl_body *b, const char *data, size_t len, size_t *used,
				  struct sl_slice *ret_data)
{
	size_t max = sl_min(len, (size_t)SL_BODY_TRAILER_BYTES_MAX);
	struct sl_cursor c = {data, data + max, SL_HTTP_OK};
	struct sl_field f;
	enum sl_parse r;

	do
		r = sl_line_field(&c, &f);
	while (r == SL_PARSE_DONE && f.name.len);
	if (r == SL_PARSE_BAD || (r == SL_PARSE_MORE && max == SL_BODY_TRAILER_BYTES_MAX))
		return bad(b, SL_HTTP_BAD_TRAILER);
	if (r == SL_PARSE_MORE)
		return SL_BODY_MORE;
	*ret_data = sl_slice(data, (size_t)(c.p - data));
	*used += ret_data->len;
	b->state = STATE_END;
	return SL_BODY_TRAILER;
}

static enum sl_body_event chunked(struct sl_body *b, const char *data, size_t len, size_t *used,
				  struct sl_slice *ret_data)
{
	enum sl_http_error e;

	while (b->state != STATE_DATA && b->state != STATE_TRAILER) {
		if (*used == len)
			return SL_BODY_MORE;
		e = chunk_byte(b, data[*used]);
		if (e)
			return bad(b, e);
		++*used;
	}
	if (b->state == STATE_TRAILER)
		return trailer(b, data + *used, len - *used, used, ret_data);
	return content(b, data + *used, len - *used, STATE_DATA_CR, used, ret_data);
}

enum sl_body_event sl_body_decode(struct sl_body *b, const char *data, size_t len, size_t *ret_used,
				  struct sl_slice *ret_data)
{
	size_t used = 0;
	enum sl_body_event event;

	if (b->state == STATE_END)
		event = SL_BODY_END;
	else if (b->state == STATE_BAD)
		event = SL_BODY_BAD;
	else if (b->state == STATE_BODY)
		event = content(b, data, len, STATE_END, &used, ret_data);
	else
		event = chunked(b, data, len, &used, ret_data);
	*ret_used = used;
	return event;
}

enum sl_http_error sl_trailer_parse(struct sl_slice section, struct sl_head *h)
{
	struct sl_cursor c = {section.p, section.p + section.len, SL_HTTP_OK};
	enum sl_parse r = sl_line_fields(&c, SL_HEAD_FIELDS_MAX, h);

	if (r == SL_PARSE_BAD && c.error == SL_HTTP_TOO_MANY_FIELDS)
		return c.error;
	if (r != SL_PARSE_DONE || c.p != c.end)
		return SL_HTTP_BAD_TRAILER;
	h->len = (uint32_t)section.len;
	return SL_HTTP_OK;
}
