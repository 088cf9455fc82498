/* SPDX-License-Identifier: BSD-2-Clause */
/* The transport and the engine where sluice was built without DPDK. */

#include <errno.h>

#include "base/log.h"
#include "dpdk/engine.h"
#include "dpdk/kernel.h"
#include "dpdk/transport.h"

void sl_dpdk_configure(const struct sl_dpdk_config *c)
{
}

static int refuse(void)
{
	sl_error("transport: dpdk: this sluice was built without DPDK (libdpdk-dev and "
		 "liblwip-dev)");
	return -EOPNOTSUPP;
}

int sl_dpdk_transport_new(struct sl_loop *loop, uint32_t streams, struct sl_transport **ret)
{
	return refuse();
}

int sl_kernel_start(struct sl_loop *loop, const struct sl_dpdk_config *c)
{
	return refuse();
}

void sl_kernel_stop(void)
{
}

void sl_kernel_figures(void (*each)(void *arg, const struct sl_figure *f), void *arg)
{
}

size_t sl_dpdk_stream_bytes(void)
{
	return 0;
}

void sl_dpdk_engine_configure(const struct sl_dpdk_engine_config *c)
{
}

static void probe(struct sl_engine_report *ret)
{
	*ret = (struct sl_engine_report){.reason = "sluice was built without DPDK"};
}

/* Whoever is not available is asked for nothing else. */
const struct sl_engine_ops sl_dpdk_engine = {.name = "dpdk", .probe = probe};

void sl_dpdk_figures(void (*each)(void *arg, const struct sl_figure *f), void *arg)
{
}

void sl_dpdk_transport_figures(void (*each)(void *arg, const struct sl_figure *f), void *arg)
{
}
