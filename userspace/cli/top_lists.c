/* SPDX-License-Identifier: BSD-2-Clause */
/* The lists of `sluice top`: pairs, servers, listeners, refusals, workers. Rows are objects of sluice's
 * answers; what they lack (rates) is added here. */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/text.h"
#include "cli/top_view.h"

static double member(const json_t *row, const char *name)
{
	return json_number_value(json_object_get(row, name));
}

/* --- order --- */

static int compare(const void *a, const void *b, void *arg)
{
	const struct sl_top_order *order = arg;
	const json_t *x = *(json_t *const *)a, *y = *(json_t *const *)b;
	const char *s, *t;
	double m, n;

	if (order->value) {
		m = order->value(x);
		n = order->value(y);
		return m > n ? -1 : m < n;
	}
	s = json_string_value(json_object_get(x, order->text));
	t = json_string_value(json_object_get(y, order->text));
	return strcmp(s ? s : "", t ? t : "");
}

json_t *sl_top_sorted(const struct sl_top_list *l, const struct sl_facts *f, unsigned sort)
{
	json_t *rows = l->rows(f), *sorted = json_array();
	size_t n = json_array_size(rows);
	_sl_free_ json_t **row = calloc(n ? n : 1, sizeof(json_t *));

	for (size_t i = 0; row && i < n; i++)
		row[i] = json_array_get(rows, i);
	if (row)
		qsort_r(row, n, sizeof(*row), compare, (void *)&l->orders[sort % l->n_orders]);
	for (size_t i = 0; row && i < n; i++)
		json_array_append(sorted, row[i]);
	json_decref(rows);
	return sorted;
}

/* --- pairs --- */

static json_t *flow_rows(const struct sl_facts *f)
{
	return json_incref(json_object_get(f->flows, "flows"));
}

static double flow_rate(const json_t *row)
{
	return member(row, "rate_from_client") + member(row, "rate_from_upstream");
}

static double flow_bytes(const json_t *row)
{
	return member(row, "bytes_from_client") + member(row, "bytes_from_upstream");
}

static double flow_age(const json_t *row)
{
	return member(row, "age_ms");
}

static double flow_newest(const json_t *row)
{
	return -flow_age(row);
}

static const struct sl_top_order flow_orders[] = {
	{"rate", flow_rate, NULL},     {"bytes", flow_bytes, NULL}, {"age", flow_age, NULL},
	{"newest", flow_newest, NULL}, {"source", NULL, "client"},  {"target", NULL, "target"},
};

/* What is left of the line for the target. */
static int target_width(const struct sl_page *p)
{
	return (int)sl_min(sl_max(p->columns, 72u) - 60, 60u);
}

static void flow_heading(struct sl_page *p)
{
	sl_page_add(p, SL_LOOK_HEADING, "%-*s %-21s %6s %10s %10s  %s", target_width(p),
		    "TOP TALKERS: TARGET", "CLIENT", "AGE", "CLIENT/s", "UPSTR./s", "ENGINE");
}

static const char *known_rate(const json_t *row, const char *name, char buf[SL_TEXT_MAX])
{
	return sl_text_byte_rate(json_object_get(row, name) ? member(row, name) : -1, buf);
}

static void flow_row(struct sl_page *p, enum sl_look look, const json_t *row)
{
	char target[64], client[64], age[SL_TEXT_MAX], c[SL_TEXT_MAX], u[SL_TEXT_MAX], engine[64];
	int width = target_width(p);

	sl_page_add(p, look, "%-*s %-21s %6s %10s %10s  %s", width,
		    sl_answer_text(row, "target", (size_t)width, target),
		    sl_answer_text(row, "client", 21, client),
		    sl_text_age(sl_answer_number(row, "age_ms"), age),
		    known_rate(row, "rate_from_client", c),
		    known_rate(row, "rate_from_upstream", u),
		    sl_answer_text(row, "engine", 7, engine));
}

const struct sl_top_list sl_top_flows = {
	.rows = flow_rows,
	.orders = flow_orders,
	.n_orders = SL_ARRAY_SIZE(flow_orders),
	.heading = flow_heading,
	.row = flow_row,
};

/* --- servers --- */

