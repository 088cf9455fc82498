/* SPDX-License-Identifier: BSD-2-Clause */
/* Attaches the programs to devices: by links that are pinned (tcx, XDP), or by a clsact filter where the
 * kernel has no tcx.
 *
 * Invariants:
 * - A device has one of our hooks at a time: the one that came later replaces the other, so that no
 *   packet is treated twice.
 * - Another program is never replaced. At tcx ours comes behind those that are there; what they
 *   drop or redirect is never seen. At XDP there is room for one.
 *
 * A pin is named link_DEVICE_IFINDEX_HOOK; the index is what counts, as devices are renamed. */

#include "splice/links.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/if_link.h>

#include "base/util.h"
#include "splice/device.h"
#include "splice/pins.h"

#define TCX_INGRESS 46	   /* enum bpf_attach_type of Linux 6.6; libbpf 1.1 doesn't know it */
#define TC_PRIORITY 0x736c /* of our clsact filters, and the first one's handle */
#define TC_FILTERS  8	   /* so many folders' programs may be attached to a device */
#define PREFIX	    "link_"

const char *sl_hook_name(enum sl_hook h)
{
	static const char *const names[] = {"auto", "tc", "xdp", "xdp-generic"};

	return names[h];
}

static int ignore(enum libbpf_print_level level, const char *format, va_list args)
{
	return 0;
}

/* --- pinned links --- */

/* Takes a pin's name apart: link_DEVICE_IFINDEX_HOOK. */
static bool parse_name(const char *name, struct sl_attachment *ret)
{
	struct sl_attachment a = {0};
	const char *hook = strrchr(name, '_'), *index = hook;
	size_t len;

	if (strncmp(name, PREFIX, strlen(PREFIX)) || !hook)
		return false;
	while (index > name && index[-1] != '_')
		index--;
	name += strlen(PREFIX);
	if (index <= name)
		return false;
	len = (size_t)(index - 1 - name);
	if (len >= sizeof(a.device))
		return false;
	memcpy(a.device, name, len);
	a.ifindex = (uint32_t)strtoul(index, NULL, 10);
	a.hook = strcmp(hook, "_tc") ? SL_HOOK_XDP : SL_HOOK_TC;
	*ret = a;
	return true;
}

static void name_link(char name[64], const char *device, uint32_t ifindex, enum sl_hook hook)
{
	snprintf(name, 64, PREFIX "%s_%u_%s", device, ifindex, hook == SL_HOOK_TC ? "tc" : "xdp");
}

/* Whether a pinned link is still attached: the device may have gone. tcx and XDP links both begin
 * their part of the info with the interface's index. */
static bool is_attached(const char *folder, const char *name, uint32_t ifindex)
{
	_sl_close_ int fd = sl_pin_open(folder, name);
	struct bpf_link_info info = {0};
	uint32_t len = sizeof(info);

	return fd >= 0 && !bpf_obj_get_info_by_fd(fd, &info, &len) && info.xdp.ifindex == ifindex;
}

/* Calls fn for every pin of a link. */
static void each_pin(const char *folder,
		     void (*fn)(void *context, const char *folder, const char *name,
				const struct sl_attachment *a),
		     void *context)
{
	DIR *dir = opendir(folder);
	struct sl_attachment a;
	struct dirent *entry;

	while (dir && (entry = readdir(dir)))
		if (parse_name(entry->d_name, &a))
			fn(context, folder, entry->d_name, &a);
	if (dir)
		closedir(dir);
}

/* Removing a link's pin detaches it, too, but some time later. */
static void remove_link(const char *folder, const char *name)
{
	_sl_close_ int fd = sl_pin_open(folder, name);
	char path[SL_PIN_PATH_MAX];

	if (fd >= 0)
		bpf_link_detach(fd);
	if (!sl_pin_path(path, folder, name))
		unlink(path);
}

static int attach_link(const char *folder, const char *device, uint32_t ifindex, enum sl_hook hook,
		       uint32_t flags)
{
	bool tc = hook == SL_HOOK_TC;
	_sl_close_ int program = sl_pin_open(folder, tc ? "splice_tc" : "splice_xdp");
	LIBBPF_OPTS(bpf_link_create_opts, opts, .flags = flags);
	_sl_close_ int link = -1;
	char name[64];

	if (program < 0)
		return program;
	name_link(name, device, ifindex, hook);
	if (is_attached(folder, name, ifindex))
		return 0;
	link = bpf_link_create(program, (int)ifindex, tc ? TCX_INGRESS : BPF_XDP, &opts);
	if (link < 0)
		return -errno;
	remove_link(folder, name); /* of a device that has gone */
	return sl_pin_put(link, folder, name);
}

