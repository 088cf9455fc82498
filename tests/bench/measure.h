/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_TESTS_BENCH_MEASURE_H
#define SLUICE_TESTS_BENCH_MEASURE_H

/* Time, latency and CPU, as the load generator reports them. */

#include <stdint.h>

/* Nanoseconds by powers of two, each in 512 parts: an error of at most 0.2 %. */
#define LATENCY_PARTS	512
#define LATENCY_BUCKETS (32 * LATENCY_PARTS)

struct latency {
	uint64_t count;
	uint32_t bucket[LATENCY_BUCKETS];
};

void latency_add(struct latency *l, uint64_t ns);
void latency_merge(struct latency *to, const struct latency *from);
/* us; the p-th part of the samples, 0 < p <= 1, is not above it. 0 without samples. */
double latency_percentile(const struct latency *l, double p);

uint64_t now_ns(void); /* CLOCK_MONOTONIC */

#define CPU_PIDS 64

/* CPU seconds since boot: of the whole machine, in which packets that no process pays for count,
 * and of some processes. */
struct cpu {
	double busy, stolen;
	double process[CPU_PIDS];
};

/* pids: n process ids, at most CPU_PIDS; of one that is gone 0 is told. */
void cpu_read(struct cpu *ret, const int *pids, int n);

#endif
