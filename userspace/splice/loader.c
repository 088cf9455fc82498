/* SPDX-License-Identifier: BSD-2-Clause */
/* Loads, attaches, pins and opens the packet engine's BPF side.
 *
 * Invariant: a folder holds maps of one layout only: `layout` is written before anything else can
 * use them, and whoever opens them compares it. Does not watch devices that come and go. */

#include "splice/loader.h"

#include <dirent.h>
#include <errno.h>
#include <net/if.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/if_link.h>

#include "base/util.h"
#include "splice/pins.h"

#include "control.skel.h"
#include "splice_tc.skel.h"
#include "splice_xdp.skel.h"

#define TCX_INGRESS 46	   /* enum bpf_attach_type of Linux 6.6; libbpf 1.1 doesn't know it */
#define TC_PRIORITY 0x736c /* of our clsact filters, and the first one's handle */
#define TC_FILTERS  8	   /* so many folders' programs may be attached to a device */

const char *sl_hook_name(enum sl_hook h)
{
	static const char *const names[] = {"auto", "tc", "xdp", "xdp-generic"};

	return names[h];
}

static int pin(int fd, const char *folder, const char *name)
{
	char path[SL_PIN_PATH_MAX];
	int r = sl_pin_path(path, folder, name);

	if (!r && bpf_obj_pin(fd, path))
		r = -errno;
	return r == -EEXIST ? 0 : r;
}

static int write_layout(const char *folder, uint32_t pairs)
{
	_sl_close_ int fd = sl_pin_open(folder, "layout");
	struct sl_layout l = {SL_LAYOUT_MAGIC, SL_LAYOUT_VERSION, sizeof(struct sl_flow_pair),
			      pairs};
	uint32_t zero = 0;

	if (fd < 0)
		return fd;
	return bpf_map_update_elem(fd, &zero, &l, BPF_ANY) ? -errno : 0;
}

/* The three objects have the same maps; the first that is loaded makes and pins them. */
static int load_object(struct bpf_object *object, uint32_t pairs)
{
	struct bpf_map *map;

	map = bpf_object__find_map_by_name(object, "pairs");
	if (map)
		bpf_map__set_max_entries(map, pairs);
	map = bpf_object__find_map_by_name(object, "flows");
	if (map)
		bpf_map__set_max_entries(map, 2 * pairs);
	return bpf_object__load(object);
}

static int load_program(struct bpf_object *object, const char *folder, uint32_t pairs,
			const char *program, const char *name)
{
	int r = load_object(object, pairs);

	if (r)
		return r;
	return pin(bpf_program__fd(bpf_object__find_program_by_name(object, program)), folder,
		   name);
}

static int load_splice(const char *folder, uint32_t pairs)
{
	LIBBPF_OPTS(bpf_object_open_opts, opts, .pin_root_path = folder);
	struct splice_xdp *xdp;
	struct splice_tc *tc;
	int r;

	tc = splice_tc__open_opts(&opts);
	if (!tc)
		return -errno;
	r = load_program(tc->obj, folder, pairs, "sl_splice_tc", "splice_tc");
	splice_tc__destroy(tc);
	if (r)
		return r;
	xdp = splice_xdp__open_opts(&opts);
	if (!xdp)
		return -errno;
	r = load_program(xdp->obj, folder, pairs, "sl_splice_xdp", "splice_xdp");
	splice_xdp__destroy(xdp);
	return r;
}

static int load_control(const char *folder, uint32_t pairs, bool call)
{
	LIBBPF_OPTS(bpf_object_open_opts, opts, .pin_root_path = folder);
	struct control *c = control__open_opts(&opts);
	int r;

	if (!c)
		return -errno;
	bpf_program__set_autoload(c->progs.sl_control_call, call);
	bpf_program__set_autoload(c->progs.sl_control_frame, !call);
	r = load_program(c->obj, folder, pairs, call ? "sl_control_call" : "sl_control_frame",
			 "control");
	control__destroy(c);
	return r;
}

static int load_all(const char *folder, uint32_t pairs)
{
	int r = load_splice(folder, pairs);

	if (r)
		return r;
	r = load_control(folder, pairs, true);
	/* Before Linux 6.6 a "syscall" program may not take a spin lock. */
	if (r == -EINVAL || r == -EACCES)
		r = load_control(folder, pairs, false);
	return r ? r : write_layout(folder, pairs);
}

static int ignore(enum libbpf_print_level level, const char *format, va_list args)
{
	return 0;
}

int sl_loader_load(const char *folder, uint32_t pairs)
{
	libbpf_print_fn_t print = libbpf_set_print(ignore);
	struct sl_layout l;
	int r = sl_pin_layout(folder, &l);

	if (!r)
		pairs = l.pairs;
	if (!r || r == -ENOENT) {
		r = mkdir(folder, 0700) && errno != EEXIST ? -errno : 0;
		if (!r)
			r = load_all(folder, pairs);
	}
	libbpf_set_print(print);
	return r;
}

/* Whether a pinned link is still attached: the device may have gone. tcx and XDP links both begin
 * their part of the info with the interface's index. */
static bool is_attached(const char *folder, const char *name, unsigned ifindex)
{
	_sl_close_ int fd = sl_pin_open(folder, name);
	struct bpf_link_info info = {0};
	uint32_t len = sizeof(info);

	return fd >= 0 && !bpf_obj_get_info_by_fd(fd, &info, &len) && info.xdp.ifindex == ifindex;
}

