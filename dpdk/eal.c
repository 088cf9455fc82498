/* SPDX-License-Identifier: BSD-2-Clause */
/* The environment of DPDK. It is told everything: no configuration is read from files, no device is
 * looked for that was not named, no file is left behind, nobody is pinned to a core.
 *
 * EAL's own messages go to stderr from "warning" on; what is likely wrong is said here, in words. */

#include "dpdk/eal.h"

#include <errno.h>
#include <net/if.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/util.h"

static bool started;

bool sl_eal_is_pci(const char *device)
{
	unsigned domain, bus, dev, function;
	int end = 0;

	if (sscanf(device, "%x:%x:%x.%x%n", &domain, &bus, &dev, &function, &end) == 4 &&
	    !device[end])
		return true;
	end = 0;
	return sscanf(device, "%x:%x.%x%n", &bus, &dev, &function, &end) == 3 && !device[end];
}

bool sl_eal_is_virtual(const char *device)
{
	return !strncmp(device, "net_", 4);
}

bool sl_eal_is_xdp(const struct sl_port_config *c)
{
	if (sl_eal_is_virtual(c->device))
		return !strncmp(c->device, "net_af_xdp", 10);
	return !sl_eal_is_pci(c->device) && c->driver && !strcmp(c->driver, "af_xdp");
}

/* --- arguments --- */

static int add(struct sl_eal_args *a, const char *fmt, ...) SL_PRINTF(2, 3);

static int add(struct sl_eal_args *a, const char *fmt, ...)
{
	size_t room = sizeof(a->text) - a->used;
	va_list args;
	int n;

	if (a->n == SL_EAL_ARGS)
		return -E2BIG;
	va_start(args, fmt);
	n = vsnprintf(a->text + a->used, room, fmt, args);
	va_end(args);
	if (n < 0 || (size_t)n >= room)
		return -E2BIG;
	a->arg[a->n++] = a->text + a->used;
	a->used += (size_t)n + 1;
	return 0;
}

/* A kernel's device becomes a virtual one on top of it. */
static int add_device(struct sl_eal_args *a, const struct sl_port_config *c, size_t i)
{
	if (sl_eal_is_pci(c->device))
		return add(a, "--allow=%s", c->device);
	if (sl_eal_is_virtual(c->device))
		return add(a, "--vdev=%s", c->device);
	if (sl_eal_is_xdp(c))
		return add(a, "--vdev=net_af_xdp%zu,iface=%s,busy_budget=0", i, c->device);
	return add(a, "--vdev=net_af_packet%zu,iface=%s,qpairs=1,framecnt=4096", i, c->device);
}

int sl_eal_arguments(const struct sl_dpdk_config *c, struct sl_eal_args *ret,
		     char ret_reason[SL_PORT_WORD_MAX])
{
	bool pci = false;
	int r;

	*ret = (struct sl_eal_args){0};
	/* One logical core, which is all the processors that the process may use. */
	r = add(ret, "sluice");
	r = r ? r : add(ret, "--lcores=0@(0-%ld)", sysconf(_SC_NPROCESSORS_CONF) - 1);
	r = r ? r : add(ret, c->telemetry ? "--telemetry" : "--no-telemetry");
	r = r ? r : add(ret, "--log-level=*:4");
	r = r ? r : add(ret, "-m");
	r = r ? r : add(ret, "%u", c->memory_mb);
	r = r ? r : add(ret, "--file-prefix=%s", c->file_prefix);
	if (!r && c->huge_pages)
		r = add(ret, "--in-memory");
	else if (!r)
		r = add(ret, "--no-huge") ?: add(ret, "--no-shconf");
	for (size_t i = 0; !r && i < c->n_ports; i++) {
		pci |= sl_eal_is_pci(c->port[i].device);
		r = add_device(ret, &c->port[i], i);
	}
	if (!r && !pci)
		r = add(ret, "--no-pci");
	if (r)
		snprintf(ret_reason, SL_PORT_WORD_MAX, "the arguments for DPDK are too long");
	return r;
}