/* --- clsact --- */

static uint32_t program_id(const char *folder)
{
	_sl_close_ int fd = sl_pin_open(folder, "splice_tc");
	struct bpf_prog_info info = {0};
	uint32_t len = sizeof(info);

	return fd >= 0 && !bpf_obj_get_info_by_fd(fd, &info, &len) ? info.id : 0;
}

/* The handle of the filter that runs this program; 0: there is none. */
static uint32_t find_filter(const struct bpf_tc_hook *hook, uint32_t program)
{
	for (uint32_t i = 0; program && i < TC_FILTERS; i++) {
		LIBBPF_OPTS(bpf_tc_opts, opts, .handle = TC_PRIORITY + i, .priority = TC_PRIORITY);

		if (!bpf_tc_query(hook, &opts) && opts.prog_id == program)
			return opts.handle;
	}
	return 0;
}

/* Filters of one priority are run in turn for as long as they say "not mine", so that another folder's
 * program keeps its place beside ours. */
static int attach_filter(const char *folder, uint32_t ifindex)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = (int)ifindex, .attach_point = BPF_TC_INGRESS);
	_sl_close_ int fd = sl_pin_open(folder, "splice_tc");
	int r;

	if (fd < 0)
		return fd;
	r = bpf_tc_hook_create(&hook);
	if (r && r != -EEXIST)
		return r;
	if (find_filter(&hook, program_id(folder)))
		return 0;
	r = -EEXIST;
	for (uint32_t i = 0; r == -EEXIST && i < TC_FILTERS; i++) {
		LIBBPF_OPTS(bpf_tc_opts, opts, .handle = TC_PRIORITY + i, .priority = TC_PRIORITY,
			    .prog_fd = fd);

		r = bpf_tc_attach(&hook, &opts);
	}
	return r == -EEXIST ? -EBUSY : r;
}

static bool has_filter(uint32_t ifindex, uint32_t program)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = (int)ifindex, .attach_point = BPF_TC_INGRESS);

	return find_filter(&hook, program);
}

static void remove_filter(uint32_t ifindex, uint32_t program)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = (int)ifindex, .attach_point = BPF_TC_INGRESS);
	LIBBPF_OPTS(bpf_tc_opts, opts, .priority = TC_PRIORITY);

	opts.handle = find_filter(&hook, program);
	if (opts.handle)
		bpf_tc_detach(&hook, &opts);
}

/* --- both --- */

struct list {
	struct sl_attachment *at;
	size_t n, room;
	uint32_t only; /* ifindex, or 0 */
};

static void list_link(void *context, const char *folder, const char *name,
		      const struct sl_attachment *a)
{
	struct list *list = context;

	if (list->n < list->room && (!list->only || list->only == a->ifindex) &&
	    is_attached(folder, name, a->ifindex))
		list->at[list->n++] = *a;
}

static void list_filter(struct list *list, const char *folder, uint32_t ifindex, const char *name)
{
	struct sl_attachment *a;

	if (list->n == list->room || !has_filter(ifindex, program_id(folder)))
		return;
	a = &list->at[list->n++];
	*a = (struct sl_attachment){.ifindex = ifindex, .hook = SL_HOOK_TC, .filter = true};
	snprintf(a->device, sizeof(a->device), "%s", name);
}

size_t sl_links_list(const char *folder, struct sl_attachment *ret, size_t room)
{
	libbpf_print_fn_t print = libbpf_set_print(ignore);
	struct list list = {.at = ret, .room = room};
	struct if_nameindex *all = if_nameindex();

	each_pin(folder, list_link, &list);
	for (struct if_nameindex *i = all; i && i->if_index; i++)
		list_filter(&list, folder, i->if_index, i->if_name);
	if_freenameindex(all);
	libbpf_set_print(print);
	return list.n;
}