static int attach_link(const char *folder, const char *program, const char *name, unsigned ifindex,
		       int type, uint32_t flags)
{
	LIBBPF_OPTS(bpf_link_create_opts, opts, .flags = flags);
	_sl_close_ int fd = sl_pin_open(folder, program);
	_sl_close_ int link = -1;
	char path[SL_PIN_PATH_MAX];
	int r;

	if (fd < 0)
		return fd;
	if (is_attached(folder, name, ifindex))
		return 0;
	r = sl_pin_path(path, folder, name);
	if (r)
		return r;
	link = bpf_link_create(fd, ifindex, type, &opts);
	if (link < 0)
		return -errno;
	unlink(path); /* of a device that has gone */
	return pin(link, folder, name);
}

/* The handle of the filter that runs this program; 0: there is none. */
static uint32_t find_filter(const struct bpf_tc_hook *hook, uint32_t program)
{
	for (uint32_t i = 0; i < TC_FILTERS; i++) {
		LIBBPF_OPTS(bpf_tc_opts, opts, .handle = TC_PRIORITY + i, .priority = TC_PRIORITY);

		if (!bpf_tc_query(hook, &opts) && opts.prog_id == program)
			return opts.handle;
	}
	return 0;
}

static int program_id(int fd, uint32_t *ret)
{
	struct bpf_prog_info info = {0};
	uint32_t len = sizeof(info);

	if (bpf_obj_get_info_by_fd(fd, &info, &len))
		return -errno;
	*ret = info.id;
	return 0;
}

/* Filters of one priority are run in turn for as long as they say "not mine", so that another folder's
 * program keeps its place beside ours. */
static int attach_clsact(const char *folder, unsigned ifindex)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = ifindex, .attach_point = BPF_TC_INGRESS);
	_sl_close_ int fd = sl_pin_open(folder, "splice_tc");
	uint32_t id;
	int r = fd < 0 ? fd : program_id(fd, &id);

	if (r)
		return r;
	r = bpf_tc_hook_create(&hook);
	if (r && r != -EEXIST)
		return r;
	if (find_filter(&hook, id))
		return 0;
	r = -EEXIST;
	for (uint32_t i = 0; r == -EEXIST && i < TC_FILTERS; i++) {
		LIBBPF_OPTS(bpf_tc_opts, opts, .handle = TC_PRIORITY + i, .priority = TC_PRIORITY,
			    .prog_fd = fd);

		r = bpf_tc_attach(&hook, &opts);
	}
	return r == -EEXIST ? -EBUSY : r;
}

static int attach_tc(const char *folder, const char *device, unsigned ifindex, const char **ret_how)
{
	char name[64];
	int r;

	snprintf(name, sizeof(name), "link_%s_%u_tc", device, ifindex);
	r = attach_link(folder, "splice_tc", name, ifindex, TCX_INGRESS, 0);
	if (!r) {
		*ret_how = "tc (tcx)";
		return 0;
	}
	if (r != -EINVAL && r != -EOPNOTSUPP)
		return r;
	r = attach_clsact(folder, ifindex);
	if (!r)
		*ret_how = "tc (clsact; the kernel has no tcx)";
	return r;
}

static int attach_xdp(const char *folder, const char *device, unsigned ifindex, bool generic,
		      const char **ret_how)
{
	char name[64];
	int r;

	snprintf(name, sizeof(name), "link_%s_%u_xdp", device, ifindex);
	r = attach_link(folder, "splice_xdp", name, ifindex, BPF_XDP,
			generic ? XDP_FLAGS_SKB_MODE : XDP_FLAGS_DRV_MODE);
	if (!r)
		*ret_how = generic ? "xdp (generic)" : "xdp (native)";
	return r;
}

int sl_loader_attach(const char *folder, const char *device, enum sl_hook hook,
		     const char **ret_how)
{
	libbpf_print_fn_t print = libbpf_set_print(ignore);
	unsigned ifindex = if_nametoindex(device);
	int r;

	if (!ifindex)
		r = -ENODEV;
	else if (hook == SL_HOOK_XDP || hook == SL_HOOK_XDP_GENERIC)
		r = attach_xdp(folder, device, ifindex, hook == SL_HOOK_XDP_GENERIC, ret_how);
	else
		r = attach_tc(folder, device, ifindex, ret_how);
	libbpf_set_print(print);
	return r;
}

static void detach_clsact(const char *folder)
{
	_sl_close_ int fd = sl_pin_open(folder, "splice_tc");
	struct if_nameindex *all;
	uint32_t id;

	if (fd < 0 || program_id(fd, &id))
		return;
	all = if_nameindex();
	for (struct if_nameindex *i = all; i && i->if_index; i++) {
		LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = i->if_index,
			    .attach_point = BPF_TC_INGRESS);
		LIBBPF_OPTS(bpf_tc_opts, opts, .priority = TC_PRIORITY);

		opts.handle = find_filter(&hook, id);
		if (opts.handle)
			bpf_tc_detach(&hook, &opts);
	}
	if (all)
		if_freenameindex(all);
}

/* Removing a link's pin detaches it, too, but some time later. */
static void detach_link(const char *folder, const char *name)
{
	_sl_close_ int fd = sl_pin_open(folder, name);

	if (fd >= 0)
		bpf_link_detach(fd);
}

static int remove_pins(const char *folder)
{
	DIR *dir = opendir(folder);
	struct dirent *entry;
	int r = 0;

	if (!dir)
		return -errno;
	while ((entry = readdir(dir))) {
		if (!strncmp(entry->d_name, "link_", 5))
			detach_link(folder, entry->d_name);
		if (entry->d_name[0] != '.' && unlinkat(dirfd(dir), entry->d_name, 0))
			r = -errno;
	}
	closedir(dir);
	return r ? r : rmdir(folder) ? -errno : 0;
}

int sl_loader_unload(const char *folder)
{
	libbpf_print_fn_t print = libbpf_set_print(ignore);
	int r;

	detach_clsact(folder);
	r = remove_pins(folder);
	libbpf_set_print(print);
	return r;
}
