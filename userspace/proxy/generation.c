/* SPDX-License-Identifier: BSD-2-Clause */
/* Makes a generation of a configuration, or finds what is wrong with it. Nothing that is in use changes
 * here: whoever made it decides whether it is put to use. */

#include "proxy/generation.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/util.h"

/* Two sluices in a row must not take each other for a loop, so without a configured name each process
 * has its own. */
static void choose_pseudonym(struct sl_generation *g, const struct sl_generation *before)
{
	uint32_t id = 0;

	if (g->config->via) {
		snprintf(g->pseudonym, sizeof(g->pseudonym), "%s", g->config->via);
	} else if (before && !before->config->via) {
		memcpy(g->pseudonym, before->pseudonym, sizeof(g->pseudonym));
	} else {
		if (getrandom(&id, sizeof(id), 0) < 0)
			id = (uint32_t)getpid();
		snprintf(g->pseudonym, sizeof(g->pseudonym), "sluice-%08x", id);
	}
}

/* --- credentials --- */

static struct sl_auth *find_auth(const struct sl_generation *g, const char *path)
{
	for (size_t i = 0; g && i < g->config->n_listeners; i++)
		if (g->auth[i] && !strcmp(g->config->listeners[i].auth_basic, path))
			return g->auth[i];
	return NULL;
}

/* One for a file, whoever has it: what was verified stays so while the file is the same. */
static int open_auth(struct sl_generation *g, const struct sl_generation *before, size_t i,
		     struct sl_config_error *ret_error)
{
	const char *path = g->config->listeners[i].auth_basic;
	struct sl_auth *known = find_auth(g, path);
	unsigned line = 0;
	int r;

	if (!known)
		known = find_auth(before, path);
	if (known && sl_auth_is_current(known)) {
		g->auth[i] = sl_auth_share(known);
		return 0;
	}
	r = sl_auth_open(path, &g->auth[i], &line);
	if (r == -EINVAL)
		return sl_config_fail(r, ret_error,
				      "%s:%u: expected user:hash with a strong crypt(3) hash "
				      "($y$, $gy$, $2b$, $2y$, $6$, $7$)",
				      path, line);
	return r < 0 ? sl_config_fail(r, ret_error, "%s: %s", path, strerror(-r)) : 0;
}

/* --- listeners --- */

static int open_listeners(struct sl_generation *g, const struct sl_generation *before,
			  struct sl_config_error *ret_error)
{
	const struct sl_config *c = g->config;
	int r = 0;

	g->auth = calloc(c->n_listeners + 1, sizeof(struct sl_auth *));
	g->routes = calloc(c->n_listeners + 1, sizeof(struct sl_routes *));
	g->place = calloc(c->n_listeners + 1, sizeof(*g->place));
	if (!g->auth || !g->routes || !g->place)
		return sl_config_fail(-ENOMEM, ret_error, "out of memory");
	for (size_t i = 0; i < c->n_listeners && !r; i++) {
		r = sl_limits_place(g->limits, c->listeners[i].name, &g->place[i]);
		if (r < 0)
			return sl_config_fail(r, ret_error, "listener %s: %s", c->listeners[i].name,
					      strerror(-r));
		g->n_places++;
		if (c->listeners[i].auth_basic)
			r = open_auth(g, before, i, ret_error);
		if (!r && c->listeners[i].mode != SL_MODE_FORWARD &&
		    sl_routes_new(&c->listeners[i], &g->routes[i]) < 0)
			r = sl_config_fail(-ENOMEM, ret_error, "out of memory");
	}
	return r;
}

static int set_up(struct sl_generation *g, struct sl_generation *before,
		  struct sl_config_error *ret_error)
{
	int r = open_listeners(g, before, ret_error);

	if (r < 0)
		return r;
	r = sl_own_collect(g->config, &g->own);
	if (!r)
		r = sl_throttle_new(g->config, before ? before->throttle : NULL, &g->throttle);
	if (!r)
		r = sl_upstreams_enlist(g->upstreams, g->config, &g->upstream);
	return r < 0 ? sl_config_fail(r, ret_error, "%s", strerror(-r)) : 0;
}

int sl_generation_new(const struct sl_generation_options *o, struct sl_generation **ret,
		      struct sl_config_error *ret_error)
{
	struct sl_generation *g = calloc(1, sizeof(*g));
	int r;

	if (!g)
		return sl_config_fail(-ENOMEM, ret_error, "out of memory");
	g->config = o->config;
	g->number = o->before ? o->before->number + 1 : 1;
	g->upstreams = o->upstreams;
	g->limits = o->limits;
	g->users = 1;
	choose_pseudonym(g, o->before);
	r = set_up(g, o->before, ret_error);
	if (r < 0) {
		g->config = NULL; /* still the caller's */
		sl_generation_free(g);
		return r;
	}
	*ret = g;
	return 0;
}

void sl_generation_leave(struct sl_generation *g)
{
	if (!__atomic_sub_fetch(&g->users, 1, __ATOMIC_ACQ_REL) && g->on_unused)
		g->on_unused(g);
}

void sl_generation_free(struct sl_generation *g)
{
	size_t n = g ? g->n_places : 0;

	if (!g)
		return;
	for (size_t i = 0; i < n; i++) {
		sl_limits_leave(g->limits, g->place[i]);
		sl_auth_close(g->auth[i]);
		sl_routes_free(g->routes[i]);
	}
	sl_upstreams_dismiss(g->upstreams, g->upstream, g->config ? g->config->n_upstreams : 0);
	sl_throttle_free(g->throttle);
	sl_own_free(&g->own);
	free(g->auth);
	free(g->routes);
	free(g->place);
	sl_config_free(g->config);
	free(g);
}
