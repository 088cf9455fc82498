/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_PROXY_DISCOVERY_H
#define SLUICE_PROXY_DISCOVERY_H

/* Servers that are given by name (A and AAAA, or SRV) are looked up again and again, in the control
 * thread; each address is a server of its own (upstream_set.h). */

#include "base/loop.h"
#include "proxy/upstream/upstream_set.h"

struct sl_discovery;

struct sl_discovery_options {
	struct sl_loop *loop;
	const struct sl_config *config;
	struct sl_upstream *const *upstream; /* of that configuration, in its order */
	struct sl_set_listener listener;
};

/* Starts. 0 or -errno. *ret is NULL if there is nothing to discover. */
int sl_discovery_new(const struct sl_discovery_options *o, struct sl_discovery **ret);
/* In the loop's thread. Takes NULL. */
void sl_discovery_free(struct sl_discovery *d);

#endif
