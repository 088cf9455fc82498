/* SPDX-License-Identifier: BSD-2-Clause */
/* What the instances of the packet engine share: the pinned programs and maps, the slots of `pairs`,
 * the source ports of upstream connections, and the events.
 *
 * Invariants:
 * - A slot is handed out only if it is FREE in the kernel, and always with a generation of its own.
 * - A source port may serve several pairs; the flow map tells which addresses are free.
 *
 * A pair that a dead process left goes on, and its slot is released when it has closed; it is shown to
 * nobody. */

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/epoll.h>

#include "base/util.h"
#include "splice/packet_shared.h"

#define COOLING_MS     60000 /* TIME_WAIT of Linux */
#define TICK_MS	       1000
#define WATCH_ATTEMPTS 64

struct sl_packet_shared sl_packet_shared = {.lock = PTHREAD_MUTEX_INITIALIZER, .folder = -1};

/* --- addresses --- */

static __be16 put_address(__be32 out[4], const struct sl_addr *a)
{
	if (a->family == AF_INET6) {
		memcpy(out, &a->in6.sin6_addr, 16);
		return a->in6.sin6_port;
	}
	out[0] = out[1] = 0;
	out[2] = htonl(0xffff);
	out[3] = a->in.sin_addr.s_addr;
	return a->in.sin_port;
}

void sl_packet_set_peer(struct sl_control_leg *l, const struct sl_addr *a)
{
	l->peer_port = put_address(l->peer, a);
}

void sl_packet_set_local(struct sl_control_leg *l, const struct sl_addr *a)
{
	l->local_port = put_address(l->local, a);
}

bool sl_packet_is_loopback(uint32_t ifindex)
{
	return ifindex == sl_packet_shared.loopback;
}

/* --- slots; the lock is held --- */

void sl_packet_put_free(uint32_t i)
{
	struct sl_packet_slot *s = &sl_packet_shared.slot[i];

	*s = (struct sl_packet_slot){.next = sl_packet_shared.free, .generation = s->generation};
	sl_packet_shared.free = i;
}

static int control(uint32_t i, struct sl_control *c)
{
	c->pair = i;
	c->generation = sl_packet_shared.slot[i].generation;
	return sl_pins_control(&sl_packet_shared.pins, c);
}

void sl_packet_free(uint32_t i)
{
	struct sl_control c = {.op = SL_CONTROL_RELEASE};

	if (!control(i, &c) && !c.ret)
		sl_packet_put_free(i);
	else
		sl_packet_shared.slot[i].use = USE_LEFT;
}

void sl_packet_cool(uint32_t i)
{
	struct sl_packet_slot *s = &sl_packet_shared.slot[i];

	*s = (struct sl_packet_slot){.until_ms = sl_clock_us() / 1000 + COOLING_MS,
				     .next = SL_PACKET_NONE,
				     .generation = s->generation,
				     .use = USE_COOLING};
	if (sl_packet_shared.cooling == SL_PACKET_NONE)
		sl_packet_shared.cooling = i;
	else
		sl_packet_shared.slot[sl_packet_shared.cooling_last].next = i;
	sl_packet_shared.cooling_last = i;
}

static void release_cooled(uint64_t now_ms)
{
	while (sl_packet_shared.cooling != SL_PACKET_NONE &&
	       sl_packet_shared.slot[sl_packet_shared.cooling].until_ms <= now_ms) {
		uint32_t i = sl_packet_shared.cooling;

		sl_packet_shared.cooling = sl_packet_shared.slot[i].next;
		sl_packet_free(i);
	}
}

/* --- events --- */

