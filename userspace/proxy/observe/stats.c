/* SPDX-License-Identifier: BSD-2-Clause */
/* Sums of workers' counters. The writer goes on meanwhile: each value is read whole, but two values
 * need not belong to the same moment. */

#include "proxy/observe/stats.h"

#include "base/util.h"

const char *sl_refused_name(enum sl_refused r)
{
	static const char *const names[SL_REFUSED_COUNT] = {
#define X(constant, reason, counter) [SL_REFUSED_##constant] = reason,
		SL_REFUSED(X)
#undef X
	};

	return r < SL_REFUSED_COUNT ? names[r] : "unknown";
}

void sl_count_refused(struct sl_stats *s, struct sl_listener_stats *l, enum sl_refused r)
{
	uint64_t *const counters[SL_REFUSED_COUNT] = {
#define X(constant, reason, counter) [SL_REFUSED_##constant] = &s->counter,
		SL_REFUSED(X)
#undef X
	};

	sl_count(*counters[r], 1);
	sl_count(l->refused[r], 1);
}

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

void sl_listener_stats_merge(struct sl_listener_stats *to, const struct sl_listener_stats *from)
{
	to->accepted += load(&from->accepted);
	to->requests += load(&from->requests);
	for (int i = 0; i < SL_REFUSED_COUNT; i++)
		to->refused[i] += load(&from->refused[i]);
}
