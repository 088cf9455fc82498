/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_DPDK_STACK_PRIVATE_H
#define SLUICE_DPDK_STACK_PRIVATE_H

/* For the files that see lwIP. */

#include <lwip/ip_addr.h>
#include <lwip/tcp.h>

#include "dpdk/stack.h"

extern struct sl_stack_stats sl_stack_counters;

struct netif *sl_stack_interface(const struct sl_port *p);
void sl_stack_to_ip(const struct sl_addr *a, ip_addr_t *ret);
void sl_stack_from_ip(const ip_addr_t *ip, uint16_t port, struct sl_addr *ret);

#endif
