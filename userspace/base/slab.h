/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_BASE_SLAB_H
#define SLUICE_BASE_SLAB_H

/* Fixed-size objects of one thread, with a hard limit. Objects come from chunks that are kept
 * until the slab is destroyed; a free list makes get and put O(1). Under AddressSanitizer every
 * object is an own allocation, so that use after free is found. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sl_slab {
	size_t object_size;
	uint32_t limit; /* most objects alive at once */
	uint32_t used;
	uint32_t made; /* carved from chunks so far */
	void *free;    /* singly linked through the objects' first word */
	void *chunks;
	const char *name; /* static, for statistics */
	bool hidden; /* its chunks are left out of core dumps; set by the owner before the first get */
};

void sl_slab_init(struct sl_slab *s, const char *name, size_t object_size, uint32_t limit);
/* Frees the chunks. Every object must have been put back. */
void sl_slab_destroy(struct sl_slab *s);
/* Gives memory back to the system if no object is out; objects can be had as before. */
void sl_slab_trim(struct sl_slab *s);
/* A zeroed object, or NULL when the limit is reached or memory is out. */
void *sl_slab_get(struct sl_slab *s);
/* The same, not zeroed: for large objects whose owner writes before it reads. */
void *sl_slab_get_raw(struct sl_slab *s);
/* Takes NULL. */
void sl_slab_put(struct sl_slab *s, void *object);
/* Bytes that the slab holds from the system. */
size_t sl_slab_bytes(const struct sl_slab *s);

#endif
