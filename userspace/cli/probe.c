/* SPDX-License-Identifier: BSD-2-Clause */
/* sluice probe: what this host can do, why not, and what to do about it. Needs no running sluice, and
 * leaves nothing behind. Not knowing is an answer, too, so it ends with 0 if it could print. */

#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/utsname.h>

#include "base/util.h"
#include "cli/check.h"
#include "cli/commands.h"
#include "cli/tuning.h"
#include "dpdk/transport.h"
#include "splice/device.h"
#include "splice/engine.h"
#include "splice/links.h"
#include "splice/selftest.h"

#define BPF_FS_MAGIC 0xcafe4a11

static const char usage[] =
	"Usage: sluice probe [-c FILE] [--root DIR] [--json]\n"
	"Shows what this host can do: kernel, privileges, BPF, hooks, engines and devices; what "
	"is\n"
	"missing, and what to do about it; and which limits and settings do not fit a "
	"configuration.\n"
	"Nothing is changed.\n"
	"  -c, --config FILE  judge by this configuration (default: all defaults)\n"
	"  --root DIR         only judge the settings, as they stand in DIR/proc and DIR/sys\n"
	"  -j, --json         print all as JSON\n";

/* One thing that was looked at. */
struct finding {
	const char *name;
	bool ok;
	char text[160];
	const char *advice; /* if not ok; may be NULL */
};

struct report {
	struct finding finding[24];
	size_t n;
	json_t *devices; /* an array of objects */
	struct sl_tuning tuning;
};

static void add(struct report *r, const char *name, bool ok, const char *advice, const char *format,
		...) SL_PRINTF(5, 6);

static void add(struct report *r, const char *name, bool ok, const char *advice, const char *format,
		...)
{
	struct finding *f = &r->finding[r->n++];
	va_list args;

	*f = (struct finding){.name = name, .ok = ok, .advice = ok ? NULL : advice};
	va_start(args, format);
	vsnprintf(f->text, sizeof(f->text), format, args);
	va_end(args);
}

/* --- the host --- */

static bool has_capability(unsigned number)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {0};

	if (syscall(SYS_capget, &header, data))
		return false;
	return data[number / 32].effective & 1u << number % 32;
}

static void look_at_privileges(struct report *r)
{
	static const struct {
		const char *name;
		unsigned number;
		const char *why;
	} wanted[] = {
		{"CAP_BPF", CAP_BPF, "loading programs, opening maps"},
		{"CAP_PERFMON", CAP_PERFMON, "the verifier's leave for pointer arithmetic"},
		{"CAP_NET_ADMIN", CAP_NET_ADMIN, "attaching to devices, taking over sockets"},
		{"CAP_NET_BIND_SERVICE", CAP_NET_BIND_SERVICE, "listening on ports below 1024"},
		{"CAP_SYS_ADMIN", CAP_SYS_ADMIN,
		 "mounting a bpffs, isolating this test; nothing else"},
	};

	for (size_t i = 0; i < SL_ARRAY_SIZE(wanted); i++)
		add(r, wanted[i].name, has_capability(wanted[i].number),
		    i < 3 ? "without it tunnels are copied: docs/operations.md, Privileges" : NULL,
		    "%s", wanted[i].why);
}

/* A sysctl of this network namespace. */
static void look_at_fast_open(struct report *r)
{
	static const char *const words[] = {"off", "connecting", "listening",
					    "connecting and listening"};
	FILE *f = fopen("/proc/sys/net/ipv4/tcp_fastopen", "re");
	unsigned bits = 0;

	if (!f || fscanf(f, "%u", &bits) != 1)
		bits = 0;
	if (f)
		fclose(f);
	add(r, "TCP Fast Open", (bits & 3) == 3,
	    "fast_open of listeners and pools needs sysctl net.ipv4.tcp_fastopen=3",
	    "allowed for: %s", words[bits & 3]);
}

static void look_at_host(struct report *r)
{
	struct utsname name = {0};
	struct statfs fs = {0};
	bool mounted;

	uname(&name);
	add(r, "kernel", true, NULL, "%s %s %s", name.sysname, name.release, name.machine);
	look_at_privileges(r);
	mounted = !statfs("/sys/fs/bpf", &fs) && (unsigned long)fs.f_type == BPF_FS_MAGIC;
	add(r, "bpffs", mounted, "mount -t bpf bpf /sys/fs/bpf", "/sys/fs/bpf: %s",
	    mounted ? "mounted" : "not mounted");
	look_at_fast_open(r);
	add(r, "BTF", !access("/sys/kernel/btf/vmlinux", R_OK),
	    "the sockmap engine finds the kernel's fields by it", "/sys/kernel/btf/vmlinux");
}

