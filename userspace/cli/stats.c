/* SPDX-License-Identifier: BSD-2-Clause */
/* sluice stats: what the proxy has done since its start, and what it holds now. */

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/util.h"
#include "cli/client.h"
#include "cli/commands.h"
#include "cli/render.h"
#include "cli/text.h"

static const char usage[] =
	"Usage: sluice stats [--loop] [--json] [--admin PATH]\n"
	"Shows counters with their rates since the start, latencies, memory, engines and workers.\n"
	"  --loop            where the workers' time went instead: waiting, I/O, timers, tasks\n"
	"  -j, --json        print the statistics as JSON\n"
	"  -a, --admin PATH  admin socket (default: SLUICE_ADMIN, else /run/sluice/admin.sock)\n";

static bool is_bytes(const char *name)
{
	return strstr(name, "bytes");
}

static void print_rate(FILE *f, const char *name, double rate)
{
	char text[SL_TEXT_MAX];

	if (is_bytes(name))
		fprintf(f, " %12s/s\n", sl_text_bytes((uint64_t)rate, text));
	else
		fprintf(f, " %12.1f/s\n", rate);
}

static void print_counters(FILE *f, const json_t *counters, uint64_t uptime_ms)
{
	double seconds = (double)sl_max(uptime_ms, (uint64_t)1) / 1000;
	unsigned zeros = 0;
	const char *key;
	json_t *value;

	fprintf(f, "\n%-32s %14s %14s\n", "SINCE THE START", "TOTAL", "RATE");
	json_object_foreach((json_t *)counters, key, value)
	{
		uint64_t n = (uint64_t)json_integer_value(value);
		char text[SL_TEXT_MAX], name[33];

		if (!n) {
			zeros++;
			continue;
		}
		if (is_bytes(key))
			sl_text_bytes(n, text);
		else
			snprintf(text, sizeof(text), "%" PRIu64, n);
		fprintf(f, "%-32s %14s", sl_text_safe(key, 32, name, sizeof(name)), text);
		print_rate(f, key, (double)n / seconds);
	}
	if (zeros)
		fprintf(f, "(%u counters at 0 are not shown; --json has all)\n", zeros);
}

static void print_gauges(FILE *f, const json_t *gauges)
{
	const char *key;
	json_t *value;

	fprintf(f, "\nNOW\n");
	json_object_foreach((json_t *)gauges, key, value)
	{
		uint64_t n = (uint64_t)json_integer_value(value);
		char name[33], text[SL_TEXT_MAX];

		sl_text_safe(key, 32, name, sizeof(name));
		/* The exact figure is the promise that people check. */
		if (is_bytes(key) && strcmp(key, "idle_connection_bytes"))
			fprintf(f, "%-32s %14s\n", name, sl_text_bytes(n, text));
		else
			fprintf(f, "%-32s %14" PRIu64 "\n", name, n);
	}
}

static void print_histograms(FILE *f, const json_t *histograms)
{
	static const char *const percentiles[] = {"p50_us", "p90_us", "p99_us", "p999_us"};
	const char *key;
	json_t *h;

	fprintf(f, "\n%-20s %12s %10s %10s %10s %10s %10s\n", "LATENCY", "COUNT", "MEAN", "P50",
		"P90", "P99", "P99.9");
	json_object_foreach((json_t *)histograms, key, h)
	{
		uint64_t count = sl_answer_number(h, "count"),
			 mean_us = count ? sl_answer_number(h, "sum_us") / count : 0;
		char name[21], text[SL_TEXT_MAX];

		fprintf(f, "%-20s %12" PRIu64 " %10s", sl_text_safe(key, 20, name, sizeof(name)),
			count, sl_text_us(mean_us, text));
		for (size_t i = 0; i < SL_ARRAY_SIZE(percentiles); i++)
			fprintf(f, " %10s", sl_text_us(sl_answer_number(h, percentiles[i]), text));
		fputc('\n', f);
	}
}

static void print_engines(FILE *f, const json_t *engines)
{
	json_t *e;
	size_t i;

	fprintf(f, "\n%-10s %8s %10s %10s %12s %12s  %s\n", "ENGINE", "ACTIVE", "JOINED", "REFUSED",
		"FROM CLIENT", "FROM UPSTR.", "STATE");
	json_array_foreach((json_t *)engines, i, e)
	{
		bool available = json_is_true(json_object_get(e, "available"));
		char client[SL_TEXT_MAX], upstream[SL_TEXT_MAX], name[64], reason[64];

		fprintf(f, "%-10.10s %8" PRIu64 " %10" PRIu64 " %10" PRIu64 " %12s %12s  %.30s\n",
			sl_answer_text(e, "name", 63, name), sl_answer_number(e, "active"),
			sl_answer_number(e, "joined"), sl_answer_number(e, "refused"),
			sl_text_bytes(sl_answer_number(e, "bytes_from_client"), client),
			sl_text_bytes(sl_answer_number(e, "bytes_from_upstream"), upstream),
			available ? "available" : sl_answer_text(e, "reason", 63, reason));
	}
}

