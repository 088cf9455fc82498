/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_PROXY_GENERATION_H
#define SLUICE_PROXY_GENERATION_H

/* A configuration in use, with all that is made of it. Each reload makes a generation; a connection goes
 * on under that of its latest request, and the generation ends with the last one that uses it. Nothing in
 * it changes, so workers read it without locks. What outlives configurations (limits, upstreams) is
 * shared between generations. */

#include <stddef.h>
#include <stdint.h>

#include "base/loop.h"
#include "proxy/access/auth.h"
#include "proxy/access/limits.h"
#include "proxy/access/own.h"
#include "proxy/access/throttle.h"
#include "proxy/config/config.h"
#include "proxy/route.h"
#include "proxy/upstream/upstream.h"

struct sl_generation {
	struct sl_config *config;
	uint64_t number;	   /* 1, 2, ... */
	struct sl_auth **auth;	   /* by listener; NULL: none */
	struct sl_routes **routes; /* by listener; NULL: of SL_MODE_FORWARD */
	uint32_t *place;	   /* by listener: where the limits count it */
	size_t n_places;
	struct sl_upstream **upstream; /* by the configuration's index */
	struct sl_throttle *throttle;
	struct sl_own own;  /* our own addresses, for the access rules */
	char pseudonym[64]; /* in Via */

	struct sl_upstreams *upstreams;
	struct sl_limits *limits;
	uint32_t users; /* workers that use it, and whoever made it; atomic */
	/* Called, in any thread, when nobody uses it any more. NULL: nobody is told. */
	void (*on_unused)(struct sl_generation *g);
	struct sl_task release; /* on_unused's */
	void *owner;		/* the same */
};

struct sl_generation_options {
	struct sl_config *config;	/* the generation's from success on */
	struct sl_generation *before;	/* NULL: the first */
	struct sl_upstreams *upstreams; /* these outlive it */
	struct sl_limits *limits;
};

/* 0, or -errno: *ret_error says why. The caller is a user. Like the end, the control thread's. */
int sl_generation_new(const struct sl_generation_options *o, struct sl_generation **ret,
		      struct sl_config_error *ret_error);
/* Nobody uses it. Takes NULL. */
void sl_generation_free(struct sl_generation *g);

static inline void sl_generation_use(struct sl_generation *g)
{
	__atomic_add_fetch(&g->users, 1, __ATOMIC_RELAXED);
}

/* Not to be touched any more afterwards. */
void sl_generation_leave(struct sl_generation *g);

#endif
