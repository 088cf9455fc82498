/* SPDX-License-Identifier: BSD-2-Clause */
/* Lines of a screen. */

#include "cli/page.h"

#include <stdarg.h>
#include <stdio.h>

void sl_page_begin(struct sl_page *p, unsigned rows, unsigned columns)
{
	p->rows = sl_min(rows, (unsigned)SL_PAGE_ROWS);
	p->columns = sl_min(columns, (unsigned)SL_PAGE_COLUMNS);
	p->n = 0;
}

void sl_page_add(struct sl_page *p, enum sl_look look, const char *format, ...)
{
	struct sl_page_line *l = &p->line[p->n];
	va_list args;

	if (p->n >= p->rows)
		return;
	va_start(args, format);
	vsnprintf(l->text, p->columns + 1, format, args);
	va_end(args);
	for (char *c = l->text; *c; c++)
		if (*c < 0x20 || *c > 0x7e)
			*c = '?';
	l->look = look;
	p->n++;
}

size_t sl_page_room(const struct sl_page *p)
{
	return p->rows - p->n;
}
