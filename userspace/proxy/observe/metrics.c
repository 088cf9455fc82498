/* SPDX-License-Identifier: BSD-2-Clause */
/* Prometheus text. Every family is written in one place with its HELP and TYPE. Labels come from bounded
 * sets (docs/metrics.md has the bounds), so the number of series is known. */

#include "proxy/observe/metrics.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/util.h"
#include "proxy/observe/exposition.h"
#include "proxy/observe/process.h"

#define ENGINES_MAX 16

static void write_stats(FILE *f, const struct sl_stats *s)
{
#define X(name, help) sl_expo_plain(f, "sluice_" #name, "counter", help, s->name);
	SL_COUNTERS(X)
#undef X
#define X(name, help) sl_expo_plain(f, "sluice_" #name, "gauge", help, s->name);
	SL_GAUGES(X)
#undef X
#define X(name, help) sl_expo_histogram(f, "sluice_" #name "_seconds", help, &s->name);
	SL_HISTOGRAMS(X)
#undef X
}

static void write_resolver(FILE *f, const struct sl_control_source *source)
{
	struct sl_resolver_stats s = {0};
	const struct {
		const char *name, *help;
		uint64_t value;
	} rows[] = {
		{"sluice_resolver_asked_total", "Names looked up by questions to servers", 0},
		{"sluice_resolver_cached_total", "Names answered from the cache", 0},
		{"sluice_resolver_negative_total", "Of these, answered that there is none", 0},
		{"sluice_resolver_joined_total", "Names that waited for an equal question", 0},
		{"sluice_resolver_failed_total", "Questions that failed", 0},
		{"sluice_resolver_timed_out_total", "Questions that nobody answered in time", 0},
		{"sluice_resolver_refused_total", "Questions refused, too many at once", 0},
	};
	const uint64_t *values[] = {&s.asked,  &s.cached,    &s.negative, &s.joined,
				    &s.failed, &s.timed_out, &s.refused};

	_Static_assert(SL_ARRAY_SIZE(rows) == SL_ARRAY_SIZE(values), "one value a row");
	source->resolver_stats(source->owner, &s);
	for (size_t i = 0; i < SL_ARRAY_SIZE(rows); i++)
		sl_expo_plain(f, rows[i].name, "counter", rows[i].help, *values[i]);
}

/* --- engines --- */

static uint64_t engine_available(const struct sl_engine_report *r, const struct sl_engine_totals *t)
{
	return r->available;
}

static uint64_t engine_joined(const struct sl_engine_report *r, const struct sl_engine_totals *t)
{
	return t->joined;
}

static uint64_t engine_refused(const struct sl_engine_report *r, const struct sl_engine_totals *t)
{
	return t->refused;
}

static uint64_t engine_parted(const struct sl_engine_report *r, const struct sl_engine_totals *t)
{
	return t->parted;
}

static uint64_t engine_active(const struct sl_engine_report *r, const struct sl_engine_totals *t)
{
	return t->active;
}

static uint64_t engine_from_client(const struct sl_engine_report *r,
				   const struct sl_engine_totals *t)
{
	return t->bytes[SL_CLIENT];
}

static uint64_t engine_from_upstream(const struct sl_engine_report *r,
				     const struct sl_engine_totals *t)
{
	return t->bytes[SL_UPSTREAM];
}

static const struct {
	const char *name, *type, *help;
	uint64_t (*value)(const struct sl_engine_report *r, const struct sl_engine_totals *t);
} engine_families[] = {
	{"sluice_engine_available", "gauge", "1 if the engine's self-test succeeded on this host",
	 engine_available},
	{"sluice_engine_joined_total", "counter", "Pairs that the engine took", engine_joined},
	{"sluice_engine_refused_total", "counter", "Pairs that the engine refused", engine_refused},
	{"sluice_engine_parted_total", "counter", "Pairs that the engine gave back", engine_parted},
	{"sluice_engine_active", "gauge", "Pairs that the engine carries now", engine_active},
	{"sluice_engine_client_bytes_total", "counter", "Bytes carried that came from clients",
	 engine_from_client},
	{"sluice_engine_upstream_bytes_total", "counter", "Bytes carried that came from upstreams",
	 engine_from_upstream},
};

