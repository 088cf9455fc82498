/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_SPLICE_PACKET_CONFIG_H
#define SLUICE_SPLICE_PACKET_CONFIG_H

/* Settings of the packet engine: they are the process's, not an instance's. */

#include <stdint.h>

#include "splice/engine.h"
#include "splice/loader.h"

#define SL_PACKET_PAIRS	       65536
#define SL_PACKET_TIME_WAIT_MS 60000 /* that of Linux */

struct sl_packet_config {
	uint32_t pairs;			/* slots, if nothing is loaded yet */
	uint16_t port_first, port_last; /* source ports to upstreams; 0: chosen */
	uint32_t time_wait_ms;		/* that a closed pair keeps its slot */
	uint16_t mss;			/* that both ends are told */
	enum sl_hook hook;
	/* The only ones to attach to, ending with NULL, not copied. NULL: those that pairs use. */
	const char *const *devices;
};

/* Before the first probe; without it the values above. *c is copied. */
void sl_packet_configure(const struct sl_packet_config *c);

/* Another process is to have the engine: first each thread with an instance, which has given up its
 * pairs, says so with its loop; then somebody with NULL. Instances take no more pairs. */
void sl_packet_hand_over(struct sl_loop *loop);

/* Tells what the engine counts beside its totals. From any thread; the figure is valid in the call. */
void sl_packet_figures(void (*each)(void *arg, const struct sl_figure *f), void *arg);
/* Slots, which the maps have as many elements for as they need: 0 of 0 if the engine was not opened. */
void sl_packet_fill(struct sl_map_fill *ret);

#endif
