/* SPDX-License-Identifier: BSD-2-Clause */
/* sluice drain: no new connections, those that are open may end; of the whole sluice or of a server.
 * sluice enable: the contrary, of a server. */

#include <stdio.h>
#include <string.h>

#include "cli/client.h"
#include "cli/commands.h"
#include "cli/render.h"

static const char usage[] =
	"Usage: sluice drain [--now] [--json] [--admin PATH]\n"
	"       sluice drain server UPSTREAM/SERVER [--json] [--admin PATH]\n"
	"Stops accepting; sluice ends when its connections have ended, or at the drain timeout.\n"
	"With a server: it gets no more requests; those that it has go on.\n"
	"  -n, --now         stop at once\n"
	"  -j, --json        print the answer as JSON\n"
	"  -a, --admin PATH  admin socket (default: SLUICE_ADMIN, else /run/sluice/admin.sock)\n";

static const char enable_usage[] =
	"Usage: sluice enable server UPSTREAM/SERVER [--json] [--admin PATH]\n"
	"Sends requests to a drained server again; one that was left out for failures is tried at "
	"once.\n"
	"  -j, --json        print the answer as JSON\n"
	"  -a, --admin PATH  admin socket (default: SLUICE_ADMIN, else /run/sluice/admin.sock)\n";

void sl_render_word(const json_t *payload, FILE *f)
{
	const char *word = json_string_value(payload);

	fprintf(f, "%s\n", word ? word : "done");
}

/* argv[0..2): "server", "UPSTREAM/SERVER". */
static int change_server(const struct sl_client_options *o, int argc, char **argv,
			 const char *command, const char *help)
{
	char *slash = argc == 2 ? strchr(argv[1], '/') : NULL;

	if (!slash || strcmp(argv[0], "server")) {
		fprintf(stderr, "sluice: expected: server UPSTREAM/SERVER\n%s", help);
		return SL_EXIT_USAGE;
	}
	return sl_client_show(o,
			      json_pack("{s:s, s:s%, s:s}", "command", command, "upstream", argv[1],
					(size_t)(slash - argv[1]), "server", slash + 1),
			      sl_render_word);
}

int sl_cmd_enable(int argc, char **argv)
{
	struct sl_client_options o;
	int rest, r = sl_client_parse(argc, argv, enable_usage, "j", &o, &rest);

	if (r >= 0)
		return r;
	return change_server(&o, argc - rest, argv + rest, "enable-server", enable_usage);
}

int sl_cmd_drain(int argc, char **argv)
{
	struct sl_client_options o;
	int rest, r = sl_client_parse(argc, argv, usage, "jn", &o, &rest);

	if (r >= 0)
		return r;
	if (rest < argc)
		return change_server(&o, argc - rest, argv + rest, "drain-server", usage);
	return sl_client_show(&o, json_pack("{s:s, s:b}", "command", "drain", "now", o.now),
			      sl_render_word);
}
