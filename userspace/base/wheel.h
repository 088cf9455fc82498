/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_BASE_WHEEL_H
#define SLUICE_BASE_WHEEL_H

/* Hierarchical timer wheel: 1 ms ticks, four levels of 64 slots (4.6 hours; longer delays are
 * re-armed on the way). Arming and cancelling are O(1) and allocate nothing; a timer never fires
 * early. Timers of one tick fire in no particular order. */

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"

struct sl_timer {
	struct sl_list node;
	uint64_t due_ms;
	void (*fire)(struct sl_timer *t);
};

struct sl_wheel {
	uint64_t now_ms;      /* all timers due at or before it have fired */
	uint64_t armed;	      /* number of armed timers */
	uint64_t fired;	      /* timers so far */
	uint64_t occupied[4]; /* bit i: slot i may hold timers (cancelling leaves bits behind) */
	struct sl_list slot[4][64];
};

void sl_wheel_init(struct sl_wheel *w, uint64_t now_ms);
void sl_timer_init(struct sl_timer *t, void (*fire)(struct sl_timer *t));
static inline bool sl_timer_armed(const struct sl_timer *t)
{
	return !sl_list_empty(&t->node);
}
/* Arms or re-arms. A due time in the past fires at the next advance. */
void sl_wheel_arm(struct sl_wheel *w, struct sl_timer *t, uint64_t due_ms);
/* Idempotent. */
void sl_wheel_cancel(struct sl_wheel *w, struct sl_timer *t);
/* Fires what is due. A callback may arm and cancel any timer, its own too. */
void sl_wheel_advance(struct sl_wheel *w, uint64_t now_ms);
/* Milliseconds until the next advance is needed (a lower bound), or -1 with no timer armed. */
int64_t sl_wheel_next_ms(const struct sl_wheel *w);

#endif
