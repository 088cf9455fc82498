/* SPDX-License-Identifier: BSD-2-Clause */
/* sluice run: puts the parts together. */

#include <getopt.h>
#include <stdio.h>

#include "cli/commands.h"
#include "proxy/config.h"
#include "proxy/server.h"
#include "transport/socket.h"

static const struct sl_engine_ops *const engines[] = {&sl_copy_engine, NULL};

static int load(const char *file, struct sl_config **ret)
{
	struct sl_config_error error;

	if (!file)
		return sl_config_default(ret);
	if (sl_config_load(file, ret, &error) < 0) {
		fprintf(stderr, "%s\n", error.text);
		return -1;
	}
	return 0;
}

int sl_cmd_run(int argc, char **argv)
{
	const struct sl_server_parts parts = {
		.transport_new = sl_socket_transport_new,
		.stream_bytes = sl_socket_stream_bytes(),
		.engines = engines,
	};
	struct sl_config *config;
	const char *file = NULL;
	int option, r;

	while ((option = getopt(argc, argv, "c:")) != -1) {
		if (option != 'c')
			return 2;
		file = optarg;
	}
	if (optind != argc) {
		fprintf(stderr, "usage: sluice run [-c FILE]\n");
		return 2;
	}
	if (load(file, &config) < 0)
		return 1;
	sl_log_set_level(config->log_level);
	r = sl_server_run(config, &parts);
	sl_config_free(config);
	return r < 0 ? 1 : 0;
}
