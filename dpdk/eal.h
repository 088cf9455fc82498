/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_DPDK_EAL_H
#define SLUICE_DPDK_EAL_H

/* DPDK's environment (EAL): its arguments out of the configuration, and its devices. */

#include "dpdk/port.h"

#define SL_EAL_ARGS 32

/* A command line for rte_eal_init(). */
struct sl_eal_args {
	int n;
	char *arg[SL_EAL_ARGS + 1]; /* the last one is NULL */
	char text[4096];
	size_t used;
};

/* 0, or -EINVAL (a device that is none) with the reason. Pure. */
int sl_eal_arguments(const struct sl_dpdk_config *c, struct sl_eal_args *ret,
		     char ret_reason[SL_PORT_WORD_MAX]);

int sl_eal_start(const struct sl_dpdk_config *c, char ret_reason[SL_PORT_WORD_MAX]);
/* Idempotent. DPDK can't be started again in this process. */
void sl_eal_stop(void);
/* DPDK's number of configured port i. */
int sl_eal_find_port(const struct sl_dpdk_config *c, size_t i, uint16_t *ret,
		     char ret_reason[SL_PORT_WORD_MAX]);
/* "0000:03:00.0", "03:00.0" */
bool sl_eal_is_pci(const char *device);
/* "net_tap0,iface=x": a virtual device as DPDK spells it. */
bool sl_eal_is_virtual(const char *device);
/* Whether net_af_xdp drives it. */
bool sl_eal_is_xdp(const struct sl_port_config *c);

#endif
