/* SPDX-License-Identifier: BSD-2-Clause */
/* Events of the packet engine: one worker's loop reads the ring buffer of all and hands each event to the
 * instance whose pair it is.
 *
 * Events can be lost (the ring buffer or an inbox is full), so the same loop looks at the slots in use,
 * some at a time, for pairs that have ended without being told of. */

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>

#include "base/util.h"
#include "splice/packet_shared.h"

#define TICK_MS	   250
#define FREED_MAX  4096 /* slots that are freed in a tick */
#define SCAN_TICKS 64	/* ticks that a look at all slots in use takes */

static struct sl_packet_shared *const shared = &sl_packet_shared;

void sl_packet_configure(const struct sl_packet_config *c)
{
	shared->config = *c;
}

/* --- the lock is held --- */

static void deliver(struct sl_packet_inbox *inbox, const struct sl_event *event)
{
	if (inbox->n == SL_PACKET_INBOX) {
		shared->inbox_lost++;
		return;
	}
	inbox->event[inbox->n++] = *event;
	if (!inbox->posted)
		sl_loop_post(inbox->loop, &inbox->task);
	inbox->posted = true;
}

/* A pair that nobody here owns has ended, or has been given up. */
static void bury(uint32_t i, const struct sl_event *event)
{
	if (event->type == SL_EVENT_CLOSED || event->type == SL_EVENT_RESET)
		sl_packet_cool(i);
	else if (event->type == SL_EVENT_FAILED)
		sl_packet_free(i);
}

static void handle(const struct sl_event *event)
{
	struct sl_packet_slot *s = &shared->slot[event->pair];

	if (s->generation != event->generation)
		return;
	if (s->use == USE_SPLICED)
		deliver(s->owner, event);
	else if (s->use == USE_LEFT)
		bury(event->pair, event);
}

static int read_event(void *context, void *data, size_t len)
{
	const struct sl_event *event = data;

	if (len >= sizeof(*event) && event->pair < shared->pins.slots)
		handle(event);
	return 0;
}

/* --- the scan; the lock is held --- */

/* 0: the pair has not ended. A DEAD one may have closed before: its port was used anew. */
static uint8_t event_of(const struct sl_flow_pair *pair)
{
	uint16_t both = pair->leg[0].flags & pair->leg[1].flags;
	uint16_t either = pair->leg[0].flags | pair->leg[1].flags;

	if (pair->state != SL_FLOW_CLOSED && pair->state != SL_FLOW_DEAD)
		return 0;
	if (either & SL_LEG_RST)
		return SL_EVENT_RESET;
	if (pair->state == SL_FLOW_CLOSED || both & SL_LEG_FIN_ACKED)
		return SL_EVENT_CLOSED;
	return SL_EVENT_FAILED;
}

static void look_at(uint32_t slot, const struct sl_flow_pair *pair)
{
	const struct sl_event event = {
		.pair = slot,
		.generation = pair->generation,
		.type = event_of(pair),
		.leg = pair->leg[0].flags & SL_LEG_RST ? 0 : 1,
	};

	if (!event.type)
		return;
	shared->found += shared->slot[slot].use == USE_SPLICED;
	handle(&event);
}

/* Looks at the next slots: at most SL_PACKET_SCAN_BATCH. */
static uint32_t scan_batch(struct sl_packet_scan *scan)
{
	uint32_t n = sl_min(shared->mark - scan->at, (uint32_t)SL_PACKET_SCAN_BATCH),
		 last = scan->at - 1;
	uint32_t out;

	if (bpf_map_lookup_batch(shared->pins.flows, scan->at ? &last : NULL, &out, scan->keys,
				 scan->pairs, &n, NULL) &&
	    errno != ENOENT)
		n = 0;
	for (uint32_t i = 0; i < n; i++)
		if (scan->keys[i] < shared->mark)
			look_at(scan->keys[i], &scan->pairs[i]);
	return n;
}

static void scan(void)
{
	uint32_t most = sl_max(shared->mark / SCAN_TICKS, (uint32_t)SL_PACKET_SCAN_BATCH), seen = 0,
		 n;

	do {
		if (shared->scan.at >= shared->mark)
			shared->scan.at = 0;
		n = shared->mark ? scan_batch(&shared->scan) : 0;
		shared->scan.at += n;
		seen += n;
	} while (n && seen < most && shared->scan.at < shared->mark);
}

/* --- the reader's loop --- */

static void events_there(struct sl_io *io, uint32_t events)
{
	pthread_mutex_lock(&shared->lock);
	ring_buffer__consume(shared->ring);
	pthread_mutex_unlock(&shared->lock);
}

