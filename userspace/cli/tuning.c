/* SPDX-License-Identifier: BSD-2-Clause */
/* Settings of the host against what the configuration wants. A file that is missing or makes no sense is
 * "not known", never good or bad. Nothing is changed. */

#include "cli/tuning.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/util.h"

#define BACKLOG		 4096 /* of the listeners */
#define SPARE_FDS	 1024 /* beside the connections */
#define IDLE_PAIR_KIB	 12 /* two idle sockets with their kernel objects, and sluice's own part */
#define BUFFER_MAX_BYTES 4194304

struct look {
	const struct sl_config *config;
	const char *root;
	struct sl_tuning *out;
};

/* --- files --- */

static bool read_text(const struct look *l, const char *path, char *ret, size_t size)
{
	char whole[512];
	FILE *f;
	size_t n;

	snprintf(whole, sizeof(whole), "%s%s", l->root, path);
	f = fopen(whole, "re");
	if (!f)
		return false;
	n = fread(ret, 1, size - 1, f);
	fclose(f);
	ret[n] = 0;
	return n > 0;
}

static bool read_number(const struct look *l, const char *path, uint64_t *ret)
{
	char text[64], *end;

	if (!read_text(l, path, text, sizeof(text)))
		return false;
	errno = 0;
	*ret = strtoull(text, &end, 10);
	return !errno && end != text;
}

/* The number behind a word at the beginning of a line. */
static bool read_line(const struct look *l, const char *path, const char *word, uint64_t *ret)
{
	char text[8192], *line, *rest = text;

	if (!read_text(l, path, text, sizeof(text)))
		return false;
	while ((line = strsep(&rest, "\n")))
		if (!strncmp(line, word, strlen(word)))
			return sscanf(line + strlen(word), "%" SCNu64, ret) == 1;
	return false;
}

/* --- rows --- */

static struct sl_tuning_row *add(struct look *l, const char *name, const char *why)
{
	static struct sl_tuning_row scrap;
	struct sl_tuning *t = l->out;
	struct sl_tuning_row *row = t->n < SL_TUNING_ROWS ? &t->row[t->n++] : &scrap;

	*row = (struct sl_tuning_row){0};
	snprintf(row->name, sizeof(row->name), "%s", name);
	snprintf(row->why, sizeof(row->why), "%s", why);
	snprintf(row->value, sizeof(row->value), "not known");
	return row;
}

SL_PRINTF(2, 3)
static void set_value(struct sl_tuning_row *row, const char *format, ...)
{
	va_list args;

	row->known = true;
	va_start(args, format);
	vsnprintf(row->value, sizeof(row->value), format, args);
	va_end(args);
}

SL_PRINTF(2, 3) static void set_change(struct sl_tuning_row *row, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(row->change, sizeof(row->change), format, args);
	va_end(args);
}

/* A number of a file that must not be below another. */
static void at_least(struct look *l, const char *name, const char *path, uint64_t least,
		     const char *why)
{
	struct sl_tuning_row *row = add(l, name, why);
	uint64_t n;

	if (!read_number(l, path, &n))
		return;
	set_value(row, "%" PRIu64, n);
	row->ok = n >= least;
	if (!row->ok)
		set_change(row, "sysctl -w %s=%" PRIu64 ", and /etc/sysctl.d", name, least);
}

static uint64_t wanted_fds(const struct sl_config *c)
{
	return (uint64_t)c->limits.connections * 2 + SPARE_FDS;
}

static void look_at_files(struct look *l)
{
	struct sl_tuning_row *row = add(l, "descriptors", "two for each of limits.connections");
	uint64_t soft, hard, wanted = wanted_fds(l->config);
	char text[4096], *line;

	if (read_text(l, "/proc/self/limits", text, sizeof(text)) &&
	    (line = strstr(text, "Max open files")) &&
	    sscanf(line, "Max open files %" SCNu64 " %" SCNu64, &soft, &hard) == 2) {
		set_value(row, "%" PRIu64 " of here (hard limit)", hard);
		row->ok = hard >= wanted;
		if (!row->ok)
			set_change(row,
				   "LimitNOFILE=%" PRIu64
				   " in the unit, or ulimit -Hn; or lower limits.connections",
				   wanted);
	}
	at_least(l, "fs.nr_open", "/proc/sys/fs/nr_open", wanted,
		 "the most that a process may have");
	at_least(l, "fs.file-max", "/proc/sys/fs/file-max", wanted, "the most of the host");
}

static void look_at_accepting(struct look *l)
{
	at_least(l, "net.core.somaxconn", "/proc/sys/net/core/somaxconn", BACKLOG,
		 "caps the listeners' backlog, where bursts of connections wait");
	at_least(l, "net.ipv4.tcp_max_syn_backlog", "/proc/sys/net/ipv4/tcp_max_syn_backlog", 1024,
		 "handshakes under way; beyond it SYN cookies lose window scaling options");
	at_least(l, "net.core.netdev_max_backlog", "/proc/sys/net/core/netdev_max_backlog", 1000,
		 "packets that wait for a CPU, spliced ones on loopback and veth, too");
}

