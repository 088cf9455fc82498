/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_HTTP_LINE_H
#define SLUICE_HTTP_LINE_H

/* Lines of heads and trailer sections, as a cursor walks over them. Private to http/.
 *
 * The verdict on bytes depends only on those bytes: what is refused for a prefix is refused for the
 * same reason with more bytes behind it. That is what makes parsing independent of splits. */

#include "http/head.h"

struct sl_cursor {
	const char *p, *end;
	enum sl_http_error error; /* set whenever SL_PARSE_BAD is returned */
};

static inline enum sl_parse sl_cursor_bad(struct sl_cursor *c, enum sl_http_error error)
{
	c->error = error;
	return SL_PARSE_BAD;
}

/* Expects CRLF. A CR or LF without its partner has its own error; any other byte is `other`. */
enum sl_parse sl_line_end(struct sl_cursor *c, enum sl_http_error other);

/* Parses one field line. DONE with ret->name.len 0 means the empty line that ends the section. On
 * anything but DONE the cursor may stand anywhere in the line. */
enum sl_parse sl_line_field(struct sl_cursor *c, struct sl_field *ret);

/* Parses field lines and the empty line behind them into h->field, h->n_fields; more than `max` are
 * SL_HTTP_TOO_MANY_FIELDS. */
enum sl_parse sl_line_fields(struct sl_cursor *c, unsigned max, struct sl_head *h);

#endif
