/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_SPLICE_DEVICES_H
#define SLUICE_SPLICE_DEVICES_H

/* Which devices pairs use, attached to when the first pair needs one. Not thread-safe: the caller has
 * a lock. */

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"
#include "splice/loader.h"

struct sl_devices;

struct sl_devices_options {
	const char *folder;
	/* NULL: any device that a pair uses. Else these alone, ending with NULL; what `sluice load`
	 * attached counts, too. */
	const char *const *names;
	enum sl_hook hook;
};

/* The options are used until the end. Attaches to those of `names` that exist. */
int sl_devices_open(const struct sl_devices_options *o, struct sl_devices **ret);
/* Devices stay attached. Takes NULL. */
void sl_devices_close(struct sl_devices *d);

/* Becomes readable when links, addresses or routes have changed: then call sl_devices_changed(), which
 * forgets all ways, and attaches to those of `names` that have come. */
int sl_devices_fd(const struct sl_devices *d);
void sl_devices_changed(struct sl_devices *d);

/* The way to a peer. */
struct sl_way {
	struct sl_addr source; /* that the kernel would connect from; port 0 */
	uint32_t ifindex;
	uint32_t mtu; /* of the device or the route, the smaller one */
	enum sl_hook hook;
	bool loopback;
	/* What XDP can do, as far as the kernel tells. A veth takes frames only if its other end has
	 * GRO or a program; the kernel drops them silently if not. */
	bool takes_xdp;	  /* frames can be redirected to it */
	bool returns_xdp; /* its own frames can be sent back */
};

/* Finds the way to `to` (`from`: the source, or NULL) and attaches to its device. Costs nothing while the
 * answer is remembered, at most 10 s. 0, or -errno and a reason (static). */
int sl_devices_reach(struct sl_devices *d, const struct sl_addr *to, const struct sl_addr *from,
		     struct sl_way *ret, const char **ret_reason);

/* What is known of a device; for one that packets came by. */
int sl_devices_find(struct sl_devices *d, uint32_t ifindex, struct sl_way *ret,
		    const char **ret_reason);

/* Attaches to every device that is up, where any may be: packets of a pair came by one that no route to
 * its peer names. True if there was one that had not been. */
bool sl_devices_attach_all(struct sl_devices *d);

#endif
