/* SPDX-License-Identifier: BSD-2-Clause */
/* The packet engine: a pair that is quiet leaves its sockets, and from then on a BPF program rewrites
 * its packets (docs/engines.md).
 *
 * A pair is prepared (one watched slot for each address that is tried), then joined: the slot is armed,
 * and if the kernel finds it quiet at this very moment it is spliced. Its sockets stay for GRACE_MS,
 * because a packet may be on its way to them, and are closed silently then. A busy pair is not waited
 * for: it goes back, and comes again.
 *
 * Invariants:
 * - Until the kernel says ACTIVE nothing of the pair has changed.
 * - Bytes in a receive queue after that would be lost: both ends are reset, and it is counted.
 *
 * There is no way back (part). Several instances share packet_slots.c. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/slab.h"
#include "base/util.h"
#include "splice/packet.h"
#include "splice/pins.h"

#define GRACE_MS     20
#define ATTEMPTS_MAX 8

struct packet_engine {
	struct sl_engine base;
	struct sl_packet_inbox inbox;
	struct sl_slab pairs;
	struct sl_engine_totals totals;
};

/* A connection to the upstream that is tried: how it can be told apart, and its slot. */
struct attempt {
	struct sl_addr local, peer;
	uint32_t slot;
};

struct packet_pair {
	struct packet_engine *engine;
	struct sl_pair *pair; /* once joined */
	const char *reason;   /* why preparing failed; static */
	struct attempt attempt[ATTEMPTS_MAX];
	unsigned attempts;
	uint32_t slot; /* once joined */
	int fd[2];     /* while the streams are there */
	struct sl_pair_count before[2];
	struct sl_timer grace;
	struct sl_task end; /* found ended by count() */
	enum sl_pair_end why;
};

static struct packet_engine *to_packet(struct sl_engine *e)
{
	return sl_container_of(e, struct packet_engine, base);
}

/* --- preparing --- */

static void release_attempts(struct packet_pair *k)
{
	while (k->attempts)
		sl_packet_release(k->attempt[--k->attempts].slot);
}

