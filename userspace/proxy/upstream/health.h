/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_PROXY_HEALTH_H
#define SLUICE_PROXY_HEALTH_H

/* Checks of servers, in the control thread: a connection, or a GET and its status, at intervals. */

#include "proxy/upstream/upstream.h"
#include "transport/transport.h"

struct sl_health;

struct sl_health_options {
	struct sl_loop *loop;
	const struct sl_config *config;
	struct sl_upstream *const *upstream; /* of that configuration, in its order */
	/* Of that loop, borrowed; or NULL: transport_new makes one. */
	struct sl_transport *transport;
	int (*transport_new)(struct sl_loop *loop, uint32_t streams, struct sl_transport **ret);
};

/* Starts. 0 or -errno. *ret is NULL if nothing is to be checked. */
int sl_health_new(const struct sl_health_options *o, struct sl_health **ret);
/* The upstream's servers changed: those that came are checked, those that are gone not any more. In the
 * loop's thread. Takes NULL. */
void sl_health_follow(struct sl_health *h, const struct sl_upstream *u);
/* In the loop's thread. Takes NULL. */
void sl_health_free(struct sl_health *h);

#endif
