/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_TESTS_HTTP_H
#define SLUICE_TESTS_HTTP_H

/* Shared by the tests of http/: a head out of a literal. */

#include "http/head.h"

static const struct sl_head_limits test_limits = {
	.head_bytes = 512, .start_line_bytes = 64, .fields = 4};

/* The literal may hold NULs; its final one doesn't count. */
#define TEXT(literal)                          \
	{                                      \
		(literal), sizeof(literal) - 1 \
	}

static inline const char *verdict(enum sl_parse r, const struct sl_head *h)
{
	return r == SL_PARSE_BAD    ? sl_http_error_name(h->error)
	       : r == SL_PARSE_MORE ? "more"
				    : "ok";
}

/* Parses a head of any size that has to be good. */
static inline void parse_good(bool request, const char *text, struct sl_head *h)
{
	static const struct sl_head_limits wide = {1 << 20, 1 << 16, SL_HEAD_FIELDS_MAX};
	size_t scanned = 0;
	enum sl_parse r = (request ? sl_head_parse_request : sl_head_parse_response)(
		text, strlen(text), &scanned, &wide, h);

	if (r != SL_PARSE_DONE || h->len != strlen(text))
		fail_msg("not one whole head (%s): %s", verdict(r, h), text);
}

/* A request or response head with these field lines ("A: b\r\n" each). */
static inline void parse_fields(bool request, unsigned minor, const char *fields, struct sl_head *h)
{
	static char text[65536]; /* slices live as long as the next call */

	if (request)
		snprintf(text, sizeof(text), "POST /x HTTP/1.%u\r\n%s\r\n", minor, fields);
	else
		snprintf(text, sizeof(text), "HTTP/1.%u 200 OK\r\n%s\r\n", minor, fields);
	parse_good(request, text, h);
}

static inline void assert_slice(struct sl_slice s, const char *want)
{
	if (!sl_slice_eq(s, sl_slice_str(want)))
		fail_msg("'%.*s' instead of '%s'", (int)s.len, s.p, want);
}

#endif
