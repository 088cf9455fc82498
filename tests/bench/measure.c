/* SPDX-License-Identifier: BSD-2-Clause */
/* Latency in log-linear buckets; CPU time from /proc. The kernel counts the machine's time by ticks, so
 * short windows are coarse; a process's time is exact. */

#include "measure.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/util.h"

uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static unsigned bucket_of(uint64_t ns)
{
	unsigned power, index;

	if (ns < LATENCY_PARTS)
		return (unsigned)ns;
	power = 63 - (unsigned)__builtin_clzll(ns) - 9;
	index = (power + 1) * LATENCY_PARTS + (unsigned)(ns >> power) - LATENCY_PARTS;
	return sl_min(index, (unsigned)LATENCY_BUCKETS - 1);
}

static uint64_t bucket_top(unsigned i)
{
	unsigned power = i / LATENCY_PARTS;

	if (!power)
		return i;
	return ((uint64_t)(LATENCY_PARTS + i % LATENCY_PARTS + 1) << (power - 1)) - 1;
}

void latency_add(struct latency *l, uint64_t ns)
{
	l->bucket[bucket_of(ns)]++;
	l->count++;
}

void latency_merge(struct latency *to, const struct latency *from)
{
	for (unsigned i = 0; i < LATENCY_BUCKETS; i++)
		to->bucket[i] += from->bucket[i];
	to->count += from->count;
}

double latency_percentile(const struct latency *l, double p)
{
	uint64_t wanted = (uint64_t)(p * (double)l->count + 0.5), seen = 0;

	if (!l->count)
		return 0;
	for (unsigned i = 0; i < LATENCY_BUCKETS; i++) {
		seen += l->bucket[i];
		if (seen >= wanted && seen)
			return (double)bucket_top(i) / 1000;
	}
	return (double)bucket_top(LATENCY_BUCKETS - 1) / 1000;
}

static double process_seconds(int pid)
{
	unsigned long user = 0, system = 0;
	char path[32], text[1024], *end;
	size_t n;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	f = fopen(path, "r");
	if (!f)
		return 0;
	n = fread(text, 1, sizeof(text) - 1, f);
	fclose(f);
	text[n] = 0;
	end = strrchr(text, ')'); /* the name before it may hold anything */
	if (!end || sscanf(end + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user,
			   &system) != 2)
		return 0;
	return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

void cpu_read(struct cpu *ret, const int *pids, int n)
{
	unsigned long t[8] = {0}; /* user nice system idle iowait irq softirq steal */
	double hz = (double)sysconf(_SC_CLK_TCK);
	FILE *f = fopen("/proc/stat", "r");

	*ret = (struct cpu){0};
	if (f && fscanf(f, "cpu %lu %lu %lu %lu %lu %lu %lu %lu", &t[0], &t[1], &t[2], &t[3], &t[4],
			&t[5], &t[6], &t[7]) == 8) {
		ret->busy = (double)(t[0] + t[1] + t[2] + t[5] + t[6]) / hz;
		ret->stolen = (double)t[7] / hz;
	}
	if (f)
		fclose(f);
	for (int i = 0; i < n; i++)
		ret->process[i] = process_seconds(pids[i]);
}
