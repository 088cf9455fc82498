/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_BASE_BUFFER_H
#define SLUICE_BASE_BUFFER_H

/* Byte buffers of one thread. A connection takes one when bytes arrive and gives it back when they
 * are gone: an idle connection holds none. All buffers of a pool have the same capacity, and the
 * pool has a limit; who gets NULL must refuse or wait, never allocate elsewhere. */

#include <stdbool.h>
#include <stdint.h>

#include "base/slab.h"
#include "base/slice.h"
#include "base/util.h"

struct sl_buf {
	uint32_t start, end; /* data[start..end) is content, data[end..cap) is room */
	uint32_t cap;
	char data[];
};

struct sl_buf_pool {
	struct sl_slab slab;
	uint32_t cap;
};

void sl_buf_pool_init(struct sl_buf_pool *p, uint32_t cap, uint32_t limit);
void sl_buf_pool_destroy(struct sl_buf_pool *p);
/* An empty buffer, or NULL when the pool's limit is reached. */
struct sl_buf *sl_buf_get(struct sl_buf_pool *p);
/* Takes NULL; always returns NULL, so that `b = sl_buf_put(p, b)` forgets it. */
struct sl_buf *sl_buf_put(struct sl_buf_pool *p, struct sl_buf *b);

static inline uint32_t sl_buf_len(const struct sl_buf *b)
{
	return b->end - b->start;
}

static inline uint32_t sl_buf_room(const struct sl_buf *b)
{
	return b->cap - b->end;
}

static inline char *sl_buf_head(struct sl_buf *b)
{
	return b->data + b->start;
}

static inline char *sl_buf_tail(struct sl_buf *b)
{
	return b->data + b->end;
}

/* Drops n bytes of content from the front; an emptied buffer starts over at its beginning. */
static inline void sl_buf_consume(struct sl_buf *b, uint32_t n)
{
	b->start += n;
	if (b->start == b->end)
		b->start = b->end = 0;
}

/* Moves the content to the front, so that all room is behind it. */
void sl_buf_compact(struct sl_buf *b);
/* Appends; false (and nothing appended) if the room is too small. */
bool sl_buf_append(struct sl_buf *b, const void *p, size_t len);
bool sl_buf_append_str(struct sl_buf *b, const char *s);
bool sl_buf_append_slice(struct sl_buf *b, struct sl_slice s);
/* In digits of base 10 or 16, lower case. */
bool sl_buf_append_number(struct sl_buf *b, uint64_t n, unsigned base);
/* Costs a thousand instructions and more: not once per request. */
bool sl_buf_printf(struct sl_buf *b, const char *fmt, ...) SL_PRINTF(2, 3);

#endif
