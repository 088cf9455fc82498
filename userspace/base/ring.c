/* SPDX-License-Identifier: BSD-2-Clause */
/* Single-producer, single-consumer ring. head and tail are byte positions that only grow; a record is
 * a 4-byte length, the bytes, and padding to 4. Records may wrap around the end. */

#include "base/ring.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

struct sl_ring {
	_Alignas(64) uint64_t head; /* consumer's */
	_Alignas(64) uint64_t tail; /* producer's */
	uint64_t dropped;
	_Alignas(64) size_t size;
	char *data;
};

int sl_ring_new(size_t bytes, struct sl_ring **ret)
{
	struct sl_ring *r = aligned_alloc(64, sizeof(*r));
	size_t size = 4096;

	if (!r)
		return -ENOMEM;
	while (size < bytes)
		size *= 2;
	memset(r, 0, sizeof(*r));
	r->size = size;
	r->data = malloc(size);
	if (!r->data) {
		free(r);
		return -ENOMEM;
	}
	*ret = r;
	return 0;
}

void sl_ring_free(struct sl_ring *r)
{
	if (!r)
		return;
	free(r->data);
	free(r);
}

static void copy_in(struct sl_ring *r, uint64_t at, const void *p, size_t len)
{
	size_t offset = at & (r->size - 1);
	size_t first = sl_min(len, r->size - offset);

	memcpy(r->data + offset, p, first);
	memcpy(r->data, (const char *)p + first, len - first);
}

static void copy_out(const struct sl_ring *r, uint64_t at, void *p, size_t len)
{
	size_t offset = at & (r->size - 1);
	size_t first = sl_min(len, r->size - offset);

	memcpy(p, r->data + offset, first);
	memcpy((char *)p + first, r->data, len - first);
}

static uint64_t padded(size_t len)
{
	return sizeof(uint32_t) + ((len + 3) & ~(uint64_t)3);
}

bool sl_ring_push(struct sl_ring *r, const void *record, size_t len)
{
	uint64_t head = __atomic_load_n(&r->head, __ATOMIC_ACQUIRE);
	uint32_t len32 = (uint32_t)len;

	if (len > r->size || padded(len) > r->size - (r->tail - head)) {
		__atomic_store_n(&r->dropped, r->dropped + 1, __ATOMIC_RELAXED);
		return false;
	}
	copy_in(r, r->tail, &len32, sizeof(len32));
	copy_in(r, r->tail + sizeof(len32), record, len);
	__atomic_store_n(&r->tail, r->tail + padded(len), __ATOMIC_RELEASE);
	return true;
}

size_t sl_ring_pop(struct sl_ring *r, void *buf, size_t cap)
{
	uint64_t tail = __atomic_load_n(&r->tail, __ATOMIC_ACQUIRE);
	uint32_t len;

	if (r->head == tail)
		return 0;
	copy_out(r, r->head, &len, sizeof(len));
	copy_out(r, r->head + sizeof(len), buf, sl_min((size_t)len, cap));
	__atomic_store_n(&r->head, r->head + padded(len), __ATOMIC_RELEASE);
	return sl_min((size_t)len, cap);
}

uint64_t sl_ring_dropped(const struct sl_ring *r)
{
	return __atomic_load_n(&r->dropped, __ATOMIC_RELAXED);
}