/* --- BPF, by doing --- */

static const char *outcome(int error, const char *good)
{
	switch (-error) {
	case 0:
		return good;
	case ECANCELED:
		return "not tried";
	case EPROTO:
		return "it ran, and gave the wrong result";
	case EPERM:
	case EACCES:
		return "not permitted";
	default:
		return strerror(-error);
	}
}

/* A step that was not tried needs no advice: the one before it has it. */
static void add_step(struct report *r, const char *name, int error, const char *good)
{
	add(r, name, !error,
	    error == -ECANCELED ? NULL : "needs Linux 6.1 or newer, with BPF and its JIT", "%s",
	    outcome(error, good));
}

static void look_at_engines(struct report *r, const struct sl_selftest *t)
{
	bool works = !t->tc || !t->xdp, dpdk = sl_dpdk_stream_bytes() > 0;
	struct sl_engine_report sockmap;

	sl_sockmap_engine.probe(&sockmap);
	add(r, "engine copy", true, NULL, "always");
	add(r, "engine sockmap", sockmap.available, "tunnels are copied", "%s", sockmap.reason);
	add(r, "engine packet", works && !t->control,
	    "tunnels are copied; what is missing stands above", "%s",
	    works && !t->control ? "its self-test succeeded" : "its self-test failed");
	add(r, "DPDK", dpdk, NULL, "%s",
	    dpdk ? "built in, for transport: dpdk" : "sluice was built without it");
}

static void look_at_bpf(struct report *r)
{
	struct sl_selftest t;

	sl_selftest_run(&t);
	if (t.refusal[0])
		add(r, "programs and maps", false,
		    "needs Linux 6.1 or newer, and the privileges above", "%s", t.refusal);
	else
		add_step(r, "programs and maps", t.load,
			 "loaded and pinned, ring buffer and spin locks included");
	add_step(r, "control program", t.control,
		 t.control_tc ? "as a tc program: no locks in syscall programs here"
			      : "as a syscall program with a spin lock");
	add_step(r, "tc rewrite", t.tc, "a packet was rewritten");
	add_step(r, "xdp rewrite", t.xdp, "a packet was rewritten");
	if (t.isolated && !t.load)
		add(r, "tc hook", false, "needs CAP_SYS_ADMIN to be tried, apart from real devices",
		    "not tried");
	else
		add_step(r, "tc hook", t.attach, t.how);
	look_at_engines(r, &t);
}

/* --- devices --- */

static const char *attached_how(uint32_t ifindex)
{
	struct sl_attachment a;

	return sl_links_find(SL_LOADER_FOLDER, ifindex, &a) ? NULL : sl_hook_name(a.hook);
}

static json_t *describe_device(const struct sl_device *d)
{
	bool xdp = d->xdp_features & SL_XDP_BASIC;
	const char *why;
	enum sl_hook hook = sl_device_choose(d, SL_HOOK_AUTO, &why);

	return json_pack("{s:s, s:s, s:b, s:i, s:s?, s:s, s:s, s:s?}", "device", d->link.name,
			 "kind",
			 d->link.kind[0] ? d->link.kind
			 : d->physical	 ? "hardware"
					 : "-",
			 "up", d->link.up, "mtu", (int)d->link.mtu, "native_xdp",
			 !d->xdp_known ? NULL
			 : xdp	       ? "yes"
				       : "no",
			 "hook", hook == SL_HOOK_AUTO ? "none" : sl_hook_name(hook), "why", why,
			 "attached", attached_how(d->link.ifindex));
}

static int look_at_device(void *context, const struct sl_link *l)
{
	struct report *r = context;
	_sl_close_ int fd = -1;
	struct sl_device d;

	if (!sl_netlink_open(&fd) && !sl_device_look(fd, l->ifindex, &d))
		json_array_append_new(r->devices, describe_device(&d));
	return 0;
}

static void look_at_devices(struct report *r)
{
	_sl_close_ int fd = -1;

	r->devices = json_array();
	if (!sl_netlink_open(&fd))
		sl_netlink_links(fd, look_at_device, r);
}

/* --- printing --- */

