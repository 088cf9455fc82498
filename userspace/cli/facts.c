/* SPDX-License-Identifier: BSD-2-Clause */
/* Rates and latencies are differences between answers, over the time that sluice's own uptime grew by: how
 * long an answer took on its way does not count. */

#include "cli/facts.h"

#include <string.h>

#include "base/util.h"

static void replace(json_t **at, json_t *by)
{
	if (!by)
		return;
	json_decref(*at);
	*at = by;
}

static void forget_history(struct sl_facts *f)
{
	for (size_t i = 0; i < SL_FACTS_KEPT; i++) {
		json_decref(f->kept[i]);
		f->kept[i] = NULL;
	}
	sl_flow_rates_free(&f->rates);
}

static void keep(struct sl_facts *f, json_t *stats)
{
	bool anew = f->kept[0] && sl_answer_number(stats, "uptime_ms") <
					  sl_answer_number(f->kept[0], "uptime_ms");

	if (anew)
		forget_history(f);
	json_decref(f->kept[SL_FACTS_KEPT - 1]);
	memmove(&f->kept[1], &f->kept[0], sizeof(f->kept) - sizeof(f->kept[0]));
	f->kept[0] = json_incref(stats);
}

static json_t *by_name(const json_t *listeners)
{
	json_t *o = json_object(), *l;
	char name[64];
	size_t i;

	json_array_foreach((json_t *)listeners, i, l)
		json_object_set(o, sl_answer_text(l, "listener", 63, name), l);
	return o;
}

void sl_facts_take(struct sl_facts *f, json_t *stats, json_t *flows, json_t *servers,
		   json_t *listeners, json_t *pools)
{
	if (stats)
		json_object_set_new(stats, "listeners", by_name(listeners));
	if (stats)
		keep(f, stats);
	if (flows)
		sl_flow_rates_add(&f->rates, flows);
	replace(&f->stats, stats);
	replace(&f->flows, flows);
	replace(&f->servers, servers);
	replace(&f->listeners, listeners);
	replace(&f->pools, pools);
	f->problem.text[0] = 0;
}

int sl_facts_update(struct sl_facts *f, const char *admin, json_t *flows_request)
{
	json_t *answer[5] = {NULL};
	json_t *request[5] = {
		json_pack("{s:s, s:b}", "command", "stats", "buckets", true),
		flows_request,
		json_pack("{s:s}", "command", "servers"),
		json_pack("{s:s}", "command", "listeners"),
		json_pack("{s:s}", "command", "pools"),
	};
	int r = 0;

	for (size_t i = 0; i < SL_ARRAY_SIZE(answer); i++) {
		if (!r)
			r = sl_client_ask(admin, request[i], &answer[i], &f->problem);
		else
			json_decref(request[i]);
	}
	if (!r) {
		sl_facts_take(f, answer[0], answer[1], answer[2], answer[3], answer[4]);
		return 0;
	}
	for (size_t i = 0; i < SL_ARRAY_SIZE(answer); i++)
		json_decref(answer[i]);
	return r;
}

int sl_facts_update_flows(struct sl_facts *f, const char *admin, json_t *flows_request)
{
	json_t *flows;

	if (sl_client_ask(admin, flows_request, &flows, &f->problem) < 0)
		return -1;
	sl_facts_take(f, NULL, flows, NULL, NULL, NULL);
	return 0;
}

void sl_facts_free(struct sl_facts *f)
{
	forget_history(f);
	json_decref(f->stats);
	json_decref(f->flows);
	json_decref(f->servers);
	json_decref(f->listeners);
	json_decref(f->pools);
	*f = (struct sl_facts){0};
}

/* --- time --- */

static uint64_t age_ms(const struct sl_facts *f, size_t i)
{
	return f->kept[i] ? sl_answer_number(f->kept[0], "uptime_ms") -
				    sl_answer_number(f->kept[i], "uptime_ms")
			  : 0;
}

static size_t oldest(const struct sl_facts *f)
{
	size_t i = 0;

	while (i + 1 < SL_FACTS_KEPT && f->kept[i + 1])
		i++;
	return i;
}

uint64_t sl_facts_interval_ms(const struct sl_facts *f)
{
	return age_ms(f, 1);
}

uint64_t sl_facts_window_ms(const struct sl_facts *f)
{
	return age_ms(f, oldest(f));
}

