/* SPDX-License-Identifier: BSD-2-Clause */
/* Rates of pairs: differences of their counters over the time between two readings of a pair. A pair that
 * is new has no rate. */

#include "cli/flow_rates.h"

#include <stdlib.h>

#include "base/util.h"
#include "cli/client.h"

static int by_id(const void *a, const void *b)
{
	const struct sl_flow_sample *x = a, *y = b;

	return x->id < y->id ? -1 : x->id > y->id;
}

static uint64_t per_second(uint64_t now, uint64_t before, uint64_t ms)
{
	return now > before ? (uint64_t)((double)(now - before) * 1000 / (double)ms) : 0;
}

static void add_rate(const struct sl_flow_rates *r, json_t *flow, const struct sl_flow_sample *now)
{
	const struct sl_flow_sample *before =
		r->n ? bsearch(now, r->sample, r->n, sizeof(*now), by_id) : NULL;
	uint64_t ms = before && now->age_ms > before->age_ms ? now->age_ms - before->age_ms : 0;

	if (!ms)
		return;
	json_object_set_new(
		flow, "rate_from_client",
		json_integer((json_int_t)per_second(now->bytes[0], before->bytes[0], ms)));
	json_object_set_new(
		flow, "rate_from_upstream",
		json_integer((json_int_t)per_second(now->bytes[1], before->bytes[1], ms)));
}

void sl_flow_rates_add(struct sl_flow_rates *r, json_t *payload)
{
	json_t *flow, *flows = json_object_get(payload, "flows");
	size_t i, n = json_array_size(flows);
	struct sl_flow_sample *sample = calloc(sl_max(n, (size_t)1), sizeof(*sample));

	if (!sample)
		return;
	json_array_foreach(flows, i, flow)
	{
		sample[i] = (struct sl_flow_sample){
			.id = sl_answer_number(flow, "id"),
			.age_ms = sl_answer_number(flow, "age_ms"),
			.bytes = {sl_answer_number(flow, "bytes_from_client"),
				  sl_answer_number(flow, "bytes_from_upstream")},
		};
		add_rate(r, flow, &sample[i]);
	}
	qsort(sample, n, sizeof(*sample), by_id);
	free(r->sample);
	*r = (struct sl_flow_rates){.sample = sample, .n = n};
}

void sl_flow_rates_free(struct sl_flow_rates *r)
{
	free(r->sample);
	*r = (struct sl_flow_rates){0};
}
