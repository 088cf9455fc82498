/* SPDX-License-Identifier: BSD-2-Clause */
/* The transport where sluice was built without DPDK. */

#include <errno.h>

#include "base/log.h"
#include "dpdk/transport.h"

void sl_dpdk_configure(const struct sl_dpdk_config *c)
{
}

int sl_dpdk_transport_new(struct sl_loop *loop, uint32_t streams, struct sl_transport **ret)
{
	sl_error("transport: dpdk: this sluice was built without DPDK (libdpdk-dev and "
		 "liblwip-dev)");
	return -EOPNOTSUPP;
}

size_t sl_dpdk_stream_bytes(void)
{
	return 0;
}
