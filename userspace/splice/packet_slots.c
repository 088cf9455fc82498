/* SPDX-License-Identifier: BSD-2-Clause */
/* The slots of `flows` and the source ports of upstream connections, for all instances.
 *
 * Invariants:
 * - A slot is handed out only if it is FREE in the kernel, and always with a generation of its own.
 * - A source port may serve several pairs; the index of flows tells which addresses are free.
 * - Low slots are used first, so that what was ever in use is short (scan). */

#include <bpf/bpf.h>
#include <errno.h>
#include <string.h>

#include "base/util.h"
#include "splice/packet_shared.h"

#define WATCH_ATTEMPTS 64

struct sl_packet_shared sl_packet_shared = {
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.config = {.pairs = SL_PACKET_PAIRS,
		   .time_wait_ms = SL_PACKET_TIME_WAIT_MS,
		   .mss = SL_SPLICE_MSS},
	.folder = -1,
	.claim = -1,
};

static struct sl_packet_shared *const shared = &sl_packet_shared;

/* --- slots; the lock is held --- */

void sl_packet_set_use(uint32_t i, enum sl_packet_use use)
{
	struct sl_packet_slot *s = &shared->slot[i];

	shared->uses[s->use]--;
	shared->uses[use]++;
	*s = (struct sl_packet_slot){
		.next = SL_PACKET_NONE, .generation = s->generation, .use = (uint8_t)use};
}

void sl_packet_put_free(uint32_t i)
{
	sl_packet_set_use(i, USE_FREE);
	shared->slot[i].next = shared->free;
	shared->free = i;
}

static int control(uint32_t i, struct sl_control *c)
{
	c->pair = i;
	c->generation = shared->slot[i].generation;
	return sl_pins_control(&shared->pins, c);
}

void sl_packet_free(uint32_t i)
{
	struct sl_control c = {.op = SL_CONTROL_RELEASE};

	if (!control(i, &c) && !c.ret)
		sl_packet_put_free(i);
	else
		sl_packet_set_use(i, USE_LEFT);
}

void sl_packet_cool(uint32_t i)
{
	sl_packet_set_use(i, USE_COOLING);
	shared->slot[i].until_ms = sl_clock_us() / 1000 + shared->config.time_wait_ms;
	if (shared->cooling == SL_PACKET_NONE)
		shared->cooling = i;
	else
		shared->slot[shared->cooling_last].next = i;
	shared->cooling_last = i;
}

void sl_packet_free_cooled(uint64_t now_ms, uint32_t most)
{
	for (; most && shared->cooling != SL_PACKET_NONE; most--) {
		uint32_t i = shared->cooling;

		if (shared->slot[i].until_ms > now_ms)
			break;
		shared->cooling = shared->slot[i].next;
		sl_packet_free(i);
	}
}

static uint16_t next_port(void)
{
	uint16_t port = shared->port_next;

	shared->port_next = port == shared->port_last ? shared->port_first : port + 1;
	return port;
}

/* --- taking and giving back --- */

static int take_slot(struct sl_packet_inbox *inbox, uint32_t *ret_slot, uint16_t *ret_port)
{
	uint32_t i;

	pthread_mutex_lock(&shared->lock);
	i = shared->free;
	if (i != SL_PACKET_NONE) {
		shared->free = shared->slot[i].next;
		shared->mark = sl_max(shared->mark, i + 1);
		sl_packet_set_use(i, USE_WATCHED);
		shared->slot[i].generation++;
		shared->slot[i].owner = inbox;
		*ret_port = next_port();
		*ret_slot = i;
	}
	pthread_mutex_unlock(&shared->lock);
	return i == SL_PACKET_NONE ? -ENOSPC : 0;
}

/* After a WATCH that failed, the slot is as before, or, if it was not free, never ours again. */
static void give_back(uint32_t i, bool was_free)
{
	pthread_mutex_lock(&shared->lock);
	if (was_free)
		sl_packet_put_free(i);
	else
		sl_packet_set_use(i, USE_LEFT);
	pthread_mutex_unlock(&shared->lock);
}

int sl_packet_watch(struct sl_packet_inbox *inbox, struct sl_control_leg leg[2], uint32_t *ret_slot)
{
	for (int n = 0; n < WATCH_ATTEMPTS; n++) {
		struct sl_control c = {.op = SL_CONTROL_WATCH};
		uint16_t port;
		uint32_t i;
		int r = take_slot(inbox, &i, &port);

		if (r)
			return r;
		leg[1].local_port = htons(port);
		memcpy(c.leg, leg, sizeof(c.leg));
		r = sl_packet_control(i, &c);
		if (!r)
			r = c.ret;
		if (!r) {
			*ret_slot = i;
			return 0;
		}
		give_back(i, r != -EBUSY);
		if (r != -EEXIST && r != -EBUSY)
			return r;
	}
	return -ENOSPC;
}

bool sl_packet_own(struct sl_packet_inbox *inbox, uint32_t slot, void *pair)
{
	struct sl_packet_slot *s = &shared->slot[slot];
	bool ours;

	pthread_mutex_lock(&shared->lock);
	ours = s->use == USE_LEFT || (s->use == USE_WATCHED && s->owner == inbox);
	if (ours) {
		sl_packet_set_use(slot, USE_SPLICED);
		s->owner = inbox;
		s->pair = pair;
	}
	pthread_mutex_unlock(&shared->lock);
	return ours;
}

void sl_packet_release(uint32_t slot)
{
	pthread_mutex_lock(&shared->lock);
	sl_packet_free(slot);
	pthread_mutex_unlock(&shared->lock);
}

void sl_packet_release_later(uint32_t slot)
{
	pthread_mutex_lock(&shared->lock);
	sl_packet_cool(slot);
	pthread_mutex_unlock(&shared->lock);
}

void sl_packet_abandon(uint32_t slot)
{
	pthread_mutex_lock(&shared->lock);
	sl_packet_set_use(slot, USE_LEFT);
	pthread_mutex_unlock(&shared->lock);
}

uint16_t sl_packet_mss(void)
{
	return shared->config.mss;
}

uint32_t sl_packet_slots(void)
{
	return shared->pins.slots;
}

bool sl_packet_is_left(uint32_t slot)
{
	bool left;

	pthread_mutex_lock(&shared->lock);
	left = shared->slot[slot].use == USE_LEFT;
	pthread_mutex_unlock(&shared->lock);
	return left;
}

/* --- the pair of a slot --- */

/* Of a slot that is taken, nobody but its owner changes the generation. */
int sl_packet_control(uint32_t slot, struct sl_control *c)
{
	return control(slot, c);
}

int sl_packet_read(uint32_t slot, struct sl_flow_pair *ret)
{
	if (bpf_map_lookup_elem(shared->pins.flows, &slot, ret))
		return -errno;
	return ret->generation == shared->slot[slot].generation ? 0 : -ESTALE;
}