/* --- ports --- */

/* "1-5,9": whether it holds all of from..to. */
static bool list_has(const char *list, uint32_t from, uint32_t to)
{
	while (*list) {
		unsigned a, b;
		int n = sscanf(list, "%u-%u", &a, &b);

		if (n == 1)
			b = a;
		if (n >= 1 && a <= from && b >= from) {
			if (b >= to)
				return true;
			from = b + 1;
		}
		list += strcspn(list, ",");
		list += *list == ',';
	}
	return false;
}

static void look_at_ports(struct look *l)
{
	struct sl_tuning_row *row =
		add(l, "net.ipv4.ip_local_port_range",
		    "connections to one server and port at once: one source port each");
	uint32_t from = l->config->splice.ports.from, to = l->config->splice.ports.to;
	uint32_t first = 0, last = 0;
	char text[4096];

	if (read_text(l, "/proc/sys/net/ipv4/ip_local_port_range", text, sizeof(text)) &&
	    sscanf(text, "%" SCNu32 " %" SCNu32, &first, &last) == 2 && last >= first) {
		set_value(row, "%" PRIu32 " to %" PRIu32 ", %" PRIu32 " ports", first, last,
			  last - first + 1);
		row->ok = last - first + 1 >= 20000;
		if (!row->ok)
			set_change(row, "sysctl -w net.ipv4.ip_local_port_range=\"10000 60999\"");
	}
	if (!from)
		return;
	row = add(l, "net.ipv4.ip_local_reserved_ports",
		  "splice.ports must be given to nobody by the kernel");
	if (!last ||
	    !read_text(l, "/proc/sys/net/ipv4/ip_local_reserved_ports", text, sizeof(text)))
		return;
	set_value(row, "%.80s", *text == '\n' ? "none" : strtok(text, "\n"));
	row->ok = to < first || from > last || list_has(text, from, to);
	if (!row->ok)
		set_change(row,
			   "sysctl -w net.ipv4.ip_local_reserved_ports=%" PRIu32 "-%" PRIu32
			   " (added to what is there)",
			   from, to);
}

/* --- connection tracking, memory --- */

static void look_at_conntrack(struct look *l)
{
	struct sl_tuning_row *row = add(l, "conntrack",
					"each connection would take two entries of its table; "
					"a full table drops packets");
	uint64_t max, used = 0, wanted = (uint64_t)l->config->limits.connections * 2;

	if (!read_number(l, "/proc/sys/net/netfilter/nf_conntrack_max", &max)) {
		set_value(row, "not on the path");
		row->ok = true;
		return;
	}
	read_number(l, "/proc/sys/net/netfilter/nf_conntrack_count", &used);
	set_value(row, "%" PRIu64 " of %" PRIu64 " entries used", used, max);
	row->ok = max >= wanted && used < max / 10 * 9;
	if (!row->ok)
		set_change(row,
			   "NOTRACK for the listeners' ports (nft: notrack), or sysctl -w "
			   "net.netfilter.nf_conntrack_max=%" PRIu64,
			   sl_max(wanted, max * 2));
}

/* The last of three numbers: the most that a socket's buffer grows to. */
static void look_at_buffers(struct look *l, const char *name, const char *path)
{
	struct sl_tuning_row *row =
		add(l, name, "the third is a window's bound: bytes under way on long, fast paths");
	uint64_t least, usual, most;
	char text[128];

	if (!read_text(l, path, text, sizeof(text)) ||
	    sscanf(text, "%" SCNu64 " %" SCNu64 " %" SCNu64, &least, &usual, &most) != 3)
		return;
	set_value(row, "%" PRIu64 " %" PRIu64 " %" PRIu64, least, usual, most);
	row->ok = most >= BUFFER_MAX_BYTES;
	if (!row->ok)
		set_change(row, "sysctl -w %s=\"%" PRIu64 " %" PRIu64 " %d\"", name, least, usual,
			   BUFFER_MAX_BYTES);
}

static void look_at_memory(struct look *l)
{
	struct sl_tuning_row *row =
		add(l, "memory", "limits.memory, and 12 KiB for each idle pair of connections");
	uint64_t kib, wanted = l->config->limits.memory / 1024 +
			       (uint64_t)l->config->limits.connections * IDLE_PAIR_KIB;

	if (read_line(l, "/proc/meminfo", "MemAvailable:", &kib)) {
		set_value(row, "%" PRIu64 " MiB available, %" PRIu64 " may be wanted", kib / 1024,
			  wanted / 1024);
		row->ok = kib >= wanted;
		if (!row->ok)
			set_change(row, "lower limits.connections or limits.memory");
	}
	look_at_buffers(l, "net.ipv4.tcp_rmem", "/proc/sys/net/ipv4/tcp_rmem");
	look_at_buffers(l, "net.ipv4.tcp_wmem", "/proc/sys/net/ipv4/tcp_wmem");
}

