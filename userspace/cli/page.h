/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_CLI_PAGE_H
#define SLUICE_CLI_PAGE_H

/* A screen as lines of text, before any terminal sees it. */

#include <stddef.h>

#include "base/util.h"

#define SL_PAGE_ROWS	200
#define SL_PAGE_COLUMNS 400

enum sl_look {
	SL_LOOK_PLAIN,
	SL_LOOK_TITLE,	  /* the first line */
	SL_LOOK_HEADING,  /* of a table */
	SL_LOOK_SELECTED, /* the row that keys act on */
	SL_LOOK_WARNING,
	SL_LOOK_FAINT,
};

struct sl_page {
	unsigned rows, columns; /* of the window: no line is longer, and no more are kept */
	size_t n;
	struct sl_page_line {
		enum sl_look look;
		char text[SL_PAGE_COLUMNS + 1];
	} line[SL_PAGE_ROWS];
};

/* Empties it, for a window of that size. */
void sl_page_begin(struct sl_page *p, unsigned rows, unsigned columns);
/* A line; what is too long is cut, what is too much is left out. Bytes that are not printable ASCII
 * become '?'. */
void sl_page_add(struct sl_page *p, enum sl_look look, const char *format, ...) SL_PRINTF(3, 4);
/* How many lines have room still. */
size_t sl_page_room(const struct sl_page *p);

#endif
