/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_PROXY_UPSTREAM_SET_H
#define SLUICE_PROXY_UPSTREAM_SET_H

/* The servers of an upstream as they come and go, in slots that are never freed. All functions are the
 * control thread's. */

#include <stddef.h>

#include "base/addr.h"
#include "proxy/upstream/upstream.h"

/* A server that is to be there. */
struct sl_found {
	const struct sl_server_config *source; /* what was configured */
	struct sl_addr addr; /* with its port; AF_UNSPEC: the name stands for itself, it has none */
	const char *as;	     /* host and port that it was found by */
	const char *why;     /* without an address: why it is down; NULL: it isn't. Static */
	uint32_t weight;
	bool backup;
};

/* Who has to know. Returns when every worker has seen u as it is now, has closed the idle connections of
 * removed servers, and uses u->maglev. */
struct sl_set_listener {
	void (*on_change)(void *owner, struct sl_upstream *u);
	void *owner;
};

/* With u's servers as configured: their slots, and the table. 0 or -ENOMEM. */
int sl_upstream_set_init(struct sl_upstream *u);

/* Makes the servers that were found by name those of f; configured addresses stay. There is at least one
 * server at any time. Returns how many found no free slot: present ones have precedence, and a removed
 * one keeps its slot as long as anything is open. */
size_t sl_upstream_set(struct sl_upstream *u, const struct sl_found *f, size_t n, uint64_t now_ms,
		       const struct sl_set_listener *l);

/* Whether the servers of another configuration find free slots now. */
bool sl_upstream_has_room(struct sl_upstream *u, const struct sl_upstream_config *c);
/* Another configuration of u, of which it keeps hold: servers that stay keep their state and their
 * connections, and those that were found by a name that stays do, too. */
void sl_upstream_reconfigure(struct sl_upstream *u, struct sl_config *config, size_t index,
			     uint64_t now_ms, const struct sl_set_listener *l);

#endif
