/* SPDX-License-Identifier: BSD-2-Clause */
/* Configurations as a worker has them, one after the other. A connection counts in the era that it goes
 * by; an era that is not the newest ends with its last connection, and lets go of its generation.
 *
 * A listener stays the same as long as its name, address and mode do: then its connections change over
 * between two requests. Its acceptor is never interrupted as long as the address is listened on at all. */

#include "proxy/worker.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "proxy/conn.h"

#define BACKLOG 4096

struct sl_era *sl_era_new(struct sl_worker *w, struct sl_generation *g)
{
	const struct sl_config *c = g->config;
	struct sl_era *era = calloc(1, sizeof(*era) + c->n_listeners * sizeof(era->listener[0]));

	if (!era)
		return NULL;
	era->n = c->n_listeners;
	era->generation = g;
	sl_generation_use(g);
	for (size_t i = 0; i < era->n; i++)
		era->listener[i] = (struct sl_listener){
			.config = &c->listeners[i],
			.place = g->place[i],
			.stats = sl_limits_stats(g->limits, g->place[i], w->index),
			.worker = w,
			.era = era,
			.auth = g->auth[i],
			.routes = g->routes[i],
			.fd = -1,
		};
	return era;
}

void sl_era_free(struct sl_era *era)
{
	if (!era)
		return;
	sl_generation_leave(era->generation);
	free(era);
}

void sl_era_leave(struct sl_worker *w, struct sl_era *era)
{
	if (!--era->conns && era != w->era)
		sl_era_free(era);
}

void sl_worker_leave(struct sl_worker *w)
{
	sl_era_free(SL_TAKE_PTR(w->era));
}

struct sl_listener *sl_era_find(struct sl_era *era, const struct sl_listener *l)
{
	for (size_t i = 0; i < era->n; i++) {
		const struct sl_listener_config *c = era->listener[i].config;

		if (era->listener[i].place == l->place && c->mode == l->config->mode &&
		    sl_addr_eq(&c->listen, &l->config->listen))
			return &era->listener[i];
	}
	return NULL;
}

/* --- acceptors --- */

/* Whether tunnels of the listener may leave their sockets: then these announce what allows it. */
static bool may_splice(const struct sl_worker *w, const struct sl_listener_config *c)
{
	const struct sl_engine *e;

	if (c->splice != SL_SPLICE_AUTO)
		return c->splice == SL_SPLICE_PACKET;
	for (size_t i = 1; i < w->engines.n; i++) {
		e = w->engines.engine[i];
		if (e && !e->ops->for_talk)
			return c->mode != SL_MODE_HTTP;
	}
	return false;
}

void sl_worker_listen_options(const struct sl_worker *w, const struct sl_listener_config *c,
			      const struct sl_config *config, struct sl_listen_options *ret)
{
	const bool splice = may_splice(w, c);

	*ret = (struct sl_listen_options){
		.addr = c->listen,
		.backlog = BACKLOG,
		.mss = splice ? (int)config->splice.mss : 0,
		.window_clamp = splice ? SL_SPLICE_WINDOW_CLAMP : 0,
		.keepalive_ms = c->keepalive_ms,
		.fast_open = (int)c->fast_open,
		.reuse_port = true,
	};
}

static int listen_on(struct sl_worker *w, struct sl_listener *l)
{
	struct sl_listen_options o;
	char text[SL_ADDR_STR_MAX];
	int r;

	sl_worker_listen_options(w, l->config, l->era->generation->config, &o);
	o.adopt = l->fd >= 0;
	o.fd = l->fd;
	r = w->transport->ops->listen(w->transport, &o, sl_conn_accept, l, &l->acceptor);
	if (!r)
		l->acceptor->may_accept = sl_conn_may_accept;
	if (r < 0)
		sl_error("listener %s: %s: %s", l->config->name,
			 sl_addr_format(&l->config->listen, text), strerror(-r));
	return r;
}

static void count_acceptor(struct sl_worker *w, const struct sl_acceptor *a, int sign)
{
	w->accept_failures += (uint64_t)sign * a->stats.failed;
	w->accept_pauses += (uint64_t)sign * a->stats.paused;
}

