/* SPDX-License-Identifier: BSD-2-Clause */
/* sluice listeners: one line a listener: where, whether it is in service, and what it has. */

#include <inttypes.h>
#include <stdio.h>

#include "cli/client.h"
#include "cli/commands.h"

static const char usage[] =
	"Usage: sluice listeners [--json] [--admin PATH]\n"
	"Shows each listener: mode, state (up; draining, drained: taken out of service), address, "
	"connections,\n"
	"and their limit.\n"
	"  -j, --json        print the listeners as JSON\n"
	"  -a, --admin PATH  admin socket (default: SLUICE_ADMIN, else /run/sluice/admin.sock)\n";

static void print_listener(FILE *f, const json_t *l)
{
	char name[64], mode[64], state[64], listen[64], limit[24] = "-";

	if (sl_answer_number(l, "limit"))
		snprintf(limit, sizeof(limit), "%" PRIu64, sl_answer_number(l, "limit"));
	fprintf(f, "%-20s %-8s %-9s %-26s %11" PRIu64 " %8s\n",
		sl_answer_text(l, "listener", 20, name), sl_answer_text(l, "mode", 8, mode),
		sl_answer_text(l, "state", 9, state), sl_answer_text(l, "listen", 47, listen),
		sl_answer_number(l, "connections"), limit);
}

static void render(const json_t *payload, FILE *f)
{
	size_t i, n = json_array_size(payload);
	json_t *l;

	if (n)
		fprintf(f, "%-20s %-8s %-9s %-26s %11s %8s\n", "LISTENER", "MODE", "STATE",
			"ADDRESS", "CONNECTIONS", "LIMIT");
	json_array_foreach((json_t *)payload, i, l) print_listener(f, l);
	fprintf(f, "%zu listener%s\n", n, n == 1 ? "" : "s");
}

int sl_cmd_listeners(int argc, char **argv)
{
	struct sl_client_options o;
	int rest, r = sl_client_parse(argc, argv, usage, "j", &o, &rest);

	if (r >= 0)
		return r;
	if (rest < argc) {
		fprintf(stderr, "sluice listeners: takes no arguments\n%s", usage);
		return SL_EXIT_USAGE;
	}
	return sl_client_show(&o, json_pack("{s:s}", "command", "listeners"), render);
}
