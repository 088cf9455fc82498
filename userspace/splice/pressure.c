/* SPDX-License-Identifier: BSD-2-Clause */
/* Reads the kernel's pressure stall information, or the load average on kernels without it, and the
 * CPU time of the worker's thread: the time that its turns take would count the wait for a CPU twice. It
 * keeps no history but its own last reading. */

#include "splice/pressure.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/util.h"

#define EVERY_US 1000000

bool sl_pressure_parse_psi(const char *text, uint32_t *ret)
{
	const char *at = strstr(text, "some avg10=");
	unsigned percent;

	if (!at || sscanf(at, "some avg10=%3u.", &percent) != 1 || percent > 100)
		return false;
	*ret = percent;
	return true;
}

bool sl_pressure_parse_loadavg(const char *text, unsigned cpus, uint32_t *ret)
{
	unsigned whole, hundredths, free = cpus * 50, load;

	if (!cpus || sscanf(text, "%5u.%2u", &whole, &hundredths) != 2)
		return false;
	load = whole * 100 + hundredths;
	*ret = load > free ? sl_min((load - free) / cpus, 100u) : 0;
	return true;
}

static bool read_text(const char *path, char *text, size_t cap)
{
	_sl_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, cap - 1);

	text[sl_max(n, (ssize_t)0)] = 0;
	return n > 0;
}

static uint32_t read_host(void)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	uint32_t percent = 100;
	char text[256];

	if (read_text("/proc/pressure/cpu", text, sizeof(text)) &&
	    sl_pressure_parse_psi(text, &percent))
		return percent;
	if (read_text("/proc/loadavg", text, sizeof(text)))
		sl_pressure_parse_loadavg(text, (unsigned)sl_max(cpus, 1l), &percent);
	return percent;
}

static uint64_t own_cpu_us(void)
{
	struct timespec t = {0};

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

void sl_pressure_update(struct sl_pressure *p, const struct sl_loop *loop)
{
	uint64_t now = sl_loop_now_us(loop), elapsed = now - p->read_us, cpu_us;

	if (p->read_us && elapsed < EVERY_US)
		return;
	cpu_us = own_cpu_us();
	p->host = read_host();
	if (p->read_us)
		p->worker = (uint32_t)sl_min((cpu_us - p->cpu_us) * 100 / elapsed, (uint64_t)100);
	p->cpu_us = cpu_us;
	p->read_us = now;
}