/* --- what may be wrong --- */

static int check_device(const struct sl_port_config *c, char reason[SL_PORT_WORD_MAX])
{
	const bool xdp = sl_eal_is_xdp(c);
	int fd;

	if (sl_eal_is_pci(c->device) || sl_eal_is_virtual(c->device))
		return 0;
	if (!if_nametoindex(c->device)) {
		snprintf(reason, SL_PORT_WORD_MAX, "there is no device %s here", c->device);
		return -ENODEV;
	}
	fd = socket(xdp ? AF_XDP : AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	if (fd < 0) {
		snprintf(reason, SL_PORT_WORD_MAX, "%s: no socket for %s (%s): it needs %s",
			 c->device, c->driver, strerror(errno),
			 xdp ? "CAP_NET_RAW, CAP_NET_ADMIN and CAP_BPF" : "CAP_NET_RAW");
		return -EPERM;
	}
	sl_close(fd);
	return 0;
}

static bool huge_pages_are_free(void)
{
	_sl_free_ char *line = NULL;
	FILE *f = fopen("/proc/meminfo", "re");
	size_t size = 0;
	unsigned long n = 0;

	while (f && getline(&line, &size, f) > 0)
		if (sscanf(line, "HugePages_Free: %lu", &n) == 1)
			break;
	if (f)
		fclose(f);
	return n;
}

static int explain(const struct sl_dpdk_config *c, char reason[SL_PORT_WORD_MAX])
{
	int r = rte_errno ? -rte_errno : -EINVAL;

	if (c->huge_pages && !huge_pages_are_free())
		snprintf(reason, SL_PORT_WORD_MAX,
			 "no huge page is free: sysctl vm.nr_hugepages=%u, or dpdk.huge_pages: "
			 "false",
			 c->memory_mb / 2 + 1);
	else if (r == -EACCES || r == -EPERM)
		snprintf(reason, SL_PORT_WORD_MAX,
			 "DPDK may not: it needs root, or CAP_NET_ADMIN, CAP_NET_RAW and "
			 "CAP_IPC_LOCK (af_xdp: CAP_BPF, too)");
	else
		snprintf(reason, SL_PORT_WORD_MAX,
			 "DPDK does not start: %s (its own words are above)", strerror(-r));
	return r;
}

/* --- start and end --- */

int sl_eal_start(const struct sl_dpdk_config *c, char ret_reason[SL_PORT_WORD_MAX])
{
	static struct sl_eal_args args; /* EAL keeps pointers to it */
	int r = sl_eal_arguments(c, &args, ret_reason);

	for (size_t i = 0; !r && i < c->n_ports; i++)
		r = check_device(&c->port[i], ret_reason);
	if (r)
		return r;
	if (rte_eal_init(args.n, args.arg) < 0)
		return explain(c, ret_reason);
	started = true;
	return 0;
}

void sl_eal_stop(void)
{
	if (started)
		rte_eal_cleanup();
	started = false;
}

int sl_eal_find_port(const struct sl_dpdk_config *c, size_t i, uint16_t *ret,
		     char ret_reason[SL_PORT_WORD_MAX])
{
	const struct sl_port_config *p = &c->port[i];
	char name[64];
	int r;

	if (sl_eal_is_pci(p->device))
		snprintf(name, sizeof(name), "%s", p->device);
	else if (sl_eal_is_virtual(p->device))
		snprintf(name, sizeof(name), "%.*s", (int)strcspn(p->device, ","), p->device);
	else
		snprintf(name, sizeof(name), "net_%s%zu", p->driver, i);
	r = rte_eth_dev_get_port_by_name(name, ret);
	if (r)
		snprintf(ret_reason, SL_PORT_WORD_MAX, "%s: DPDK has no such port: %s", p->device,
			 sl_eal_is_pci(p->device)
				 ? "is it bound to vfio-pci (dpdk-devbind.py --status)?"
				 : "is another program's XDP or packet socket on it?");
	return r;
}
