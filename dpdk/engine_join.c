/* SPDX-License-Identifier: BSD-2-Clause */
/* The handover of a pair from lwIP to the table: both connections are looked at, and if they are
 * quiet and can be translated, the table gets their numbers and the stack forgets them, in one step.
 *
 * It asks nothing of the network: a busy pair goes back, and comes again. */

#include <errno.h>
#include <string.h>

#include "dpdk/engine_private.h"
#include "dpdk/lcore.h"

#define PROMISE_MAX 2 /* times the room that there is */

/* What is known of one leg. */
struct end {
	struct sl_dpdk_tcp tcp;
	struct sl_endpoint endpoint;
};

static int look_at(struct sl_stream *s, struct end *ret, const char **ret_reason)
{
	int r = sl_dpdk_stream_tcp(s, &ret->tcp);

	if (r == -EAGAIN) {
		*ret_reason = "the link address of a peer's next hop is not known";
		return r;
	}
	if (r || s->ops->endpoint(s, &ret->endpoint)) {
		*ret_reason = r == -EOPNOTSUPP ? "only one of its connections goes through DPDK"
					       : "the state of a connection can't be read";
		return -EOPNOTSUPP;
	}
	return 0;
}

/* What a peer was promised must not be far beyond what the other has room for. The packet engine asks
 * what can be in flight; lwIP does not count segments. */
static bool has_room(const struct sl_dpdk_tcp *to, const struct sl_dpdk_tcp *from)
{
	return to->peer_window >= from->announced / PROMISE_MAX;
}

static int check_ends(const struct sl_dpdk_tcp *c, const struct sl_dpdk_tcp *s,
		      const char **ret_reason)
{
	*ret_reason = "a peer has finished or reset already";
	if (c->peer_finished || s->peer_finished)
		return -EOPNOTSUPP;
	*ret_reason = "a peer may send larger segments than the other takes";
	if (c->announced_mss > s->mss || s->announced_mss > c->mss)
		return -EOPNOTSUPP;
	*ret_reason = "busy: bytes are on their way, or not acknowledged";
	if (!c->quiet || !s->quiet)
		return -EAGAIN;
	*ret_reason = "a peer has less room than the other was promised";
	return has_room(c, s) && has_room(s, c) ? 0 : -EAGAIN;
}

static void describe(const struct end *end, struct sl_control_leg *ret)
{
	const struct sl_dpdk_tcp *t = &end->tcp;
	const struct sl_endpoint *p = &end->endpoint;

	*ret = (struct sl_control_leg){
		.exp = t->rcv_nxt,
		.wseq = t->snd_nxt,
		.options = (uint16_t)((p->sack ? SL_LEG_SACK : 0) |
				      (p->timestamps ? SL_LEG_TIMESTAMPS : 0) |
				      (p->ecn ? SL_LEG_ECN : 0)),
		.mss = t->mss,
		.peer_wscale = t->snd_wscale,
		.local_wscale = t->rcv_wscale,
		.output = SL_OUT_REDIRECT,
	};
	ret->local_port = sl_addr_map(&p->local, ret->local);
	ret->peer_port = sl_addr_map(&p->peer, ret->peer);
}

/* What the table would know, had it seen the connection's packets. */
static void introduce(struct sl_leg *leg, const struct sl_dpdk_tcp *t)
{
	leg->flags |= SL_LEG_SEEN;
	leg->end = t->rcv_nxt;
	leg->ack = t->lastack;
	leg->ifindex = sl_dpdk_ifindex(t->port);
	memcpy(leg->peer_mac, t->peer_mac, sizeof(leg->peer_mac));
	memcpy(leg->local_mac, sl_port_mac(t->port), sizeof(leg->local_mac));
}

/* -ENOSPC: the table has no room. -EOPNOTSUPP: the pair can't be translated. */
static int splice(struct sl_dpdk_engine *e, uint32_t slot, const struct end end[2],
		  const char **ret_reason)
{
	struct sl_flow_pair *pair = sl_dpdk_splice_pair(e->table, slot);
	struct sl_control c = {.op = SL_CONTROL_WATCH};

	pair->generation++;
	describe(&end[0], &c.leg[0]);
	describe(&end[1], &c.leg[1]);
	*ret_reason = "the table of spliced pairs is full";
	if (sl_dpdk_control(e, slot, &c))
		return -ENOSPC;
	introduce(&pair->leg[0], &end[0].tcp);
	introduce(&pair->leg[1], &end[1].tcp);
	c.op = SL_CONTROL_ARM;
	sl_dpdk_count_up(&e->arms);
	if (!sl_dpdk_control(e, slot, &c) && c.ret_flipped)
		return 0;
	*ret_reason = c.ret_refusal ? sl_refusal_text(c.ret_refusal) : "the numbers don't agree";
	return -EOPNOTSUPP;
}

static int find_room(struct sl_dpdk_engine *e, struct sl_pair *p, const struct end end[2],
		     const char **ret_reason)
{
	struct sl_dpdk_pair *k = sl_dpdk_pair_new(e, SL_DPDK_NO_SLOT);
	int r;

	*ret_reason = "the table of spliced pairs is full";
	if (!k)
		return -ENOSPC;
	k->slot = sl_dpdk_slot_take(&e->slots, k);
	r = k->slot == SL_DPDK_NO_SLOT ? -ENOSPC : splice(e, k->slot, end, ret_reason);
	if (!r) {
		sl_dpdk_take_over(k, p);
		sl_dpdk_close_streams(p); /* the stack forgets both connections */
		return 0;
	}
	if (k->slot != SL_DPDK_NO_SLOT)
		sl_dpdk_release(e, k->slot);
	sl_slab_put(&e->pairs, k);
	return r;
}

static int try_join(struct sl_dpdk_engine *e, struct sl_pair *p, const char **ret_reason)
{
	struct end end[2];
	int r = 0;

	*ret_reason = "a peer has finished or reset already";
	if (p->input_ended[SL_CLIENT] || p->input_ended[SL_UPSTREAM])
		return -EOPNOTSUPP;
	*ret_reason = "busy: bytes wait to be written";
	if (p->pending[SL_CLIENT] || p->pending[SL_UPSTREAM])
		return -EAGAIN;
	for (int side = 0; side < 2 && !r; side++)
		r = look_at(p->stream[side], &end[side], ret_reason);
	if (!r)
		r = check_ends(&end[0].tcp, &end[1].tcp, ret_reason);
	return r ? r : find_room(e, p, end, ret_reason);
}

int sl_dpdk_join(struct sl_engine *engine, struct sl_pair *p, const char **ret_reason)
{
	struct sl_dpdk_engine *e = sl_to_dpdk_engine(engine);
	int r = e->sockets ? sl_dpdk_join_sockets(e, p, ret_reason) : try_join(e, p, ret_reason);

	if (r != -EOPNOTSUPP && r != -ENOSPC)
		return r;
	sl_packet_unprepare(p);
	e->totals.refused++;
	sl_dpdk_count_refusal(e, *ret_reason);
	return r;
}
