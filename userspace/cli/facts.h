/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_CLI_FACTS_H
#define SLUICE_CLI_FACTS_H

/* What a running sluice says, asked again and again: the latest answers, and enough of the earlier ones to
 * tell rates and latencies of now. Nothing in here is made up: without two answers of one process there
 * is no rate. */

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cli/client.h"
#include "cli/flow_rates.h"

#define SL_FACTS_KEPT 11 /* answers: the latest and 10 before */

struct sl_facts {
	/* Payloads of the latest round; NULL before the first. */
	json_t *stats, *flows, *servers, *listeners, *pools;
	/* Stats, with the listeners by name as a member: [0] is the latest. */
	json_t *kept[SL_FACTS_KEPT];
	struct sl_flow_rates rates;
	struct sl_client_problem problem; /* of the latest round; empty: there was none */
};

struct sl_latency {
	uint64_t count;
	uint64_t p50_us, p99_us; /* 0 without samples */
};

/* One round: asks for everything. flows_request is consumed. On failure the facts stay what they were, and
 * `problem` says why. After sluice was started anew, history begins anew. */
int sl_facts_update(struct sl_facts *f, const char *admin, json_t *flows_request);
/* Asks for the flows alone, when others than before are wanted. */
int sl_facts_update_flows(struct sl_facts *f, const char *admin, json_t *flows_request);
/* The same with answers that are there (consumed; any may be NULL). */
void sl_facts_take(struct sl_facts *f, json_t *stats, json_t *flows, json_t *servers,
		   json_t *listeners, json_t *pools);
void sl_facts_free(struct sl_facts *f);

/* Milliseconds between the two latest answers, by sluice's own clock; 0: there is only one. */
uint64_t sl_facts_interval_ms(const struct sl_facts *f);
/* How long ago the oldest answer is that latencies are told since. */
uint64_t sl_facts_window_ms(const struct sl_facts *f);
/* A counter now, and by how much it grew a second between the two latest answers; -1: not known. */
uint64_t sl_facts_counter(const struct sl_facts *f, const char *name);
double sl_facts_rate(const struct sl_facts *f, const char *name);
/* The same since the oldest answer that is kept: for what is counted every few seconds only. */
double sl_facts_steady_rate(const struct sl_facts *f, const char *name);
uint64_t sl_facts_gauge(const struct sl_facts *f, const char *name);
/* The rate of a member of the i-th object of a list in the stats ("engines", "workers"). */
double sl_facts_list_rate(const struct sl_facts *f, const char *list, size_t i, const char *name);
/* The same of a member of the listener of that name. */
double sl_facts_listener_rate(const struct sl_facts *f, const char *listener, const char *name);
/* The rate of a member of an object in the stats ("process"). */
double sl_facts_object_rate(const struct sl_facts *f, const char *object, const char *name);
/* The samples that came in the window. */
void sl_facts_latency(const struct sl_facts *f, const char *histogram, struct sl_latency *ret);

#endif
