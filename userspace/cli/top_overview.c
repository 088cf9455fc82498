/* SPDX-License-Identifier: BSD-2-Clause */
/* The first screen of `sluice top`: 24 rows of 80 columns hold all of it. */

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/text.h"
#include "cli/top_view.h"

static const char *rate(const struct sl_facts *f, const char *name, char buf[SL_TEXT_MAX])
{
	return sl_text_rate(sl_facts_rate(f, name), buf);
}

/* The part of the workers' time in the interval that they did not wait, in percent; -1: not known. */
static double busy_percent(const struct sl_facts *f)
{
	size_t n = json_array_size(json_object_get(f->stats, "workers"));
	double us = 0;

	for (size_t i = 0; i < n; i++) {
		double one = sl_facts_list_rate(f, "workers", i, "busy_us");

		if (one < 0)
			return -1;
		us += one;
	}
	return n ? us / (double)n / 1e4 : -1;
}

static const char *percent(double n, char buf[SL_TEXT_MAX])
{
	if (n < 0)
		snprintf(buf, SL_TEXT_MAX, "-");
	else
		snprintf(buf, SL_TEXT_MAX, "%.1f%%", n);
	return buf;
}

void sl_top_draw_state(const struct sl_facts *f, const struct sl_top *t, struct sl_page *p)
{
	const json_t *process = json_object_get(f->stats, "process");
	double cpu = sl_facts_object_rate(f, "process", "cpu_us");
	char version[64], age[SL_TEXT_MAX], busy[SL_TEXT_MAX], used[SL_TEXT_MAX],
		memory[SL_TEXT_MAX];

	if (f->problem.text[0])
		sl_page_add(p, SL_LOOK_WARNING, "NO ANSWER, old figures: %s", f->problem.text);
	else
		sl_page_add(p, SL_LOOK_TITLE, "sluice %s, up %s, %s%s",
			    sl_answer_text(f->stats, "version", 20, version),
			    sl_text_age(sl_answer_number(f->stats, "uptime_ms"), age),
			    json_is_true(json_object_get(f->stats, "ready")) ? "ready"
									     : "not ready",
			    t->paused ? " (paused: space goes on)" : "");
	sl_page_add(p, SL_LOOK_PLAIN,
		    "%zu workers %s busy   cpu %s   memory %s   descriptors %" PRIu64
		    " of %" PRIu64,
		    json_array_size(json_object_get(f->stats, "workers")),
		    percent(busy_percent(f), busy), percent(cpu < 0 ? -1 : cpu / 1e4, used),
		    sl_text_bytes(sl_answer_number(process, "resident_bytes"), memory),
		    sl_answer_number(process, "open_fds"), sl_answer_number(process, "max_fds"));
}

/* An adopted tunnel has no client connection, so it is none of those open. */
static void draw_connections(const struct sl_facts *f, struct sl_page *p)
{
	uint64_t active = sl_facts_gauge(f, "connections_active");
	uint64_t idle = sl_facts_gauge(f, "connections_idle");
	uint64_t adopted = sl_facts_gauge(f, "tunnels_adopted");
	uint64_t tunnels = sl_facts_gauge(f, "tunnels_active");
	uint64_t own = tunnels > adopted ? tunnels - adopted : 0;
	uint64_t rest = idle + own;

	sl_page_add(p, SL_LOOK_PLAIN,
		    "open %" PRIu64 ": %" PRIu64 " idle, %" PRIu64 " tunnels, %" PRIu64
		    " in requests; adopted tunnels %" PRIu64,
		    active, idle, own, active > rest ? active - rest : 0, adopted);
	sl_page_add(p, SL_LOOK_PLAIN,
		    "pool: %" PRIu64 " idle upstream connections, %" PRIu64 " requests wait",
		    sl_facts_gauge(f, "upstream_idle"), sl_facts_gauge(f, "upstream_waiting"));
}

static void draw_rates(const struct sl_facts *f, struct sl_page *p)
{
	char a[SL_TEXT_MAX], b[SL_TEXT_MAX], c[SL_TEXT_MAX], d[SL_TEXT_MAX];

	sl_page_add(p, SL_LOOK_PLAIN, "a second: %s accepted, %s done, %s requests, %s tunnels",
		    rate(f, "connections_accepted_total", a), rate(f, "connections_done_total", b),
		    rate(f, "requests_total", c), rate(f, "tunnels_total", d));
	sl_page_add(p, SL_LOOK_PLAIN, "responses: 2xx %s, 3xx %s, 4xx %s, 5xx %s",
		    rate(f, "responses_2xx_total", a), rate(f, "responses_3xx_total", b),
		    rate(f, "responses_4xx_total", c), rate(f, "responses_5xx_total", d));
	sl_page_add(p, SL_LOOK_PLAIN, "upstream: %s connects, %s reused, %s failed, %s sent again",
		    rate(f, "upstream_connects_total", a), rate(f, "upstream_reused_total", b),
		    rate(f, "upstream_failures_total", c), rate(f, "upstream_retries_total", d));
	/* What tunnels carry is counted every few seconds. */
	sl_page_add(p, SL_LOOK_PLAIN, "bytes a second, last %s: from clients %s, to clients %s",
		    sl_text_age(sl_facts_window_ms(f), c),
		    sl_text_byte_rate(sl_facts_steady_rate(f, "client_bytes_in_total"), a),
		    sl_text_byte_rate(sl_facts_steady_rate(f, "client_bytes_out_total"), b));
}