/* --- rates --- */

/* Of a member of an object now and before; a counter that shrank is not known. */
static double rate(uint64_t ms, const json_t *now, const json_t *before, const char *name)
{
	uint64_t a, b;

	if (!ms || !json_object_get(now, name) || !json_object_get(before, name))
		return -1;
	a = sl_answer_number(now, name);
	b = sl_answer_number(before, name);
	return a < b ? -1 : (double)(a - b) * 1000 / (double)ms;
}

static const json_t *part(const struct sl_facts *f, size_t i, const char *key)
{
	return f->kept[i] ? json_object_get(f->kept[i], key) : NULL;
}

uint64_t sl_facts_counter(const struct sl_facts *f, const char *name)
{
	return sl_answer_number(part(f, 0, "counters"), name);
}

double sl_facts_rate(const struct sl_facts *f, const char *name)
{
	return rate(sl_facts_interval_ms(f), part(f, 0, "counters"), part(f, 1, "counters"), name);
}

double sl_facts_steady_rate(const struct sl_facts *f, const char *name)
{
	return rate(sl_facts_window_ms(f), part(f, 0, "counters"), part(f, oldest(f), "counters"),
		    name);
}

uint64_t sl_facts_gauge(const struct sl_facts *f, const char *name)
{
	return sl_answer_number(part(f, 0, "gauges"), name);
}

double sl_facts_list_rate(const struct sl_facts *f, const char *list, size_t i, const char *name)
{
	return rate(sl_facts_interval_ms(f), json_array_get(part(f, 0, list), i),
		    json_array_get(part(f, 1, list), i), name);
}

double sl_facts_listener_rate(const struct sl_facts *f, const char *listener, const char *name)
{
	return rate(sl_facts_interval_ms(f), json_object_get(part(f, 0, "listeners"), listener),
		    json_object_get(part(f, 1, "listeners"), listener), name);
}

double sl_facts_object_rate(const struct sl_facts *f, const char *object, const char *name)
{
	return rate(sl_facts_interval_ms(f), part(f, 0, object), part(f, 1, object), name);
}

/* --- latencies --- */

static uint64_t bucket_top(const json_t *buckets, size_t i)
{
	return (uint64_t)json_integer_value(json_array_get(json_array_get(buckets, i), 0));
}

static uint64_t bucket_count(const json_t *buckets, size_t i)
{
	return (uint64_t)json_integer_value(json_array_get(json_array_get(buckets, i), 1));
}

/* Samples of a bucket now that were not there before. Both lists are sorted, and *at moves along. */
static uint64_t fresh(const json_t *now, size_t i, const json_t *before, size_t *at)
{
	uint64_t top = bucket_top(now, i), n = bucket_count(now, i), old = 0;

	while (*at < json_array_size(before) && bucket_top(before, *at) < top)
		++*at;
	if (*at < json_array_size(before) && bucket_top(before, *at) == top)
		old = bucket_count(before, *at);
	return n > old ? n - old : 0;
}

/* The largest value of the bucket with the wanted sample, counted from 1. */
static uint64_t value_at(const json_t *now, const json_t *before, uint64_t wanted)
{
	uint64_t seen = 0;
	size_t at = 0;

	for (size_t i = 0; i < json_array_size(now); i++) {
		seen += fresh(now, i, before, &at);
		if (seen >= wanted)
			return bucket_top(now, i);
	}
	return 0;
}

static const json_t *buckets_of(const struct sl_facts *f, size_t i, const char *histogram)
{
	return json_object_get(json_object_get(part(f, i, "histograms"), histogram), "buckets");
}

void sl_facts_latency(const struct sl_facts *f, const char *histogram, struct sl_latency *ret)
{
	size_t base = oldest(f), at = 0;
	const json_t *now = buckets_of(f, 0, histogram);
	const json_t *before = buckets_of(f, base, histogram);

	*ret = (struct sl_latency){0};
	if (!base)
		return;
	for (size_t i = 0; i < json_array_size(now); i++)
		ret->count += fresh(now, i, before, &at);
	if (!ret->count)
		return;
	ret->p50_us = value_at(now, before, (ret->count + 1) / 2);
	ret->p99_us = value_at(now, before, ret->count - ret->count / 100);
}