static void print_tuning(const struct sl_tuning *t)
{
	for (size_t i = 0; i < t->n; i++) {
		const struct sl_tuning_row *row = &t->row[i];

		printf("%-32s %-4s %s\n", row->name,
		       !row->known ? "?"
		       : row->ok   ? "yes"
				   : "no",
		       row->value);
		if (row->known && !row->ok)
			printf("%-32s      %s\n%-32s      -> %s\n", "", row->why, "", row->change);
	}
}

static json_t *describe_tuning(const struct sl_tuning *t)
{
	json_t *list = json_array();

	for (size_t i = 0; i < t->n; i++) {
		const struct sl_tuning_row *row = &t->row[i];

		json_array_append_new(
			list, json_pack("{s:s, s:o, s:s, s:s, s:s?}", "name", row->name, "ok",
					row->known ? json_boolean(row->ok) : json_null(), "value",
					row->value, "why", row->why, "change",
					row->known && !row->ok ? row->change : NULL));
	}
	return list;
}

static void print_text(const struct report *r)
{
	json_t *d;
	size_t i;

	for (i = 0; i < r->n; i++) {
		const struct finding *f = &r->finding[i];

		printf("%-21s %-4s %s\n", f->name, f->ok ? "yes" : "no", f->text);
		if (f->advice)
			printf("%-21s      -> %s\n", "", f->advice);
	}
	json_array_foreach(r->devices, i, d)
		printf("device %-14s %-4s %s; MTU %d%s%s\n",
		       json_string_value(json_object_get(d, "device")),
		       json_string_value(json_object_get(d, "hook")),
		       json_string_value(json_object_get(d, "why")),
		       (int)json_integer_value(json_object_get(d, "mtu")),
		       json_is_string(json_object_get(d, "attached")) ? "; attached: " : "",
		       json_is_string(json_object_get(d, "attached"))
			       ? json_string_value(json_object_get(d, "attached"))
			       : "");
	print_tuning(&r->tuning);
}

static int print_json(const struct report *r)
{
	json_t *findings = json_array();
	json_t *root = json_pack("{s:o, s:O, s:o}", "findings", findings, "devices", r->devices,
				 "tuning", describe_tuning(&r->tuning));
	int failed;

	for (size_t i = 0; i < r->n; i++) {
		const struct finding *f = &r->finding[i];

		json_array_append_new(findings,
				      json_pack("{s:s, s:b, s:s, s:s?}", "name", f->name, "ok",
						f->ok, "text", f->text, "advice", f->advice));
	}
	failed = !root || json_dumpf(root, stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
	putchar('\n');
	json_decref(root);
	return failed ? SL_EXIT_FAILED : SL_EXIT_DONE;
}

struct probe_options {
	const char *config, *root; /* NULL: none was given */
	bool json;
};

/* The exit code, or -1 to go on. */
static int parse(int argc, char **argv, struct probe_options *ret)
{
	static const struct option options[] = {{"json", no_argument, NULL, 'j'},
						{"config", required_argument, NULL, 'c'},
						{"root", required_argument, NULL, 'r'},
						{"help", no_argument, NULL, 'h'},
						{0}};
	int option;

	optind = 1;
	while ((option = getopt_long(argc, argv, "jc:h", options, NULL)) != -1) {
		if (option == 'j') {
			ret->json = true;
		} else if (option == 'c') {
			ret->config = optarg;
		} else if (option == 'r') {
			ret->root = optarg;
		} else {
			fputs(usage, option == 'h' ? stdout : stderr);
			return option == 'h' ? SL_EXIT_DONE : SL_EXIT_USAGE;
		}
	}
	if (optind == argc)
		return -1;
	fputs(usage, stderr);
	return SL_EXIT_USAGE;
}

int sl_cmd_probe(int argc, char **argv)
{
	struct report report = {0};
	struct probe_options o = {0};
	struct sl_config *config;
	int r = parse(argc, argv, &o);

	if (r >= 0)
		return r;
	if (sl_load_config(o.config, &config) < 0)
		return SL_EXIT_FAILED;
	if (!o.root) {
		look_at_host(&report);
		look_at_bpf(&report);
		look_at_devices(&report);
	} else {
		report.devices = json_array();
	}
	sl_tuning_look(config, o.root ? o.root : "", &report.tuning);
	sl_config_free(config);
	r = SL_EXIT_DONE;
	if (o.json)
		r = print_json(&report);
	else
		print_text(&report);
	json_decref(report.devices);
	return r;
}
