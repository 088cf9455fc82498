/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_PROXY_CONFIG_ROUTE_H
#define SLUICE_PROXY_CONFIG_ROUTE_H

/* Routes of a listener as YAML. The object of both readers is a struct sl_listener_config. */

#include "proxy/config/config.h"
#include "proxy/config/config_yaml.h"

/* `routes: [{host: ..., path: ..., upstream: ...}, ...]` */
int sl_config_read_routes(struct sl_yaml *y, const yaml_node_t *n, const struct sl_yaml_key *k,
			  void *object);
/* `upstream: NAME`, which stands for one route without conditions. */
int sl_config_read_only_route(struct sl_yaml *y, const yaml_node_t *n, const struct sl_yaml_key *k,
			      void *object);
/* When the whole file is read: finds the upstreams that routes name. 0 or -EINVAL. */
int sl_config_resolve_routes(struct sl_yaml *y, struct sl_config *c);
/* Conditions of the listener's routes are those of its mode. 0 or -EINVAL. */
int sl_config_check_conditions(struct sl_yaml *y, const struct sl_listener_config *l);
void sl_config_free_routes(struct sl_listener_config *l);

#endif
