/* SPDX-License-Identifier: BSD-2-Clause */
/* What puts a configuration to use, the first one as well as later ones. */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/util.h"
#include "proxy/server_state.h"

/* --- generations --- */

static void free_generation(struct sl_task *t)
{
	struct sl_generation *g = sl_container_of(t, struct sl_generation, release);
	struct sl_daemon *s = g->owner;

	sl_debug("configuration %llu is of no more use", (unsigned long long)g->number);
	s->n_generations--;
	sl_generation_free(g);
}

/* In the thread of whoever used it last. */
static void generation_unused(struct sl_generation *g)
{
	struct sl_daemon *s = g->owner;

	sl_loop_post(s->loop, &g->release);
}

int sl_server_new_generation(struct sl_daemon *s, struct sl_config *config,
			     struct sl_generation **ret, struct sl_config_error *ret_error)
{
	const struct sl_generation_options o = {
		.config = config,
		.before = s->generation,
		.upstreams = s->upstreams,
		.limits = s->shared.limits,
	};
	struct sl_generation *g;
	int r = sl_generation_new(&o, &g, ret_error);

	if (r < 0)
		return r;
	g->owner = s;
	g->on_unused = generation_unused;
	sl_task_init(&g->release, free_generation);
	s->n_generations++;
	*ret = g;
	return 0;
}

int sl_server_first_generation(struct sl_daemon *s, struct sl_config *config)
{
	struct sl_config_error error;
	int r = sl_server_new_generation(s, sl_config_keep(config), &s->generation, &error);

	if (r < 0) {
		sl_error("%s", error.text);
		sl_config_free(config);
		return r;
	}
	s->config = config;
	return 0;
}

/* --- listeners --- */

bool sl_server_listens_on(const struct sl_daemon *s, const struct sl_config *c,
			  const struct sl_addr *addr)
{
	for (size_t i = 0; c && i < c->n_listeners; i++)
		if (sl_addr_eq(&c->listeners[i].listen, addr) &&
		    (!sl_server_is_closed(s, c->listeners[i].name) ||
		     sl_doors_is_lent(&s->doors, addr)))
			return true;
	return false;
}

struct wanted {
	const struct sl_daemon *s;
	const struct sl_config *c;
};

static bool is_wanted(const void *arg, const struct sl_addr *addr)
{
	const struct wanted *w = arg;

	return sl_server_listens_on(w->s, w->c, addr);
}

void sl_server_close_doors(struct sl_daemon *s, const struct sl_config *c)
{
	sl_server_tell_closed(s, c);
	sl_doors_keep(&s->doors, is_wanted, &(struct wanted){s, c});
}

/* One that is drained keeps its door until it closes, and opens none: nor one that is shut. */
static bool needs_door(const struct sl_daemon *s, const struct sl_listener_config *l)
{
	return !sl_server_is_shut(s, l->name) &&
	       (!sl_server_is_drained(s, l->name) || sl_doors_fd(&s->doors, &l->listen, 0) >= 0);
}

int sl_server_open_doors(struct sl_daemon *s, const struct sl_config *c,
			 struct sl_config_error *ret_error)
{
	struct sl_listen_options o;
	char text[SL_ADDR_STR_MAX];
	int r = 0;

	for (size_t i = 0; i < c->n_listeners && !r; i++) {
		if (!needs_door(s, &c->listeners[i]))
			continue;
		sl_worker_listen_options(s->worker[0], &c->listeners[i], c, &o);
		r = sl_doors_open(&s->doors, &o);
		if (r < 0)
			snprintf(ret_error->text, sizeof(ret_error->text), "listener %s: %s: %s",
				 c->listeners[i].name,
				 sl_addr_format(&c->listeners[i].listen, text), strerror(-r));
	}
	if (r < 0 && s->config != c)
		sl_server_close_doors(s, s->config);
	return r;
}

