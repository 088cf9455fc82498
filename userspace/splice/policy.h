/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_SPLICE_POLICY_H
#define SLUICE_SPLICE_POLICY_H

/* Which engine carries a pair, and why. Every pair starts in the floor, the first engine of the table,
 * which takes everything (copy). Once the pair is old enough, and has moved enough or is quiet, it is
 * offered to a better engine: the configured one, or with "auto" the best that this host has. An engine
 * that says "not now" is asked again, less and less often; one that says "never" isn't.
 *
 * With "auto", an engine for conversations (sockmap) gets what the others refuse for good, while it pays
 * (talk.h), and the floor gets it back when it doesn't any more. Each time that happens the pair has to
 * wait for twice as long until it is offered again. And an engine that must prepare a pair before it
 * connects (packet) is not asked to where tunnels end before it could have them (prospects.h). */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "splice/engine.h"
#include "splice/pressure.h"
#include "splice/prospects.h"
#include "splice/talk.h"

#define SL_ENGINES_MAX	  4
/* Pairs that may be with an engine for conversations, or may have been, where it is chosen by "auto" alone. */
#define SL_POLICY_TALKERS 1024

/* The engines of a worker: the floor first, then by preference; NULL where one is not available. */
struct sl_engines {
	struct sl_engine *engine[SL_ENGINES_MAX];
	size_t n;
};

/* Configured for a listener. */
struct sl_policy {
	const char *wanted; /* an engine's name; NULL: auto */
	uint64_t after_bytes;
	uint32_t after_ms;
	uint32_t host, worker;		/* as in struct sl_pressure; for "auto" only, as is */
	struct sl_prospects *prospects; /* NULL: every pair is prepared */
};

/* What a pair had done when it was looked at. */
struct sl_policy_look {
	uint64_t at_ms, bytes, messages[2], by_hand;
};

/* What the policy remembers of a pair. Zeroed at first. */
struct sl_policy_state {
	const char *reason; /* static: why the pair is where it is */
	uint64_t start_ms;
	uint64_t next_ms;    /* not before: the next offer; UINT64_MAX: never again */
	uint64_t seen_bytes; /* at the last look */
	uint32_t backoff_ms;
	uint64_t target; /* as prospects know it; 0: they weren't asked */
	uint8_t refused; /* bit i: engine i will never take the pair */
	uint8_t spared; /* bit i: engine i was not asked to prepare: it would not have been worth it */
	bool surprising; /* spared, and not yet seen to live long enough */
	bool leaving;	 /* it is to go back to the floor */
	struct sl_policy_look look;
	uint32_t pause_ms;   /* until the next look */
	uint32_t penalty_ms; /* since it was sent back: until the next offer; 0: never was */
	uint64_t joined_ms;  /* when an engine for conversations took it */
};

/* Before the upstream connects: lets the engines that may get the pair prepare. */
void sl_policy_prepare(const struct sl_engines *engines, const struct sl_policy *policy,
		       struct sl_pair *p, struct sl_policy_state *s, uint64_t now_ms,
		       struct sl_connect_options *o);
/* The pair won't be, or is no more. Idempotent. */
void sl_policy_forget(const struct sl_engines *engines, struct sl_pair *p);

/* Joins the floor. 0, or what its join said. */
int sl_policy_start(const struct sl_engines *engines, const struct sl_policy *policy,
		    struct sl_pair *p, struct sl_policy_state *s, uint64_t now_ms);
/* Offers the pair to a better engine, or takes it back from one, if it is time. The pair is carried by one engine or the other
 * afterwards; -errno if not even the floor took it back: then the streams are the caller's. p->from
 * and p->by_hand must be up to date. */
int sl_policy_review(const struct sl_engines *engines, const struct sl_policy *policy,
		     struct sl_pair *p, struct sl_policy_state *s, uint64_t now_ms);

/* What "auto" did with pairs, in this process: sl_engine_ops' figures. From any thread. */
void sl_policy_figures(void (*each)(void *arg, const struct sl_figure *f), void *arg);

#endif
