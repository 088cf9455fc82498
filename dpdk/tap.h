/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_DPDK_TAP_H
#define SLUICE_DPDK_TAP_H

/* An exception device: a TAP device that shows the kernel a port of DPDK's as if it were its own, with
 * the port's MAC address, MTU and addresses. It is gone with its descriptor, however the process ends.
 *
 * Frames are whole: TUNSETOFFLOAD is left alone, so the kernel writes checksums and cuts segments
 * itself, and no header comes before a frame. */

#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>

#include "dpdk/port.h"

struct sl_tap {
	int fd; /* non-blocking; one frame a read or write */
	/* Of port p's kernel device: keeps from the kernel what the port gets. -1: need not be kept. */
	int hidden;
	uint32_t ifindex;
};

/* For a port that is open. 0, or -errno with what to do about it in ret_reason. */
int sl_tap_open(const struct sl_port *p, struct sl_tap *ret, char ret_reason[SL_PORT_WORD_MAX]);
void sl_tap_close(struct sl_tap *t);

#endif