/* The two refusals that came most often, now if there are any, else since the start. */
static void draw_refusals(const struct sl_facts *f, struct sl_page *p)
{
	json_t *rows = sl_top_sorted(&sl_top_refusals, f, 0), *row;
	char text[SL_PAGE_COLUMNS] = "", n[SL_TEXT_MAX];
	size_t i, len = 0;

	json_array_foreach(rows, i, row)
	{
		double now = json_number_value(json_object_get(row, "rate"));

		if (i < 2 && len < sizeof(text))
			len += (size_t)snprintf(
				text + len, sizeof(text) - len, "%s%s %" PRIu64 " (%s/s)",
				i ? ", " : "", json_string_value(json_object_get(row, "reason")),
				sl_answer_number(row, "total"), sl_text_rate(now, n));
	}
	sl_page_add(p, i ? SL_LOOK_WARNING : SL_LOOK_PLAIN, "refused: %s%s",
		    i ? text : "nothing since the start", i > 2 ? ", ... (r)" : "");
	json_decref(rows);
}

static void draw_latencies(const struct sl_facts *f, struct sl_page *p)
{
	static const char *const rows[][2] = {{"request_duration", "request"},
					      {"first_byte", "first byte"},
					      {"connect_duration", "connect"}};
	char p50[SL_TEXT_MAX], p99[SL_TEXT_MAX], window[SL_TEXT_MAX];

	sl_page_add(p, SL_LOOK_HEADING, "LATENCY, last %-6s %10s %10s %10s",
		    sl_text_age(sl_facts_window_ms(f), window), "SAMPLES", "P50", "P99");
	for (size_t i = 0; i < SL_ARRAY_SIZE(rows); i++) {
		struct sl_latency l;

		sl_facts_latency(f, rows[i][0], &l);
		sl_page_add(p, SL_LOOK_PLAIN, "%-20s %10" PRIu64 " %10s %10s", rows[i][1], l.count,
			    sl_text_us(l.p50_us, p50), sl_text_us(l.p99_us, p99));
	}
}

/* What is to be known of an engine in a few words: how full its maps are, if it has any. */
static const char *engine_state(const struct sl_facts *f, const json_t *engine,
				char buf[SL_TEXT_MAX + 64], enum sl_look *ret_look)
{
	const json_t *figures = json_object_get(f->stats, "figures");
	char name[64];
	const char *map =
		strcmp(sl_answer_text(engine, "name", 8, name), "packet") ? name : "pairs";
	uint64_t used = sl_answer_number(json_object_get(figures, "map_used"), map);
	uint64_t limit = sl_answer_number(json_object_get(figures, "map_limit"), map);
	double full = limit ? 100.0 * (double)used / (double)limit : 0;

	*ret_look = SL_LOOK_FAINT;
	if (!json_is_true(json_object_get(engine, "available")))
		return sl_answer_text(engine, "reason", 63, buf);
	*ret_look = full > 90 ? SL_LOOK_WARNING : SL_LOOK_PLAIN;
	if (!limit)
		return "there";
	snprintf(buf, SL_TEXT_MAX + 64, "%.0f%% full", full);
	return buf;
}

static void draw_engines(const struct sl_facts *f, struct sl_page *p)
{
	const json_t *engines = json_object_get(f->stats, "engines");
	json_t *e;
	size_t i;

	sl_page_add(p, SL_LOOK_HEADING, "%-8s %8s %9s %9s %12s %12s  %s", "ENGINE", "PAIRS",
		    "JOINED/s", "REFUSED/s", "FROM CLIENT", "FROM UPSTR.", "STATE");
	json_array_foreach((json_t *)engines, i, e)
	{
		char name[64], joined[SL_TEXT_MAX], refused[SL_TEXT_MAX], c[SL_TEXT_MAX],
			u[SL_TEXT_MAX], buf[SL_TEXT_MAX + 64];
		enum sl_look look;
		const char *state = engine_state(f, e, buf, &look);

		sl_page_add(p, look, "%-8s %8" PRIu64 " %9s %9s %10s/s %10s/s  %s",
			    sl_answer_text(e, "name", 8, name), sl_answer_number(e, "active"),
			    sl_text_rate(sl_facts_list_rate(f, "engines", i, "joined"), joined),
			    sl_text_rate(sl_facts_list_rate(f, "engines", i, "refused"), refused),
			    sl_text_byte_rate(
				    sl_facts_list_rate(f, "engines", i, "bytes_from_client"), c),
			    sl_text_byte_rate(
				    sl_facts_list_rate(f, "engines", i, "bytes_from_upstream"), u),
			    state);
	}
}

/* One row stays free for the keys. */
static void draw_talkers(const struct sl_facts *f, struct sl_page *p)
{
	json_t *rows = sl_top_sorted(&sl_top_flows, f, 0), *row;
	size_t i;

	sl_top_flows.heading(p);
	json_array_foreach(rows, i, row)
	{
		if (sl_page_room(p) < 2)
			break;
		sl_top_flows.row(p, SL_LOOK_PLAIN, row);
	}
	if (!i && sl_page_room(p) > 1)
		sl_page_add(p, SL_LOOK_FAINT, "no tunnels");
	json_decref(rows);
}

void sl_top_draw_overview(struct sl_top *t, const struct sl_facts *f, struct sl_page *p)
{
	draw_connections(f, p);
	draw_rates(f, p);
	draw_refusals(f, p);
	draw_latencies(f, p);
	draw_engines(f, p);
	if (sl_page_room(p) > 1)
		draw_talkers(f, p);
}
