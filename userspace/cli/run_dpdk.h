/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_CLI_RUN_DPDK_H
#define SLUICE_CLI_RUN_DPDK_H

#include "proxy/config/config.h"
#include "proxy/server.h"

/* Makes the parts such that streams come by DPDK, as the section `dpdk` says. */
void sl_run_with_dpdk(const struct sl_config *c, struct sl_server_parts *parts);

#endif