int sl_links_find(const char *folder, uint32_t ifindex, struct sl_attachment *ret)
{
	libbpf_print_fn_t print = libbpf_set_print(ignore);
	struct list list = {.at = ret, .room = 1, .only = ifindex};

	each_pin(folder, list_link, &list);
	if (!list.n)
		list_filter(&list, folder, ifindex, "");
	libbpf_set_print(print);
	return list.n ? 0 : -ENOENT;
}

/* What to remove: everything, or one hook of one device. */
struct removal {
	uint32_t ifindex; /* 0: all */
	enum sl_hook hook;
};

static void remove_pin(void *context, const char *folder, const char *name,
		       const struct sl_attachment *a)
{
	const struct removal *which = context;

	if (!which->ifindex || (which->ifindex == a->ifindex && which->hook == a->hook))
		remove_link(folder, name);
}

void sl_links_detach(const char *folder, uint32_t ifindex, enum sl_hook hook)
{
	libbpf_print_fn_t print = libbpf_set_print(ignore);
	struct removal which = {ifindex, hook};

	each_pin(folder, remove_pin, &which);
	if (hook == SL_HOOK_TC)
		remove_filter(ifindex, program_id(folder));
	libbpf_set_print(print);
}

void sl_links_detach_all(const char *folder)
{
	libbpf_print_fn_t print = libbpf_set_print(ignore);
	struct if_nameindex *all = if_nameindex();
	struct removal all_of_them = {0};

	for (struct if_nameindex *i = all; i && i->if_index; i++)
		remove_filter(i->if_index, program_id(folder));
	if_freenameindex(all);
	each_pin(folder, remove_pin, &all_of_them);
	libbpf_set_print(print);
}

static int attach_tc(const char *folder, const char *device, uint32_t ifindex, const char **ret_how)
{
	int r = attach_link(folder, device, ifindex, SL_HOOK_TC, 0);

	if (!r) {
		*ret_how = "tc (tcx)";
		return 0;
	}
	if (r != -EINVAL && r != -EOPNOTSUPP)
		return r;
	r = attach_filter(folder, ifindex);
	if (!r)
		*ret_how = "tc (clsact; the kernel has no tcx)";
	return r;
}

static int attach_xdp(const char *folder, const char *device, uint32_t ifindex, bool generic,
		      const char **ret_how)
{
	int r = sl_loader_load_xdp(folder);

	if (!r)
		r = attach_link(folder, device, ifindex, SL_HOOK_XDP,
				generic ? XDP_FLAGS_SKB_MODE : XDP_FLAGS_DRV_MODE);
	if (!r) {
		*ret_how = generic ? "xdp (generic)" : "xdp (native)";
		sl_links_detach(folder, ifindex, SL_HOOK_TC);
	}
	return r;
}

/* auto: the device's nature decides, and tc is the way out. */
static int attach_best(const char *folder, const char *device, uint32_t ifindex,
		       const char **ret_how)
{
	_sl_close_ int netlink = -1;
	struct sl_device d;
	const char *why;
	int r = sl_netlink_open(&netlink);

	if (!r)
		r = sl_device_look(netlink, ifindex, &d);
	if (r)
		return r;
	switch (sl_device_choose(&d, SL_HOOK_AUTO, &why)) {
	case SL_HOOK_AUTO:
		return -EAFNOSUPPORT;
	case SL_HOOK_XDP:
		if (!attach_xdp(folder, device, ifindex, false, ret_how))
			return 0;
		break;
	default:
		break;
	}
	return attach_tc(folder, device, ifindex, ret_how);
}

int sl_loader_attach(const char *folder, const char *device, enum sl_hook hook,
		     const char **ret_how)
{
	uint32_t ifindex = if_nametoindex(device);
	libbpf_print_fn_t print;
	int r;

	if (!ifindex)
		return -ENODEV;
	print = libbpf_set_print(ignore);
	if (hook == SL_HOOK_AUTO)
		r = attach_best(folder, device, ifindex, ret_how);
	else if (hook == SL_HOOK_TC)
		r = attach_tc(folder, device, ifindex, ret_how);
	else
		r = attach_xdp(folder, device, ifindex, hook == SL_HOOK_XDP_GENERIC, ret_how);
	if (!r && !strncmp(*ret_how, "tc", 2))
		sl_links_detach(folder, ifindex, SL_HOOK_XDP);
	libbpf_set_print(print);
	return r;
}
