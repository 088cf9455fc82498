/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_PROXY_CONFIG_SCHEMA_H
#define SLUICE_PROXY_CONFIG_SCHEMA_H

/* The keys of the configuration file: a new key is a new row of a table in config_schema.c. */

#include "proxy/config/config_yaml.h"

/* The top level; reads into a struct sl_config that holds the defaults, limits.start_line 0. */
extern const struct sl_yaml_map sl_config_schema;

#endif
