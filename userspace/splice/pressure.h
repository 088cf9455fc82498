/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_SPLICE_PRESSURE_H
#define SLUICE_SPLICE_PRESSURE_H

/* How busy the CPUs are, as a worker sees it. An engine whose work is done by the kernel's workers waits
 * behind everything else that wants their CPU. */

#include <stdbool.h>
#include <stdint.h>

#include "base/loop.h"

/* Shares of time, 0 to 100. Zeroed at first. */
struct sl_pressure {
	uint32_t host;	 /* in which a task waited for a CPU; 100 if the kernel doesn't tell */
	uint32_t worker; /* in which the worker's thread ran */
	uint64_t read_us, cpu_us;
};

/* Brings *p up to date, at most once a second; four system calls then. In the loop's thread. */
void sl_pressure_update(struct sl_pressure *p, const struct sl_loop *loop);

/* The text of /proc/pressure/cpu: the average over 10 seconds. False: not understood. */
bool sl_pressure_parse_psi(const char *text, uint32_t *ret);
/* The text of /proc/loadavg, where there is no other: what is beyond half a task a CPU, as tasks that run
 * are in it, too. */
bool sl_pressure_parse_loadavg(const char *text, unsigned cpus, uint32_t *ret);

#endif
