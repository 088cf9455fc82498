/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#ifndef SLUICE_CONTROL_H
#define SLUICE_CONTROL_H

/* What the control plane does to a pair, atomic with regard to its packets. One call where map
 * updates from user space would take several system calls, and could not look and act at once. */

#include <sluice/find.h>
#include <sluice/handover.h>

/* A leg's addresses as a packet from its peer carries them. */
struct sl_leg_flow {
	struct sl_flow_key ip4;
	struct sl_flow6_key ip6;
	int is_ip4;
};

SL_INLINE void sl_leg_flow(const __u8 *peer, const __u8 *local, __be16 peer_port, __be16 local_port,
			   struct sl_leg_flow *ret)
{
	ret->is_ip4 = sl_is_ip4(peer);
	sl_copy_words(ret->ip4.src, peer + 12, 1);
	sl_copy_words(ret->ip4.dst, local + 12, 1);
	sl_copy_words(ret->ip6.src, peer, 4);
	sl_copy_words(ret->ip6.dst, local, 4);
	ret->ip4.sport = ret->ip6.sport = peer_port;
	ret->ip4.dport = ret->ip6.dport = local_port;
}

SL_INLINE int sl_look_up(const struct sl_leg_flow *at, struct sl_found *ret)
{
	return at->is_ip4 ? sl_flow4_find(&at->ip4, ret) : sl_flow6_find(&at->ip6, ret);
}

/* Whether a pair has ended, so that another may take its addresses. */
SL_INLINE int sl_is_over(const struct sl_flow_pair *pair)
{
	return pair->state == SL_FLOW_FREE || pair->state == SL_FLOW_DEAD ||
	       pair->state == SL_FLOW_CLOSED;
}

SL_INLINE int sl_add_flow(struct sl_control *c, struct sl_control_leg *l, __u8 leg)
{
	struct sl_flow flow = {.pair = c->pair, .generation = c->generation, .leg = leg};
	struct sl_leg_flow at;
	struct sl_found old;
	long error;

	sl_leg_flow(l->peer, l->local, l->peer_port, l->local_port, &at);
	if (sl_look_up(&at, &old) && !sl_is_over(old.pair))
		return -EEXIST;
	error = at.is_ip4 ? sl_flow4_put(&at.ip4, &flow) : sl_flow6_put(&at.ip6, &flow);
	return error ? -ENOSPC : 0;
}

SL_INLINE void sl_remove_flow(struct sl_control *c, const struct sl_leg *l, __u8 leg)
{
	struct sl_flow flow = {.pair = c->pair, .generation = c->generation, .leg = leg};
	struct sl_leg_flow at;

	sl_leg_flow(l->peer, l->local, l->peer_port, l->local_port, &at);
	if (at.is_ip4)
		sl_flow4_remove(&at.ip4, &flow);
	else
		sl_flow6_remove(&at.ip6, &flow);
}

SL_INLINE void sl_set_up_leg(struct sl_leg *l, const struct sl_control_leg *c)
{
	__builtin_memset(l, 0, sizeof(*l));
	__builtin_memcpy(l->peer, c->peer, sizeof(l->peer));
	__builtin_memcpy(l->local, c->local, sizeof(l->local));
	l->peer_port = c->peer_port;
	l->local_port = c->local_port;
}

SL_INLINE void sl_release(struct sl_control *c, struct sl_flow_pair *pair)
{
	sl_remove_flow(c, &pair->leg[0], 0);
	sl_remove_flow(c, &pair->leg[1], 1);
	sl_pair_lock(pair);
	pair->state = SL_FLOW_FREE;
	sl_pair_unlock(pair);
}

/* Takes the slot, whatever generation it had, then adds the flows; all or nothing. */
SL_INLINE int sl_set_up(struct sl_control *c, struct sl_flow_pair *pair)
{
	int busy = 0, error;

	sl_pair_lock(pair);
	if (pair->state != SL_FLOW_FREE) {
		busy = 1;
	} else {
		sl_set_up_leg(&pair->leg[0], &c->leg[0]);
		sl_set_up_leg(&pair->leg[1], &c->leg[1]);
		SL_IN_ORDER(); /* who reads the new generation reads the new addresses */
		pair->generation = c->generation;
		pair->flags = 0;
		pair->flip_ms = 0;
		pair->state = SL_FLOW_WATCH;
	}
	sl_pair_unlock(pair);
	if (busy)
		return -EBUSY;
	error = sl_add_flow(c, &c->leg[0], 0);
	if (!error)
		error = sl_add_flow(c, &c->leg[1], 1);
	if (error)
		sl_release(c, pair);
	return error;
}

SL_INLINE void sl_arm_leg(struct sl_leg *l, const struct sl_control_leg *c)
{
	l->exp = c->exp;
	l->wseq = c->wseq;
	l->ts_add = c->ts_offset;
	l->mss = c->mss;
	l->peer_wscale = c->peer_wscale;
	l->local_wscale = c->local_wscale;
	l->output = c->output;
	if (c->ifindex)
		l->ifindex = c->ifindex;
	l->flags = (l->flags & 0xff) | (c->options & 0xff00);
}

