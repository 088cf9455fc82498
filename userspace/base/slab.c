/* SPDX-License-Identifier: BSD-2-Clause */
/* Slab: a free list over chunks, which are mapped, so that the system gets back what is trimmed. Under AddressSanitizer every object is its own allocation. */

#include "base/slab.h"

#include <string.h>
#include <sys/mman.h>

#include "base/util.h"

#define CHUNK_BYTES (64 * 1024)
#define ALIGN	    16

#if defined(__SANITIZE_ADDRESS__)
#define OWN_ALLOCATIONS 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define OWN_ALLOCATIONS 1
#endif
#endif
#ifndef OWN_ALLOCATIONS
#define OWN_ALLOCATIONS 0
#endif

/* A chunk starts with the link to the next; objects follow at ALIGN. */
static uint32_t per_chunk(const struct sl_slab *s)
{
	size_t n = (CHUNK_BYTES - ALIGN) / s->object_size;

	return n ? (uint32_t)n : 1;
}

static size_t chunk_bytes(const struct sl_slab *s)
{
	return ALIGN + per_chunk(s) * s->object_size;
}

void sl_slab_init(struct sl_slab *s, const char *name, size_t object_size, uint32_t limit)
{
	memset(s, 0, sizeof(*s));
	s->name = name;
	s->object_size = (sl_max(object_size, sizeof(void *)) + ALIGN - 1) & ~(size_t)(ALIGN - 1);
	s->limit = limit;
}

void sl_slab_destroy(struct sl_slab *s)
{
	void *chunk, *next;

	for (chunk = s->chunks; chunk; chunk = next) {
		next = *(void **)chunk;
		munmap(chunk, chunk_bytes(s));
	}
	s->chunks = s->free = NULL;
	s->made = 0;
}

static int add_chunk(struct sl_slab *s)
{
	char *chunk = mmap(NULL, chunk_bytes(s), PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (chunk == MAP_FAILED)
		return -1;
	if (s->hidden)
		madvise(chunk, chunk_bytes(s), MADV_DONTDUMP);
	*(void **)chunk = s->chunks;
	s->chunks = chunk;
	for (uint32_t i = 0; i < per_chunk(s); i++) {
		void *object = chunk + ALIGN + i * s->object_size;

		*(void **)object = s->free;
		s->free = object;
	}
	s->made += per_chunk(s);
	return 0;
}

void *sl_slab_get_raw(struct sl_slab *s)
{
	void *object;

	if (s->used >= s->limit)
		return NULL;
	if (OWN_ALLOCATIONS) {
		object = malloc(s->object_size);
	} else {
		if (!s->free && add_chunk(s))
			return NULL;
		object = s->free;
		s->free = *(void **)object;
	}
	if (object)
		s->used++;
	return object;
}

void *sl_slab_get(struct sl_slab *s)
{
	void *object = sl_slab_get_raw(s);

	if (object)
		memset(object, 0, s->object_size);
	return object;
}

void sl_slab_put(struct sl_slab *s, void *object)
{
	if (!object)
		return;
	s->used--;
	if (OWN_ALLOCATIONS) {
		free(object);
		return;
	}
	*(void **)object = s->free;
	s->free = object;
}

void sl_slab_trim(struct sl_slab *s)
{
	if (!s->used)
		sl_slab_destroy(s);
}

size_t sl_slab_bytes(const struct sl_slab *s)
{
	if (OWN_ALLOCATIONS)
		return s->used * s->object_size;
	return s->made / per_chunk(s) * chunk_bytes(s);
}
