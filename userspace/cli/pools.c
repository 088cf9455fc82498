/* SPDX-License-Identifier: BSD-2-Clause */
/* sluice pools: what is open to each server and how often it is used again, then who waits for each
 * upstream. */

#include <inttypes.h>
#include <stdio.h>

#include "cli/client.h"
#include "cli/commands.h"
#include "cli/render.h"

static const char usage[] =
	"Usage: sluice pools [--json] [--admin PATH]\n"
	"Shows the connections to each server of each upstream: in use, idle and allowed, how many "
	"were\n"
	"opened, and how many requests an idle one served; then the requests that wait for one, "
	"and why connections\n"
	"were closed.\n"
	"  -j, --json        print the pools as JSON\n"
	"  -a, --admin PATH  admin socket (default: SLUICE_ADMIN, else /run/sluice/admin.sock)\n";

static void print_reuse(FILE *f, uint64_t reused, uint64_t opened)
{
	if (reused + opened)
		fprintf(f, "%6.1f%%\n", 100.0 * (double)reused / (double)(reused + opened));
	else
		fprintf(f, "%7s\n", "-");
}

static void print_servers(FILE *f, const json_t *pool)
{
	json_t *s, *servers = json_object_get(pool, "servers");
	char upstream[64], server[64];
	size_t i;

	json_array_foreach(servers, i, s)
	{
		fprintf(f,
			"%-14s %-22s %7" PRIu64 " %7" PRIu64 " %7" PRIu64 " %11" PRIu64 " %9" PRIu64
			" ",
			sl_answer_text(pool, "upstream", 14, upstream),
			sl_answer_text(s, "server", 22, server), sl_answer_number(s, "leased"),
			sl_answer_number(s, "idle"), sl_answer_number(pool, "max"),
			sl_answer_number(s, "reused"), sl_answer_number(s, "opened"));
		print_reuse(f, sl_answer_number(s, "reused"), sl_answer_number(s, "opened"));
	}
}

static void print_queue(FILE *f, const json_t *pool)
{
	char upstream[64];

	fprintf(f, "%-14s %7" PRIu64 " %7" PRIu64 " %11" PRIu64 " %9" PRIu64 " %9" PRIu64 "\n",
		sl_answer_text(pool, "upstream", 14, upstream), sl_answer_number(pool, "waiting"),
		sl_answer_number(pool, "queue"), sl_answer_number(pool, "waits"),
		sl_answer_number(pool, "queue_full"), sl_answer_number(pool, "queue_timeouts"));
}

/* Why connections were closed; all zero: no line. */
static void print_closed(FILE *f, const json_t *pool)
{
	json_t *closed = json_object_get(pool, "closed"), *n;
	char upstream[64];
	const char *why;
	bool any = false;

	json_object_foreach(closed, why, n)
	{
		if (!json_integer_value(n))
			continue;
		if (!any)
			fprintf(f, "%-14s", sl_answer_text(pool, "upstream", 14, upstream));
		fprintf(f, " %s %" JSON_INTEGER_FORMAT, why, json_integer_value(n));
		any = true;
	}
	if (any)
		fputc('\n', f);
}

void sl_render_pools(const json_t *payload, FILE *f)
{
	size_t i, n = json_array_size(payload);
	json_t *pool;

	if (n)
		fprintf(f, "%-14s %-22s %7s %7s %7s %11s %9s %7s\n", "UPSTREAM", "SERVER", "IN USE",
			"IDLE", "MAX", "REUSED", "OPENED", "REUSE");
	json_array_foreach((json_t *)payload, i, pool) print_servers(f, pool);
	if (n)
		fprintf(f, "\n%-14s %7s %7s %11s %9s %9s\n", "UPSTREAM", "WAITING", "QUEUE",
			"WAITED", "REFUSED", "TIMED OUT");
	json_array_foreach((json_t *)payload, i, pool) print_queue(f, pool);
	if (n)
		fprintf(f, "\n%-14s CLOSED, BY REASON\n", "UPSTREAM");
	json_array_foreach((json_t *)payload, i, pool) print_closed(f, pool);
	fprintf(f, "%zu upstream%s\n", n, n == 1 ? "" : "s");
}

int sl_cmd_pools(int argc, char **argv)
{
	struct sl_client_options o;
	int rest, r = sl_client_parse(argc, argv, usage, "j", &o, &rest);

	if (r >= 0)
		return r;
	if (rest < argc)
		return sl_client_complain("pools", "takes no arguments");
	return sl_client_show(&o, json_pack("{s:s}", "command", "pools"), sl_render_pools);
}
