/* SPDX-License-Identifier: BSD-2-Clause */
/* sluice flows: the pairs that are open now, two lines each: what and how much, then the addresses. sluice
 * itself chooses and sorts them, so what is not shown costs no JSON. */

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/util.h"
#include "cli/client.h"
#include "cli/commands.h"
#include "cli/flow_rates.h"
#include "cli/render.h"
#include "cli/text.h"
#include "cli/watch.h"
#include "proxy/observe/flow_list.h"

#define COLUMNS	     100
#define TARGET_WIDTH 32

#define WATCH_MS       2000
#define WATCH_LEAST_MS 100

static const char usage[] =
	"Usage: sluice flows [FILTERS] [--sort KEY] [--max N] [--watch[=TIME]] [--json] [--admin "
	"PATH]\n"
	"Shows open pairs: target, age, bytes each way, engine and why, and both connections.\n"
	"  --source END      pairs of these clients: ADDRESS, PREFIX/LENGTH, either with :PORT, or "
	":PORT\n"
	"  --target END      pairs to these servers: the same, or a name (example.com, "
	"*.example.com)\n"
	"  --engine NAME     pairs that copy, sockmap, packet or dpdk carries\n"
	"  --listener NAME   pairs of a listener\n"
	"  --min-age TIME, --max-age TIME    pairs that are so old (50ms, 10s, 5m, 1h, 2d)\n"
	"  --min-bytes SIZE, --max-bytes SIZE    pairs that have carried so much both ways (512, "
	"64k, 10m, 2g)\n"
	"  --sort KEY        age (default), newest, bytes, from-client, from-upstream, source, "
	"target\n"
	"  -m, --max N       at most N pairs (default 1000, at most 100000)\n"
	"  --scan N          look at the first N pairs only (default 50000, at most 1000000)\n"
	"  --watch[=TIME]    ask again every TIME (default 2s), and show bytes a second\n"
	"  -j, --json        print the pairs as JSON\n"
	"  -a, --admin PATH  admin socket (default: SLUICE_ADMIN, else /run/sluice/admin.sock)\n";

/* Both 4-tuples in the direction of the request: on one line if they fit. */
static void print_addresses(FILE *f, const json_t *flow)
{
	char client[64], local[64], from[64], to[64];
	size_t width;

	sl_answer_text(flow, "client", 60, client);
	sl_answer_text(flow, "client_local", 60, local);
	sl_answer_text(flow, "upstream_local", 60, from);
	sl_answer_text(flow, "upstream", 60, to);
	width = 2 + strlen(client) + 4 + strlen(local) + 4 + strlen(from) + 4 + strlen(to);
	fprintf(f, "  %s -> %s%s%s -> %s\n", client, local, width > COLUMNS ? "\n    => " : " => ",
		from, to);
}

/* Bytes so far; if a rate is known, bytes a second. */
static const char *amount(const json_t *flow, const char *bytes, const char *rate,
			  char buf[SL_TEXT_MAX])
{
	const json_t *known = json_object_get(flow, rate);
	char text[SL_TEXT_MAX];

	if (!known)
		return sl_text_bytes(sl_answer_number(flow, bytes), buf);
	sl_text_bytes((uint64_t)json_integer_value(known), text);
	snprintf(buf, SL_TEXT_MAX, "%.10s/s", text);
	return buf;
}

static void print_flow(FILE *f, const json_t *flow, size_t target_width)
{
	char target[64], age[SL_TEXT_MAX], client[SL_TEXT_MAX], upstream[SL_TEXT_MAX];
	char engine[64], reason[64];

	fprintf(f, "%-*s %8s %12s %12s  %-8s %s\n", (int)target_width,
		sl_answer_text(flow, "target", target_width, target),
		sl_text_age(sl_answer_number(flow, "age_ms"), age),
		amount(flow, "bytes_from_client", "rate_from_client", client),
		amount(flow, "bytes_from_upstream", "rate_from_upstream", upstream),
		sl_answer_text(flow, "engine", 8, engine),
		sl_answer_text(flow, "reason", COLUMNS - 46 - target_width, reason));
	print_addresses(f, flow);
}

static size_t widest_target(const json_t *flows)
{
	size_t i, width = strlen("TARGET");
	json_t *flow;

	json_array_foreach((json_t *)flows, i, flow)
	{
		const char *s = json_string_value(json_object_get(flow, "target"));

		width = sl_max(width, s ? strlen(s) : 0);
	}
	return sl_min(width, (size_t)TARGET_WIDTH);
}

/* An answer of an older sluice has neither `seen` nor `matched`. */
static void print_sum(FILE *f, const json_t *payload, size_t n)
{
	uint64_t total = sl_answer_number(payload, "total");
	uint64_t seen = sl_answer_number(payload, "seen");
	uint64_t matched = sl_answer_number(payload, "matched");
	uint64_t stuck = sl_answer_number(payload, "stuck_workers");

	if (stuck)
		fprintf(f, "pairs of %" PRIu64 " worker(s) are missing: stuck\n", stuck);
	if (seen && seen < total)
		fprintf(f,
			"%zu pairs shown, %" PRIu64 " match of the %" PRIu64 " looked at, %" PRIu64
			" are open (--scan N looks at more)\n",
			n, matched, seen, total);
	else if (matched < total && json_object_get(payload, "matched"))
		fprintf(f, "%zu shown, %" PRIu64 " match, %" PRIu64 " pairs are open\n", n, matched,
			total);
	else if (total > n)
		fprintf(f, "%zu of %" PRIu64 " pairs (--max N shows more)\n", n, total);
	else
		fprintf(f, "%zu pair%s\n", n, n == 1 ? "" : "s");
}

