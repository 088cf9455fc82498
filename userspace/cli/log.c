/* SPDX-License-Identifier: BSD-2-Clause */
/* sluice reload, reopen-logs and log-level: a running sluice's configuration and its two logs. */

#include <stdio.h>

#include "cli/client.h"
#include "cli/commands.h"
#include "cli/render.h"

static const char level_usage[] =
	"Usage: sluice log-level [error|warning|info|debug] [--json] [--admin PATH]\n"
	"Sets how much sluice says on stderr, or shows it.\n"
	"  -j, --json        print the answer as JSON\n"
	"  -a, --admin PATH  admin socket (default: SLUICE_ADMIN, else /run/sluice/admin.sock)\n";

static const char reopen_usage[] =
	"Usage: sluice reopen-logs [--json] [--admin PATH]\n"
	"Opens the access log's path again, after a rotation (as the signal USR1 does).\n"
	"  -j, --json        print the answer as JSON\n"
	"  -a, --admin PATH  admin socket (default: SLUICE_ADMIN, else /run/sluice/admin.sock)\n";

static const char reload_usage[] =
	"Usage: sluice reload [--json] [--admin PATH]\n"
	"Reads the configuration file again and puts it to use, without closing a connection (as "
	"the "
	"signal HUP\n"
	"does). If something is wrong with it, says what, and the old one goes on.\n"
	"  -j, --json        print the answer as JSON\n"
	"  -a, --admin PATH  admin socket (default: SLUICE_ADMIN, else /run/sluice/admin.sock)\n";

static const char upgrade_usage[] =
	"Usage: sluice upgrade [--json] [--admin PATH]\n"
	"Starts the program anew, which takes over the listening sockets and the spliced pairs (as "
	"the "
	"signal\n"
	"USR2 does). The old process ends with its last connection; if the new one can't serve, it "
	"goes on.\n"
	"  -j, --json        print the answer as JSON\n"
	"  -a, --admin PATH  admin socket (default: SLUICE_ADMIN, else /run/sluice/admin.sock)\n";

/* A command without arguments, of that name. */
static int ask(int argc, char **argv, const char *command, const char *help)
{
	struct sl_client_options o;
	int rest, r = sl_client_parse(argc, argv, help, "j", &o, &rest);

	if (r >= 0)
		return r;
	if (rest < argc) {
		fprintf(stderr, "sluice %s: takes no arguments\n%s", command, help);
		return SL_EXIT_USAGE;
	}
	return sl_client_show(&o, json_pack("{s:s}", "command", command), sl_render_word);
}

int sl_cmd_reload(int argc, char **argv)
{
	return ask(argc, argv, "reload", reload_usage);
}

int sl_cmd_upgrade(int argc, char **argv)
{
	return ask(argc, argv, "upgrade", upgrade_usage);
}

int sl_cmd_log_level(int argc, char **argv)
{
	struct sl_client_options o;
	int rest, r = sl_client_parse(argc, argv, level_usage, "j", &o, &rest);
	json_t *request;

	if (r >= 0)
		return r;
	if (argc - rest > 1) {
		fprintf(stderr, "sluice log-level: takes one level\n%s", level_usage);
		return SL_EXIT_USAGE;
	}
	request = json_pack("{s:s}", "command", "log-level");
	if (rest < argc)
		json_object_set_new(request, "level", json_string(argv[rest]));
	return sl_client_show(&o, request, sl_render_word);
}

int sl_cmd_reopen_logs(int argc, char **argv)
{
	return ask(argc, argv, "reopen-logs", reopen_usage);
}
