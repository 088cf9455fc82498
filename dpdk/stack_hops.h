/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_DPDK_STACK_HOPS_H
#define SLUICE_DPDK_STACK_HOPS_H

/* Which host on a wire a packet goes to next, and its link address: out of the table of neighbours, or by
 * lwIP, which asks for it. */

#include <lwip/netif.h>

#include "dpdk/port.h"

/* Before lwIP has interfaces. 0, or -ENOSYS: lwIP has no such function. */
int sl_hops_init(void);
/* What a frame says about its sender is remembered. */
void sl_hops_hear(const struct sl_port *p, const uint8_t *frame, uint32_t len);

/* The link address that packets to a peer leave for. 0, or -EAGAIN: it is not known at this moment. */
int sl_hops_find(struct netif *n, const ip_addr_t *peer, uint8_t ret_mac[ETH_ALEN]);

/* netif.output, netif.output_ip6: options are added, too (stack_options.h). */
err_t sl_hops_output4(struct netif *n, struct pbuf *p, const ip4_addr_t *to);
err_t sl_hops_output6(struct netif *n, struct pbuf *p, const ip6_addr_t *to);

#endif
