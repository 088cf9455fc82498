/* SPDX-License-Identifier: BSD-2-Clause */
/* From root, or from ambient capabilities, to a user that has only what is needed still:
 *
 * NET_BIND_SERVICE  listeners below 1024 that a reload brings
 * NET_ADMIN         TCP_REPAIR when a pair leaves its sockets; programs on devices
 * NET_RAW           resets in the name of a pair that ends
 * BPF, PERFMON      maps, and programs that are loaded when the first pair needs them
 *
 * The latter four only where a listener may splice by BPF, which none does over DPDK's ports; NET_ADMIN also
 * where it may splice the kernel's sockets over these, and where a port has an XDP program, which is taken off
 * at the end. All are ambient, too: the process of an upgrade
 * needs them again. Dropped for good: whatever else root has, DAC_OVERRIDE above all. */

#include "cli/confine.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"
#include "cli/syscalls.h"
#include "splice/loader.h"

static int complain(const char *what, int r)
{
	sl_error("%s: %s", what, strerror(-r));
	return r;
}

static bool splices(const struct sl_config *c)
{
	for (size_t i = 0; i < c->n_listeners; i++)
		if (c->listeners[i].splice != SL_SPLICE_COPY)
			return true;
	return false;
}

static bool splices_by_bpf(const struct sl_config *c)
{
	return c->transport != SL_TRANSPORT_DPDK && splices(c);
}

static bool has_xdp_port(const struct sl_config *c)
{
	for (size_t i = 0; i < c->dpdk.n_ports; i++)
		if (c->dpdk.ports[i].driver == SL_DPDK_AF_XDP ||
		    !strncmp(c->dpdk.ports[i].device, "net_af_xdp", 10)) /* as DPDK spells it */
			return true;
	return false;
}

static uint64_t kept(const struct sl_config *c)
{
	uint64_t keep = 1ull << CAP_NET_BIND_SERVICE;

	if (has_xdp_port(c) || (c->dpdk.stack == SL_DPDK_KERNEL && splices(c)))
		keep |= 1ull << CAP_NET_ADMIN;
	if (splices_by_bpf(c))
		keep |= 1ull << CAP_NET_ADMIN | 1ull << CAP_NET_RAW | 1ull << CAP_BPF |
			1ull << CAP_PERFMON;
	return keep;
}

/* --- the user --- */

/* Pins stay 0600: the user's alone. */
static void give_pins(uid_t uid, gid_t gid)
{
	DIR *folder = opendir(SL_LOADER_FOLDER);
	const struct dirent *e;

	if (!folder)
		return;
	if (fchown(dirfd(folder), uid, gid) < 0)
		sl_warning("%s: %s", SL_LOADER_FOLDER, strerror(errno));
	while ((e = readdir(folder)))
		if (*e->d_name != '.' &&
		    fchownat(dirfd(folder), e->d_name, uid, gid, AT_SYMLINK_NOFOLLOW) < 0)
			sl_warning("%s/%s: %s", SL_LOADER_FOLDER, e->d_name, strerror(errno));
	closedir(folder);
}

/* Made by root, used by the user. */
static void give_files(const struct sl_config *c, uid_t uid, gid_t gid)
{
	if (chown(c->admin, uid, gid) < 0)
		sl_warning("%s: %s", c->admin, strerror(errno));
	if (c->access_log.path && strcmp(c->access_log.path, "-") &&
	    chown(c->access_log.path, uid, gid) < 0)
		sl_warning("%s: %s", c->access_log.path, strerror(errno));
	if (splices_by_bpf(c))
		give_pins(uid, gid);
}

static int become(const struct sl_config *c)
{
	const struct passwd *p;

	errno = 0;
	p = getpwnam(c->user);
	if (!p) {
		sl_error("user: there is no '%s'", c->user);
		return -ENOENT;
	}
	if (geteuid() == p->pw_uid)
		return 0;
	give_files(c, p->pw_uid, p->pw_gid);
	if (prctl(PR_SET_KEEPCAPS, 1) < 0 || initgroups(c->user, p->pw_gid) < 0 ||
	    setresgid(p->pw_gid, p->pw_gid, p->pw_gid) < 0 ||
	    setresuid(p->pw_uid, p->pw_uid, p->pw_uid) < 0)
		return complain("user", -errno);
	/* else /proc/self is root's, and with it our own figures; core dumps are off below */
	prctl(PR_SET_DUMPABLE, 1);
	if (splices_by_bpf(c) && access(SL_LOADER_FOLDER, F_OK) < 0 && errno == EACCES)
		sl_warning("%s can't be reached by user %s: devices that are attached to later "
			   "will fail; "
			   "chmod o+x /sys/fs/bpf helps",
			   SL_LOADER_FOLDER, c->user);
	return 0;
}

/* --- capabilities --- */

static int set_capabilities(uint64_t keep)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2];

	if (syscall(__NR_capget, &header, data) < 0)
		return -errno;
	for (int i = 0; i < 2; i++) {
		data[i].permitted &= (uint32_t)(keep >> (32 * i));
		data[i].effective = data[i].inheritable = data[i].permitted;
	}
	if (syscall(__NR_capset, &header, data) < 0)
		return -errno;
	for (unsigned long cap = 0; cap < 64; cap++)
		if (data[cap / 32].permitted & 1u << cap % 32)
			prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0);
	return 0;
}

/* While it is allowed to: nothing that is executed gets others back. */
static void bound(uint64_t keep)
{
	for (unsigned long cap = 0; prctl(PR_CAPBSET_READ, cap) >= 0; cap++)
		if (!(keep & 1ull << cap))
			prctl(PR_CAPBSET_DROP, cap);
}

static int drop_privileges(const struct sl_config *c)
{
	const struct rlimit none = {0, 0};
	int r;

	bound(kept(c));
	r = become(c);
	if (r < 0)
		return r;
	setrlimit(RLIMIT_CORE, &none);
	r = set_capabilities(kept(c));
	return r < 0 ? complain("capabilities", r) : 0;
}

int sl_confine(const struct sl_config *c)
{
	int r = c->user ? drop_privileges(c) : 0;

	if (r < 0 || (!c->user && !c->seccomp))
		return r;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return complain("no_new_privs", -errno);
	r = c->seccomp ? sl_syscalls_confine() : 0;
	return r < 0 ? complain("seccomp", r) : 0;
}
