/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_SPLICE_LINKS_H
#define SLUICE_SPLICE_LINKS_H

/* Where the programs of a folder are attached. Attaching is sl_loader_attach(). */

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>

#include "splice/loader.h"

struct sl_attachment {
	char device[IF_NAMESIZE];
	uint32_t ifindex;
	enum sl_hook hook; /* SL_HOOK_TC or SL_HOOK_XDP, generic or not */
	bool filter;	   /* a clsact filter: kernels without tcx */
};

/* How a device of this network namespace is attached. -ENOENT: it isn't. */
int sl_links_find(const char *folder, uint32_t ifindex, struct sl_attachment *ret);
/* All of them, at most `room`; returns how many. Links of devices that have gone don't count. */
size_t sl_links_list(const char *folder, struct sl_attachment *ret, size_t room);

/* Detaches a device, or all of this network namespace, and removes the pins of the links. */
void sl_links_detach(const char *folder, uint32_t ifindex, enum sl_hook hook);
void sl_links_detach_all(const char *folder);

#endif
