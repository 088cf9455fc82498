/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_PROXY_CONFIG_UPSTREAM_H
#define SLUICE_PROXY_CONFIG_UPSTREAM_H

/* Upstreams as YAML: the list, what needs the whole file, and freeing. */

#include "proxy/config/config.h"
#include "proxy/config/config_yaml.h"

/* Elements are struct sl_upstream_config, counted in sl_config.n_upstreams. */
extern const struct sl_yaml_list sl_config_upstream_list;

/* Names are unique. 0 or -EINVAL. */
int sl_config_check_upstreams(struct sl_yaml *y, const struct sl_config *c);
void sl_config_free_upstream(struct sl_upstream_config *u);

#endif