static void look_at_huge_pages(struct look *l)
{
	struct sl_tuning_row *row;
	uint64_t total, size_kib = 0;

	if (!l->config->dpdk.ports)
		return;
	row = add(l, "huge pages", "DPDK's memory (dpdk: huge_pages)");
	if (!read_line(l, "/proc/meminfo", "HugePages_Total:", &total) ||
	    !read_line(l, "/proc/meminfo", "Hugepagesize:", &size_kib) || !size_kib)
		return;
	set_value(row, "%" PRIu64 " of %" PRIu64 " KiB", total, size_kib);
	row->ok = !l->config->dpdk.huge_pages || total * size_kib >= l->config->dpdk.memory / 1024;
	if (!row->ok)
		set_change(row, "sysctl -w vm.nr_hugepages=%" PRIu64,
			   l->config->dpdk.memory / 1024 / size_kib + 1);
}

/* --- devices --- */

static bool is_hardware(const struct look *l, const char *device)
{
	char path[512];

	snprintf(path, sizeof(path), "%s/sys/class/net/%s/device", l->root, device);
	return !access(path, F_OK);
}

/* Receive queues, and whether one of them is spread over CPUs. */
static unsigned count_queues(const struct look *l, const char *device, bool *ret_spread)
{
	char path[512], mask[512];
	unsigned n = 0;

	*ret_spread = false;
	for (;; n++) {
		snprintf(path, sizeof(path), "/sys/class/net/%s/queues/rx-%u/rps_cpus", device, n);
		if (n == 1024 || !read_text(l, path, mask, sizeof(mask)))
			return n;
		*ret_spread |= strspn(mask, "0,\n") != strlen(mask);
	}
}

static unsigned count_cpus(const struct look *l)
{
	unsigned first = 0, last = 0;
	char text[64];

	if (!read_text(l, "/sys/devices/system/cpu/online", text, sizeof(text)))
		return 1;
	return sscanf(text, "%u-%u", &first, &last) == 2 ? last - first + 1 : 1;
}

static void look_at_device(struct look *l, const char *device)
{
	unsigned cpus = count_cpus(l), queues;
	struct sl_tuning_row *row;
	char name[48];
	bool spread;

	snprintf(name, sizeof(name), "device %.20s", device);
	row = add(l, name, "one receive queue without RPS leaves all packets to one CPU");
	queues = count_queues(l, device, &spread);
	if (!queues)
		return;
	set_value(row, "%u receive queue%s, RPS %s", queues, queues == 1 ? "" : "s",
		  spread ? "on" : "off");
	row->ok = queues > 1 || spread || cpus == 1;
	if (!row->ok)
		set_change(row,
			   "ethtool -L %.20s combined %u, or a mask of CPUs into "
			   "/sys/class/net/%.20s/queues/rx-0/rps_cpus",
			   device, cpus, device);
}

/* -1: the driver does not say. */
static int ask_offload(int fd, const char *device, uint32_t command)
{
	struct ethtool_value value = {.cmd = command};
	struct ifreq request = {.ifr_data = (char *)&value};

	snprintf(request.ifr_name, sizeof(request.ifr_name), "%.*s", IFNAMSIZ - 1, device);
	return ioctl(fd, SIOCETHTOOL, &request) < 0 ? -1 : !!value.data;
}

/* Only of this host: they are not in files. */
static void look_at_offloads(struct look *l, const char *device)
{
	_sl_close_ int fd = *l->root ? -1 : socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int gro = fd < 0 ? -1 : ask_offload(fd, device, ETHTOOL_GGRO);
	int tso = fd < 0 ? -1 : ask_offload(fd, device, ETHTOOL_GTSO);
	struct sl_tuning_row *row;
	char name[48];

	if (gro < 0 || tso < 0)
		return;
	snprintf(name, sizeof(name), "offloads %.20s", device);
	row = add(l, name, "at tc a super-packet is treated once, without them each segment is");
	set_value(row, "GRO %s, TSO %s", gro ? "on" : "off", tso ? "on" : "off");
	row->ok = gro && tso;
	if (!row->ok)
		set_change(row,
			   "ethtool -K %.20s gro on tso on; not where hook: xdp is meant to carry "
			   "bulk",
			   device);
}

static void look_at_devices(struct look *l)
{
	char path[512];
	DIR *d;

	snprintf(path, sizeof(path), "%s/sys/class/net", l->root);
	d = opendir(path);
	for (struct dirent *e; d && (e = readdir(d));)
		if (e->d_name[0] != '.' && is_hardware(l, e->d_name)) {
			look_at_device(l, e->d_name);
			look_at_offloads(l, e->d_name);
		}
	if (d)
		closedir(d);
}

void sl_tuning_look(const struct sl_config *c, const char *root, struct sl_tuning *ret)
{
	struct look l = {.config = c, .root = root, .out = ret};

	ret->n = 0;
	look_at_files(&l);
	look_at_accepting(&l);
	look_at_ports(&l);
	look_at_conntrack(&l);
	look_at_memory(&l);
	look_at_huge_pages(&l);
	look_at_devices(&l);
}
