/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_BASE_HISTOGRAM_H
#define SLUICE_BASE_HISTOGRAM_H

/* Log-linear histogram of durations in microseconds: 16 sub-buckets per power of two (relative
 * error at most 1/16), up to 2^36 us (19 hours; longer counts in the last bucket). One writer
 * thread; others may read at any time and see each counter whole. */

#include <stdint.h>

#define SL_HISTOGRAM_BUCKETS (33 * 16)

struct sl_histogram {
	uint64_t count;
	uint64_t sum_us;
	uint64_t bucket[SL_HISTOGRAM_BUCKETS];
};

void sl_histogram_add(struct sl_histogram *h, uint64_t us);
/* Adds what `from` holds now (read with relaxed atomics) to `to`. */
void sl_histogram_merge(struct sl_histogram *to, const struct sl_histogram *from);
/* Upper bound in us of the bucket that holds the p-th part (0 < p <= 1) of all samples; 0 with
 * no samples. */
uint64_t sl_histogram_percentile(const struct sl_histogram *h, double p);
/* Largest value in us that bucket i holds. */
uint64_t sl_histogram_bucket_top(unsigned i);
/* Number of samples not above us (buckets counted whole, so within the relative error). */
uint64_t sl_histogram_count_upto(const struct sl_histogram *h, uint64_t us);

#endif
