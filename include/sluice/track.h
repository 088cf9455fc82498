/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#ifndef SLUICE_TRACK_H
#define SLUICE_TRACK_H

/* The life of a spliced pair: ACTIVE, CLOSED. What is refused, and when it has ended.
 *
 * The endpoints make RFC 5961's exact checks themselves, as they see translated numbers. What is
 * checked here protects the pair's own state, and lets nothing through that a receiver could not
 * want: a segment must touch [una - leeway, edge + leeway] of its receiver, an ACK must lie in
 * [highest ACK - leeway, highest byte sent + leeway]. leeway is the largest window that the proxy's
 * socket can have offered on that leg: what the peer may still believe after the flip.
 *
 * end, ack, edge and the counters are written without the lock. Two packets of one direction on two
 * CPUs at once may lose an update: the maxima are renewed by the next packet, and leeway covers it
 * meanwhile; a counter may miss a packet. */

#include <sluice/handover.h>

/* Window scales beyond make the leeway no larger: 16 MB. */
#define SL_LEEWAY_SCALE_MAX 8

SL_INLINE __u32 sl_leeway(const struct sl_leg *from)
{
	__u8 scale = from->local_wscale;

	return 65535u << (scale < SL_LEEWAY_SCALE_MAX ? scale : SL_LEEWAY_SCALE_MAX);
}

/* The receiver's next expected byte, in the sender's numbers. */
SL_INLINE __u32 sl_una(const struct sl_leg *from, const struct sl_leg *to)
{
	return to->ack - from->seq_add;
}

/* The end of what `to` has sent, in the numbers that `from` acknowledges. */
SL_INLINE __u32 sl_sent(const struct sl_leg *from, const struct sl_leg *to)
{
	return to->end + to->seq_add;
}

SL_INLINE int sl_in_window(const struct sl_packet *p, const struct sl_leg *from,
			   const struct sl_leg *to)
{
	__u32 una = sl_una(from, to), edge = to->edge - from->seq_add;
	__u32 leeway = sl_leeway(from);

	return !sl_after(una - leeway, p->seq) && !sl_after(p->seq_end, edge + leeway);
}

SL_INLINE int sl_is_sane_ack(const struct sl_packet *p, const struct sl_leg *from,
			     const struct sl_leg *to)
{
	__u32 leeway = sl_leeway(from);

	return !(p->flags & SL_TCP_ACK) || (!sl_after(from->ack - leeway, p->ack) &&
					    !sl_after(p->ack, sl_sent(from, to) + leeway));
}

/* Keeps the maxima. An ACK of what has not been seen is noted up to what has. */
SL_INLINE void sl_advance(const struct sl_packet *p, struct sl_leg *from, const struct sl_leg *to)
{
	__u32 edge = p->ack + ((__u32)p->window << (from->peer_wscale & 15));
	__u32 sent = sl_sent(from, to);
	__u32 ack = sl_after(p->ack, sent) ? sent : p->ack;

	if (sl_after(p->seq_end, from->end) && !(p->flags & SL_TCP_RST))
		from->end = p->seq_end;
	if (!(p->flags & SL_TCP_ACK))
		return;
	if (sl_after(ack, from->ack))
		from->ack = ack;
	if (sl_after(edge, from->edge))
		from->edge = edge;
}

/* An RST in the window is sent on, and its receiver decides (RFC 5961, 3.2). The pair ends only by
 * one that the receiver will believe: at what it expects, or after all that was sent. */
SL_INLINE void sl_reset(const struct sl_packet *p, const struct sl_found *f)
{
	struct sl_flow_pair *pair = f->pair;
	int first = 0;

	if (p->seq != f->from->end && p->seq != sl_una(f->from, f->to)) {
		sl_count(SL_RST_INEXACT, 0);
		return;
	}
	sl_pair_lock(pair);
	if (pair->state == SL_FLOW_ACTIVE) {
		pair->state = SL_FLOW_CLOSED;
		f->from->flags |= SL_LEG_RST;
		first = 1;
	}
	sl_pair_unlock(pair);
	if (first) {
		sl_count(SL_CLOSED_RST, 0);
		sl_tell(f, SL_EVENT_RESET);
	}
}

