/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_DPDK_TRANSPORT_H
#define SLUICE_DPDK_TRANSPORT_H

/* The transport over ports that DPDK owns, with TCP in user space (stack.h). One instance in a process. */

#include "dpdk/port.h"
#include "transport/transport.h"

struct sl_figure;

/* Before the transport is made. *c and what it points to stay valid until the process ends. */
void sl_dpdk_configure(const struct sl_dpdk_config *c);
/* streams: most streams alive at once. 0 or -errno; the cause has been logged. -EBUSY: there is one. */
int sl_dpdk_transport_new(struct sl_loop *loop, uint32_t streams, struct sl_transport **ret);
/* What ports and the stack count. From any thread, while the transport is there. */
void sl_dpdk_transport_figures(void (*each)(void *arg, const struct sl_figure *f), void *arg);
/* Bytes of memory that one stream takes, its connection in the stack included. */
size_t sl_dpdk_stream_bytes(void);

#endif