static void deliver(struct sl_packet_inbox *inbox, const struct sl_event *event)
{
	if (inbox->n == SL_PACKET_INBOX)
		return;
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

static int read_event(void *context, void *data, size_t len)
{
	const struct sl_event *event = data;
	struct sl_packet_slot *s;

	if (len < sizeof(*event) || event->pair >= sl_packet_shared.pins.slots)
		return 0;
	s = &sl_packet_shared.slot[event->pair];
	if (s->generation != event->generation)
		return 0;
	if (s->use == USE_TAKEN)
		deliver(s->owner, event);
	else if (s->use == USE_LEFT)
		bury(event->pair, event);
	return 0;
}

static void events_there(struct sl_io *io, uint32_t events)
{
	pthread_mutex_lock(&sl_packet_shared.lock);
	ring_buffer__consume(sl_packet_shared.ring);
	pthread_mutex_unlock(&sl_packet_shared.lock);
}

static void tick(struct sl_timer *t)
{
	pthread_mutex_lock(&sl_packet_shared.lock);
	release_cooled(sl_clock_us() / 1000);
	sl_loop_arm(sl_packet_shared.reader->loop, t, TICK_MS);
	pthread_mutex_unlock(&sl_packet_shared.lock);
}

/* The pair of an event, if it is still this instance's. */
static void *find_pair(const struct sl_packet_inbox *inbox, const struct sl_event *event)
{
	const struct sl_packet_slot *s = &sl_packet_shared.slot[event->pair];
	void *pair = NULL;

	pthread_mutex_lock(&sl_packet_shared.lock);
	if (s->use == USE_TAKEN && s->owner == inbox && s->generation == event->generation)
		pair = s->pair;
	pthread_mutex_unlock(&sl_packet_shared.lock);
	return pair;
}

static void empty_inbox(struct sl_task *t)
{
	struct sl_packet_inbox *inbox = sl_container_of(t, struct sl_packet_inbox, task);
	struct sl_event event[SL_PACKET_INBOX];
	uint32_t n;

	pthread_mutex_lock(&sl_packet_shared.lock);
	n = inbox->n;
	memcpy(event, inbox->event, n * sizeof(event[0]));
	inbox->n = 0;
	inbox->posted = false;
	pthread_mutex_unlock(&sl_packet_shared.lock);
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

	pthread_mutex_lock(&sl_packet_shared.lock);
	if (!sl_packet_shared.tried)
		sl_packet_shared.result = sl_packet_open_all(read_event);
	if (sl_packet_shared.result && !sl_packet_shared.tried)
		sl_packet_shared.folder = sl_close(sl_packet_shared.folder);
	sl_packet_shared.tried = true;
	r = sl_packet_shared.result;
	*ret_reason = sl_packet_shared.reason;
	pthread_mutex_unlock(&sl_packet_shared.lock);
	return r;
}

void sl_packet_register(struct sl_packet_inbox *inbox)
{
	sl_task_init(&inbox->task, empty_inbox);
	pthread_mutex_lock(&sl_packet_shared.lock);
	sl_packet_shared.registered++;
	if (!sl_packet_shared.reader) {
		sl_packet_shared.reader = inbox;
		sl_packet_shared.io =
			(struct sl_io){.fd = ring_buffer__epoll_fd(sl_packet_shared.ring),
				       .on_event = events_there};
		sl_timer_init(&sl_packet_shared.tick, tick);
		sl_loop_add(inbox->loop, &sl_packet_shared.io, EPOLLIN);
		sl_loop_arm(inbox->loop, &sl_packet_shared.tick, TICK_MS);
	}
	pthread_mutex_unlock(&sl_packet_shared.lock);
}

/* Everything goes but the pins; the next open begins anew. */
static void close_all(void)
{
	release_cooled(UINT64_MAX);
	ring_buffer__free(SL_TAKE_PTR(sl_packet_shared.ring));
	sl_pins_close(&sl_packet_shared.pins);
	free(SL_TAKE_PTR(sl_packet_shared.slot));
	sl_packet_shared.folder = sl_close(sl_packet_shared.folder);
	sl_packet_shared.tried = false;
}

void sl_packet_unregister(struct sl_packet_inbox *inbox)
{
	pthread_mutex_lock(&sl_packet_shared.lock);
	if (sl_packet_shared.reader == inbox) {
		sl_loop_del(inbox->loop, &sl_packet_shared.io);
		sl_loop_disarm(inbox->loop, &sl_packet_shared.tick);
		sl_packet_shared.reader = NULL;
	}
	if (inbox->posted)
		sl_loop_unpost(inbox->loop, &inbox->task);
	if (!--sl_packet_shared.registered)
		close_all();
	pthread_mutex_unlock(&sl_packet_shared.lock);
}

/* --- pairs --- */

static int take_slot(struct sl_packet_inbox *inbox, void *pair, uint32_t *ret_slot,
		     uint16_t *ret_port)
{
	uint32_t i;

	pthread_mutex_lock(&sl_packet_shared.lock);
	i = sl_packet_shared.free;
	if (i != SL_PACKET_NONE) {
		struct sl_packet_slot *s = &sl_packet_shared.slot[i];

		sl_packet_shared.free = s->next;
		*s = (struct sl_packet_slot){.owner = inbox,
					     .pair = pair,
					     .generation = (uint16_t)(s->generation + 1),
					     .use = USE_TAKEN};
		*ret_port = sl_packet_shared.port_next;
		sl_packet_shared.port_next =
			sl_packet_shared.port_next == sl_packet_shared.port_last
				? sl_packet_shared.port_first
				: sl_packet_shared.port_next + 1;
		*ret_slot = i;
	}
	pthread_mutex_unlock(&sl_packet_shared.lock);
	return i == SL_PACKET_NONE ? -ENOSPC : 0;
}

/* After a WATCH that failed, the slot is as before, or, if it was not free, never ours again. */
static void give_back(uint32_t i, bool was_free)
{
	pthread_mutex_lock(&sl_packet_shared.lock);
	if (was_free)
		sl_packet_put_free(i);
	else
		sl_packet_shared.slot[i].use = USE_LEFT;
	pthread_mutex_unlock(&sl_packet_shared.lock);
}

int sl_packet_watch(struct sl_packet_inbox *inbox, void *pair, struct sl_control_leg leg[2],
		    uint32_t *ret_slot)
{
	int r = -ENOSPC;

	for (int n = 0; n < WATCH_ATTEMPTS; n++) {
		struct sl_control c = {.op = SL_CONTROL_WATCH};
		uint16_t port;
		uint32_t i;

		r = take_slot(inbox, pair, &i, &port);
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

void sl_packet_release(uint32_t slot)
{
	pthread_mutex_lock(&sl_packet_shared.lock);
	sl_packet_free(slot);
	pthread_mutex_unlock(&sl_packet_shared.lock);
}

void sl_packet_release_later(uint32_t slot)
{
	pthread_mutex_lock(&sl_packet_shared.lock);
	sl_packet_cool(slot);
	pthread_mutex_unlock(&sl_packet_shared.lock);
}

void sl_packet_abandon(uint32_t slot)
{
	struct sl_packet_slot *s = &sl_packet_shared.slot[slot];

	pthread_mutex_lock(&sl_packet_shared.lock);
	*s = (struct sl_packet_slot){.generation = s->generation, .use = USE_LEFT};
	pthread_mutex_unlock(&sl_packet_shared.lock);
}

/* Of a slot that is taken, nobody but its owner changes the generation. */
int sl_packet_control(uint32_t slot, struct sl_control *c)
{
	return control(slot, c);
}

int sl_packet_read(uint32_t slot, struct sl_flow_pair *ret)
{
	if (bpf_map_lookup_elem(sl_packet_shared.pins.pairs, &slot, ret))
		return -errno;
	return ret->generation == sl_packet_shared.slot[slot].generation ? 0 : -ESTALE;
}
