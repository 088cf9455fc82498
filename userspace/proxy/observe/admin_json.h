/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_PROXY_ADMIN_JSON_H
#define SLUICE_PROXY_ADMIN_JSON_H

/* What the admin socket tells, as JSON. Every function returns a new object, or NULL when memory is
 * out. docs/operations.md names the keys. */

#include <jansson.h>

#include "proxy/observe/control.h"
#include "proxy/observe/flow_list.h"

/* buckets: histograms with the samples of each bucket, too. */
json_t *sl_admin_stats(const struct sl_control_source *source, bool buckets);
json_t *sl_admin_listeners(const struct sl_control_source *source);
json_t *sl_admin_drain_progress(const struct sl_drain_progress *d);
json_t *sl_admin_servers(const struct sl_control_source *source);
json_t *sl_admin_pools(const struct sl_control_source *source);
/* The pairs that the filter takes; NULL also when the source fails. */
json_t *sl_admin_flows(const struct sl_control_source *source, const struct sl_flow_filter *filter);

#endif