static void print_figure(FILE *f, const char *family, const char *label, const json_t *value)
{
	char name[33], text[64];

	if (json_integer_value(value))
		fprintf(f, "%-24s %14" JSON_INTEGER_FORMAT "  %s\n",
			sl_text_safe(family, 24, name, sizeof(name)), json_integer_value(value),
			label ? sl_text_safe(label, 57, text, sizeof(text)) : "");
}

/* What an engine alone counts; zeros are left out. */
static void print_figures(FILE *f, const json_t *figures)
{
	const char *family, *label;
	json_t *value, *sample;

	fprintf(f, "\nOF ENGINES\n");
	json_object_foreach((json_t *)figures, family, value)
	{
		if (!json_is_object(value))
			print_figure(f, family, NULL, value);
		json_object_foreach(value, label, sample) print_figure(f, family, label, sample);
	}
}

static void print_workers(FILE *f, const json_t *workers, uint64_t uptime_ms)
{
	json_t *w;
	size_t i;

	fprintf(f, "\n%-6s %10s %10s %10s %12s %7s %12s %12s\n", "WORKER", "ACTIVE", "ACCEPTED",
		"DONE", "REQUESTS", "BUSY", "LONGEST TURN", "OWN MEMORY");
	json_array_foreach((json_t *)workers, i, w)
	{
		double busy = (double)sl_answer_number(w, "busy_us") / 10 /
			      (double)sl_max(uptime_ms, (uint64_t)1);
		char longest[SL_TEXT_MAX], own[SL_TEXT_MAX];

		fprintf(f,
			"%-6zu %10" PRIu64 " %10" PRIu64 " %10" PRIu64 " %12" PRIu64
			" %6.1f%% %12s %12s\n",
			i, sl_answer_number(w, "connections_active"),
			sl_answer_number(w, "connections_accepted"),
			sl_answer_number(w, "connections_done"), sl_answer_number(w, "requests"),
			busy, sl_text_us(sl_answer_number(w, "longest_us"), longest),
			sl_text_bytes(sl_answer_number(w, "own_bytes"), own));
	}
}

static void print_names(FILE *f, const json_t *resolver)
{
	fprintf(f,
		"\nnames: %" PRIu64 " asked, %" PRIu64 " from the cache, %" PRIu64
		" joined, %" PRIu64 " failed, %" PRIu64 " timed out, %" PRIu64 " refused\n",
		sl_answer_number(resolver, "asked"), sl_answer_number(resolver, "cached"),
		sl_answer_number(resolver, "joined"), sl_answer_number(resolver, "failed"),
		sl_answer_number(resolver, "timed_out"), sl_answer_number(resolver, "refused"));
}

static void print_process(FILE *f, const json_t *p)
{
	char resident[SL_TEXT_MAX];

	fprintf(f,
		"process: %s resident, %.2f s CPU, %" PRIu64 " of %" PRIu64 " descriptors open\n",
		sl_text_bytes(sl_answer_number(p, "resident_bytes"), resident),
		(double)sl_answer_number(p, "cpu_us") / 1e6, sl_answer_number(p, "open_fds"),
		sl_answer_number(p, "max_fds"));
}

void sl_render_stats(const json_t *payload, FILE *f)
{
	uint64_t uptime_ms = sl_answer_number(payload, "uptime_ms");
	const json_t *gauges = json_object_get(payload, "gauges");
	char age[SL_TEXT_MAX], version[64];

	fprintf(f, "sluice %s, up %s, %s\n", sl_answer_text(payload, "version", 63, version),
		sl_text_age(uptime_ms, age),
		json_is_true(json_object_get(payload, "ready")) ? "ready" : "not ready");
	print_counters(f, json_object_get(payload, "counters"), uptime_ms);
	print_gauges(f, gauges);
	print_histograms(f, json_object_get(payload, "histograms"));
	print_engines(f, json_object_get(payload, "engines"));
	print_figures(f, json_object_get(payload, "figures"));
	print_workers(f, json_object_get(payload, "workers"), uptime_ms);
	print_names(f, json_object_get(payload, "resolver"));
	print_process(f, json_object_get(payload, "process"));
}

int sl_cmd_stats(int argc, char **argv)
{
	struct sl_client_value loop[] = {{"loop", no_argument, NULL}, {NULL, 0, NULL}};
	struct sl_client_options o;
	int rest, r = sl_client_parse_more(argc, argv, usage, "j", loop, &o, &rest);

	if (r >= 0)
		return r;
	if (rest < argc) {
		fprintf(stderr, "sluice stats: takes no arguments\n%s", usage);
		return SL_EXIT_USAGE;
	}
	return sl_client_show(&o, json_pack("{s:s}", "command", "stats"),
			      loop->value ? sl_render_loop : sl_render_stats);
}
