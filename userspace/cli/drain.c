/* SPDX-License-Identifier: BSD-2-Clause */
/* sluice drain: no new connections, those that are open may end. */

#include <stdio.h>

#include "cli/client.h"
#include "cli/commands.h"
#include "cli/render.h"

static const char usage[] =
	"Usage: sluice drain [--now] [--json] [--admin PATH]\n"
	"Stops accepting; sluice ends when its connections have ended, or at the drain timeout.\n"
	"  -n, --now         stop at once\n"
	"  -j, --json        print the answer as JSON\n"
	"  -a, --admin PATH  admin socket (default: SLUICE_ADMIN, else /run/sluice/admin.sock)\n";

void sl_render_word(const json_t *payload, FILE *f)
{
	const char *word = json_string_value(payload);

	fprintf(f, "%s\n", word ? word : "done");
}

int sl_cmd_drain(int argc, char **argv)
{
	struct sl_client_options o;
	int rest, r = sl_client_parse(argc, argv, usage, "jn", &o, &rest);

	if (r >= 0)
		return r;
	if (rest < argc) {
		fprintf(stderr, "sluice drain: takes no arguments\n%s", usage);
		return SL_EXIT_USAGE;
	}
	return sl_client_show(&o, json_pack("{s:s, s:b}", "command", "drain", "now", o.now),
			      sl_render_word);
}
