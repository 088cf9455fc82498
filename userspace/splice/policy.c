/* SPDX-License-Identifier: BSD-2-Clause */
/* Policy. It moves pairs between engines, and only by their ops: part from the one, join the other. A
 * pair is never without an engine in between two calls. */

#include "splice/policy.h"

#include <errno.h>
#include <string.h>

#include "base/util.h"

#define BACKOFF_MAX_MS 5000

static bool is_candidate(const struct sl_engines *engines, const struct sl_policy *policy, size_t i)
{
	const struct sl_engine *e = engines->engine[i];

	if (!e)
		return false;
	return policy->wanted ? !strcmp(e->ops->name, policy->wanted) : !e->ops->by_name_only;
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

void sl_policy_prepare(const struct sl_engines *engines, const struct sl_policy *policy,
		       struct sl_pair *p, struct sl_connect_options *o)
{
	for (size_t i = 1; i < engines->n; i++)
		if (is_candidate(engines, policy, i) &&
		    !engines->engine[i]->ops->prepare(engines->engine[i], p, o))
			return;
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

	s->reason = floor_reason(engines, policy, s);
	s->start_ms = now_ms;
	s->backoff_ms = sl_max(policy->after_ms, 1u);
	s->next_ms = find_candidate(engines, policy, s) ? now_ms + policy->after_ms : UINT64_MAX;
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

static void ask_later(struct sl_policy_state *s, uint64_t now_ms)
{
	s->next_ms = now_ms + s->backoff_ms;
	s->backoff_ms = sl_min(s->backoff_ms * 2, (uint32_t)BACKOFF_MAX_MS);
}

static int offer(const struct sl_engines *engines, size_t i, struct sl_pair *p,
		 struct sl_policy_state *s, uint64_t now_ms)
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
		s->reason = "ripe";
		s->next_ms = UINT64_MAX;
		return 0;
	}
	s->reason = why;
	if (r == -EOPNOTSUPP)
		s->refused |= (uint8_t)(1u << i);
	ask_later(s, now_ms);
	return floor->ops->join(floor, p, &unused);
}

int sl_policy_review(const struct sl_engines *engines, const struct sl_policy *policy,
		     struct sl_pair *p, struct sl_policy_state *s, uint64_t now_ms)
{
	size_t candidate = find_candidate(engines, policy, s);

	if (p->engine != engines->engine[0] || now_ms < s->next_ms)
		return 0;
	if (!candidate) {
		s->next_ms = UINT64_MAX;
		return 0;
	}
	if (!is_ripe(policy, p, s)) {
		s->next_ms = now_ms + sl_max(policy->after_ms, 1u);
		return 0;
	}
	return offer(engines, candidate, p, s, now_ms);
}
