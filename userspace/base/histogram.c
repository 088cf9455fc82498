/* SPDX-License-Identifier: BSD-2-Clause */
/* Buckets: values below 16 have one each; above, the top four bits after the leading one pick one of 16
 * sub-buckets of that power of two. */

#include "base/histogram.h"

#include "base/util.h"

#define SUB 16

static unsigned bucket_of(uint64_t us)
{
	unsigned power, index;

	if (us < SUB)
		return (unsigned)us;
	power = 63 - (unsigned)__builtin_clzll(us); /* at least 4 */
	index = (power - 3) * SUB + (unsigned)(us >> (power - 4)) - SUB;
	return sl_min(index, (unsigned)SL_HISTOGRAM_BUCKETS - 1);
}

uint64_t sl_histogram_bucket_top(unsigned i)
{
	unsigned power;

	if (i < SUB)
		return i;
	power = i / SUB + 3;
	return (((uint64_t)SUB + i % SUB + 1) << (power - 4)) - 1;
}

static void bump(uint64_t *counter, uint64_t n)
{
	__atomic_store_n(counter, *counter + n, __ATOMIC_RELAXED);
}

void sl_histogram_add(struct sl_histogram *h, uint64_t us)
{
	bump(&h->bucket[bucket_of(us)], 1);
	bump(&h->sum_us, us);
	bump(&h->count, 1);
}

void sl_histogram_merge(struct sl_histogram *to, const struct sl_histogram *from)
{
	uint64_t count = 0;

	for (unsigned i = 0; i < SL_HISTOGRAM_BUCKETS; i++) {
		uint64_t n = __atomic_load_n(&from->bucket[i], __ATOMIC_RELAXED);

		to->bucket[i] += n;
		count += n;
	}
	to->count += count; /* of the very buckets read, so that percentiles stay consistent */
	to->sum_us += __atomic_load_n(&from->sum_us, __ATOMIC_RELAXED);
}

uint64_t sl_histogram_percentile(const struct sl_histogram *h, double p)
{
	uint64_t wanted = (uint64_t)(p * (double)h->count + 0.5), seen = 0;

	if (!h->count)
		return 0;
	wanted = sl_max(wanted, (uint64_t)1);
	for (unsigned i = 0; i < SL_HISTOGRAM_BUCKETS; i++) {
		seen += h->bucket[i];
		if (seen >= wanted)
			return sl_histogram_bucket_top(i);
	}
	return sl_histogram_bucket_top(SL_HISTOGRAM_BUCKETS - 1);
}

uint64_t sl_histogram_count_upto(const struct sl_histogram *h, uint64_t us)
{
	uint64_t seen = 0;

	for (unsigned i = 0; i < SL_HISTOGRAM_BUCKETS && sl_histogram_bucket_top(i) <= us; i++)
		seen += h->bucket[i];
	return seen;
}
