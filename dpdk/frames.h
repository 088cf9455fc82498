/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_DPDK_FRAMES_H
#define SLUICE_DPDK_FRAMES_H

/* The pool of frames: all ports receive into it, and what is sent comes out of it. */

#include <stdbool.h>

#include "dpdk/port.h"

/* Out of half of the memory: the other is for queues and tables. The caller gives it back by
 * rte_mempool_free(). 0, or -errno with the reason. */
int sl_frames_create(const struct sl_dpdk_config *c, struct rte_mempool **ret,
		     char ret_reason[SL_PORT_WORD_MAX]);
/* Whether all lie in one piece of memory, one right behind the other, as net_af_xdp needs them. */
bool sl_frames_are_dense(struct rte_mempool *pool);

#endif
