/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_PROXY_PROCESS_H
#define SLUICE_PROXY_PROCESS_H

/* What the process itself uses, from /proc/self and getrusage(2). */

#include <stdint.h>

struct sl_process {
	uint64_t resident_bytes, virtual_bytes;
	uint64_t start_us; /* wall clock */
	uint64_t cpu_us;   /* user and system, all threads */
	uint64_t open_fds;
	uint64_t max_fds; /* soft limit */
};

/* What can't be read (no /proc) is 0. */
void sl_process_read(struct sl_process *ret);

#endif
