/* SPDX-License-Identifier: BSD-2-Clause */
/* Loads and pins the packet engine's BPF side, and removes it; links.c attaches it to devices.
 *
 * Invariant: a folder holds maps of one layout only: `layout` is written before anything else can
 * use them, and whoever opens them compares it. */

#include "splice/loader.h"

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "base/util.h"
#include "splice/libbpf_words.h"
#include "splice/links.h"
#include "splice/pins.h"

#include <sluice/index.h>

#include "control.skel.h"
#include "splice_tc.skel.h"
#include "splice_xdp.skel.h"

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

static int write_secret(const char *folder, uint32_t pairs)
{
	_sl_close_ int fd = sl_pin_open(folder, "secret");
	struct sl_index_secret s = {.mask = sl_index_buckets(pairs) - 1};
	uint32_t zero = 0;

	if (fd < 0)
		return fd;
	if (getrandom(s.number, sizeof(s.number), 0) != sizeof(s.number))
		return -EIO;
	return bpf_map_update_elem(fd, &zero, &s, BPF_ANY) ? -errno : 0;
}

void sl_loader_size(struct bpf_object *object, uint32_t pairs)
{
	struct bpf_map *map;

	map = bpf_object__find_map_by_name(object, "flows");
	if (map)
		bpf_map__set_max_entries(map, pairs);
	map = bpf_object__find_map_by_name(object, "buckets");
	if (map)
		bpf_map__set_max_entries(map, sl_index_buckets(pairs));
}

/* The three objects have the same maps; the first that is loaded makes and pins them. */
static int load_object(struct bpf_object *object, uint32_t pairs)
{
	sl_loader_size(object, pairs);
	return bpf_object__load(object);
}

static int load_program(struct bpf_object *object, const char *folder, uint32_t pairs,
			const char *program, const char *name)
{
	int r = load_object(object, pairs);

	if (r)
		return r;
	return sl_pin_put(bpf_program__fd(bpf_object__find_program_by_name(object, program)),
			  folder, name);
}

static int load_tc(const char *folder, uint32_t pairs)
{
	LIBBPF_OPTS(bpf_object_open_opts, opts, .pin_root_path = folder);
	struct splice_tc *tc = splice_tc__open_opts(&opts);
	int r;

	if (!tc)
		return -errno;
	r = load_program(tc->obj, folder, pairs, "sl_splice_tc", "splice_tc");
	splice_tc__destroy(tc);
	return r;
}

static int load_xdp(const char *folder, uint32_t pairs)
{
	LIBBPF_OPTS(bpf_object_open_opts, opts, .pin_root_path = folder);
	struct splice_xdp *xdp = splice_xdp__open_opts(&opts);
	int r;

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
	int r = load_tc(folder, pairs);

	if (r)
		return r;
	r = load_control(folder, pairs, true);
	/* Before Linux 6.6 a "syscall" program may not take a spin lock. */
	if (r == -EINVAL || r == -EACCES)
		r = load_control(folder, pairs, false);
	if (!r)
		r = write_secret(folder, pairs);
	return r ? r : write_layout(folder, pairs);
}

int sl_loader_load(const char *folder, uint32_t pairs)
{
	struct sl_layout l;
	int r;

	sl_libbpf_hush();
	r = sl_pin_layout(folder, &l);

	/* A complete layout is written last, so there is nothing left to do: and what an administrator
	 * loaded can be used without the privileges that loading needs. */
	if (r == -ENOENT) {
		r = mkdir(folder, 0700) && errno != EEXIST ? -errno : 0;
		if (!r)
			r = load_all(folder, pairs);
	}
	sl_libbpf_speak();
	return r;
}

static bool has_xdp(const char *folder)
{
	_sl_close_ int fd = sl_pin_open(folder, "splice_xdp");

	return fd >= 0;
}

int sl_loader_load_xdp(const char *folder)
{
	struct sl_layout l;
	int r;

	if (has_xdp(folder))
		return 0;
	sl_libbpf_hush();
	r = sl_pin_layout(folder, &l);
	if (!r)
		r = load_xdp(folder, l.pairs);
	sl_libbpf_speak();
	return r;
}

static int remove_pins(const char *folder)
{
	DIR *dir = opendir(folder);
	struct dirent *entry;
	int r = 0;

	if (!dir)
		return -errno;
	while ((entry = readdir(dir))) {
		if (entry->d_name[0] != '.' && unlinkat(dirfd(dir), entry->d_name, 0))
			r = -errno;
	}
	closedir(dir);
	return r ? r : rmdir(folder) ? -errno : 0;
}

int sl_loader_unload(const char *folder)
{
	int r;

	sl_libbpf_hush();
	sl_links_detach_all(folder);
	r = remove_pins(folder);
	sl_libbpf_speak();
	return r;
}
