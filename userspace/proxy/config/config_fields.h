/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_PROXY_CONFIG_FIELDS_H
#define SLUICE_PROXY_CONFIG_FIELDS_H

/* Fields of messages as YAML: conditions on them, and changes to them. */

#include "proxy/config/config.h"
#include "proxy/config/config_yaml.h"

/* `{name: X-Beta, value: "1"}` or a list of these: a struct sl_field_conditions at k->offset. */
int sl_config_read_field_conditions(struct sl_yaml *y, const yaml_node_t *n,
				    const struct sl_yaml_key *k, void *object);
void sl_config_free_field_conditions(struct sl_field_conditions *c);

/* `{set: [{name: ..., value: ...}], add: [...], remove: [NAME, ...]}`: a struct sl_field_edits at
 * k->offset. */
int sl_config_read_field_edits(struct sl_yaml *y, const yaml_node_t *n, const struct sl_yaml_key *k,
			       void *object);
void sl_config_free_field_edits(struct sl_field_edits *e);

#endif
