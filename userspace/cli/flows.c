/* SPDX-License-Identifier: BSD-2-Clause */
/* sluice flows: the pairs that are open now, two lines each: what and how much, then the addresses. */

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/util.h"
#include "cli/client.h"
#include "cli/commands.h"
#include "cli/render.h"
#include "cli/text.h"

#define COLUMNS	     100
#define TARGET_WIDTH 32

static const char usage[] =
	"Usage: sluice flows [--max N] [--json] [--admin PATH]\n"
	"Shows each open pair: target, age, bytes each way, engine and why, and both connections.\n"
	"  -m, --max N       at most N pairs (default 1000)\n"
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

static void print_flow(FILE *f, const json_t *flow, size_t target_width)
{
	char target[64], age[SL_TEXT_MAX], client[SL_TEXT_MAX], upstream[SL_TEXT_MAX];
	char engine[64], reason[64];

	fprintf(f, "%-*s %8s %12s %12s  %-8s %s\n", (int)target_width,
		sl_answer_text(flow, "target", target_width, target),
		sl_text_age(sl_answer_number(flow, "age_ms"), age),
		sl_text_bytes(sl_answer_number(flow, "bytes_from_client"), client),
		sl_text_bytes(sl_answer_number(flow, "bytes_from_upstream"), upstream),
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

void sl_render_flows(const json_t *payload, FILE *f)
{
	const json_t *flows = json_object_get(payload, "flows");
	size_t i, width = widest_target(flows), n = json_array_size(flows);
	uint64_t total = sl_answer_number(payload, "total");
	json_t *flow;

	if (n)
		fprintf(f, "%-*s %8s %12s %12s  %-8s %s\n", (int)width, "TARGET", "AGE",
			"FROM CLIENT", "FROM UPSTR.", "ENGINE", "REASON");
	json_array_foreach((json_t *)flows, i, flow) print_flow(f, flow, width);
	if (total > n)
		fprintf(f, "%zu of %" PRIu64 " pairs (--max N shows more)\n", n, total);
	else
		fprintf(f, "%zu pair%s\n", n, n == 1 ? "" : "s");
}

int sl_cmd_flows(int argc, char **argv)
{
	struct sl_client_options o;
	int rest, r = sl_client_parse(argc, argv, usage, "jm", &o, &rest);
	json_t *request;

	if (r >= 0)
		return r;
	if (rest < argc) {
		fprintf(stderr, "sluice flows: takes no arguments\n%s", usage);
		return SL_EXIT_USAGE;
	}
	request = json_pack("{s:s}", "command", "flows");
	if (o.max)
		json_object_set_new(request, "max", json_integer(o.max));
	return sl_client_show(&o, request, sl_render_flows);
}