static json_t *server_rows(const struct sl_facts *f)
{
	return json_incref(f->servers);
}

static double server_leased(const json_t *row)
{
	return member(row, "leased");
}

static double server_requests(const json_t *row)
{
	return member(row, "requests");
}

static double server_failures(const json_t *row)
{
	return member(row, "failures");
}

static const struct sl_top_order server_orders[] = {
	{"name", NULL, "upstream"},
	{"in use", server_leased, NULL},
	{"requests", server_requests, NULL},
	{"failures", server_failures, NULL},
};

static void server_heading(struct sl_page *p)
{
	sl_page_add(p, SL_LOOK_HEADING, "%-12s %-21s %-7s %6s %5s %8s %6s  %s", "UPSTREAM",
		    "SERVER", "STATE", "IN USE", "IDLE", "REQUESTS", "FAILED", "WHY");
}

static void server_row(struct sl_page *p, enum sl_look look, const json_t *row)
{
	char upstream[64], server[64], state[64], why[64];

	sl_answer_text(row, "state", 7, state);
	if (look == SL_LOOK_PLAIN && strcmp(state, "up"))
		look = SL_LOOK_WARNING;
	sl_page_add(
		p, look, "%-12s %-21s %-7s %6" PRIu64 " %5" PRIu64 " %8" PRIu64 " %6" PRIu64 "  %s",
		sl_answer_text(row, "upstream", 12, upstream),
		sl_answer_text(row, "server", 21, server), state, sl_answer_number(row, "leased"),
		sl_answer_number(row, "idle"), sl_answer_number(row, "requests"),
		sl_answer_number(row, "failures"), sl_answer_text(row, "why", 40, why));
}

const struct sl_top_list sl_top_servers = {
	.rows = server_rows,
	.orders = server_orders,
	.n_orders = SL_ARRAY_SIZE(server_orders),
	.heading = server_heading,
	.row = server_row,
};

/* --- listeners --- */

static const char *const listener_rates[][2] = {
	{"accepted", "accepted_rate"}, {"requests", "requests_rate"}, {"refused", "refused_rate"}};

static json_t *listener_rows(const struct sl_facts *f)
{
	json_t *rows = json_array(), *listener;
	char name[64];
	size_t i;

	json_array_foreach(f->listeners, i, listener)
	{
		json_t *row = json_copy(listener);

		sl_answer_text(row, "listener", 63, name);
		for (size_t k = 0; k < SL_ARRAY_SIZE(listener_rates); k++)
			json_object_set_new(
				row, listener_rates[k][1],
				json_real(sl_facts_listener_rate(f, name, listener_rates[k][0])));
		json_array_append_new(rows, row);
	}
	return rows;
}

static double listener_connections(const json_t *row)
{
	return member(row, "connections");
}

static double listener_requests(const json_t *row)
{
	return member(row, "requests_rate");
}

static double listener_refused(const json_t *row)
{
	return member(row, "refused_rate") * 1e15 + member(row, "refused");
}

static const struct sl_top_order listener_orders[] = {
	{"connections", listener_connections, NULL},
	{"name", NULL, "listener"},
	{"requests", listener_requests, NULL},
	{"refused", listener_refused, NULL},
};

/* What is left of the line for the address. */
static int listen_width(const struct sl_page *p)
{
	return (int)sl_min(sl_max(p->columns, 80u) - 63, 47u);
}

static void listener_heading(struct sl_page *p)
{
	sl_page_add(p, SL_LOOK_HEADING, "%-12s %-7s %-*s %-8s %10s %6s %6s %7s", "LISTENER", "MODE",
		    listen_width(p), "ADDRESS", "STATE", "OPEN", "CONN/s", "REQS/s", "REFUSED");
}