static void give_descriptors(const struct sl_daemon *s, struct sl_era *era, uint32_t worker)
{
	for (size_t i = 0; i < era->n; i++)
		era->listener[i].fd =
			sl_doors_fd(&s->doors, &era->listener[i].config->listen, worker);
}

struct sl_era *sl_server_new_era(struct sl_daemon *s, struct sl_generation *g, uint32_t worker)
{
	struct sl_era *era = sl_era_new(s->worker[worker], g);

	if (era)
		give_descriptors(s, era, worker);
	return era;
}

int sl_server_listen(struct sl_daemon *s)
{
	struct sl_config_error error;
	int r = sl_server_open_doors(s, s->config, &error);

	if (r < 0) {
		sl_error("%s", error.text);
		return r;
	}
	for (uint32_t i = 0; i < s->n_workers && !r; i++) {
		give_descriptors(s, s->worker[i]->era, i);
		s->worker[i]->access_log = s->access_log;
		r = sl_worker_listen(s->worker[i]);
	}
	return r;
}

/* --- log, checks --- */

int sl_server_open_log(const struct sl_daemon *s, const struct sl_config *c,
		       struct sl_access_log **ret, struct sl_config_error *ret_error)
{
	int r;

	*ret = NULL;
	if (!c->access_log.path)
		return 0;
	r = sl_access_log_open(&c->access_log, s->shared.n_workers, ret);
	if (r < 0)
		snprintf(ret_error->text, sizeof(ret_error->text), "access log %s: %s",
			 c->access_log.path, strerror(-r));
	return r;
}

/* Checks belong to this thread; or to the worker, where there is no second transport. */
struct checks_call {
	struct sl_daemon *s;
	struct sl_upstream *changed;
	int r;
};

static void in_checks_thread(struct sl_daemon *s, void (*fn)(struct sl_worker *w, void *arg),
			     struct checks_call *call)
{
	struct sl_worker *w = s->parts->one_transport ? s->worker[0] : NULL;

	if (w && w->started)
		sl_worker_call(w, fn, call);
	else
		fn(w, call);
}

static void start_health(struct sl_worker *w, void *arg)
{
	struct checks_call *call = arg;
	const struct sl_health_options o = {
		.loop = w ? w->loop : call->s->loop,
		.config = call->s->config,
		.upstream = call->s->generation->upstream,
		.transport = w ? w->transport : NULL,
		.transport_new = call->s->shared.transport_new,
	};

	call->r = sl_health_new(&o, &call->s->health);
}

static void follow_health(struct sl_worker *w, void *arg)
{
	struct checks_call *call = arg;

	sl_health_follow(call->s->health, call->changed);
}

static void stop_health(struct sl_worker *w, void *arg)
{
	struct checks_call *call = arg;

	sl_health_free(SL_TAKE_PTR(call->s->health));
}

void sl_server_upstream_changed(void *owner, struct sl_upstream *u)
{
	struct sl_daemon *s = owner;
	struct checks_call call = {.s = s, .changed = u};

	for (uint32_t i = 0; i < s->n_workers; i++)
		sl_worker_call(s->worker[i], sl_worker_follow, u);
	in_checks_thread(s, follow_health, &call);
}

int sl_server_start_checks(struct sl_daemon *s)
{
	const struct sl_discovery_options discovery = {
		.loop = s->loop,
		.config = s->config,
		.upstream = s->generation->upstream,
		.listener = {.on_change = sl_server_upstream_changed, .owner = s},
	};
	struct checks_call call = {.s = s};

	in_checks_thread(s, start_health, &call);
	return call.r ? call.r : sl_discovery_new(&discovery, &s->discovery);
}

void sl_server_stop_checks(struct sl_daemon *s)
{
	struct checks_call call = {.s = s};

	sl_discovery_free(SL_TAKE_PTR(s->discovery));
	if (s->health) /* else there may be no worker */
		in_checks_thread(s, stop_health, &call);
}
