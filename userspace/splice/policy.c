/* SPDX-License-Identifier: BSD-2-Clause */
/* Policy. It moves pairs between engines, and only by their ops: part from the one, join the other. A
 * pair is never without an engine in between two calls.
 *
 * A conversation is looked at every LOOK_MS while it talks, less and less often while it doesn't. What it
 * did in between is judged by talk.c. */

#include "splice/policy.h"

#include <errno.h>
#include <string.h>

#include "base/util.h"

#define BACKOFF_MAX_MS 5000
#define LOOK_MS	       500
#define LOOK_MAX_MS    5000
#define LEAVE_MS       5    /* between attempts to get a pair back that is busy */
#define STAY_MIN_MS    1000 /* before it may be sent back */
#define PENALTY_MS     2000 /* before it is offered again; doubles each time */
#define PENALTY_MAX_MS 120000
#define FORGIVEN_MS    60000 /* a stay for so long makes the penalty the first one again */

static struct {
	uint64_t promotions;
	uint64_t demotions[SL_TALK_VERDICTS];
	uint64_t spared;
} counts; /* by all workers: rare, so shared */

static bool is_candidate(const struct sl_engines *engines, const struct sl_policy *policy, size_t i)
{
	const struct sl_engine *e = engines->engine[i];

	return e && !sl_engine_broken(e) &&
	       (!policy->wanted || !strcmp(e->ops->name, policy->wanted));
}

/* Whether the engine gets the pair only while that pays. */
static bool is_for_talk(const struct sl_policy *policy, const struct sl_engine *e)
{
	return !policy->wanted && e->ops->for_talk;
}

/* The best engine above the floor that may still take the pair; 0: none. */
static size_t find_candidate(const struct sl_engines *engines, const struct sl_policy *policy,
			     const struct sl_policy_state *s)
{
	for (size_t i = 1; i < engines->n; i++)
		if (is_candidate(engines, policy, i) && !(s->refused & 1u << i))
			return i;
	return 0;
}

/* --- before there is a pair --- */

/* The prospects that the engine's preparing depends on, or NULL. */
static struct sl_prospects *prospects_of(const struct sl_policy *policy, const struct sl_engine *e)
{
	return !policy->wanted && e->ops->prepares ? policy->prospects : NULL;
}

void sl_policy_prepare(const struct sl_engines *engines, const struct sl_policy *policy,
		       struct sl_pair *p, struct sl_policy_state *s, uint64_t now_ms,
		       struct sl_connect_options *o)
{
	s->target = sl_prospects_address(&o->addr);
	for (size_t i = 1; i < engines->n; i++) {
		struct sl_engine *e = engines->engine[i];
		struct sl_prospects *prospects;

		if (!is_candidate(engines, policy, i))
			continue;
		prospects = prospects_of(policy, e);
		if (prospects && !sl_prospects_good(prospects, s->target, now_ms)) {
			s->spared |= (uint8_t)(1u << i);
			continue;
		}
		if (e->ops->prepare(e, p, o))
			continue;
		if (prospects)
			sl_prospects_spend(prospects, s->target, now_ms);
		return;
	}
}

void sl_policy_forget(const struct sl_engines *engines, struct sl_pair *p)
{
	for (size_t i = 1; i < engines->n; i++)
		if (engines->engine[i])
			engines->engine[i]->ops->forget(engines->engine[i], p);
}

/* Why the pair is in the floor, before any engine was asked. */
static const char *floor_reason(const struct sl_engines *engines, const struct sl_policy *policy,
				const struct sl_policy_state *s)
{
	if (s->spared)
		return "auto: tunnels to there end early";
	if (find_candidate(engines, policy, s))
		return "young";
	if (!policy->wanted)
		return "auto: no other engine here";
	if (!strcmp(policy->wanted, engines->engine[0]->ops->name))
		return "configured";
	return "the configured engine is not available";
}

int sl_policy_start(const struct sl_engines *engines, const struct sl_policy *policy,
		    struct sl_pair *p, struct sl_policy_state *s, uint64_t now_ms)
{
	struct sl_engine *floor = engines->engine[0];

	if (p->prepared) /* on another try */
		s->spared = 0;
	s->refused |= s->spared;
	s->surprising = s->spared;
	s->reason = floor_reason(engines, policy, s);
	s->start_ms = now_ms;
	s->backoff_ms = sl_max(policy->after_ms, 1u);
	s->pause_ms = LOOK_MS;
	s->look.at_ms = now_ms;
	s->next_ms = s->spared || find_candidate(engines, policy, s) ? now_ms + policy->after_ms
								     : UINT64_MAX;
	if (s->spared)
		__atomic_add_fetch(&counts.spared, 1, __ATOMIC_RELAXED);
	return floor->ops->join(floor, p, &s->reason);
}

