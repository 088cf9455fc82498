/* SPDX-License-Identifier: BSD-2-Clause */
/* Limits of requests. Rates live in one table (rate.h), told apart by the address of what limits them;
 * what is at once is counted by route.
 *
 * A request that a later limit refuses has used up its tokens of the earlier ones: who knocks too often
 * does not get in sooner by it. */

#include "proxy/access/throttle.h"

#include <errno.h>
#include <stdlib.h>

#include "base/util.h"

struct sl_throttle {
	struct sl_rates *rates; /* NULL: nothing is limited by rate */
	uint32_t *concurrent;	/* by route, as numbered in the configuration */
};

static bool limits_rate(const struct sl_config *c)
{
	for (size_t i = 0; i < c->n_listeners; i++) {
		const struct sl_listener_config *l = &c->listeners[i];

		if (l->requests_per_source.per_second)
			return true;
		for (size_t k = 0; k < l->n_routes; k++)
			if (l->routes[k].requests.per_second ||
			    l->routes[k].requests_per_source.per_second)
				return true;
	}
	return false;
}

int sl_throttle_new(const struct sl_config *c, struct sl_throttle **ret)
{
	struct sl_throttle *t = calloc(1, sizeof(*t));
	int r = 0;

	if (!t)
		return -ENOMEM;
	t->concurrent = calloc(c->all_routes + 1, sizeof(*t->concurrent));
	if (!t->concurrent)
		r = -ENOMEM;
	else if (limits_rate(c))
		r = sl_rates_new(c->limits.rate_keys, &t->rates);
	if (r) {
		sl_throttle_free(t);
		return r;
	}
	*ret = t;
	return 0;
}

void sl_throttle_free(struct sl_throttle *t)
{
	if (!t)
		return;
	sl_rates_free(t->rates);
	free(t->concurrent);
	free(t);
}

/* limit is a part of the configuration: its address tells it from all others. */
static bool take(struct sl_throttle *t, const struct sl_rate *limit, const struct sl_addr *source,
		 uint64_t now_us, uint64_t *ret_wait_us)
{
	return !limit->per_second ||
	       sl_rates_take(t->rates, (uintptr_t)limit, source, limit, now_us, ret_wait_us);
}

static bool enter(struct sl_throttle *t, const struct sl_route_config *route)
{
	uint32_t *count = &t->concurrent[route->number];

	if (!route->concurrent)
		return true;
	if (__atomic_add_fetch(count, 1, __ATOMIC_RELAXED) <= route->concurrent)
		return true;
	__atomic_sub_fetch(count, 1, __ATOMIC_RELAXED);
	return false;
}

enum sl_throttle_verdict sl_throttle_admit(struct sl_throttle *t,
					   const struct sl_listener_config *listener,
					   const struct sl_route_config *route,
					   const struct sl_addr *source, uint64_t now_us,
					   uint64_t *ret_wait_us)
{
	if (!take(t, &listener->requests_per_source, source, now_us, ret_wait_us))
		return SL_THROTTLE_RATE;
	if (!route)
		return SL_THROTTLE_OK;
	if (!take(t, &route->requests_per_source, source, now_us, ret_wait_us) ||
	    !take(t, &route->requests, NULL, now_us, ret_wait_us))
		return SL_THROTTLE_RATE;
	return enter(t, route) ? SL_THROTTLE_OK : SL_THROTTLE_CONCURRENT;
}

void sl_throttle_release(struct sl_throttle *t, const struct sl_route_config *route)
{
	if (route && route->concurrent)
		__atomic_sub_fetch(&t->concurrent[route->number], 1, __ATOMIC_RELAXED);
}
