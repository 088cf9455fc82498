/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_DPDK_ENGINE_H
#define SLUICE_DPDK_ENGINE_H

/* The engine of pairs that go through ports of DPDK's: once a pair is quiet it leaves the stack, lwIP or
 * the kernel's, and its packets are rewritten where they arrive (splice.h). One instance in a process, in
 * the thread that has the ports. */

#include "splice/engine.h"

struct sl_dpdk_engine_config {
	uint32_t pairs;	       /* slots, cooling ones included */
	uint32_t time_wait_ms; /* late packets of a closed pair are rewritten for so long */
	bool sockets;	       /* streams are the kernel's sockets, else the dpdk transport's */
	/* With sockets: ports to upstreams (0: any that the kernel doesn't use by itself), and the MSS
	 * that upstreams are told. */
	uint16_t port_first, port_last;
	uint16_t mss;
};

/* Before the engine is made. */
void sl_dpdk_engine_configure(const struct sl_dpdk_engine_config *c);

extern const struct sl_engine_ops sl_dpdk_engine;

/* What sl_engine_figures() tells of the packet engine, of this one. From any thread. */
void sl_dpdk_figures(void (*each)(void *arg, const struct sl_figure *f), void *arg);

#endif