/* Quiet pairs can be taken over without disturbing a byte; busy ones only pay once they are big. */
static bool is_ripe(const struct sl_policy *policy, const struct sl_pair *p,
		    struct sl_policy_state *s)
{
	uint64_t bytes = p->from[SL_CLIENT].bytes + p->from[SL_UPSTREAM].bytes;
	bool quiet = bytes == s->seen_bytes;

	s->seen_bytes = bytes;
	return quiet || bytes >= policy->after_bytes;
}

/* A tunnel that lived: the next ones to there are prepared. */
static void note_worth(const struct sl_policy *policy, const struct sl_policy_state *s,
		       uint64_t now_ms)
{
	if (policy->prospects && s->target)
		sl_prospects_earn(policy->prospects, s->target, now_ms);
}

static void ask_later(struct sl_policy_state *s, uint64_t now_ms)
{
	s->next_ms = now_ms + s->backoff_ms;
	s->backoff_ms = sl_min(s->backoff_ms * 2, (uint32_t)BACKOFF_MAX_MS);
}

/* --- looking --- */

/* What the pair did since the last look, which is now. */
static struct sl_talk look(const struct sl_policy *policy, const struct sl_pair *p,
			   struct sl_policy_state *s, uint64_t now_ms)
{
	const struct sl_policy_look before = s->look;
	struct sl_talk t = {.host = policy->host, .worker = policy->worker};

	s->look = (struct sl_policy_look){
		.at_ms = now_ms,
		.bytes = p->from[SL_CLIENT].bytes + p->from[SL_UPSTREAM].bytes,
		.messages = {p->from[SL_CLIENT].messages, p->from[SL_UPSTREAM].messages},
		.by_hand = p->by_hand,
	};
	t.ms = now_ms - before.at_ms;
	t.bytes = s->look.bytes - before.bytes;
	t.by_hand = s->look.by_hand - before.by_hand;
	for (int side = 0; side < 2; side++)
		t.messages[side] = s->look.messages[side] - before.messages[side];
	return t;
}

static bool is_silent(const struct sl_talk *t)
{
	return !t->messages[SL_CLIENT] && !t->messages[SL_UPSTREAM];
}

/* For so long the pair was not watched, but waited: what it did is no rate. */
static bool is_from_waiting(const struct sl_talk *t)
{
	return t->ms > 2 * LOOK_MS && !is_silent(t);
}

static uint64_t talkers(const struct sl_engine *e)
{
	struct sl_engine_totals totals;

	e->ops->totals(e, &totals);
	return totals.active;
}

/* Whether it is a conversation now. An engine's own words stay the reason unless the pair does talk. */
static bool does_talk(const struct sl_engine *e, const struct sl_policy *policy,
		      const struct sl_pair *p, struct sl_policy_state *s, uint64_t now_ms)
{
	enum sl_talk_verdict v;
	struct sl_talk t;

	if (now_ms - s->look.at_ms < LOOK_MS) {
		s->next_ms = s->look.at_ms + LOOK_MS;
		return false;
	}
	t = look(policy, p, s, now_ms);
	t.talkers = talkers(e);
	v = sl_talk_judge(&t, false);
	s->pause_ms = is_silent(&t) ? sl_min(s->pause_ms * 2, (uint32_t)LOOK_MAX_MS) : LOOK_MS;
	s->next_ms = now_ms + s->pause_ms;
	if (is_from_waiting(&t))
		return false;
	if (!s->refused || v >= SL_TALK_HOST_BUSY)
		s->reason = sl_talk_text(v);
	return v == SL_TALK_PAYS;
}

/* --- moving --- */

static void note_joined(const struct sl_policy *policy, const struct sl_engine *e,
			const struct sl_pair *p, struct sl_policy_state *s, uint64_t now_ms)
{
	s->reason = "ripe";
	s->next_ms = UINT64_MAX;
	if (e->ops->prepares)
		note_worth(policy, s, now_ms);
	if (!is_for_talk(policy, e))
		return;
	s->reason = sl_talk_text(SL_TALK_PAYS);
	s->next_ms = now_ms + STAY_MIN_MS;
	s->joined_ms = now_ms;
	look(policy, p, s, now_ms);
	__atomic_add_fetch(&counts.promotions, 1, __ATOMIC_RELAXED);
}

static int offer(const struct sl_engines *engines, const struct sl_policy *policy, size_t i,
		 struct sl_pair *p, struct sl_policy_state *s, uint64_t now_ms)
{
	struct sl_engine *e = engines->engine[i], *floor = engines->engine[0];
	const char *why = "busy", *unused;
	int r = floor->ops->part(p);

	if (r < 0) {
		ask_later(s, now_ms);
		return 0;
	}
	r = e->ops->join(e, p, &why);
	if (!r) {
		note_joined(policy, e, p, s, now_ms);
		return 0;
	}
	s->reason = why;
	if (r == -EOPNOTSUPP)
		s->refused |= (uint8_t)(1u << i);
	ask_later(s, now_ms);
	return floor->ops->join(floor, p, &unused);
}

