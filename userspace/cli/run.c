/* SPDX-License-Identifier: BSD-2-Clause */
/* sluice run: puts the parts together. */

#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#include "cli/check.h"
#include "cli/commands.h"
#include "cli/confine.h"
#include "cli/run_dpdk.h"
#include "proxy/server.h"
#include "splice/packet_config.h"
#include "splice/policy.h"
#include "transport/socket.h"

static bool wants(const struct sl_config *c, enum sl_splice_choice engine)
{
	for (size_t i = 0; i < c->n_listeners; i++)
		if (c->listeners[i].splice == engine)
			return true;
	return false;
}

static void configure_packet(const struct sl_splice_config *c)
{
	static const enum sl_hook hooks[] = {
		[SL_SPLICE_HOOK_AUTO] = SL_HOOK_AUTO,
		[SL_SPLICE_HOOK_TC] = SL_HOOK_TC,
		[SL_SPLICE_HOOK_XDP] = SL_HOOK_XDP,
		[SL_SPLICE_HOOK_XDP_GENERIC] = SL_HOOK_XDP_GENERIC,
	};
	const struct sl_packet_config packet = {
		.pairs = c->pairs,
		.port_first = c->ports.from,
		.port_last = c->ports.to,
		.time_wait_ms = c->time_wait_ms,
		.mss = (uint16_t)c->mss,
		.hook = hooks[c->hook],
		.devices = (const char *const *)c->devices,
	};

	sl_packet_configure(&packet);
}

/* These engines load programs, so only where a listener may use them. */
static void choose_engines(const struct sl_config *c,
			   const struct sl_engine_ops *ret[SL_ENGINES_MAX + 1])
{
	size_t n = 0;

	ret[n++] = &sl_copy_engine;
	if (wants(c, SL_SPLICE_PACKET) || wants(c, SL_SPLICE_AUTO))
		ret[n++] = &sl_packet_engine;
	if (wants(c, SL_SPLICE_SOCKMAP) || wants(c, SL_SPLICE_AUTO))
		ret[n++] = &sl_sockmap_engine;
	ret[n] = NULL;
}

static const char usage[] = "Usage: sluice run [-c FILE]\n"
			    "Runs the proxy in the foreground until TERM, QUIT or INT. Without a "
			    "file: a forward proxy on\n"
			    "127.0.0.1:3128, metrics on 127.0.0.1:9145.\n"
			    "  -c, --config FILE  the configuration (YAML)\n";

static const struct option options[] = {
	{"config", required_argument, NULL, 'c'},
	{"help", no_argument, NULL, 'h'},
	{0},
};

/* The exit code, or -1 to go on with *ret_file. */
static int parse(int argc, char **argv, const char **ret_file)
{
	int option;

	while ((option = getopt_long(argc, argv, "c:h", options, NULL)) != -1) {
		if (option == 'h') {
			fputs(usage, stdout);
			return SL_EXIT_DONE;
		}
		if (option != 'c') {
			fputs(usage, stderr);
			return SL_EXIT_USAGE;
		}
		*ret_file = optarg;
	}
	if (optind == argc)
		return -1;
	fprintf(stderr, "sluice run: unexpected argument '%s'\n%s", argv[optind], usage);
	return SL_EXIT_USAGE;
}

int sl_cmd_run(int argc, char **argv)
{
	const struct sl_engine_ops *engines[SL_ENGINES_MAX + 1];
	struct sl_server_parts parts = {
		.transport_new = sl_socket_transport_new,
		.listen = sl_socket_listen,
		.arguments = argv - 1, /* with the program's name */
		.confine = sl_confine,
		.hand_over = sl_packet_hand_over,
		.stream_bytes = sl_socket_stream_bytes(),
		.engines = engines,
		.figures = sl_engine_figures,
	};
	char program[PATH_MAX] = "";
	struct sl_config *config;
	const char *file = NULL;
	int r = parse(argc, argv, &file);

	if (r >= 0)
		return r;
	if (readlink("/proc/self/exe", program, sizeof(program) - 1) < 0)
		snprintf(program, sizeof(program), "/usr/bin/sluice");
	parts.program = program; /* where a newer one will be */
	if (sl_load_config(file, &config) < 0)
		return SL_EXIT_FAILED;
	sl_log_set_level(config->log_level);
	configure_packet(&config->splice);
	choose_engines(config, engines);
	if (config->transport == SL_TRANSPORT_DPDK)
		sl_run_with_dpdk(config, &parts);
	if (config->transport == SL_TRANSPORT_DPDK)
		parts.listen = NULL; /* no descriptors */
	r = sl_server_run(config, &parts);
	sl_config_free(config);
	return r < 0 ? SL_EXIT_FAILED : SL_EXIT_DONE;
}