/* The address that the kernel will connect from: it has to be known before. */
static int find_source(const struct sl_addr *peer, struct sl_addr *ret)
{
	_sl_close_ int fd = socket(peer->family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	socklen_t len = sizeof(*ret);

	if (fd < 0 || connect(fd, &peer->sa, sl_addr_len(peer)) < 0)
		return -errno;
	return getsockname(fd, &ret->sa, &len) < 0 ? -errno : 0;
}

static int watch(struct packet_pair *k, const struct sl_endpoint *client, struct attempt *a)
{
	struct sl_control_leg leg[2] = {0};
	int r = find_source(&a->peer, &a->local);

	if (r)
		return r;
	sl_packet_set_peer(&leg[SL_CLIENT], &client->peer);
	sl_packet_set_local(&leg[SL_CLIENT], &client->local);
	sl_packet_set_peer(&leg[SL_UPSTREAM], &a->peer);
	sl_packet_set_local(&leg[SL_UPSTREAM], &a->local);
	r = sl_packet_watch(&k->engine->inbox, k, leg, &a->slot);
	if (!r)
		sl_addr_set_port(&a->local, ntohs(leg[SL_UPSTREAM].local_port));
	return r;
}

static int prepare_attempt(struct packet_pair *k, struct sl_stream *client,
			   struct sl_connect_options *o)
{
	struct attempt a = {.peer = o->addr};
	struct sl_endpoint e;
	int r = client->ops->endpoint(client, &e);

	if (r)
		return r;
	if (e.fd < 0 || e.peer.family != o->addr.family) {
		k->reason = sl_refusal_text(SL_REFUSE_FAMILIES);
		return -EOPNOTSUPP;
	}
	k->reason = "no slot or port is free";
	if (k->attempts == ATTEMPTS_MAX)
		return -ENOSPC;
	r = watch(k, &e, &a);
	if (r)
		return r;
	k->attempt[k->attempts++] = a;
	o->source = a.local;
	o->mss = SL_SPLICE_MSS;
	o->window_clamp = SL_SPLICE_WINDOW_CLAMP;
	return 0;
}

static void grace_over(struct sl_timer *t);
static void found_ended(struct sl_task *t);

static int packet_prepare(struct sl_engine *engine, struct sl_pair *p, struct sl_connect_options *o)
{
	struct packet_engine *e = to_packet(engine);
	struct packet_pair *k = p->prepared;

	if (!k) {
		k = sl_slab_get(&e->pairs);
		if (!k)
			return -ENOSPC;
		k->engine = e;
		sl_timer_init(&k->grace, grace_over);
		sl_task_init(&k->end, found_ended);
		p->prepared = k;
	}
	return prepare_attempt(k, p->stream[SL_CLIENT], o);
}

/* --- the end --- */

static void free_pair(struct packet_pair *k)
{
	struct packet_engine *e = k->engine;

	release_attempts(k);
	sl_loop_disarm(e->base.options.loop, &k->grace);
	sl_loop_cancel(&k->end);
	sl_slab_put(&e->pairs, k);
}

static void close_streams(struct sl_pair *p, enum sl_close_how how)
{
	struct packet_pair *k = p->carried;

	for (int side = 0; side < 2; side++) {
		if (!p->stream[side])
			continue;
		if (how != SL_CLOSE_SILENT)
			sl_packet_resume(k->fd[side]);
		p->stream[side]->ops->close(p->stream[side], how);
		p->stream[side] = NULL;
	}
}

/* Takes the pair off the engine. Its slot has been taken care of. */
static void detach(struct packet_pair *k)
{
	struct sl_pair *p = k->pair;

	p->engine = NULL;
	p->carried = NULL;
	k->engine->totals.active--;
	free_pair(k);
}

static void packet_count(struct sl_pair *p);

static void end_pair(struct packet_pair *k, enum sl_pair_end why)
{
	struct sl_pair *p = k->pair;

	packet_count(p);
	close_streams(p, why == SL_PAIR_FAILED ? SL_CLOSE_RESET : SL_CLOSE_SILENT);
	if (why == SL_PAIR_FAILED)
		sl_packet_release(k->slot);
	else
		sl_packet_release_later(k->slot);
	detach(k);
	p->end = why;
	p->on_end(p, why);
}

static void found_ended(struct sl_task *t)
{
	struct packet_pair *k = sl_container_of(t, struct packet_pair, end);

	end_pair(k, k->why);
}

/* A check failed after the flip: neither end may believe that all is well. */
static void fail(struct packet_pair *k)
{
	struct sl_control c = {.op = SL_CONTROL_FAIL};

	sl_packet_control(k->slot, &c);
	end_pair(k, SL_PAIR_FAILED);
}

static bool lost_bytes(const struct packet_pair *k)
{
	return sl_packet_has_unread(k->fd[SL_CLIENT]) || sl_packet_has_unread(k->fd[SL_UPSTREAM]);
}

static void grace_over(struct sl_timer *t)
{
	struct packet_pair *k = sl_container_of(t, struct packet_pair, grace);

	if (lost_bytes(k))
		fail(k);
	else
		close_streams(k->pair, SL_CLOSE_SILENT);
}

static void grace_event(struct sl_stream *s, unsigned events)
{
	struct packet_pair *k = s->owner;

	if (lost_bytes(k))
		fail(k);
}

static void pair_event(void *pair, const struct sl_event *event)
{
	struct packet_pair *k = pair;

	if (!k->pair)
		return;
	if (event->type == SL_EVENT_CLOSED)
		end_pair(k, SL_PAIR_FINISHED);
	else if (event->type == SL_EVENT_RESET)
		end_pair(k, event->leg ? SL_PAIR_UPSTREAM_RESET : SL_PAIR_CLIENT_RESET);
	else if (event->type == SL_EVENT_FAILED)
		end_pair(k, SL_PAIR_FAILED);
}

/* --- joining --- */

/* Keeps the attempt that was connected, as the only one. */
static int choose_attempt(struct packet_pair *k, const struct sl_stream *upstream)
{
	for (unsigned i = 0; i < k->attempts; i++) {
		struct attempt a = k->attempt[i];

		if (!sl_addr_eq(&a.local, &upstream->local) ||
		    !sl_addr_eq(&a.peer, &upstream->peer))
			continue;
		k->attempt[i] = k->attempt[--k->attempts];
		release_attempts(k);
		k->attempt[0] = a;
		k->attempts = 1;
		return 0;
	}
	return -EOPNOTSUPP;
}

/* How packets get to the peers: up the stack if both are on this host. */
static int choose_outputs(uint32_t slot, struct sl_control_leg leg[2], const char **ret_reason)
{
	struct sl_flow_pair pair;
	bool up[2];

	if (sl_packet_read(slot, &pair)) {
		*ret_reason = "its slot can't be read";
		return -EOPNOTSUPP;
	}
	for (int i = 0; i < 2; i++) {
		if (!(pair.leg[i].flags & SL_LEG_SEEN)) {
			*ret_reason = "no packet was seen at tc yet";
			return -EAGAIN;
		}
		up[i] = sl_packet_is_loopback(pair.leg[i].ifindex);
		leg[i].output = up[i] ? SL_OUT_UP : SL_OUT_REDIRECT;
	}
	if (up[0] == up[1])
		return 0;
	*ret_reason = "one peer is on this host, the other is not";
	return -EOPNOTSUPP;
}

static int sample(struct packet_pair *k, struct sl_pair *p, struct sl_control_leg leg[2],
		  const char **ret_reason)
{
	struct sl_packet_socket s[2];

	k->fd[0] = k->fd[1] = -1;
	for (int i = 0; i < 2; i++) {
		if (sl_packet_sample(p->stream[i], &s[i], &leg[i])) {
			*ret_reason = "the state of a socket can't be read";
			return -EOPNOTSUPP;
		}
		k->fd[i] = s[i].fd;
	}
	if (s[0].unread || s[1].unread) {
		*ret_reason = "busy: bytes wait to be read";
		return -EAGAIN;
	}
	if (s[0].most_in > s[1].most_out || s[1].most_in > s[0].most_out) {
		*ret_reason = "a peer may send larger segments than the other takes";
		return -EOPNOTSUPP;
	}
	return 0;
}

/* Not quiet at this moment: back to watching, unless a packet was faster and has spliced it. */
static int disarm(uint32_t slot, const char **ret_reason)
{
	struct sl_control c = {.op = SL_CONTROL_DISARM};
	int r = sl_packet_control(slot, &c);

	if (!r && c.ret && (c.ret_state == SL_FLOW_ACTIVE || c.ret_state == SL_FLOW_CLOSED))
		return 0;
	*ret_reason = "busy: bytes are on their way";
	return r || c.ret ? -EOPNOTSUPP : -EAGAIN;
}

static int sample_and_arm(struct packet_pair *k, struct sl_pair *p, const char **ret_reason)
{
	struct sl_control c = {.op = SL_CONTROL_ARM};
	uint32_t slot = k->attempt[0].slot;
	int r = sample(k, p, c.leg, ret_reason);

	if (!r)
		r = choose_outputs(slot, c.leg, ret_reason);
	if (r)
		return r;
	r = sl_packet_control(slot, &c);
	if (r || c.ret) {
		*ret_reason = c.ret_refusal ? sl_refusal_text(c.ret_refusal)
					    : "the control program failed";
		return -EOPNOTSUPP;
	}
	return c.ret_flipped ? 0 : disarm(slot, ret_reason);
}

static int arm(struct packet_pair *k, struct sl_pair *p, const char **ret_reason)
{
	int r = sample_and_arm(k, p, ret_reason);

	for (int side = 0; r && side < 2; side++)
		if (k->fd[side] >= 0)
			sl_packet_resume(k->fd[side]);
	return r;
}

/* The kernel carries it. */
static void adopt(struct packet_pair *k, struct sl_pair *p)
{
	struct packet_engine *e = k->engine;

	k->pair = p;
	k->slot = k->attempt[0].slot;
	k->attempts = 0;
	for (int side = 0; side < 2; side++) {
		k->before[side] = p->from[side];
		p->stream[side]->on_event = grace_event;
		p->stream[side]->owner = k;
	}
	p->prepared = NULL;
	p->engine = &e->base;
	p->carried = k;
	e->totals.joined++;
	e->totals.active++;
	sl_loop_arm(e->base.options.loop, &k->grace, GRACE_MS);
}

static void packet_forget(struct sl_engine *engine, struct sl_pair *p);

static int try_join(struct sl_pair *p, const char **ret_reason)
{
	struct packet_pair *k = p->prepared;

	if (!k) {
		*ret_reason = "not prepared: the engine is full";
		return -EOPNOTSUPP;
	}
	if (choose_attempt(k, p->stream[SL_UPSTREAM])) {
		*ret_reason = k->reason;
		return -EOPNOTSUPP;
	}
	if (p->input_ended[SL_CLIENT] || p->input_ended[SL_UPSTREAM]) {
		*ret_reason = sl_refusal_text(SL_REFUSE_ENDED);
		return -EOPNOTSUPP;
	}
	if (p->pending[SL_CLIENT] || p->pending[SL_UPSTREAM]) {
		*ret_reason = "busy: bytes wait to be written";
		return -EAGAIN;
	}
	return arm(k, p, ret_reason);
}

static int packet_join(struct sl_engine *engine, struct sl_pair *p, const char **ret_reason)
{
	struct packet_pair *k = p->prepared;
	int r = try_join(p, ret_reason);

	if (!r) {
		adopt(k, p);
		return 0;
	}
	if (r == -EOPNOTSUPP) {
		to_packet(engine)->totals.refused++;
		packet_forget(engine, p);
	}
	return r;
}

/* --- ops --- */

/* What it opens is what create() uses, so that it stays open. */
static void packet_probe(struct sl_engine_report *ret)
{
	struct sl_engine_report report = {0};
	const char *reason;

	report.available = !sl_packet_open(&reason);
	strncpy(report.reason, reason, sizeof(report.reason) - 1);
	*ret = report;
}

static int packet_create(const struct sl_engine_options *o, struct sl_engine **ret)
{
	struct packet_engine *e;
	const char *unused;
	int r = sl_packet_open(&unused);

	if (r)
		return r;
	e = calloc(1, sizeof(*e));
	if (!e)
		return -ENOMEM;
	e->base = (struct sl_engine){.ops = &sl_packet_engine, .options = *o};
	sl_slab_init(&e->pairs, "spliced pairs", sizeof(struct packet_pair), o->pairs);
	e->inbox.loop = o->loop;
	e->inbox.on_event = pair_event;
	sl_packet_register(&e->inbox);
	*ret = &e->base;
	return 0;
}

static void packet_destroy(struct sl_engine *engine)
{
	if (!engine)
		return;
	sl_packet_unregister(&to_packet(engine)->inbox);
	sl_slab_destroy(&to_packet(engine)->pairs);
	free(to_packet(engine));
}

/* A pair that is still spliced is left to the kernel. */
static void packet_forget(struct sl_engine *engine, struct sl_pair *p)
{
	if (p->prepared)
		free_pair(SL_TAKE_PTR(p->prepared));
	if (p->engine == engine) {
		struct packet_pair *k = p->carried;

		sl_packet_abandon(k->slot);
		detach(k);
	}
}

static int packet_part(struct sl_pair *p)
{
	return -EOPNOTSUPP;
}

/* The peers of a pair without sockets learn it by the answer to their next packet. */
static void packet_abort(struct sl_pair *p)
{
	struct sl_control c = {.op = SL_CONTROL_KILL};
	struct packet_pair *k = p->carried;

	packet_count(p);
	sl_packet_control(k->slot, &c);
	close_streams(p, SL_CLOSE_RESET);
	sl_packet_release(k->slot);
	detach(k);
	p->end = SL_PAIR_FAILED;
}

static void count_side(struct packet_pair *k, int side, const struct sl_leg *leg)
{
	struct sl_pair_count *from = &k->pair->from[side];
	uint64_t bytes = k->before[side].bytes + leg->bytes;

	k->engine->totals.bytes[side] += bytes - from->bytes;
	from->bytes = bytes;
	from->messages = k->before[side].messages + leg->packets;
}

/* Events can be lost; the state can't. */
static void note_state(struct packet_pair *k, const struct sl_flow_pair *pair)
{
	if (pair->state != SL_FLOW_CLOSED && pair->state != SL_FLOW_DEAD)
		return;
	k->why = SL_PAIR_FINISHED;
	if (pair->state == SL_FLOW_DEAD)
		k->why = SL_PAIR_FAILED;
	else if (pair->leg[SL_CLIENT].flags & SL_LEG_RST)
		k->why = SL_PAIR_CLIENT_RESET;
	else if (pair->leg[SL_UPSTREAM].flags & SL_LEG_RST)
		k->why = SL_PAIR_UPSTREAM_RESET;
	sl_loop_defer(k->engine->base.options.loop, &k->end);
}

static void packet_count(struct sl_pair *p)
{
	struct packet_pair *k = p->carried;
	struct sl_flow_pair pair;

	if (sl_packet_read(k->slot, &pair))
		return;
	for (int side = 0; side < 2; side++)
		count_side(k, side, &pair.leg[side]);
	note_state(k, &pair);
}

static void packet_totals(const struct sl_engine *e, struct sl_engine_totals *ret)
{
	const struct packet_engine *k = sl_container_of(e, struct packet_engine, base);

	ret->joined = __atomic_load_n(&k->totals.joined, __ATOMIC_RELAXED);
	ret->refused = __atomic_load_n(&k->totals.refused, __ATOMIC_RELAXED);
	ret->parted = __atomic_load_n(&k->totals.parted, __ATOMIC_RELAXED);
	ret->active = __atomic_load_n(&k->totals.active, __ATOMIC_RELAXED);
	for (int side = 0; side < 2; side++)
		ret->bytes[side] = __atomic_load_n(&k->totals.bytes[side], __ATOMIC_RELAXED);
}

const struct sl_engine_ops sl_packet_engine = {
	.name = "packet",
	.by_name_only = true,
	.probe = packet_probe,
	.create = packet_create,
	.destroy = packet_destroy,
	.prepare = packet_prepare,
	.forget = packet_forget,
	.join = packet_join,
	.part = packet_part,
	.abort = packet_abort,
	.count = packet_count,
	.totals = packet_totals,
};
