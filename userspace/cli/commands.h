/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_CLI_COMMANDS_H
#define SLUICE_CLI_COMMANDS_H

/* One function per command. argv[0] is the command's name, argv[argc] NULL. They return the exit code;
 * data goes to stdout, complaints to stderr. */

enum sl_exit {
	SL_EXIT_DONE = 0,
	SL_EXIT_FAILED = 1,
	SL_EXIT_USAGE = 2,
};

int sl_cmd_check(int argc, char **argv);
int sl_cmd_drain(int argc, char **argv);
int sl_cmd_enable(int argc, char **argv);
int sl_cmd_servers(int argc, char **argv);
int sl_cmd_flows(int argc, char **argv);
int sl_cmd_listeners(int argc, char **argv);
int sl_cmd_load(int argc, char **argv);
int sl_cmd_log(int argc, char **argv);
int sl_cmd_log_level(int argc, char **argv);
int sl_cmd_pools(int argc, char **argv);
int sl_cmd_probe(int argc, char **argv);
int sl_cmd_reload(int argc, char **argv);
int sl_cmd_upgrade(int argc, char **argv);
int sl_cmd_reopen_logs(int argc, char **argv);
int sl_cmd_run(int argc, char **argv);
int sl_cmd_stats(int argc, char **argv);
int sl_cmd_status(int argc, char **argv);
int sl_cmd_top(int argc, char **argv);
int sl_cmd_unload(int argc, char **argv);

#endif
