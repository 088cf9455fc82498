/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_SPLICE_PACKET_PREPARE_H
#define SLUICE_SPLICE_PACKET_PREPARE_H

/* Before the upstream of a pair connects: a slot is watched for each address that is tried, with the
 * source address and port that the connection will have. */

#include <stdint.h>

#include "base/slab.h"
#include "splice/engine.h"

#include <sluice/flow.h>

/* Who has slots: an engine's instance. It sets the callbacks and mss. */
struct sl_packet_watcher {
	struct sl_slab prepared;
	uint16_t mss; /* that upstreams are to be told */
	/* Whether the client's and the upstream's packets come by devices that are watched, and the source
	 * address to the upstream. 0 or -errno with a static reason. */
	int (*reach)(struct sl_packet_watcher *w, const struct sl_endpoint *client,
		     const struct sl_addr *upstream, struct sl_addr *ret_source,
		     const char **ret_reason);
	/* Takes a slot and a source port, written to leg[1].local_port, and starts to watch. -ENOSPC:
	 * no slot or port is free; or as SL_CONTROL_WATCH. */
	int (*watch)(struct sl_packet_watcher *w, struct sl_control_leg leg[2], uint32_t *ret_slot);
	/* Stops to watch. */
	void (*release)(struct sl_packet_watcher *w, uint32_t slot);
};

/* pairs: most of them prepared at once. */
void sl_packet_watcher_init(struct sl_packet_watcher *w, uint32_t pairs);
void sl_packet_watcher_destroy(struct sl_packet_watcher *w);

/* What sl_engine_ops.prepare is. */
int sl_packet_prepare(struct sl_packet_watcher *w, struct sl_pair *p, struct sl_connect_options *o);
/* Releases what was prepared for p. Idempotent. */
void sl_packet_unprepare(struct sl_pair *p);
/* The slot of the attempt that was connected; all others are released. -EOPNOTSUPP: there is none. */
int sl_packet_choose(struct sl_pair *p, uint32_t *ret_slot, const char **ret_reason);
/* The slot is not its any more. */
void sl_packet_take_slot(struct sl_pair *p);

#endif
