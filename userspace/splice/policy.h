/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_SPLICE_POLICY_H
#define SLUICE_SPLICE_POLICY_H

/* Which engine carries a pair, and why. Every pair starts in the first engine of the table, which takes
 * everything (copy). */

#include <stddef.h>

#include "splice/engine.h"

#define SL_ENGINES_MAX 4

/* The engines of a worker, in the order of sl_engines_all; NULL where one is not available. */
struct sl_engines {
	struct sl_engine *engine[SL_ENGINES_MAX];
	size_t n;
};

struct sl_choice {
	struct sl_engine *engine; /* never NULL */
	const char *reason;	  /* static */
};

/* wanted: an engine's name, or NULL for "auto". */
struct sl_choice sl_policy_choose(const struct sl_engines *engines, const char *wanted);

#endif