/* Those that ended are in the sums already. */
void sl_worker_count_acceptors(struct sl_worker *w)
{
	for (size_t i = 0; i < w->era->n; i++)
		if (w->era->listener[i].acceptor)
			count_acceptor(w, w->era->listener[i].acceptor, 1);
	__atomic_store_n(&w->stats.accept_failures_total, w->accept_failures, __ATOMIC_RELAXED);
	__atomic_store_n(&w->stats.accept_pauses_total, w->accept_pauses, __ATOMIC_RELAXED);
	for (size_t i = 0; i < w->era->n; i++)
		if (w->era->listener[i].acceptor)
			count_acceptor(w, w->era->listener[i].acceptor, -1);
}

static void unlisten(struct sl_worker *w, struct sl_listener *l, bool leave_queue)
{
	if (!l->acceptor)
		return;
	count_acceptor(w, l->acceptor, 1);
	l->acceptor->leave_queue = leave_queue;
	w->transport->ops->unlisten(SL_TAKE_PTR(l->acceptor));
}

void sl_worker_unlisten(struct sl_worker *w, bool leave_queue)
{
	for (size_t i = 0; i < w->era->n; i++)
		unlisten(w, &w->era->listener[i], leave_queue);
	sl_worker_count_acceptors(w);
}

int sl_worker_listen(struct sl_worker *w)
{
	int r = 0;

	for (size_t i = 0; i < w->era->n && !r; i++)
		if (!sl_listener_ends(&w->era->listener[i]))
			r = listen_on(w, &w->era->listener[i]);
	return r;
}

static struct sl_listener *find_place(struct sl_era *era, uint32_t place)
{
	for (size_t i = 0; i < era->n; i++)
		if (era->listener[i].place == place)
			return &era->listener[i];
	return NULL;
}

void sl_worker_close_listener(struct sl_worker *w, uint32_t place)
{
	struct sl_listener *l = find_place(w->era, place);

	if (!l)
		return;
	unlisten(w, l, false);
	l->fd = -1;
	sl_worker_count_acceptors(w);
}

int sl_worker_open_listener(struct sl_worker *w, uint32_t place, int fd)
{
	struct sl_listener *l = find_place(w->era, place);

	if (!l || l->acceptor || w->draining)
		return 0;
	l->fd = fd;
	return listen_on(w, l);
}

/* --- change --- */

/* The acceptor of that address goes on for another listener. */
static void hand_over(struct sl_era *from, struct sl_listener *to)
{
	const bool ends = sl_listener_ends(to);

	for (size_t i = 0; i < from->n; i++) {
		struct sl_listener *l = &from->listener[i];

		if (!l->acceptor || !sl_addr_eq(&l->config->listen, &to->config->listen) ||
		    (ends && l->place != to->place))
			continue;
		to->acceptor = SL_TAKE_PTR(l->acceptor);
		to->acceptor->owner = to;
		to->acceptor->keepalive_ms = to->config->keepalive_ms;
		return;
	}
}

static void drain_leftovers(struct sl_worker *w)
{
	struct sl_list *pos, *tmp;

	sl_list_for_each_safe (pos, tmp, &w->all_conns) {
		struct sl_conn *c = sl_list_entry(pos, struct sl_conn, node);

		if (!sl_era_find(w->era, c->listener))
			sl_conn_drain(c);
	}
}

int sl_worker_enter(struct sl_worker *w, struct sl_era *era)
{
	struct sl_era *old = w->era;
	int r = 0;

	w->era = era;
	sl_worker_set_limits(w);
	for (size_t i = 0; i < era->n && !w->draining; i++) {
		struct sl_listener *l = &era->listener[i];
		int one;

		hand_over(old, l);
		one = l->acceptor || sl_listener_ends(l) ? 0 : listen_on(w, l);
		r = r ? r : one;
	}
	for (size_t i = 0; i < old->n; i++)
		unlisten(w, &old->listener[i], false);
	drain_leftovers(w);
	if (!old->conns)
		sl_era_free(old);
	return r;
}