static void write_configuration(FILE *f, const struct sl_control_source *source)
{
	struct sl_configuration_info c;

	uint64_t stalls;

	sl_expo_plain(f, "sluice_workers_stuck", "gauge", "Workers whose loop does not turn",
		      source->stuck(source->owner, &stalls));
	sl_expo_plain(f, "sluice_worker_stalls_total", "counter", "Times that a worker got stuck",
		      stalls);
	source->configuration(source->owner, &c);
	sl_expo_plain(f, "sluice_config_generation", "gauge",
		      "Number of the configuration in use, from 1", c.number);
	sl_expo_plain(f, "sluice_config_generations", "gauge",
		      "Configurations that some connection still goes by", c.in_use);
	sl_expo_plain(f, "sluice_config_reloads_refused_total", "counter",
		      "Reloads that were refused", c.refused);
}

struct engine {
	const char *name;
	struct sl_engine_report report;
	struct sl_engine_totals totals;
};

/* Asked once, not per family: the source may have to probe. */
static uint32_t read_engines(const struct sl_control_source *source,
			     struct engine engines[ENGINES_MAX])
{
	uint32_t n = 0;

	while (n < ENGINES_MAX && source->engine(source->owner, n, &engines[n].name,
						 &engines[n].report, &engines[n].totals))
		n++;
	return n;
}

static void write_engines(FILE *f, const struct sl_control_source *source)
{
	struct engine engines[ENGINES_MAX] = {0};
	uint32_t n = read_engines(source, engines);

	for (size_t i = 0; i < SL_ARRAY_SIZE(engine_families); i++) {
		sl_expo_family(f, engine_families[i].name, engine_families[i].type,
			       engine_families[i].help);
		for (uint32_t e = 0; e < n; e++)
			fprintf(f, "%s{engine=\"%s\"} %" PRIu64 "\n", engine_families[i].name,
				engines[e].name,
				engine_families[i].value(&engines[e].report, &engines[e].totals));
	}
}

struct figures {
	FILE *f;
	const char *name; /* of the family that was begun last */
};

static void write_figure(void *arg, const struct sl_figure *figure)
{
	struct figures *figures = arg;
	char name[64];

	snprintf(name, sizeof(name), "sluice_%s", figure->name);
	if (!figures->name || strcmp(figures->name, figure->name))
		sl_expo_family(figures->f, name, figure->type, figure->help);
	figures->name = figure->name;
	if (figure->label)
		fprintf(figures->f, "%s{%s=\"%s\"} %" PRIu64 "\n", name, figure->label,
			figure->value, figure->n);
	else
		fprintf(figures->f, "%s %" PRIu64 "\n", name, figure->n);
}

static void write_figures(FILE *f, const struct sl_control_source *source)
{
	struct figures figures = {.f = f};

	source->figures(write_figure, &figures);
}

/* --- workers --- */

static const struct {
	const char *name, *type, *help;
	size_t offset; /* in struct sl_loop_stats */
	bool is_us;
} worker_families[] = {
	{"sluice_worker_turns_total", "counter", "Turns of the worker's event loop",
	 offsetof(struct sl_loop_stats, turns), false},
	{"sluice_worker_events_total", "counter", "I/O events that the worker handled",
	 offsetof(struct sl_loop_stats, events), false},
	{"sluice_worker_busy_seconds_total", "counter", "Time that the worker did not wait",
	 offsetof(struct sl_loop_stats, busy_us), true},
	{"sluice_worker_longest_turn_seconds", "gauge", "Longest turn of the worker's loop so far",
	 offsetof(struct sl_loop_stats, longest_us), true},
};

static void write_worker_family(FILE *f, size_t i, const struct sl_loop_stats *loops, uint32_t n)
{
	sl_expo_family(f, worker_families[i].name, worker_families[i].type,
		       worker_families[i].help);
	for (uint32_t w = 0; w < n; w++) {
		const char *field = (const char *)&loops[w] + worker_families[i].offset;
		uint64_t value = *(const uint64_t *)field;

		fprintf(f, "%s{worker=\"%" PRIu32 "\"} ", worker_families[i].name, w);
		if (worker_families[i].is_us)
			sl_expo_seconds(f, value);
		else
			fprintf(f, "%" PRIu64 "\n", value);
	}
}

