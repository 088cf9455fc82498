/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_PROXY_INHERITED_H
#define SLUICE_PROXY_INHERITED_H

/* Listening sockets that come with the process: from systemd (socket activation, or its store of
 * descriptors), or from an earlier sluice that hands over to this one. All come in the way of
 * sd_listen_fds(3): LISTEN_FDS of them, from descriptor 3 on. What they are is asked from the kernel, so
 * names don't matter. */

#include <stddef.h>

#include "base/addr.h"

struct sl_inherited {
	int *fd; /* -1: taken */
	size_t n;
	int upgrade; /* to the sluice that hands over; -1: none does */
};

/* Reads the environment, once: variables are gone afterwards. 0, -ENOMEM, or -EINVAL: they make no sense. */
int sl_inherited_read(struct sl_inherited *ret);
/* A descriptor that listens on that address, which is the caller's from now on; or -1. i may be NULL. */
int sl_inherited_take(struct sl_inherited *i, const struct sl_addr *addr);
int sl_inherited_take_path(struct sl_inherited *i, const char *path);
/* Closes what nobody took; returns how many that were. */
size_t sl_inherited_close(struct sl_inherited *i);

#endif
