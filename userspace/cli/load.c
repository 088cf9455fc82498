/* SPDX-License-Identifier: BSD-2-Clause */
/* sluice load, unload, status: the packet engine's programs and maps. */

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "cli/commands.h"
#include "splice/links.h"
#include "splice/loader.h"
#include "splice/pins.h"

#define DEFAULT_PAIRS 65536
#define MOST_DEVICES  64
#define MOST_SHOWN    256

struct load_arguments {
	const char *folder;
	const char *device[MOST_DEVICES];
	int devices;
	enum sl_hook hook;
	uint32_t pairs;
	bool json;
	bool help;
};

static const struct option options[] = {{"dev", required_argument, NULL, 'd'},
					{"hook", required_argument, NULL, 'h'},
					{"pairs", required_argument, NULL, 'p'},
					{"folder", required_argument, NULL, 'f'},
					{"json", no_argument, NULL, 'j'},
					{"help", no_argument, NULL, 'H'},
					{0}};

static const char load_usage[] =
	"Usage: sluice load --dev DEV [--dev DEV ...] [--hook auto|tc|xdp|xdp-generic]\n"
	"                   [--pairs N] [--folder PATH]\n"
	"Loads and pins the packet engine's programs and maps, and attaches to the devices.\n";
static const char unload_usage[] =
	"Usage: sluice unload [--folder PATH]\n"
	"Detaches from all devices and removes every pin; spliced pairs break.\n";
static const char status_usage[] =
	"Usage: sluice status [--json] [--folder PATH]\n"
	"Shows where it is attached, the maps' memory, and pairs by state.\n";

static const char *explain(int error)
{
	switch (-error) {
	case EPERM:
	case EACCES:
		return "not permitted: needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN";
	case EPROTO:
		return "maps of another version are pinned there: run `sluice unload` first";
	case ENOENT:
		return "nothing is loaded, or there is no bpffs (mount -t bpf bpf /sys/fs/bpf)";
	case EBUSY:
		return "other programs hold the device's hook; beside another XDP program use "
		       "--hook tc";
	case EAFNOSUPPORT:
		return "its frames are not Ethernet's";
	case EOPNOTSUPP:
		return "its driver has no native XDP: use --hook tc";
	default:
		return strerror(-error);
	}
}

static int failed(const char *what, int error)
{
	fprintf(stderr, "sluice: %s: %s\n", what, explain(error));
	return SL_EXIT_FAILED;
}

static bool parse_hook(const char *text, enum sl_hook *ret)
{
	for (enum sl_hook h = SL_HOOK_AUTO; h <= SL_HOOK_XDP_GENERIC; h++)
		if (!strcmp(text, sl_hook_name(h))) {
			*ret = h;
			return true;
		}
	return false;
}

static bool parse_pairs(const char *text, uint32_t *ret)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (*end || text[0] < '0' || text[0] > '9' || !n || n > SL_PAIRS_MAX)
		return false;
	*ret = n;
	return true;
}

static bool take_option(int option, struct load_arguments *a)
{
	switch (option) {
	case 'd':
		if (a->devices == MOST_DEVICES)
			return false;
		a->device[a->devices++] = optarg;
		return true;
	case 'h':
		return parse_hook(optarg, &a->hook);
	case 'p':
		return parse_pairs(optarg, &a->pairs);
	case 'f':
		a->folder = optarg;
		return true;
	case 'j':
		a->json = true;
		return true;
	case 'H':
		a->help = true;
		return true;
	default:
		return false;
	}
}

/* *a is filled with defaults even where the options are wrong. */
static bool parse(int argc, char **argv, struct load_arguments *a)
{
	int option;

	*a = (struct load_arguments){.folder = SL_LOADER_FOLDER, .pairs = DEFAULT_PAIRS};
	optind = 1;
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
		if (!take_option(option, a))
			return false;
	return optind == argc;
}

/* Wanted help goes to stdout, unwanted to stderr. */
static int usage(bool wanted, const char *text)
{
	fputs(text, wanted ? stdout : stderr);
	return wanted ? SL_EXIT_DONE : SL_EXIT_USAGE;
}

int sl_cmd_load(int argc, char **argv)
{
	struct load_arguments a;
	int r;

	if (!parse(argc, argv, &a) || a.help || !a.devices || a.json)
		return usage(a.help, load_usage);
	r = sl_loader_load(a.folder, a.pairs);
	if (r)
		return failed(a.folder, r);
	for (int i = 0; i < a.devices; i++) {
		const char *how;

		r = sl_loader_attach(a.folder, a.device[i], a.hook, &how);
		if (r)
			return failed(a.device[i], r);
		printf("%s: %s\n", a.device[i], how);
	}
	return SL_EXIT_DONE;
}

int sl_cmd_unload(int argc, char **argv)
{
	struct load_arguments a;
	int r;

	if (!parse(argc, argv, &a) || a.help || a.devices || a.json)
		return usage(a.help, unload_usage);
	r = sl_loader_unload(a.folder);
	return r ? failed(a.folder, r) : SL_EXIT_DONE;
}

static const char *how(const struct sl_attachment *a)
{
	return a->filter ? "tc (clsact)" : sl_hook_name(a->hook);
}

static json_t *devices_json(const struct sl_attachment *a, size_t n)
{
	json_t *all = json_array();

	for (size_t i = 0; i < n; i++)
		json_array_append_new(all,
				      json_pack("{s:s, s:i, s:s}", "device", a[i].device, "ifindex",
						(int)a[i].ifindex, "hook", how(&a[i])));
	return all;
}

static int print_json(const struct sl_pins_status *s, const struct sl_attachment *a, size_t n)
{
	json_t *pairs = json_object();
	json_t *root =
		json_pack("{s:I, s:i, s:o, s:o}", "memory_bytes", (json_int_t)s->memory_bytes,
			  "slots", (int)s->slots, "devices", devices_json(a, n), "pairs", pairs);

	for (int i = 0; i < SL_FLOW_STATES; i++)
		json_object_set_new(pairs, sl_flow_state_name(i), json_integer(s->pairs[i]));
	if (!root || json_dumpf(root, stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER))
		return SL_EXIT_FAILED;
	putchar('\n');
	json_decref(root);
	return SL_EXIT_DONE;
}

int sl_cmd_status(int argc, char **argv)
{
	struct sl_attachment device[MOST_SHOWN];
	struct load_arguments a;
	struct sl_pins_status s;
	size_t n;
	int r;

	if (!parse(argc, argv, &a) || a.help || a.devices)
		return usage(a.help, status_usage);
	r = sl_pins_status(a.folder, &s);
	if (r)
		return failed(a.folder, r);
	n = sl_links_list(a.folder, device, SL_ARRAY_SIZE(device));
	if (a.json)
		return print_json(&s, device, n);
	for (size_t i = 0; i < n; i++)
		printf("device   %s: %s\n", device[i].device, how(&device[i]));
	printf("memory   %" PRIu64 " bytes for %u pairs\n", s.memory_bytes, s.slots);
	for (int i = 0; i < SL_FLOW_STATES; i++)
		printf("%-8s %u\n", sl_flow_state_name(i), s.pairs[i]);
	return SL_EXIT_DONE;
}
