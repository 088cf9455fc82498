/* SPDX-License-Identifier: BSD-2-Clause */
/* Sums of workers' counters. The writer goes on meanwhile: each value is read whole, but two values
 * need not belong to the same moment. */

#include "proxy/observe/stats.h"

#include "base/util.h"

static uint64_t load(const uint64_t *value)
{
	return __atomic_load_n(value, __ATOMIC_RELAXED);
}

void sl_stats_merge(struct sl_stats *to, const struct sl_stats *from)
{
	uint64_t largest = sl_max(to->idle_connection_bytes, load(&from->idle_connection_bytes));

#define X(name, help) to->name += load(&from->name);
	SL_COUNTERS(X)
	SL_GAUGES(X)
#undef X
	to->idle_connection_bytes = largest;
#define X(name, help) sl_histogram_merge(&to->name, &from->name);
	SL_HISTOGRAMS(X)
#undef X
}
