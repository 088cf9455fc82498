/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_PROXY_CONFIG_DPDK_H
#define SLUICE_PROXY_CONFIG_DPDK_H

#include "proxy/config/config.h"
#include "proxy/config/config_yaml.h"

/* The section `dpdk`, into a struct sl_config. */
extern const struct sl_yaml_map sl_config_dpdk_map;

/* What of the rest of the configuration must fit the transport. 0 or -EINVAL (told). */
int sl_config_check_dpdk(struct sl_yaml *y, const yaml_node_t *n, struct sl_config *c);
void sl_config_free_dpdk(struct sl_dpdk_section *d);

#endif