/* --- going back --- */

static void punish(struct sl_policy_state *s, uint64_t now_ms)
{
	if (!s->penalty_ms || now_ms - s->joined_ms >= FORGIVEN_MS)
		s->penalty_ms = PENALTY_MS;
	else
		s->penalty_ms = sl_min(s->penalty_ms * 2, (uint32_t)PENALTY_MAX_MS);
	s->next_ms = now_ms + s->penalty_ms;
	s->pause_ms = LOOK_MS;
}

/* The pair may be too busy for it just now; its engine prefers user space's relay from then on. */
static int send_back(const struct sl_engines *engines, const struct sl_policy *policy,
		     struct sl_pair *p, struct sl_policy_state *s, uint64_t now_ms)
{
	struct sl_engine *floor = engines->engine[0];
	const char *unused;
	int r = p->engine->ops->part(p);

	if (r < 0) {
		s->leaving = r == -EAGAIN;
		s->next_ms = s->leaving ? now_ms + LEAVE_MS : UINT64_MAX;
		return 0;
	}
	s->leaving = false;
	punish(s, now_ms);
	look(policy, p, s, now_ms);
	return floor->ops->join(floor, p, &unused);
}

/* Whether it still pays where it is. */
static int review_talk(const struct sl_engines *engines, const struct sl_policy *policy,
		       struct sl_pair *p, struct sl_policy_state *s, uint64_t now_ms)
{
	const struct sl_policy_look before = s->look;
	struct sl_talk t;
	enum sl_talk_verdict v;

	if (s->leaving)
		return send_back(engines, policy, p, s, now_ms);
	t = look(policy, p, s, now_ms);
	s->next_ms = now_ms + LOOK_MS;
	if (is_from_waiting(&t)) /* the place is judged all the same */
		t = (struct sl_talk){
			.ms = 1, .messages = {1, 1}, .host = t.host, .worker = t.worker};
	t.talkers = talkers(p->engine) - 1;
	v = sl_talk_judge(&t, true);
	if (v == SL_TALK_PAYS) {
		if (is_silent(&t))
			s->look = before; /* the silence goes on from there */
		return 0;
	}
	s->reason = sl_talk_text(v);
	__atomic_add_fetch(&counts.demotions[v], 1, __ATOMIC_RELAXED);
	return send_back(engines, policy, p, s, now_ms);
}

/* --- the interface --- */

static int review_floor(const struct sl_engines *engines, const struct sl_policy *policy,
			struct sl_pair *p, struct sl_policy_state *s, uint64_t now_ms)
{
	size_t candidate = find_candidate(engines, policy, s);
	const struct sl_engine *e = engines->engine[candidate];

	if (s->surprising) {
		s->next_ms = now_ms + sl_max(policy->after_ms, 1u);
		if (!is_ripe(policy, p, s))
			return 0;
		s->surprising = false;
		note_worth(policy, s, now_ms);
	}
	if (!candidate) {
		s->next_ms = UINT64_MAX;
		return 0;
	}
	if (is_for_talk(policy, e)) {
		if (!does_talk(e, policy, p, s, now_ms))
			return 0;
	} else if (!is_ripe(policy, p, s)) {
		s->next_ms = now_ms + sl_max(policy->after_ms, 1u);
		return 0;
	}
	return offer(engines, policy, candidate, p, s, now_ms);
}

int sl_policy_review(const struct sl_engines *engines, const struct sl_policy *policy,
		     struct sl_pair *p, struct sl_policy_state *s, uint64_t now_ms)
{
	if (now_ms < s->next_ms)
		return 0;
	if (p->engine == engines->engine[0])
		return review_floor(engines, policy, p, s, now_ms);
	if (is_for_talk(policy, p->engine))
		return review_talk(engines, policy, p, s, now_ms);
	return 0;
}

void sl_policy_figures(void (*each)(void *arg, const struct sl_figure *f), void *arg)
{
	struct sl_figure f = {"policy_promotions_total",
			      "counter",
			      "Pairs that \"auto\" gave to an engine for conversations",
			      NULL,
			      NULL,
			      __atomic_load_n(&counts.promotions, __ATOMIC_RELAXED)};

	each(arg, &f);
	f.name = "policy_spared_total";
	f.help = "Pairs that \"auto\" did not prepare for packets: tunnels to there end early";
	f.n = __atomic_load_n(&counts.spared, __ATOMIC_RELAXED);
	each(arg, &f);
	f = (struct sl_figure){"policy_demotions_total", "counter",
			       "Pairs that \"auto\" gave back to the copy engine", "reason"};
	for (int v = SL_TALK_PAYS + 1; v < SL_TALK_VERDICTS; v++) {
		f.value = sl_talk_text(v);
		f.n = __atomic_load_n(&counts.demotions[v], __ATOMIC_RELAXED);
		each(arg, &f);
	}
}
