/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_PROXY_CONFIG_ACL_H
#define SLUICE_PROXY_CONFIG_ACL_H

/* Reads a list of access rules into the `struct sl_acl *` at k->offset. */

#include "proxy/config/config_yaml.h"

int sl_config_read_acl(struct sl_yaml *y, const yaml_node_t *n, const struct sl_yaml_key *k,
		       void *object);

/* A port, or a range such as 8000-8100, as a struct sl_port_range. */
int sl_config_read_ports(struct sl_yaml *y, const yaml_node_t *n, const struct sl_yaml_key *k,
			 void *object);

/* Prefixes from which connections begin with a PROXY header; of struct sl_listener_config. */
extern const struct sl_yaml_list sl_config_proxy_from;

#endif
