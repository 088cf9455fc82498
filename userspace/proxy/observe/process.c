/* SPDX-License-Identifier: BSD-2-Clause */
/* The process's own resources. Read when somebody asks, never in a worker. */

#include "proxy/observe/process.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static uint64_t timeval_us(struct timeval t)
{
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_usec;
}

static void read_memory(struct sl_process *ret)
{
	const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	unsigned long long total, resident;
	FILE *f = fopen("/proc/self/statm", "re");

	ret->resident_bytes = ret->virtual_bytes = 0;
	if (!f)
		return;
	if (fscanf(f, "%llu %llu", &total, &resident) == 2) {
		ret->virtual_bytes = total * page;
		ret->resident_bytes = resident * page;
	}
	fclose(f);
}

static uint64_t clock_us(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

/* Field 22 of proc(5)'s stat, in ticks since boot; the command's name before it may hold anything. */
static uint64_t start_us(void)
{
	char text[1024], *p;
	unsigned long long ticks = 0;
	FILE *f = fopen("/proc/self/stat", "re");
	size_t n = f ? fread(text, 1, sizeof(text) - 1, f) : 0;

	if (f)
		fclose(f);
	text[n] = 0;
	p = strrchr(text, ')');
	if (!p || sscanf(p + 1,
			 " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d "
			 "%*d %llu",
			 &ticks) != 1)
		return 0;
	return clock_us(CLOCK_REALTIME) - clock_us(CLOCK_BOOTTIME) +
	       ticks * 1000000 / (uint64_t)sysconf(_SC_CLK_TCK);
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
	read_memory(ret);
	ret->start_us = start_us();
	ret->cpu_us = timeval_us(usage.ru_utime) + timeval_us(usage.ru_stime);
	ret->open_fds = count_open_fds();
	ret->max_fds = limit.rlim_cur;
}
