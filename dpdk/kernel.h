/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_DPDK_KERNEL_H
#define SLUICE_DPDK_KERNEL_H

/* The exception path: ports that DPDK owns, and the kernel's TCP/IP behind them. Each port has a device of
 * the kernel's (tap.h). What comes by a port and belongs to no spliced pair goes to the kernel by that
 * device, and what the kernel sends there leaves by the port. Streams are the socket transport's.
 *
 * One instance in a process; all of it belongs to the one worker's thread. */

#include <stdbool.h>
#include <stdint.h>

#include "dpdk/port.h"

struct sl_addr;
struct sl_figure;
struct sl_loop;
struct sl_route;

struct sl_kernel_stats {
	uint64_t to_kernel, from_kernel; /* frames */
	uint64_t not_ours;		 /* for somebody else */
	uint64_t malformed;		 /* cut off, in pieces, or claiming to come from us */
	uint64_t refused;		 /* the device did not take it */
	uint64_t no_memory;		 /* for a frame of the kernel's */
};

/* Opens ports and devices, and polls them in the loop. *c stays. 0, or -errno; the cause has been
 * logged. */
int sl_kernel_start(struct sl_loop *loop, const struct sl_dpdk_config *c);
/* What the kernel has sent leaves still. Idempotent; the loop is there still. */
void sl_kernel_stop(void);

/* The way to an address, if it leads over a port: 0, -EOPNOTSUPP if it does not, or -errno. */
int sl_kernel_route(const struct sl_addr *to, struct sl_addr *ret_source);

/* What ports and devices count. From any thread, while it is started. */
void sl_kernel_figures(void (*each)(void *arg, const struct sl_figure *f), void *arg);
void sl_kernel_stats(struct sl_kernel_stats *ret);

#endif
