/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_CLI_FLOW_RATES_H
#define SLUICE_CLI_FLOW_RATES_H

/* How fast pairs are, out of two answers to "flows". */

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

struct sl_flow_sample {
	uint64_t id, age_ms, bytes[2]; /* from the client, from the upstream */
};

/* What the answer before said. All zero at first. */
struct sl_flow_rates {
	struct sl_flow_sample *sample; /* by id */
	size_t n;
};

/* Adds "rate_from_client" and "rate_from_upstream" (bytes a second) to each flow of the payload that was in
 * the payload before, too; keeps what is needed for the next. The interval is what the flow itself grew
 * older by, so a late answer does not bend the rate. */
void sl_flow_rates_add(struct sl_flow_rates *r, json_t *payload);
void sl_flow_rates_free(struct sl_flow_rates *r);

#endif
