/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_PROXY_DOORS_H
#define SLUICE_PROXY_DOORS_H

/* The addresses that the proxy listens on, with one listening descriptor for each worker. They belong to
 * the control thread, and workers borrow them: so an address stays open over changes of the
 * configuration, and can be handed to another process with all that waits in its queues. */

#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "proxy/inherited.h"
#include "transport/transport.h"

struct sl_door {
	struct sl_addr addr;
	int *fd;   /* by worker */
	bool lent; /* by the service manager, which has them, too */
};

struct sl_doors {
	/* Opens a descriptor, or with o->adopt changes one: socket.h. NULL: the transport has none. */
	int (*listen)(const struct sl_listen_options *o, int *ret);
	uint32_t workers;
	struct sl_inherited *inherited; /* descriptors that came with the process; NULL: none */
	struct sl_door *door;
	size_t n;
};

/* Opens the door for every worker, or gives an open one other options. 0 or -errno: as before, but for
 * the options. */
int sl_doors_open(struct sl_doors *d, const struct sl_listen_options *o);
/* Takes no new handshakes, while those under way still come to their end: so what waits can be accepted to
 * the last before it closes. Opening it again takes this back. */
void sl_doors_shut(const struct sl_doors *d, const struct sl_addr *addr);
/* Closing a lent one would leave its queue to nobody. */
bool sl_doors_is_lent(const struct sl_doors *d, const struct sl_addr *addr);
/* -1: there is no such door. */
int sl_doors_fd(const struct sl_doors *d, const struct sl_addr *addr, uint32_t worker);
/* Closes those that are not wanted. */
void sl_doors_keep(struct sl_doors *d, bool (*wanted)(const void *arg, const struct sl_addr *addr),
		   const void *arg);
void sl_doors_close(struct sl_doors *d);

#endif
