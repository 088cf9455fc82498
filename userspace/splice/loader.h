/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_SPLICE_LOADER_H
#define SLUICE_SPLICE_LOADER_H

/* The packet engine's BPF side: programs, maps and links, pinned under one folder of a bpffs, where
 * they outlive this process. Nothing here logs; all functions return 0 or -errno.
 *
 * Pins: flows, buckets, secret, counters, events, layout (maps); splice_tc, control, splice_xdp (programs);
 * link_DEVICE_IFINDEX_HOOK. Needs CAP_BPF and CAP_NET_ADMIN; CAP_PERFMON, too, for the verifier's
 * sake; CAP_SYS_ADMIN only where a bpffs has to be mounted first, which is the administrator's. */

#include <stdint.h>

#define SL_LOADER_FOLDER "/sys/fs/bpf/sluice"

enum sl_hook {
	SL_HOOK_AUTO, /* tc: right for every device; XDP pays on physical NICs, by explicit choice */
	SL_HOOK_TC,   /* tcx; clsact where the kernel has no tcx */
	SL_HOOK_XDP,  /* native only */
	SL_HOOK_XDP_GENERIC,
};
const char *sl_hook_name(enum sl_hook h);

/* Loads programs and maps for so many pairs and pins them; what is pinned already and compatible is
 * kept, whatever `pairs` says. -EPROTO: maps of another layout are pinned there (unload first);
 * -EPERM: privileges; -ENOENT: no bpffs. */
int sl_loader_load(const char *folder, uint32_t pairs);

/* Gives the maps of an object that is not loaded yet the size for so many pairs. */
struct bpf_object;
void sl_loader_size(struct bpf_object *object, uint32_t pairs);

/* The XDP program, too, beside what is loaded already: half of the verifier's work, for devices that ask
 * for it. Once is enough; sl_loader_attach() does it when it has to. */
int sl_loader_load_xdp(const char *folder);

/* Attaches to a device, for good; once is enough. *ret_how says what was done (static). -EBUSY:
 * another program holds the device's XDP hook, or eight folders' programs its clsact; -EOPNOTSUPP:
 * its driver has no native XDP. */
int sl_loader_attach(const char *folder, const char *device, enum sl_hook hook,
		     const char **ret_how);

/* Detaches from all devices of this network namespace and removes every pin, so that the kernel frees
 * all once no one has it open. Spliced pairs break. */
int sl_loader_unload(const char *folder);

#endif
