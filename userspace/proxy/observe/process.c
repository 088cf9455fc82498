/* SPDX-License-Identifier: BSD-2-Clause */
/* The process's own resources. Read when somebody asks, never in a worker. */

#include "proxy/observe/process.h"

#include <dirent.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

static uint64_t timeval_us(struct timeval t)
{
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_usec;
}

static uint64_t resident_bytes(void)
{
	FILE *f = fopen("/proc/self/statm", "re");
	unsigned long long total, resident = 0;

	if (!f)
		return 0;
	if (fscanf(f, "%llu %llu", &total, &resident) != 2)
		resident = 0;
	fclose(f);
	return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static uint64_t count_open_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	uint64_t n = 0;

	if (!d)
		return 0;
	for (struct dirent *e; (e = readdir(d));)
		n += e->d_name[0] != '.';
	closedir(d);
	return n - 1; /* the directory's own */
}

void sl_process_read(struct sl_process *ret)
{
	struct rlimit limit = {0};
	struct rusage usage = {0};

	getrusage(RUSAGE_SELF, &usage);
	getrlimit(RLIMIT_NOFILE, &limit);
	ret->resident_bytes = resident_bytes();
	ret->cpu_us = timeval_us(usage.ru_utime) + timeval_us(usage.ru_stime);
	ret->open_fds = count_open_fds();
	ret->max_fds = limit.rlim_cur;
}
