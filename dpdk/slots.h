/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_DPDK_SLOTS_H
#define SLUICE_DPDK_SLOTS_H

/* Who has which slot of the table of spliced pairs. A slot is free, taken by a pair, or cooling: its pair
 * is closed, and late packets of it are still rewritten for a while (TIME_WAIT). */

#include <stdbool.h>
#include <stdint.h>

struct sl_dpdk_slots {
	struct sl_dpdk_slot {
		void *pair; /* while it is taken */
		uint64_t until_ms;
		uint32_t next; /* free, cooling */
	} * slot;
	uint32_t n, free;
	uint32_t first, last; /* cooling, in the order of their times */
	uint32_t n_taken, n_cooling;
};

#define SL_DPDK_NO_SLOT UINT32_MAX

/* 0 or -ENOMEM. */
int sl_dpdk_slots_init(struct sl_dpdk_slots *s, uint32_t n);
void sl_dpdk_slots_destroy(struct sl_dpdk_slots *s);

/* A free one, or SL_DPDK_NO_SLOT. */
uint32_t sl_dpdk_slot_take(struct sl_dpdk_slots *s, void *pair);
/* A slot that was taken. until_ms never decreases from call to call. */
void sl_dpdk_slot_cool(struct sl_dpdk_slots *s, uint32_t slot, uint64_t until_ms);
/* The one whose time came first, if it has come; it is the caller's to free. SL_DPDK_NO_SLOT: none. */
uint32_t sl_dpdk_slot_cooled(struct sl_dpdk_slots *s, uint64_t now_ms);
/* A slot that was taken, or is cooled. */
void sl_dpdk_slot_free(struct sl_dpdk_slots *s, uint32_t slot);

#endif
