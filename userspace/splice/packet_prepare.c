/* SPDX-License-Identifier: BSD-2-Clause */
/* Before the upstream of a pair connects: a slot is watched for each address that is tried, with the
 * source address and port that the connection will have. */

#include <errno.h>
#include <string.h>

#include "base/util.h"
#include "splice/packet.h"
#include "splice/reasons.h"

#define ATTEMPTS_MAX 8

/* A connection to the upstream that is tried: how it can be told apart, and its slot. */
struct attempt {
	struct sl_addr local, peer;
	uint32_t slot;
};

struct sl_packet_prepared {
	struct sl_packet_watcher *watcher;
	const char *reason; /* why preparing failed; static */
	unsigned attempts;
	struct attempt attempt[ATTEMPTS_MAX];
};

void sl_packet_watcher_init(struct sl_packet_watcher *w, uint32_t pairs)
{
	sl_slab_init(&w->prepared, "prepared pairs", sizeof(struct sl_packet_prepared), pairs);
}

void sl_packet_watcher_destroy(struct sl_packet_watcher *w)
{
	sl_slab_destroy(&w->prepared);
}

static void release_attempts(struct sl_packet_prepared *k)
{
	while (k->attempts)
		k->watcher->release(k->watcher, k->attempt[--k->attempts].slot);
}

/* The devices of both peers have to be watched, and the address that the kernel will connect from has to
 * be known before. */
static int watch(struct sl_packet_prepared *k, const struct sl_endpoint *client, struct attempt *a)
{
	struct sl_packet_watcher *w = k->watcher;
	struct sl_control_leg leg[2] = {0};
	int r = w->reach(w, client, &a->peer, &a->local, &k->reason);

	if (r)
		return r;
	k->reason = "no slot or port is free";
	sl_packet_set_peer(&leg[SL_CLIENT], &client->peer);
	sl_packet_set_local(&leg[SL_CLIENT], &client->local);
	sl_packet_set_peer(&leg[SL_UPSTREAM], &a->peer);
	sl_packet_set_local(&leg[SL_UPSTREAM], &a->local);
	r = w->watch(w, leg, &a->slot);
	if (!r)
		sl_addr_set_port(&a->local, ntohs(leg[SL_UPSTREAM].local_port));
	return r;
}

static int prepare_attempt(struct sl_packet_prepared *k, struct sl_stream *client,
			   struct sl_connect_options *o)
{
	struct attempt a = {.peer = o->addr};
	struct sl_endpoint e;
	int r;

	k->reason = sl_refusal_text(SL_REFUSE_FAMILIES);
	if (client->peer.family != o->addr.family)
		return -EOPNOTSUPP;
	r = client->ops->endpoint(client, &e);
	if (r)
		return r;
	if (e.fd < 0)
		return -EOPNOTSUPP;
	k->reason = "no slot or port is free";
	if (k->attempts == ATTEMPTS_MAX)
		return -ENOSPC;
	r = watch(k, &e, &a);
	if (r)
		return r;
	k->attempt[k->attempts++] = a;
	o->source = a.local;
	o->mss = k->watcher->mss;
	o->window_clamp = SL_SPLICE_WINDOW_CLAMP;
	return 0;
}

int sl_packet_prepare(struct sl_packet_watcher *w, struct sl_pair *p, struct sl_connect_options *o)
{
	struct sl_packet_prepared *k = p->prepared;

	if (!k) {
		k = sl_slab_get(&w->prepared);
		if (!k)
			return -ENOSPC;
		k->watcher = w;
		p->prepared = k;
	}
	return prepare_attempt(k, p->stream[SL_CLIENT], o);
}

void sl_packet_unprepare(struct sl_pair *p)
{
	struct sl_packet_prepared *k = SL_TAKE_PTR(p->prepared);

	if (!k)
		return;
	release_attempts(k);
	sl_slab_put(&k->watcher->prepared, k);
}

int sl_packet_choose(struct sl_pair *p, uint32_t *ret_slot, const char **ret_reason)
{
	const struct sl_stream *upstream = p->stream[SL_UPSTREAM];
	struct sl_packet_prepared *k = p->prepared;

	*ret_reason = "not prepared for when its upstream connected";
	if (!k)
		return -EOPNOTSUPP;
	for (unsigned i = 0; i < k->attempts; i++) {
		struct attempt a = k->attempt[i];

		if (!sl_addr_eq(&a.local, &upstream->local) ||
		    !sl_addr_eq(&a.peer, &upstream->peer))
			continue;
		k->attempt[i] = k->attempt[--k->attempts];
		release_attempts(k);
		k->attempt[0] = a;
		k->attempts = 1;
		*ret_slot = a.slot;
		return 0;
	}
	*ret_reason = k->attempts ? "its port was taken: connected from another" : k->reason;
	return -EOPNOTSUPP;
}

void sl_packet_take_slot(struct sl_pair *p)
{
	struct sl_packet_prepared *k = p->prepared;

	k->attempts = 0;
	sl_packet_unprepare(p);
}
