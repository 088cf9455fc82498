/* SPDX-License-Identifier: BSD-2-Clause */
/* sluice servers: one line a server: its state, what it has and had, and why. */

#include <inttypes.h>
#include <stdio.h>

#include "cli/client.h"
#include "cli/commands.h"
#include "cli/render.h"
#include "cli/text.h"

static const char usage[] =
	"Usage: sluice servers [--json] [--admin PATH]\n"
	"Shows each server of each upstream: state, connections in use and idle, requests, "
	"failures, and\n"
	"the latest failure.\n"
	"  -j, --json        print the servers as JSON\n"
	"  -a, --admin PATH  admin socket (default: SLUICE_ADMIN, else /run/sluice/admin.sock)\n";

static void print_server(FILE *f, const json_t *s)
{
	char upstream[64], server[64], state[64], why[64], found_as[64];

	fprintf(f,
		"%-14s %-22s %-8s %6" PRIu64 " %6" PRIu64 " %10" PRIu64 " %8" PRIu64 "  %-16s %s\n",
		sl_answer_text(s, "upstream", 14, upstream),
		sl_answer_text(s, "server", 22, server), sl_answer_text(s, "state", 8, state),
		sl_answer_number(s, "leased"), sl_answer_number(s, "idle"),
		sl_answer_number(s, "requests"), sl_answer_number(s, "failures"),
		sl_answer_text(s, "why", 16, why), sl_answer_text(s, "found_as", 40, found_as));
}

void sl_render_servers(const json_t *payload, FILE *f)
{
	size_t i, n = json_array_size(payload);
	json_t *s;

	if (n)
		fprintf(f, "%-14s %-22s %-8s %6s %6s %10s %8s  %-16s %s\n", "UPSTREAM", "SERVER",
			"STATE", "IN USE", "IDLE", "REQUESTS", "FAILURES", "WHY", "FOUND AS");
	json_array_foreach((json_t *)payload, i, s) print_server(f, s);
	fprintf(f, "%zu server%s\n", n, n == 1 ? "" : "s");
}

int sl_cmd_servers(int argc, char **argv)
{
	struct sl_client_options o;
	int rest, r = sl_client_parse(argc, argv, usage, "j", &o, &rest);

	if (r >= 0)
		return r;
	if (rest < argc) {
		fprintf(stderr, "sluice servers: takes no arguments\n%s", usage);
		return SL_EXIT_USAGE;
	}
	return sl_client_show(&o, json_pack("{s:s}", "command", "servers"), sl_render_servers);
}
