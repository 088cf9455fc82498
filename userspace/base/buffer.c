/* SPDX-License-Identifier: BSD-2-Clause */
/* Buffers: slab objects with a content window. Their memory is not zeroed on get: only the small
 * header is, because content is always written before it is read. */

#include "base/buffer.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void sl_buf_pool_init(struct sl_buf_pool *p, uint32_t cap, uint32_t limit)
{
	sl_slab_init(&p->slab, "buffers", sizeof(struct sl_buf) + cap, limit);
	p->slab.hidden = true; /* strangers' passwords, cookies and bodies */
	p->cap = cap;
}

void sl_buf_pool_destroy(struct sl_buf_pool *p)
{
	sl_slab_destroy(&p->slab);
}

struct sl_buf *sl_buf_get(struct sl_buf_pool *p)
{
	struct sl_buf *b = sl_slab_get_raw(&p->slab);

	if (!b)
		return NULL;
	b->start = b->end = 0;
	b->cap = p->cap;
	return b;
}

struct sl_buf *sl_buf_put(struct sl_buf_pool *p, struct sl_buf *b)
{
	sl_slab_put(&p->slab, b);
	return NULL;
}

void sl_buf_compact(struct sl_buf *b)
{
	if (!b->start)
		return;
	memmove(b->data, b->data + b->start, sl_buf_len(b));
	b->end -= b->start;
	b->start = 0;
}

bool sl_buf_append(struct sl_buf *b, const void *p, size_t len)
{
	if (len > sl_buf_room(b))
		return false;
	if (len)
		memcpy(sl_buf_tail(b), p, len);
	b->end += (uint32_t)len;
	return true;
}

bool sl_buf_append_str(struct sl_buf *b, const char *s)
{
	return sl_buf_append(b, s, strlen(s));
}

bool sl_buf_append_slice(struct sl_buf *b, struct sl_slice s)
{
	return sl_buf_append(b, s.p, s.len);
}

bool sl_buf_append_number(struct sl_buf *b, uint64_t n, unsigned base)
{
	char digits[20];
	size_t at = sizeof(digits);

	do {
		digits[--at] = "0123456789abcdef"[n % base];
		n /= base;
	} while (n);
	return sl_buf_append(b, digits + at, sizeof(digits) - at);
}

bool sl_buf_printf(struct sl_buf *b, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(sl_buf_tail(b), sl_buf_room(b), fmt, ap);
	va_end(ap);
	if (n < 0 || (uint32_t)n >= sl_buf_room(b))
		return false;
	b->end += (uint32_t)n;
	return true;
}