/* Under the lock. True if this packet closes the pair. */
SL_INLINE int sl_note_fins(const struct sl_packet *p, struct sl_flow_pair *pair,
			   struct sl_leg *from, struct sl_leg *to)
{
	if (p->flags & SL_TCP_FIN && !(from->flags & SL_LEG_FIN_ACKED)) {
		from->exp = p->seq_end;
		from->flags |= SL_LEG_FIN;
	}
	if (to->flags & SL_LEG_FIN && p->flags & SL_TCP_ACK &&
	    !sl_after(to->exp, p->ack - to->seq_add))
		to->flags |= SL_LEG_FIN_ACKED;
	if (pair->state != SL_FLOW_ACTIVE || !(from->flags & to->flags & SL_LEG_FIN_ACKED))
		return 0;
	pair->state = SL_FLOW_CLOSED;
	return 1;
}

SL_INLINE void sl_finish(const struct sl_packet *p, const struct sl_found *f)
{
	struct sl_flow_pair *pair = f->pair;
	int closed;

	sl_pair_lock(pair);
	closed = sl_note_fins(p, pair, f->from, f->to);
	sl_pair_unlock(pair);
	if (closed) {
		sl_count(SL_CLOSED_FIN, 0);
		sl_tell(f, SL_EVENT_CLOSED);
	}
}

/* A lingering pair: whether the packet is an ACK for the old socket alone. Notes the end of it. */
SL_INLINE int sl_linger(const struct sl_packet *p, const struct sl_found *f)
{
	struct sl_flow_pair *pair = f->pair;
	int drained = 0;

	sl_pair_lock(pair);
	if (!(pair->flags & SL_PAIR_DRAINED) && sl_is_drained(pair)) {
		pair->flags |= SL_PAIR_DRAINED;
		drained = 1;
	}
	sl_pair_unlock(pair);
	if (drained)
		sl_tell(f, SL_EVENT_DRAINED);
	return !drained && sl_after(f->from->wseq, p->ack) && !p->payload_len &&
	       !(p->flags & (SL_TCP_FIN | SL_TCP_RST));
}

/* A SYN on a spliced pair. In the middle of its life the receiver answers with a challenge ACK (RFC
 * 5961, 4), so it is sent on; after it, the tuple is being used anew. */
SL_INLINE enum sl_action sl_syn(const struct sl_packet *p, const struct sl_found *f)
{
	struct sl_flow_pair *pair = f->pair;
	int reused = 0;

	if (p->flags & SL_TCP_ACK || pair->state != SL_FLOW_CLOSED)
		return SL_SEND;
	sl_pair_lock(pair);
	if (pair->state == SL_FLOW_CLOSED) {
		pair->state = SL_FLOW_DEAD;
		reused = 1;
	}
	sl_pair_unlock(pair);
	sl_count(SL_PASS_REUSED, 0);
	if (reused)
		sl_tell(f, SL_EVENT_DEAD);
	return SL_PASS;
}

SL_INLINE int sl_same_mac(const void *a, const void *b)
{
	const __u16 *x = a, *y = b;

	return x[0] == y[0] && x[1] == y[1] && x[2] == y[2];
}

/* The peer's packets come by another router or device than before. */
SL_INLINE int sl_has_moved(const struct sl_leg *from, const struct sl_arrival *a)
{
	return from->output == SL_OUT_REDIRECT &&
	       (from->ifindex != a->ifindex || !sl_same_mac(from->peer_mac, a->eth->h_source));
}

/* Packets to the peer go where its own come from. */
SL_INLINE void sl_follow(struct sl_leg *from, const struct sl_arrival *a)
{
	if (!sl_has_moved(from, a))
		return;
	__builtin_memcpy(from->peer_mac, a->eth->h_source, ETH_ALEN);
	__builtin_memcpy(from->local_mac, a->eth->h_dest, ETH_ALEN);
	from->ifindex = a->ifindex;
	sl_count(SL_MOVED, 0);
}