static int write_workers(FILE *f, const struct sl_control_source *source)
{
	_sl_free_ struct sl_stats *scrap = aligned_alloc(64, sizeof(*scrap));
	uint32_t n = source->workers(source->owner);
	_sl_free_ struct sl_loop_stats *loops = calloc(n ? n : 1, sizeof(*loops));

	if (!scrap || !loops)
		return -ENOMEM;
	for (uint32_t w = 0; w < n; w++)
		if (source->worker_stats(source->owner, w, scrap, &loops[w]) < 0)
			memset(&loops[w], 0, sizeof(loops[w]));
	for (size_t i = 0; i < SL_ARRAY_SIZE(worker_families); i++)
		write_worker_family(f, i, loops, n);
	for (uint32_t w = 1; w < n; w++)
		sl_histogram_merge(&loops[0].turn, &loops[w].turn);
	sl_expo_histogram(f, "sluice_worker_turn_seconds",
			  "Turns of the workers' loops without the wait: how late an event may be",
			  &loops[0].turn);
	return 0;
}

static void write_log(FILE *f, const struct sl_control_source *source)
{
	uint64_t written = 0, failed = 0;

	source->log(source->owner, &written, &failed);
	sl_expo_plain(f, "sluice_log_records_total", "counter", "Records that the access log has",
		      written);
	sl_expo_plain(f, "sluice_log_failures_total", "counter",
		      "Attempts to write or open the access log that failed", failed);
}

static void write_process(FILE *f, const struct sl_control_source *source)
{
	struct sl_process p;

	sl_process_read(&p);
	sl_expo_plain(f, "process_resident_memory_bytes", "gauge", "Resident memory of the process",
		      p.resident_bytes);
	sl_expo_plain(f, "process_virtual_memory_bytes", "gauge", "Virtual memory of the process",
		      p.virtual_bytes);
	sl_expo_family(f, "process_start_time_seconds", "gauge", "Start of the process, Unix time");
	fprintf(f, "process_start_time_seconds ");
	sl_expo_seconds(f, p.start_us);
	sl_expo_family(f, "process_cpu_seconds_total", "counter", "CPU time of all threads");
	fprintf(f, "process_cpu_seconds_total ");
	sl_expo_seconds(f, p.cpu_us);
	sl_expo_plain(f, "process_open_fds", "gauge", "Open file descriptors", p.open_fds);
	sl_expo_plain(f, "process_max_fds", "gauge", "Limit of open file descriptors", p.max_fds);
	sl_expo_family(f, "sluice_uptime_seconds", "gauge", "Time since sluice started");
	fprintf(f, "sluice_uptime_seconds ");
	sl_expo_seconds(f, source->uptime_ms(source->owner) * 1000);
	sl_expo_plain(f, "sluice_ready", "gauge", "1 while sluice accepts and does not drain",
		      source->ready(source->owner));
	sl_expo_family(f, "sluice_build_info", "gauge", "Always 1; the label says the version");
	fprintf(f, "sluice_build_info{version=\"%s\"} 1\n", SLUICE_VERSION);
}

int sl_metrics_text(const struct sl_control_source *source, char **ret, size_t *ret_len)
{
	_sl_free_ struct sl_stats *s = aligned_alloc(64, sizeof(*s));
	_sl_free_ char *text = NULL;
	size_t len;
	FILE *f;
	int r;

	if (!s)
		return -ENOMEM;
	memset(s, 0, sizeof(*s));
	f = open_memstream(&text, &len);
	if (!f)
		return -ENOMEM;
	source->stats(source->owner, s);
	write_stats(f, s);
	write_resolver(f, source);
	write_engines(f, source);
	write_figures(f, source);
	r = sl_expo_lists(f, source);
	if (!r)
		r = sl_expo_scopes(f, source);
	if (!r)
		r = write_workers(f, source);
	write_log(f, source);
	write_configuration(f, source);
	write_process(f, source);
	if (ferror(f))
		r = -ENOMEM;
	if (fclose(f) || r < 0)
		return -ENOMEM;
	*ret = SL_TAKE_PTR(text);
	*ret_len = len;
	return 0;
}