static void tick(struct sl_timer *t)
{
	pthread_mutex_lock(&shared->lock);
	sl_packet_free_cooled(sl_clock_us() / 1000, FREED_MAX);
	scan();
	sl_loop_arm(shared->reader->loop, t, TICK_MS);
	pthread_mutex_unlock(&shared->lock);
}

/* --- inboxes --- */

/* The pair of an event, if it is still this instance's. */
static void *find_pair(const struct sl_packet_inbox *inbox, const struct sl_event *event)
{
	const struct sl_packet_slot *s = &shared->slot[event->pair];
	void *pair = NULL;

	pthread_mutex_lock(&shared->lock);
	if (s->use == USE_SPLICED && s->owner == inbox && s->generation == event->generation)
		pair = s->pair;
	pthread_mutex_unlock(&shared->lock);
	return pair;
}

static void empty_inbox(struct sl_task *t)
{
	struct sl_packet_inbox *inbox = sl_container_of(t, struct sl_packet_inbox, task);
	struct sl_event event[SL_PACKET_INBOX];
	uint32_t n;

	pthread_mutex_lock(&shared->lock);
	n = inbox->n;
	memcpy(event, inbox->event, n * sizeof(event[0]));
	inbox->n = 0;
	inbox->posted = false;
	pthread_mutex_unlock(&shared->lock);
	for (uint32_t i = 0; i < n; i++) {
		void *pair = find_pair(inbox, &event[i]);

		if (pair)
			inbox->on_event(pair, &event[i]);
	}
}

/* --- opening and closing --- */

int sl_packet_open(const char **ret_reason)
{
	int r;

	pthread_mutex_lock(&shared->lock);
	if (!shared->tried)
		shared->result = sl_packet_open_all(read_event);
	if (shared->result && !shared->tried) {
		shared->folder = sl_close(shared->folder);
		shared->claim = sl_close(shared->claim);
	}
	shared->tried = true;
	r = shared->result;
	*ret_reason = shared->reason;
	pthread_mutex_unlock(&shared->lock);
	return r;
}

static void devices_changed(struct sl_io *io, uint32_t events)
{
	pthread_mutex_lock(&shared->lock);
	sl_devices_changed(shared->devices);
	pthread_mutex_unlock(&shared->lock);
}

static void start_reading(struct sl_packet_inbox *inbox)
{
	shared->reader = inbox;
	shared->io =
		(struct sl_io){.fd = ring_buffer__epoll_fd(shared->ring), .on_event = events_there};
	sl_timer_init(&shared->tick, tick);
	sl_loop_add(inbox->loop, &shared->io, EPOLLIN);
	shared->devices_io =
		(struct sl_io){.fd = sl_devices_fd(shared->devices), .on_event = devices_changed};
	sl_loop_add(inbox->loop, &shared->devices_io, EPOLLIN);
	sl_loop_arm(inbox->loop, &shared->tick, TICK_MS);
}

void sl_packet_register(struct sl_packet_inbox *inbox)
{
	sl_task_init(&inbox->task, empty_inbox);
	pthread_mutex_lock(&shared->lock);
	shared->registered++;
	if (!shared->reader)
		start_reading(inbox);
	pthread_mutex_unlock(&shared->lock);
}

/* Everything goes but the pins; the next open begins anew. Slots that cool are left to it. */
static void close_all(void)
{
	ring_buffer__free(SL_TAKE_PTR(shared->ring));
	sl_devices_close(SL_TAKE_PTR(shared->devices));
	sl_pins_close(&shared->pins);
	free(SL_TAKE_PTR(shared->slot));
	free(SL_TAKE_PTR(shared->scan.pairs));
	free(SL_TAKE_PTR(shared->scan.keys));
	shared->scan.at = 0;
	shared->folder = sl_close(shared->folder);
	shared->claim = sl_close(shared->claim);
	shared->tried = false;
}

static void stop_reading(void)
{
	struct sl_loop *loop = shared->reader->loop;

	sl_loop_del(loop, &shared->io);
	sl_loop_del(loop, &shared->devices_io);
	sl_loop_disarm(loop, &shared->tick);
	shared->reader = NULL;
}

void sl_packet_hand_over(struct sl_loop *loop)
{
	pthread_mutex_lock(&shared->lock);
	if (shared->reader && shared->reader->loop == loop)
		stop_reading();
	if (!loop) {
		shared->folder = sl_close(shared->folder);
		shared->claim = sl_close(shared->claim);
	}
	pthread_mutex_unlock(&shared->lock);
}

void sl_packet_unregister(struct sl_packet_inbox *inbox)
{
	pthread_mutex_lock(&shared->lock);
	if (shared->reader == inbox)
		stop_reading();
	if (inbox->posted)
		sl_loop_unpost(inbox->loop, &inbox->task);
	if (!--shared->registered)
		close_all();
	pthread_mutex_unlock(&shared->lock);
}
