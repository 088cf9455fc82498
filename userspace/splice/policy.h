/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_SPLICE_POLICY_H
#define SLUICE_SPLICE_POLICY_H

/* Which engine carries a pair, and why. Every pair starts in the floor, the first engine of the table,
 * which takes everything (copy). Once the pair is old enough, and has moved enough or is quiet, it is
 * offered to a better engine: the configured one, or with "auto" the best that this host has. An engine
 * that says "not now" is asked again, less and less often; one that says "never" isn't. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "splice/engine.h"

#define SL_ENGINES_MAX 4

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
};

/* What the policy remembers of a pair. Zeroed before sl_policy_start(). */
struct sl_policy_state {
	const char *reason; /* static: why the pair is where it is */
	uint64_t start_ms;
	uint64_t next_ms;    /* not before: the next offer; UINT64_MAX: never again */
	uint64_t seen_bytes; /* at the last look */
	uint32_t backoff_ms;
	uint8_t refused; /* bit i: engine i will never take the pair */
};

/* Before the upstream connects: lets the engines that may get the pair prepare. */
void sl_policy_prepare(const struct sl_engines *engines, const struct sl_policy *policy,
		       struct sl_pair *p, struct sl_connect_options *o);
/* The pair won't be, or is no more. Idempotent. */
void sl_policy_forget(const struct sl_engines *engines, struct sl_pair *p);

/* Joins the floor. 0, or what its join said. */
int sl_policy_start(const struct sl_engines *engines, const struct sl_policy *policy,
		    struct sl_pair *p, struct sl_policy_state *s, uint64_t now_ms);
/* Offers the pair to a better engine, if it is time. The pair is carried by one engine or the other
 * afterwards; -errno if not even the floor took it back: then the streams are the caller's. Bytes in
 * p->from must be up to date. */
int sl_policy_review(const struct sl_engines *engines, const struct sl_policy *policy,
		     struct sl_pair *p, struct sl_policy_state *s, uint64_t now_ms);

#endif