/* Connections and, behind a slash, how many there may be. Refused: now if there are any, else since the start. */
static void listener_row(struct sl_page *p, enum sl_look look, const json_t *row)
{
	char name[64], mode[64], state[64], listen[64], open[48], refused[SL_TEXT_MAX],
		accepted[SL_TEXT_MAX], requests[SL_TEXT_MAX];
	uint64_t limit = sl_answer_number(row, "limit");
	int n = snprintf(open, sizeof(open), "%" PRIu64, sl_answer_number(row, "connections"));

	sl_answer_text(row, "state", 8, state);
	if (look == SL_LOOK_PLAIN && (strcmp(state, "up") || member(row, "refused_rate") > 0))
		look = SL_LOOK_WARNING;
	if (limit)
		snprintf(open + n, sizeof(open) - (size_t)n, "/%" PRIu64, limit);
	if (member(row, "refused_rate") > 0)
		snprintf(refused, sizeof(refused), "%s/s",
			 sl_text_rate(member(row, "refused_rate"), accepted));
	else
		snprintf(refused, sizeof(refused), "%" PRIu64, sl_answer_number(row, "refused"));
	sl_page_add(p, look, "%-12s %-7s %-*s %-8s %10s %6s %6s %7s",
		    sl_answer_text(row, "listener", 12, name), sl_answer_text(row, "mode", 7, mode),
		    listen_width(p), sl_answer_text(row, "listen", (size_t)listen_width(p), listen),
		    state, open, sl_text_rate(member(row, "accepted_rate"), accepted),
		    sl_text_rate(member(row, "requests_rate"), requests), refused);
}

const struct sl_top_list sl_top_listeners = {
	.rows = listener_rows,
	.orders = listener_orders,
	.n_orders = SL_ARRAY_SIZE(listener_orders),
	.heading = listener_heading,
	.row = listener_row,
};

/* --- pools --- */

static uint64_t sum_of_servers(const json_t *pool, const char *name)
{
	json_t *server, *servers = json_object_get(pool, "servers");
	uint64_t sum = 0;
	size_t i;

	json_array_foreach(servers, i, server) sum += sl_answer_number(server, name);
	return sum;
}

static json_t *pool_rows(const struct sl_facts *f)
{
	return json_incref(f->pools);
}

static double pool_waiting(const json_t *row)
{
	return member(row, "waiting");
}

static const struct sl_top_order pool_orders[] = {
	{"name", NULL, "upstream"},
	{"waiting", pool_waiting, NULL},
};

static void pool_heading(struct sl_page *p)
{
	sl_page_add(p, SL_LOOK_HEADING, "%-16s %8s %8s %8s %8s %9s %9s %6s", "UPSTREAM", "IN USE",
		    "IDLE", "WAITING", "QUEUE", "REFUSED", "GAVE UP", "REUSE");
}

static void pool_row(struct sl_page *p, enum sl_look look, const json_t *row)
{
	uint64_t reused = sum_of_servers(row, "reused");
	uint64_t all = reused + sum_of_servers(row, "opened");
	char upstream[64], reuse[SL_TEXT_MAX] = "-";

	if (all)
		snprintf(reuse, sizeof(reuse), "%.1f%%", 100.0 * (double)reused / (double)all);
	sl_page_add(p, look,
		    "%-16s %8" PRIu64 " %8" PRIu64 " %8" PRIu64 " %8" PRIu64 " %9" PRIu64
		    " %9" PRIu64 " %6s",
		    sl_answer_text(row, "upstream", 16, upstream), sum_of_servers(row, "leased"),
		    sum_of_servers(row, "idle"), sl_answer_number(row, "waiting"),
		    sl_answer_number(row, "queue"), sl_answer_number(row, "queue_full"),
		    sl_answer_number(row, "queue_timeouts"), reuse);
}

const struct sl_top_list sl_top_pools = {
	.rows = pool_rows,
	.orders = pool_orders,
	.n_orders = SL_ARRAY_SIZE(pool_orders),
	.heading = pool_heading,
	.row = pool_row,
};

/* --- refusals --- */

static bool is_refusal(const char *counter)
{
	static const char *const also[] = {
		"requests_bad_total",
		"requests_denied_total",
		"requests_auth_total",
		"requests_rate_total",
		"requests_concurrent_total",
		"upstream_queue_full_total",
		"upstream_queue_timeouts_total",
		"proxy_headers_bad_total",
	};

	for (size_t i = 0; i < SL_ARRAY_SIZE(also); i++)
		if (!strcmp(counter, also[i]))
			return true;
	return !strncmp(counter, "refused_", 8) || !strncmp(counter, "timeouts_", 9) ||
	       !strncmp(counter, "hellos_refused", 14);
}

