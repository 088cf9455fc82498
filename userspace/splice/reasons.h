/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_SPLICE_REASONS_H
#define SLUICE_SPLICE_REASONS_H

/* What becomes of packets, and why pairs stay copied: as metrics, the same for all that splice packets. */

#include <sluice/flow.h>

#include "splice/engine.h"

#define SL_REFUSAL_ROWS 32 /* reasons that are told apart */

typedef void sl_figure_fn(void *arg, const struct sl_figure *f);

const char *sl_reason_name(enum sl_reason reason);    /* "DROP_TTL" */
const char *sl_reason_text(enum sl_reason reason);    /* a phrase */
const char *sl_refusal_text(enum sl_refusal refusal); /* the same */

/* Pairs that stay copied, by reason. Whoever has it guards it. */
struct sl_refusals {
	struct sl_refusal_row {
		const char *reason; /* static; NULL: not used yet */
		uint64_t n;
	} row[SL_REFUSAL_ROWS];
};

void sl_refusals_count(struct sl_refusals *r, const char *reason);
void sl_refusals_tell(const struct sl_refusals *r, sl_figure_fn *each, void *arg);

/* Packets, bytes and events by reason. */
void sl_tell_counters(const struct sl_counter counter[SL_REASON_COUNT], sl_figure_fn *each,
		      void *arg);

/* How full tables are. */
void sl_tell_fill(const struct sl_map_fill *map, size_t n, sl_figure_fn *each, void *arg);

#endif