void sl_render_flows(const json_t *payload, FILE *f)
{
	const json_t *flows = json_object_get(payload, "flows");
	size_t i, width = widest_target(flows), n = json_array_size(flows);
	json_t *flow;

	if (n)
		fprintf(f, "%-*s %8s %12s %12s  %-8s %s\n", (int)width, "TARGET", "AGE",
			"FROM CLIENT", "FROM UPSTR.", "ENGINE", "REASON");
	json_array_foreach((json_t *)flows, i, flow) print_flow(f, flow, width);
	print_sum(f, payload, n);
}

/* --- the request --- */

enum {
	SOURCE,
	TARGET,
	ENGINE,
	LISTENER,
	SORT,
	MIN_AGE,
	MAX_AGE,
	MIN_BYTES,
	MAX_BYTES,
	SCAN,
	WATCH,
	OPTIONS,
};

static const struct sl_client_value options[OPTIONS + 1] = {
	[SOURCE] = {"source", required_argument},
	[TARGET] = {"target", required_argument},
	[ENGINE] = {"engine", required_argument},
	[LISTENER] = {"listener", required_argument},
	[SORT] = {"sort", required_argument},
	[MIN_AGE] = {"min-age", required_argument},
	[MAX_AGE] = {"max-age", required_argument},
	[MIN_BYTES] = {"min-bytes", required_argument},
	[MAX_BYTES] = {"max-bytes", required_argument},
	[SCAN] = {"scan", required_argument},
	[WATCH] = {"watch", optional_argument},
};

static int wrong_unit(const struct sl_client_value *option, const char *example)
{
	char problem[128];

	snprintf(problem, sizeof(problem), "--%s: expected %s, got \"%.40s\"", option->name,
		 example, option->value);
	return sl_client_complain("flows", problem);
}

/* -1 to go on, else the exit code. */
static int add_number(json_t *request, const char *key, const struct sl_client_value *option,
		      int (*read)(const char *s, uint64_t *ret), const char *example)
{
	uint64_t n;

	if (!option->value)
		return -1;
	if (read(option->value, &n) < 0)
		return wrong_unit(option, example);
	json_object_set_new(request, key, json_integer((json_int_t)n));
	return -1;
}

static void add_words(json_t *request, const struct sl_client_value v[])
{
	for (int i = SOURCE; i <= SORT; i++)
		if (v[i].value)
			json_object_set_new(request, v[i].name, json_string(v[i].value));
}

static int build(const struct sl_client_options *o, const struct sl_client_value v[],
		 json_t *request)
{
	static const char time[] = "a time such as 10s", size[] = "a size such as 64k";
	struct sl_flow_filter filter;
	char problem[256];
	int r;

	add_words(request, v);
	if (o->max)
		json_object_set_new(request, "max", json_integer(o->max));
	r = add_number(request, "min_age_ms", &v[MIN_AGE], sl_text_read_ms, time);
	if (r < 0)
		r = add_number(request, "max_age_ms", &v[MAX_AGE], sl_text_read_ms, time);
	if (r < 0)
		r = add_number(request, "min_bytes", &v[MIN_BYTES], sl_text_read_bytes, size);
	if (r < 0)
		r = add_number(request, "max_bytes", &v[MAX_BYTES], sl_text_read_bytes, size);
	if (r < 0)
		r = add_number(request, "scan", &v[SCAN], sl_text_read_bytes, "a number");
	if (r < 0 && sl_flow_filter_read(request, &filter, problem, sizeof(problem)) < 0)
		r = sl_client_complain("flows", problem);
	return r;
}

/* --- again and again --- */

static void add_rates(void *rates, json_t *payload)
{
	sl_flow_rates_add(rates, payload);
}

static int watch(const struct sl_client_options *o, json_t *request, uint64_t every_ms)
{
	struct sl_flow_rates rates = {0};
	int r = sl_watch_run(&(struct sl_watch){.options = o,
						.request = request,
						.every_ms = every_ms,
						.complete = add_rates,
						.print = sl_render_flows,
						.owner = &rates});

	sl_flow_rates_free(&rates);
	return r;
}

int sl_cmd_flows(int argc, char **argv)
{
	struct sl_client_value v[OPTIONS + 1];
	struct sl_client_options o;
	uint64_t every_ms = WATCH_MS;
	json_t *request;
	int rest, r;

	memcpy(v, options, sizeof(v));
	r = sl_client_parse_more(argc, argv, usage, "jm", v, &o, &rest);
	if (r >= 0)
		return r;
	if (rest < argc)
		return sl_client_complain("flows", "takes no arguments, only options");
	if (v[WATCH].value && *v[WATCH].value &&
	    (sl_text_read_ms(v[WATCH].value, &every_ms) < 0 || every_ms < WATCH_LEAST_MS))
		return wrong_unit(&v[WATCH], "a time of at least 100ms, such as 2s");
	request = json_pack("{s:s}", "command", "flows");
	r = build(&o, v, request);
	if (r >= 0) {
		json_decref(request);
		return r;
	}
	return v[WATCH].value ? watch(&o, request, every_ms)
			      : sl_client_show(&o, request, sl_render_flows);
}
