/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_SPLICE_PACKET_SHARED_H
#define SLUICE_SPLICE_PACKET_SHARED_H

/* What packet_open.c, packet_slots.c and packet_events.c share: the one object of the process. Its lock
 * is held in all that is declared here. */

#include <pthread.h>

#include "splice/packet.h"
#include "splice/packet_config.h"
#include "splice/pins.h"
#include "splice/reasons.h"

struct ring_buffer;

#define SL_PACKET_NONE	     UINT32_MAX /* no slot */
#define SL_PACKET_SCAN_BATCH 1024	/* slots that are read at once */

/* What becomes of a slot. */
enum sl_packet_use {
	USE_FREE,
	USE_WATCHED, /* taken; its sockets carry the pair, or it is not connected yet */
	USE_SPLICED, /* owner and pair are set */
	USE_LEFT,    /* a pair that nobody here owns */
	USE_COOLING, /* closed; in the queue */
	SL_PACKET_USES,
};

struct sl_packet_slot {
	struct sl_packet_inbox *owner;
	void *pair;
	uint64_t until_ms; /* cooling */
	uint32_t next;	   /* free, cooling */
	uint16_t generation;
	uint8_t use;
};

struct sl_packet_shared {
	pthread_mutex_t lock;
	struct sl_packet_config config;
	bool tried;
	int result; /* of opening, once tried */
	const char *reason;
	int folder; /* locked */
	int claim;  /* of the network namespace */
	struct sl_pins pins;
	struct sl_devices *devices;
	struct ring_buffer *ring;
	struct sl_packet_slot *slot;
	uint32_t uses[SL_PACKET_USES]; /* slots by use */
	uint32_t free, cooling, cooling_last;
	uint32_t mark; /* slots from here on were never in use */
	uint16_t port_first, port_last, port_next;
	unsigned registered; /* inboxes */
	struct sl_packet_inbox *reader;
	struct sl_io io, devices_io;
	struct sl_timer tick;
	struct sl_refusals refusals;
	uint64_t arms, inbox_lost, found, resets;
	uint64_t map_bytes;
	struct sl_packet_scan {
		struct sl_flow_pair *pairs;
		uint32_t *keys;
		uint32_t at;
	} scan;
};
extern struct sl_packet_shared sl_packet_shared;

/* Loads, attaches and opens everything; 0 or -errno and shared.reason. */
int sl_packet_open_all(int (*on_event)(void *context, void *data, size_t len));

void sl_packet_set_use(uint32_t slot, enum sl_packet_use use);
/* A slot becomes free without a call to the kernel. */
void sl_packet_put_free(uint32_t slot);
/* It is released by the kernel and becomes free. */
void sl_packet_free(uint32_t slot);
/* The same after a while. */
void sl_packet_cool(uint32_t slot);
/* Frees slots that have cooled, not too many at once. */
void sl_packet_free_cooled(uint64_t now_ms, uint32_t most);

#endif