/* What makes a pair impossible to splice. `pair` has been armed with c. */
SL_INLINE __u8 sl_refuse(const struct sl_flow_pair *pair)
{
	const struct sl_leg *c = &pair->leg[0], *s = &pair->leg[1];
	__u16 both = c->flags & s->flags, one = c->flags ^ s->flags, either = c->flags | s->flags;

	if (sl_is_ip4(c->peer) != sl_is_ip4(s->peer))
		return SL_REFUSE_FAMILIES;
	if (one & SL_LEG_TIMESTAMPS)
		return SL_REFUSE_TIMESTAMPS;
	if (both & SL_LEG_SEEN && c->tagging != s->tagging)
		return SL_REFUSE_TAGS;
	if (either & (SL_LEG_FIN | SL_LEG_RST))
		return SL_REFUSE_ENDED;
	if (c->output >= SL_OUTPUTS || s->output >= SL_OUTPUTS)
		return SL_REFUSE_OUTPUT;
	if (either & SL_LEG_UNSUMMED)
		return SL_REFUSE_UNSUMMED;
	return SL_REFUSE_NONE;
}

/* Under the lock, the generation being right. *ret_waits: why an armed pair doesn't flip. */
SL_INLINE int sl_arm(struct sl_control *c, struct sl_flow_pair *pair, __u32 now_ms, int *ret_waits)
{
	if (pair->state != SL_FLOW_WATCH && pair->state != SL_FLOW_ARMED)
		return -EBUSY;
	sl_arm_leg(&pair->leg[0], &c->leg[0]);
	sl_arm_leg(&pair->leg[1], &c->leg[1]);
	pair->flags = c->flags & SL_PAIR_LINGER;
	if (pair->leg[0].flags & SL_LEG_TIMESTAMPS)
		pair->flags |= SL_PAIR_TIMESTAMPS;
	c->ret_refusal = sl_refuse(pair);
	if (c->ret_refusal) {
		pair->state = SL_FLOW_WATCH;
		return -EOPNOTSUPP;
	}
	pair->state = SL_FLOW_ARMED;
	*ret_waits = sl_waits_for(pair);
	if (*ret_waits == SL_READY)
		sl_flip(pair, now_ms);
	return 0;
}

/* Under the lock. */
SL_INLINE int sl_end(struct sl_flow_pair *pair, __u8 op)
{
	if (op == SL_CONTROL_DISARM) {
		if (pair->state != SL_FLOW_ARMED)
			return -EBUSY;
		pair->state = SL_FLOW_WATCH;
		return 0;
	}
	if (pair->state == SL_FLOW_FREE)
		return -EBUSY;
	pair->state = SL_FLOW_DEAD;
	return 0;
}

/* ARM, DISARM, KILL, FAIL: one decision under the lock. */
SL_INLINE int sl_change_state(struct sl_control *c, struct sl_flow_pair *pair, int *ret_waits)
{
	__u32 now_ms = sl_now_ms();
	int error = -ESTALE;

	sl_pair_lock(pair);
	if (pair->generation == c->generation)
		error = c->op == SL_CONTROL_ARM ? sl_arm(c, pair, now_ms, ret_waits)
						: sl_end(pair, c->op);
	c->ret_state = pair->state;
	c->ret_flags = pair->flags;
	sl_pair_unlock(pair);
	return error;
}

/* After the lock: what has to be counted and told. */
SL_INLINE void sl_report(struct sl_control *c, struct sl_flow_pair *pair, int waits)
{
	struct sl_found f = {.pair = pair, .id = c->pair, .generation = c->generation};

	if (waits == SL_READY) {
		c->ret_flipped = 1;
		sl_count(SL_FLIP_ARM, 0);
	} else if (waits) {
		sl_count(waits, 0);
	}
	if (c->op == SL_CONTROL_FAIL && !c->ret) {
		sl_count(SL_FAILED, 0);
		sl_tell(&f, SL_EVENT_FAILED);
	}
}

SL_INLINE int sl_control_act(struct sl_control *c, struct sl_flow_pair *pair, int *ret_waits)
{
	switch (c->op) {
	case SL_CONTROL_WATCH:
		return sl_set_up(c, pair);
	case SL_CONTROL_ARM:
	case SL_CONTROL_DISARM:
	case SL_CONTROL_KILL:
	case SL_CONTROL_FAIL:
		return sl_change_state(c, pair, ret_waits);
	case SL_CONTROL_RELEASE:
		if (pair->generation != c->generation)
			return -ESTALE;
		sl_release(c, pair);
		return 0;
	default:
		return -EINVAL;
	}
}

SL_INLINE void sl_control_run(struct sl_control *c)
{
	__u32 id = c->pair;
	struct sl_flow_pair *pair = sl_pair_at(&id);
	int waits = 0;

	c->ret_flipped = 0;
	c->ret_refusal = SL_REFUSE_NONE;
	if (!pair) {
		c->ret = -ENOENT;
		return;
	}
	c->ret = sl_control_act(c, pair, &waits);
	c->ret_state = pair->state;
	c->ret_flags = pair->flags;
	sl_report(c, pair, waits);
}

#endif
