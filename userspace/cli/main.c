/* SPDX-License-Identifier: BSD-2-Clause */
/* The one binary: a table of commands. A command is a row here and a function in its own file. */

#include <stdio.h>
#include <string.h>

#include "base/util.h"
#include "cli/commands.h"
#include "cli/suggest.h"

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *help;
} commands[] = {
	{"check", sl_cmd_check, "read a configuration and say what is wrong with it"},
	{"drain", sl_cmd_drain,
	 "stop accepting, end when the connections have ended; or of a listener, a server"},
	{"enable", sl_cmd_enable, "put a drained listener or server into service again"},
	{"flows", sl_cmd_flows, "show the open pairs, their bytes and engines"},
	{"listeners", sl_cmd_listeners, "show the listeners: in service or drained, connections"},
	{"load", sl_cmd_load, "load, pin and attach the BPF programs that splice packets"},
	{"log", sl_cmd_log, "print a binary access log (log cat), whole or filtered"},
	{"log-level", sl_cmd_log_level, "show or set how much is said on stderr"},
	{"pools", sl_cmd_pools, "show the upstreams' connections: in use, idle, waited for"},
	{"probe", sl_cmd_probe, "show what this host can do, and what is missing"},
	{"reload", sl_cmd_reload, "read the configuration again, without closing a connection"},
	{"reopen-logs", sl_cmd_reopen_logs, "open the access log again after a rotation"},
	{"run", sl_cmd_run, "run the proxy"},
	{"servers", sl_cmd_servers, "show the upstreams' servers, their state and why"},
	{"stats", sl_cmd_stats, "show counters, latencies, memory, engines and workers"},
	{"status", sl_cmd_status, "show what is loaded and attached, and the maps' memory"},
	{"top", sl_cmd_top, "a terminal screen of what goes on, once a second"},
	{"upgrade", sl_cmd_upgrade, "start the program anew, and hand everything over to it"},
	{"unload", sl_cmd_unload, "detach and remove the BPF programs and maps"},
};

static void print_help(FILE *f)
{
	fprintf(f,
		"sluice %s: a proxy that opens the gate\n\n"
		"Usage: sluice COMMAND [OPTIONS]\n\nCommands:\n",
		SLUICE_VERSION);
	for (size_t i = 0; i < SL_ARRAY_SIZE(commands); i++)
		fprintf(f, "  %-14s %s\n", commands[i].name, commands[i].help);
	fprintf(f, "  %-14s %s\n\n", "help COMMAND", "say more about a command");
	fprintf(f, "Exit codes: 0 done, 1 failed, 2 wrong usage.\n");
}

static int unknown(const char *name)
{
	const char *nearest = NULL;
	unsigned best = 4; /* further away is no suggestion */

	for (size_t i = 0; i < SL_ARRAY_SIZE(commands); i++) {
		unsigned d = sl_word_distance(name, commands[i].name);

		if (d < best) {
			best = d;
			nearest = commands[i].name;
		}
	}
	fprintf(stderr, "sluice: unknown command \"%s\"", name);
	if (nearest)
		fprintf(stderr, "; did you mean \"%s\"?\n", nearest);
	else
		fprintf(stderr, "; sluice --help lists all\n");
	return SL_EXIT_USAGE;
}

static int run_command(int argc, char **argv)
{
	for (size_t i = 0; i < SL_ARRAY_SIZE(commands); i++)
		if (!strcmp(argv[0], commands[i].name))
			return commands[i].run(argc, argv);
	return unknown(argv[0]);
}

static int help(int argc, char **argv)
{
	char option[] = "--help";
	char *args[] = {argc > 1 ? argv[1] : NULL, option, NULL};

	if (args[0])
		return run_command(2, args);
	print_help(stdout);
	return SL_EXIT_DONE;
}

int main(int argc, char **argv)
{
	if (argc < 2) {
		print_help(stderr);
		return SL_EXIT_USAGE;
	}
	if (!strcmp(argv[1], "--version") || !strcmp(argv[1], "-V")) {
		printf("sluice %s\n", SLUICE_VERSION);
		return SL_EXIT_DONE;
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help"))
		return help(argc - 1, argv + 1);
	return run_command(argc - 1, argv + 1);
}
