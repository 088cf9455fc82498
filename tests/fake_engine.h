/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_TESTS_FAKE_ENGINE_H
#define SLUICE_TESTS_FAKE_ENGINE_H

/* An engine that carries nothing: it answers as the test tells it to, and notes what it was asked. The
 * second implementation of splice/engine.h, for tests of its users. */

#include "splice/engine.h"

struct fake_engine {
	struct sl_engine base;
	struct sl_engine_ops ops; /* each fake has its own name */
	int prepare_answer, join_answer, part_answer;
	const char *join_reason;
	unsigned prepared, forgotten, joined, parted, aborted, counted;
	uint64_t active;		 /* what totals() reports */
	struct sl_pair *carries;	 /* the pair that join took, or NULL */
	struct sl_pair_count traffic[2]; /* what count() reports */
};

/* Fills *e; nothing to free. name is borrowed. */
void fake_engine_init(struct fake_engine *e, const char *name);

#endif
