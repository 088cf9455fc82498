/* SPDX-License-Identifier: BSD-2-Clause */
/* Heads of requests and responses (RFC 9112 2 to 5).
 *
 * A head that is there at once is parsed in one pass. One that grows is searched for line ends, each
 * byte once, and parsed again only when that could tell more: the start line became whole, a line
 * end is bare, the head is whole, or a limit is reached. Every parse reads from the beginning and
 * its verdict on a prefix never changes with more bytes, so splits can't change the outcome.
 *
 * Keeps nothing between calls but *scanned. Does not judge what fields mean: see framing.c, hop.c
 * and target.c. */

#include "http/head.h"

#include "base/util.h"
#include "http/line.h"
#include "http/scan.h"

static enum sl_method method_lookup(struct sl_slice token)
{
#define X(name)                                  \
	if (sl_slice_eq(token, SL_SLICE(#name))) \
		return SL_METHOD_##name;
	SL_METHODS(X)
#undef X
	return SL_METHOD_OTHER;
}

/* A run of one class and the space behind it. Not empty. */
static enum sl_parse word(struct sl_cursor *c, enum sl_scan_class class, enum sl_http_error error,
			  struct sl_slice *ret)
{
	size_t n = sl_scan(class, c->p, (size_t)(c->end - c->p));
	const char *start = c->p;
	enum sl_parse r;

	c->p += n;
	if (c->p == c->end)
		return SL_PARSE_MORE;
	if (*c->p != ' ') {
		r = sl_line_end(c, error);
		return r == SL_PARSE_DONE ? sl_cursor_bad(c, SL_HTTP_BAD_START_LINE) : r;
	}
	if (!n)
		return sl_cursor_bad(c, SL_HTTP_BAD_START_LINE);
	c->p++;
	*ret = sl_slice(start, n);
	return SL_PARSE_DONE;
}

static enum sl_parse version(struct sl_cursor *c, struct sl_head *h)
{
	static const char form[] = "HTTP/0.0";
	size_t len = sl_min((size_t)(c->end - c->p), sizeof(form) - 1);
	enum sl_parse r;

	for (size_t i = 0; i < len; i++) {
		bool digit = c->p[i] >= '0' && c->p[i] <= '9';

		if (form[i] == '0' ? digit : c->p[i] == form[i])
			continue;
		c->p += i;
		r = sl_line_end(c, SL_HTTP_BAD_START_LINE);
		return r == SL_PARSE_DONE ? sl_cursor_bad(c, SL_HTTP_BAD_START_LINE) : r;
	}
	if (len < sizeof(form) - 1)
		return SL_PARSE_MORE;
	if (c->p[5] != '1' || c->p[7] > '1')
		return sl_cursor_bad(c, SL_HTTP_BAD_VERSION);
	h->minor = (uint8_t)(c->p[7] - '0');
	c->p += len;
	return SL_PARSE_DONE;
}

static enum sl_parse request_line(struct sl_cursor *c, struct sl_head *h)
{
	enum sl_parse r = word(c, SL_SCAN_TOKEN, SL_HTTP_BAD_METHOD, &h->method_token);

	if (r == SL_PARSE_DONE)
		r = word(c, SL_SCAN_TARGET, SL_HTTP_BAD_TARGET, &h->target);
	if (r == SL_PARSE_DONE)
		r = version(c, h);
	if (r == SL_PARSE_BAD && c->error == SL_HTTP_BAD_VERSION &&
	    sl_slice_eq(h->method_token, SL_SLICE("PRI")) &&
	    sl_slice_eq(h->target, SL_SLICE("*")) && c->p[5] == '2')
		c->error = SL_HTTP_HTTP2_PREFACE;
	if (r != SL_PARSE_DONE)
		return r;
	h->method = method_lookup(h->method_token);
	return sl_line_end(c, SL_HTTP_BAD_START_LINE);
}

/* SP and three digits, of which the first is not 0. */
static enum sl_parse status_code(struct sl_cursor *c, struct sl_head *h)
{
	size_t len = sl_min((size_t)(c->end - c->p), (size_t)4);
	unsigned status = 0;

	if (len && c->p[0] != ' ')
		return sl_cursor_bad(c, SL_HTTP_BAD_START_LINE);
	for (size_t i = 1; i < len; i++) {
		if (c->p[i] < (i == 1 ? '1' : '0') || c->p[i] > '9') {
			enum sl_parse r;

			c->p += i;
			r = sl_line_end(c, SL_HTTP_BAD_STATUS);
			return r == SL_PARSE_DONE ? sl_cursor_bad(c, SL_HTTP_BAD_STATUS) : r;
		}
		status = status * 10 + (unsigned)(c->p[i] - '0');
	}
	if (len < 4)
		return SL_PARSE_MORE;
	h->status = (uint16_t)status;
	c->p += len;
	return SL_PARSE_DONE;
}

static enum sl_parse status_line(struct sl_cursor *c, struct sl_head *h)
{
	enum sl_parse r = version(c, h);
	const char *start;

	if (r == SL_PARSE_DONE)
		r = status_code(c, h);
	if (r != SL_PARSE_DONE)
		return r;
	if (c->p < c->end && *c->p != ' ')
		return sl_line_end(c, SL_HTTP_BAD_STATUS);
	if (c->p < c->end)
		c->p++;
	start = c->p;
	c->p += sl_scan(SL_SCAN_VALUE, c->p, (size_t)(c->end - c->p));
	h->reason = sl_slice(start, (size_t)(c->p - start));
	return sl_line_end(c, SL_HTTP_BAD_START_LINE);
}

typedef enum sl_parse (*start_line_fn)(struct sl_cursor *c, struct sl_head *h);

/* The start line within its limit. */
static enum sl_parse start_line(struct sl_cursor *c, const struct sl_head_limits *limits,
				start_line_fn parse, struct sl_head *h)
{
	size_t max = (size_t)limits->start_line_bytes + 2;
	struct sl_cursor line = {c->p, c->p + sl_min((size_t)(c->end - c->p), max), SL_HTTP_OK};
	enum sl_parse r = parse(&line, h);

	if (r == SL_PARSE_MORE && (size_t)(line.end - c->p) == max)
		return sl_cursor_bad(c, SL_HTTP_START_LINE_TOO_LONG);
	c->p = line.p;
	c->error = line.error;
	return r;
}

/* Skips one empty line (RFC 9112 2.2). */
static enum sl_parse empty_line(struct sl_cursor *c)
{
	if (c->p == c->end)
		return SL_PARSE_MORE;
	if (*c->p != '\r')
		return SL_PARSE_DONE;
	return sl_line_end(c, SL_HTTP_BAD_START_LINE);
}

/* Parses what is there from the beginning. */
static enum sl_parse whole(const char *data, size_t len, const struct sl_head_limits *limits,
			   start_line_fn parse, struct sl_head *h)
{
	struct sl_cursor c = {data, data + sl_min(len, (size_t)limits->head_bytes), SL_HTTP_OK};
	enum sl_parse r = parse == request_line ? empty_line(&c) : SL_PARSE_DONE;

	h->method = SL_METHOD_OTHER;
	h->method_token = h->target = h->reason = (struct sl_slice){0};
	h->status = 0;
	h->n_fields = 0;
	if (r == SL_PARSE_DONE)
		r = start_line(&c, limits, parse, h);
	if (r == SL_PARSE_DONE)
		r = sl_line_fields(&c, sl_min(limits->fields, (uint16_t)SL_HEAD_FIELDS_MAX), h);
	if (r == SL_PARSE_MORE && len >= limits->head_bytes)
		r = sl_cursor_bad(&c, SL_HTTP_HEAD_TOO_LARGE);
	h->error = c.error;
	h->len = (uint32_t)(c.p - data);
	return r;
}

/* True if the line that ends with the LF at data[lf] calls for a parse: the first, an empty or a
 * bare one. A leading empty line counts as the first, which costs one parse more and no harm. */
static bool telling_line(const char *data, size_t lf)
{
	return lf < 2 || data[lf - 1] != '\r' || data[lf - 2] == '\n' || !memrchr(data, '\n', lf) ||
	       (data[0] == '\r' && !memrchr(data + 2, '\n', lf - 2));
}

/* True if the bytes from `from` on could change a verdict of "more". */
static bool worth_parsing(const char *data, size_t from, size_t len,
			  const struct sl_head_limits *limits)
{
	size_t line_max = (size_t)limits->start_line_bytes + 2;
	const char *p = data + from, *end = data + len;

	/* Within the two bytes that a skipped empty line may have, each byte may be the one. */
	if (len >= limits->head_bytes || (from < line_max + 2 && len >= line_max))
		return true;
	while ((p = memchr(p, '\n', (size_t)(end - p)))) {
		if (telling_line(data, (size_t)(p - data)))
			return true;
		p++;
	}
	return false;
}

static enum sl_parse parse_head(const char *data, size_t len, size_t *scanned,
				const struct sl_head_limits *limits, start_line_fn parse,
				struct sl_head *ret)
{
	size_t from = *scanned;

	*scanned = len;
	if (from && (from >= len || !worth_parsing(data, from, len, limits)))
		return SL_PARSE_MORE;
	return whole(data, len, limits, parse, ret);
}

enum sl_parse sl_head_parse_request(const char *data, size_t len, size_t *scanned,
				    const struct sl_head_limits *limits, struct sl_head *ret)
{
	return parse_head(data, len, scanned, limits, request_line, ret);
}

enum sl_parse sl_head_parse_response(const char *data, size_t len, size_t *scanned,
				     const struct sl_head_limits *limits, struct sl_head *ret)
{
	return parse_head(data, len, scanned, limits, status_line, ret);
}

const struct sl_field *sl_head_find(const struct sl_head *h, enum sl_field_id id)
{
	for (unsigned i = 0; i < h->n_fields; i++)
		if (h->field[i].id == id)
			return &h->field[i];
	return NULL;
}