/* Counters that are not 0. */
static json_t *refusal_rows(const struct sl_facts *f)
{
	json_t *rows = json_array(), *value;
	const char *name;

	json_object_foreach(json_object_get(f->stats, "counters"), name, value)
	{
		size_t len = strlen(name);

		if (len > 6 && is_refusal(name) && json_integer_value(value))
			json_array_append_new(rows, json_pack("{s:s%, s:O, s:f}", "reason", name,
							      len - 6, "total", value, "rate",
							      sl_facts_rate(f, name)));
	}
	return rows;
}

static double refusal_rate(const json_t *row)
{
	return member(row, "rate") * 1e15 + member(row, "total");
}

static double refusal_total(const json_t *row)
{
	return member(row, "total");
}

static const struct sl_top_order refusal_orders[] = {
	{"rate", refusal_rate, NULL},
	{"total", refusal_total, NULL},
	{"reason", NULL, "reason"},
};

static void refusal_heading(struct sl_page *p)
{
	sl_page_add(p, SL_LOOK_HEADING, "%-32s %12s %12s", "REFUSED, TIMED OUT", "A SECOND",
		    "IN ALL");
}

static void refusal_row(struct sl_page *p, enum sl_look look, const json_t *row)
{
	char reason[64], n[SL_TEXT_MAX];

	sl_page_add(p, look, "%-32s %12s %12" PRIu64, sl_answer_text(row, "reason", 32, reason),
		    sl_text_rate(member(row, "rate"), n), sl_answer_number(row, "total"));
}

const struct sl_top_list sl_top_refusals = {
	.rows = refusal_rows,
	.orders = refusal_orders,
	.n_orders = SL_ARRAY_SIZE(refusal_orders),
	.heading = refusal_heading,
	.row = refusal_row,
};

/* --- workers --- */

static json_t *worker_rows(const struct sl_facts *f)
{
	json_t *rows = json_array(), *worker;
	size_t i;

	json_array_foreach(json_object_get(f->stats, "workers"), i, worker)
	{
		json_t *row = json_copy(worker);

		json_object_set_new(row, "worker", json_integer((json_int_t)i));
		json_object_set_new(row, "busy",
				    json_real(sl_facts_list_rate(f, "workers", i, "busy_us")));
		json_object_set_new(row, "rate",
				    json_real(sl_facts_list_rate(f, "workers", i, "requests")));
		json_array_append_new(rows, row);
	}
	return rows;
}

static double worker_number(const json_t *row)
{
	return -member(row, "worker");
}

static double worker_busy(const json_t *row)
{
	return member(row, "busy");
}

static const struct sl_top_order worker_orders[] = {
	{"number", worker_number, NULL},
	{"busy", worker_busy, NULL},
};

static void worker_heading(struct sl_page *p)
{
	sl_page_add(p, SL_LOOK_HEADING, "%-8s %12s %12s %8s %14s %12s", "WORKER", "CONNECTIONS",
		    "REQUESTS/s", "BUSY", "LONGEST TURN", "OWN MEMORY");
}

static void worker_row(struct sl_page *p, enum sl_look look, const json_t *row)
{
	char n[SL_TEXT_MAX], longest[SL_TEXT_MAX], own[SL_TEXT_MAX], busy[SL_TEXT_MAX] = "-";

	if (member(row, "busy") >= 0)
		snprintf(busy, sizeof(busy), "%.1f%%", member(row, "busy") / 1e4);
	sl_page_add(p, look, "%-8" PRIu64 " %12" PRIu64 " %12s %8s %14s %12s",
		    sl_answer_number(row, "worker"), sl_answer_number(row, "connections_active"),
		    sl_text_rate(member(row, "rate"), n), busy,
		    sl_text_us(sl_answer_number(row, "longest_us"), longest),
		    sl_text_bytes(sl_answer_number(row, "own_bytes"), own));
}

const struct sl_top_list sl_top_workers = {
	.rows = worker_rows,
	.orders = worker_orders,
	.n_orders = SL_ARRAY_SIZE(worker_orders),
	.heading = worker_heading,
	.row = worker_row,
};
