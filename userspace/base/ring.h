/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_BASE_RING_H
#define SLUICE_BASE_RING_H

/* Bounded ring of variable-size records, one producer thread, one consumer thread, no locks.
 * The producer never waits: a record that finds no room is refused and counted. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sl_ring;

/* bytes is rounded up to a power of two, at least 4 KiB. 0 or -ENOMEM. */
int sl_ring_new(size_t bytes, struct sl_ring **ret);
void sl_ring_free(struct sl_ring *r);

/* Producer: copies one record. False, and counted as dropped, when it does not fit. */
bool sl_ring_push(struct sl_ring *r, const void *record, size_t len);
/* Consumer: copies the oldest record of at most cap bytes into buf and returns its length; 0 when
 * the ring is empty. cap must be at least the longest record ever pushed. */
size_t sl_ring_pop(struct sl_ring *r, void *buf, size_t cap);
/* Any thread. */
uint64_t sl_ring_dropped(const struct sl_ring *r);

#endif
