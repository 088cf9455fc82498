/* SPDX-License-Identifier: BSD-2-Clause */
/* Slots. The free ones are a stack, the cooling ones a queue. The counters may be read by other threads. */

#include "dpdk/slots.h"

#include <errno.h>
#include <stdlib.h>

static void add(uint32_t *counter, int32_t n)
{
	__atomic_store_n(counter, *counter + (uint32_t)n, __ATOMIC_RELAXED);
}

int sl_dpdk_slots_init(struct sl_dpdk_slots *s, uint32_t n)
{
	*s = (struct sl_dpdk_slots){.n = n, .first = SL_DPDK_NO_SLOT, .last = SL_DPDK_NO_SLOT};
	s->slot = calloc(n, sizeof(*s->slot));
	if (!s->slot)
		return -ENOMEM;
	for (uint32_t i = 0; i < n; i++)
		s->slot[i].next = i + 1 < n ? i + 1 : SL_DPDK_NO_SLOT;
	return 0;
}

void sl_dpdk_slots_destroy(struct sl_dpdk_slots *s)
{
	free(s->slot);
	s->slot = NULL;
}

uint32_t sl_dpdk_slot_take(struct sl_dpdk_slots *s, void *pair)
{
	uint32_t i = s->free;

	if (i == SL_DPDK_NO_SLOT)
		return i;
	s->free = s->slot[i].next;
	s->slot[i].pair = pair;
	add(&s->n_taken, 1);
	return i;
}

void sl_dpdk_slot_cool(struct sl_dpdk_slots *s, uint32_t slot, uint64_t until_ms)
{
	struct sl_dpdk_slot *k = &s->slot[slot];

	*k = (struct sl_dpdk_slot){.until_ms = until_ms, .next = SL_DPDK_NO_SLOT};
	if (s->last == SL_DPDK_NO_SLOT)
		s->first = slot;
	else
		s->slot[s->last].next = slot;
	s->last = slot;
	add(&s->n_taken, -1);
	add(&s->n_cooling, 1);
}

uint32_t sl_dpdk_slot_cooled(struct sl_dpdk_slots *s, uint64_t now_ms)
{
	uint32_t i = s->first;

	if (i == SL_DPDK_NO_SLOT || s->slot[i].until_ms > now_ms)
		return SL_DPDK_NO_SLOT;
	s->first = s->slot[i].next;
	if (s->first == SL_DPDK_NO_SLOT)
		s->last = SL_DPDK_NO_SLOT;
	add(&s->n_cooling, -1);
	add(&s->n_taken, 1);
	return i;
}

void sl_dpdk_slot_free(struct sl_dpdk_slots *s, uint32_t slot)
{
	s->slot[slot] = (struct sl_dpdk_slot){.next = s->free};
	s->free = slot;
	add(&s->n_taken, -1);
}
