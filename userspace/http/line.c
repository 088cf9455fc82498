/* SPDX-License-Identifier: BSD-2-Clause */
/* Field lines (RFC 9112 5), shared by heads and trailer sections.
 *
 * Knows the syntax only; what fields mean is elsewhere. Reads left to right and decides on the first
 * byte that can't be part of a valid line. */

#include "http/line.h"

#include "http/scan.h"

enum sl_parse sl_line_end(struct sl_cursor *c, enum sl_http_error other)
{
	if (c->p == c->end)
		return SL_PARSE_MORE;
	if (*c->p == '\n')
		return sl_cursor_bad(c, SL_HTTP_BARE_LF);
	if (*c->p != '\r')
		return sl_cursor_bad(c, other);
	if (c->end - c->p < 2)
		return SL_PARSE_MORE;
	if (c->p[1] != '\n')
		return sl_cursor_bad(c, SL_HTTP_BARE_CR);
	c->p += 2;
	return SL_PARSE_DONE;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static enum sl_parse field_name(struct sl_cursor *c, struct sl_slice *ret)
{
	size_t n = sl_scan(SL_SCAN_TOKEN, c->p, (size_t)(c->end - c->p));
	const char *start = c->p;
	enum sl_parse r;

	c->p += n;
	if (c->p == c->end)
		return SL_PARSE_MORE;
	if (*c->p != ':' || !n) {
		r = sl_line_end(c, SL_HTTP_BAD_FIELD_NAME);
		return r == SL_PARSE_DONE ? sl_cursor_bad(c, SL_HTTP_BAD_FIELD_NAME) : r;
	}
	c->p++;
	*ret = sl_slice(start, n);
	return SL_PARSE_DONE;
}

static enum sl_parse field_value(struct sl_cursor *c, struct sl_slice *ret)
{
	const char *start, *stop;
	enum sl_parse r;

	while (c->p < c->end && is_blank(*c->p))
		c->p++;
	start = c->p;
	c->p += sl_scan(SL_SCAN_VALUE, c->p, (size_t)(c->end - c->p));
	stop = c->p;
	r = sl_line_end(c, SL_HTTP_BAD_FIELD_VALUE);
	if (r != SL_PARSE_DONE)
		return r;
	while (stop > start && is_blank(stop[-1]))
		stop--;
	*ret = sl_slice(start, (size_t)(stop - start));
	return SL_PARSE_DONE;
}

enum sl_parse sl_line_field(struct sl_cursor *c, struct sl_field *ret)
{
	struct sl_field f;
	enum sl_parse r;

	if (c->p == c->end)
		return SL_PARSE_MORE;
	if (is_blank(*c->p))
		return sl_cursor_bad(c, SL_HTTP_OBS_FOLD);
	if (*c->p == '\r' || *c->p == '\n') {
		r = sl_line_end(c, SL_HTTP_BAD_FIELD_NAME);
		if (r == SL_PARSE_DONE)
			*ret = (struct sl_field){0};
		return r;
	}
	r = field_name(c, &f.name);
	if (r == SL_PARSE_DONE)
		r = field_value(c, &f.value);
	if (r != SL_PARSE_DONE)
		return r;
	f.id = sl_field_lookup(f.name);
	*ret = f;
	return SL_PARSE_DONE;
}

enum sl_parse sl_line_fields(struct sl_cursor *c, unsigned max, struct sl_head *h)
{
	struct sl_field f;
	enum sl_parse r;

	h->n_fields = 0;
	while ((r = sl_line_field(c, &f)) == SL_PARSE_DONE && f.name.len) {
		if (h->n_fields == max)
			return sl_cursor_bad(c, SL_HTTP_TOO_MANY_FIELDS);
		h->field[h->n_fields++] = f;
	}
	return r;
}
