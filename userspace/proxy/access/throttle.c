/* SPDX-License-Identifier: BSD-2-Clause */
/* Limits of requests. Rates live in one table (rate.h); what is at once is counted by route. Both are
 * known by what the listener or route is called and matches, so that they outlive a configuration: a
 * limit that changes is the same limit.
 *
 * A request that a later limit refuses has used up its tokens of the earlier ones: who knocks too often
 * does not get in sooner by it. */

#include "proxy/access/throttle.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/util.h"

/* What all configurations have in common. */
struct common {
	struct sl_rates *rates;
	uint32_t users;
};

/* Requests at once, of all routes that are the same one in some configuration. */
struct counter {
	uint64_t route;
	uint32_t users; /* configurations */
	uint32_t n;
};

struct sl_throttle {
	struct common *common;	     /* NULL: nothing is limited by rate */
	struct counter **concurrent; /* by route, as numbered in the configuration */
	uint64_t *name;		     /* likewise: tells it from other routes */
	uint32_t n;
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

/* --- names --- */

static uint64_t name_text(uint64_t name, const char *text)
{
	return text ? XXH3_64bits_withSeed(text, strlen(text) + 1, name) : name * 31 + 1;
}

static uint64_t name_listener(const struct sl_listener_config *l)
{
	return name_text(0, l->name);
}

static uint64_t name_route(const struct sl_listener_config *l, const struct sl_route_config *route)
{
	uint64_t name = name_text(name_text(name_listener(l), route->host), route->path);

	for (char **m = route->method; m && *m; m++)
		name = name_text(name, *m);
	for (size_t i = 0; i < route->header.n; i++) {
		name = name_text(name, route->header.field[i].name);
		name = name_text(name, route->header.field[i].value);
	}
	return name;
}

/* Of routes that match the same, the first, the second, ... */
static uint64_t make_unique(const struct sl_throttle *t, uint32_t n, uint64_t name)
{
	for (uint32_t i = 0; i < n; i++)
		name += t->name[i] == name;
	return name;
}

static void name_routes(struct sl_throttle *t, const struct sl_config *c)
{
	for (size_t i = 0; i < c->n_listeners; i++)
		for (size_t k = 0; k < c->listeners[i].n_routes; k++) {
			const struct sl_route_config *route = &c->listeners[i].routes[k];

			t->name[route->number] =
				make_unique(t, route->number, name_route(&c->listeners[i], route));
		}
}

/* --- life --- */

static struct counter *find_counter(const struct sl_throttle *t, uint64_t name)
{
	for (uint32_t i = 0; t && i < t->n; i++)
		if (t->name[i] == name)
			return t->concurrent[i];
	return NULL;
}

static int take_counters(struct sl_throttle *t, const struct sl_throttle *before)
{
	for (uint32_t i = 0; i < t->n; i++) {
		struct counter *n = find_counter(before, t->name[i]);

		if (!n)
			n = calloc(1, sizeof(*n));
		if (!n)
			return -ENOMEM;
		n->users++;
		t->concurrent[i] = n;
	}
	return 0;
}

/* The table stays as large as it was made first. */
static int take_rates(struct sl_throttle *t, const struct sl_config *c, struct sl_throttle *before)
{
	struct common *common = before ? before->common : NULL;
	int r;

	if (!common && !limits_rate(c))
		return 0;
	if (!common) {
		common = calloc(1, sizeof(*common));
		r = common ? sl_rates_new(c->limits.rate_keys, &common->rates) : -ENOMEM;
		if (r < 0) {
			free(common);
			return r;
		}
	}
	common->users++;
	t->common = common;
	return 0;
}

int sl_throttle_new(const struct sl_config *c, struct sl_throttle *before, struct sl_throttle **ret)
{
	struct sl_throttle *t = calloc(1, sizeof(*t));
	int r = 0;

	if (!t)
		return -ENOMEM;
	t->concurrent = calloc(c->all_routes + 1, sizeof(*t->concurrent));
	t->name = calloc(c->all_routes + 1, sizeof(*t->name));
	if (!t->concurrent || !t->name)
		r = -ENOMEM;
	if (!r) {
		name_routes(t, c);
		t->n = c->all_routes;
		r = take_counters(t, before);
	}
	if (!r)
		r = take_rates(t, c, before);
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
	for (uint32_t i = 0; i < t->n && t->concurrent[i]; i++)
		if (!--t->concurrent[i]->users)
			free(t->concurrent[i]);
	if (t->common && !--t->common->users) {
		sl_rates_free(t->common->rates);
		free(t->common);
	}
	free(t->concurrent);
	free(t->name);
	free(t);
}

/* --- requests --- */

static bool take(struct sl_throttle *t, uint64_t scope, const struct sl_rate *limit,
		 const struct sl_addr *source, uint64_t now_us, uint64_t *ret_wait_us)
{
	return !limit->per_second ||
	       sl_rates_take(t->common->rates, scope, source, limit, now_us, ret_wait_us);
}

static bool enter(struct sl_throttle *t, const struct sl_route_config *route)
{
	uint32_t *count = &t->concurrent[route->number]->n;

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
	uint64_t name;

	if (listener->requests_per_source.per_second &&
	    !take(t, name_listener(listener), &listener->requests_per_source, source, now_us,
		  ret_wait_us))
		return SL_THROTTLE_RATE;
	if (!route)
		return SL_THROTTLE_OK;
	name = t->name[route->number];
	if (!take(t, name, &route->requests_per_source, source, now_us, ret_wait_us) ||
	    !take(t, ~name, &route->requests, NULL, now_us, ret_wait_us))
		return SL_THROTTLE_RATE;
	return enter(t, route) ? SL_THROTTLE_OK : SL_THROTTLE_CONCURRENT;
}

void sl_throttle_release(struct sl_throttle *t, const struct sl_route_config *route)
{
	if (route && route->concurrent)
		__atomic_sub_fetch(&t->concurrent[route->number]->n, 1, __ATOMIC_RELAXED);
}
