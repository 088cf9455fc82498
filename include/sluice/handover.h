/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#ifndef SLUICE_HANDOVER_H
#define SLUICE_HANDOVER_H

/* The handover of a pair from its sockets to the packet engine: WATCH and ARMED.
 *
 * Invariant: the flip happens, under the pair's lock, at a moment when every byte that this program
 * ever passed up was read and relayed by the proxy (end == exp on both legs). From then on no new
 * byte is passed up. So each byte takes exactly one of both ways, whatever is still under way
 * between the program and the sockets.
 *
 * A packet that brings nothing new (seq_end not after end) goes to the sockets even if it causes the
 * flip: they may wait for its ACK, the other peer doesn't. */

#include <sluice/steps.h>

#define SL_READY (-1)

/* SL_READY if the pair can flip now, else the reason that it can't. */
SL_INLINE int sl_waits_for(const struct sl_flow_pair *pair)
{
	const struct sl_leg *c = &pair->leg[0], *s = &pair->leg[1];
	__u16 both = c->flags & s->flags, either = c->flags | s->flags;

	if (!(both & SL_LEG_SEEN) || either & (SL_LEG_FIN | SL_LEG_RST) ||
	    c->tagging != s->tagging || c->end != c->exp || s->end != s->exp)
		return SL_WAIT_INPUT;
	if (pair->flags & SL_PAIR_TIMESTAMPS && !(both & SL_LEG_TSVAL))
		return SL_WAIT_INPUT;
	if (!(pair->flags & SL_PAIR_LINGER) && (c->ack != c->wseq || s->ack != s->wseq))
		return SL_WAIT_ACK;
	return SL_READY;
}

/* Whether the peers have acknowledged all that the proxy itself sent. */
SL_INLINE int sl_is_drained(const struct sl_flow_pair *pair)
{
	return !sl_after(pair->leg[0].wseq, pair->leg[0].ack) &&
	       !sl_after(pair->leg[1].wseq, pair->leg[1].ack);
}

SL_INLINE void sl_flip_leg(struct sl_leg *from, __u32 to_offset, __u32 now_ms)
{
	from->ts_add = now_ms + sl_ts_slack_ms + to_offset - from->ts_last;
	from->edge = from->ack;
}

/* Under the lock, and ready. */
SL_INLINE void sl_flip(struct sl_flow_pair *pair, __u32 now_ms)
{
	__u32 offset = pair->leg[0].ts_add; /* until it is what is added */

	sl_flip_leg(&pair->leg[0], pair->leg[1].ts_add, now_ms);
	sl_flip_leg(&pair->leg[1], offset, now_ms);
	sl_pair_prepare(pair);
	pair->flip_ms = now_ms;
	if (sl_is_drained(pair))
		pair->flags |= SL_PAIR_DRAINED;
	pair->state = SL_FLOW_ACTIVE;
}

/* Where the peer is. */
SL_INLINE void sl_note_link(struct sl_leg *from, const struct sl_arrival *a)
{
	__builtin_memcpy(from->peer_mac, a->eth->h_source, ETH_ALEN);
	__builtin_memcpy(from->local_mac, a->eth->h_dest, ETH_ALEN);
	from->ifindex = a->ifindex;
	from->tag[0] = a->tag[0];
	from->tag[1] = a->tag[1];
	from->tagging = a->tagging;
	if (a->unsummed)
		from->flags |= SL_LEG_UNSUMMED;
}

/* What it has acknowledged, and its clock. */
SL_INLINE void sl_note_peer(struct sl_leg *from, const struct sl_packet *p)
{
	if (!(from->flags & SL_LEG_SEEN)) {
		from->end = p->seq_end;
		from->ack = p->ack;
		from->flags |= SL_LEG_SEEN;
	}
	if (sl_after(p->ack, from->ack))
		from->ack = p->ack;
	if (p->has_ts && (!(from->flags & SL_LEG_TSVAL) || sl_after(p->tsval, from->ts_last))) {
		from->ts_last = p->tsval;
		from->flags |= SL_LEG_TSVAL;
	}
}

/* What is passed up. An RST counts only if the socket will believe it (RFC 5961, 3.2). */
SL_INLINE void sl_note_input(struct sl_leg *from, const struct sl_packet *p)
{
	if (p->flags & SL_TCP_RST) {
		if (!(from->flags & SL_LEG_SEEN) || p->seq == from->end)
			from->flags |= SL_LEG_RST;
		return;
	}
	if (sl_after(p->seq_end, from->end))
		from->end = p->seq_end;
	if (p->flags & SL_TCP_FIN)
		from->flags |= SL_LEG_FIN;
}

/* Under the lock, in WATCH or ARMED. Returns sl_waits_for() of an armed pair, SL_PASS_WATCHED of one
 * that is not; *ret_news: the packet brings something new. */
SL_INLINE int sl_note(struct sl_flow_pair *pair, struct sl_leg *from, const struct sl_packet *p,
		      const struct sl_arrival *a, __u32 now_ms, int *ret_news)
{
	int plain = (p->flags & (SL_TCP_SYN | SL_TCP_RST | SL_TCP_ACK)) == SL_TCP_ACK;
	int waits = SL_PASS_WATCHED;

	if (p->flags & SL_TCP_ACK && !(p->flags & SL_TCP_RST)) {
		/* ARM has chosen from this how packets leave. */
		if (pair->state == SL_FLOW_WATCH)
			sl_note_link(from, a);
		sl_note_peer(from, p);
	}
	*ret_news = sl_after(p->seq_end, from->end);
	if (pair->state == SL_FLOW_ARMED && plain)
		waits = sl_waits_for(pair);
	if (waits == SL_READY)
		sl_flip(pair, now_ms);
	else if (p->flags & (SL_TCP_ACK | SL_TCP_RST))
		sl_note_input(from, p);
	return waits;
}

/* A packet of a pair that is not ACTIVE or CLOSED. True: meanwhile it is, and the packet is to be
 * treated so. Else it passes. */
SL_INLINE int sl_watch(const struct sl_packet *p, const struct sl_found *f,
		       const struct sl_arrival *a)
{
	__u32 now_ms = sl_now_ms();
	struct sl_flow_pair *pair = f->pair;
	int waits = SL_PASS_STALE, news = 0, active = 0;

	sl_pair_lock(pair);
	if (pair->generation != f->generation)
		waits = SL_PASS_STALE;
	else if (pair->state == SL_FLOW_WATCH || pair->state == SL_FLOW_ARMED)
		waits = sl_note(pair, f->from, p, a, now_ms, &news);
	else
		active = sl_is_spliced(pair);
	sl_pair_unlock(pair);

	if (active)
		return 1;
	if (waits == SL_READY) {
		sl_count(SL_FLIP_PACKET, 0);
		sl_tell(f, SL_EVENT_FLIPPED);
		if (news)
			return 1;
	} else if (waits == SL_WAIT_INPUT || waits == SL_WAIT_ACK) {
		sl_count(waits, 0);
	}
	sl_count(waits == SL_PASS_STALE ? SL_PASS_STALE : SL_PASS_WATCHED, p->payload_len);
	return 0;
}

#endif