SL_INLINE enum sl_action sl_drop(const struct sl_packet *p, enum sl_reason reason)
{
	sl_count(reason, p->payload_len);
	return SL_DROP;
}

/* A packet of an ACTIVE or CLOSED pair. */
SL_INLINE enum sl_action sl_track(const struct sl_packet *p, const struct sl_found *f,
				  const struct sl_arrival *a)
{
	struct sl_flow_pair *pair = f->pair;
	struct sl_leg *from = f->from, *to = f->to;

	/* A VLAN's packet is met on the device below first. It belongs to the one that was watched. */
	if (a->tagging != from->tagging) {
		sl_count(SL_PASS_TAGS, p->payload_len);
		return SL_PASS;
	}
	if (p->ttl < 2)
		return sl_drop(p, SL_DROP_TTL);
	if (p->flags & SL_TCP_SYN)
		return sl_syn(p, f);
	if (!sl_in_window(p, from, to))
		return sl_drop(p, SL_DROP_WINDOW);
	if (!sl_is_sane_ack(p, from, to))
		return sl_drop(p, SL_DROP_ACK);
	if (p->flags & SL_TCP_RST)
		sl_reset(p, f);
	sl_advance(p, from, to);
	sl_follow(from, a);
	if (!(pair->flags & SL_PAIR_DRAINED) && sl_linger(p, f)) {
		sl_count(SL_PASS_LINGER, 0);
		return SL_PASS;
	}
	if (p->flags & SL_TCP_FIN || (to->flags & (SL_LEG_FIN | SL_LEG_FIN_ACKED)) == SL_LEG_FIN)
		sl_finish(p, f);
	return SL_SEND;
}

/* Whether a packet can change nothing of its pair but the numbers that sl_advance() keeps: data and
 * ACKs in the middle of its life. sl_track() would let it through without another word. */
SL_INLINE int sl_is_routine(const struct sl_packet *p, const struct sl_found *f,
			    const struct sl_arrival *a)
{
	const struct sl_flow_pair *pair = f->pair;
	const struct sl_leg *from = f->from, *to = f->to;

	return pair->state == SL_FLOW_ACTIVE && pair->flags & SL_PAIR_DRAINED && p->ttl >= 2 &&
	       !(p->flags & (SL_TCP_SYN | SL_TCP_FIN | SL_TCP_RST)) &&
	       (to->flags & (SL_LEG_FIN | SL_LEG_FIN_ACKED)) != SL_LEG_FIN &&
	       a->tagging == from->tagging && !sl_has_moved(from, a) && sl_in_window(p, from, to) &&
	       sl_is_sane_ack(p, from, to);
}

/* Accounts a packet that is sent on. */
SL_INLINE void sl_account(const struct sl_packet *p, const struct sl_found *f, __u32 notes)
{
	f->from->packets++;
	f->from->bytes += p->payload_len;
	if (SL_UNLIKELY(notes & SL_REWRITE_CLAMPED))
		sl_count(SL_WINDOW_CLAMPED, 0);
	if (SL_UNLIKELY(notes & SL_REWRITE_RAISED))
		sl_count(SL_WINDOW_RAISED, 0);
}

/* The kernel refused to change a packet whose headers it has let us parse. It is dropped, which TCP
 * repairs. Lack of memory passes; anything else would repeat itself for ever, so the pair is given
 * up: its packets go to the stack, which has no socket for them and resets both ends. */
SL_INLINE void sl_fail(const struct sl_packet *p, const struct sl_found *f, long error)
{
	struct sl_flow_pair *pair = f->pair;
	int first = 0;

	sl_count(SL_DROP_REWRITE, p->payload_len);
	if (error == -ENOMEM)
		return;
	sl_pair_lock(pair);
	if (pair->generation == f->generation && pair->state == SL_FLOW_ACTIVE) {
		pair->state = SL_FLOW_DEAD;
		first = 1;
	}
	sl_pair_unlock(pair);
	if (first) {
		sl_count(SL_FAILED, 0);
		sl_tell(f, SL_EVENT_FAILED);
	}
}

#endif
