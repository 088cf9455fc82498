/* SPDX-License-Identifier: BSD-2-Clause */
/* Reload: the file is read and everything of it made and opened that can fail; then it is put to use,
 * which can't. Before that point nothing in use has changed, so a refusal costs nothing.
 *
 * Order of putting to use: upstreams first (workers that still go by the old routes find the servers of
 * either configuration), then the workers one after the other, then what is not listened on any more is
 * closed. The old generation goes when its last connection does. */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/util.h"
#include "proxy/notify.h"
#include "proxy/server_state.h"
#include "proxy/upstream/upstream_set.h"

/* What a reload has made so far. */
struct draft {
	struct sl_config *config; /* the generation's, once there is one */
	struct sl_generation *generation;
	struct sl_access_log *access_log;
	bool new_log;
	struct sl_era *era[SL_WORKERS_MAX];
};

/* --- what can fail --- */

static bool same_log(const struct sl_config *a, const struct sl_config *b)
{
	const struct sl_access_log_config *x = &a->access_log, *y = &b->access_log;

	if (!x->path || !y->path)
		return x->path == y->path;
	return !strcmp(x->path, y->path) && x->format == y->format && x->sample == y->sample &&
	       x->always_errors == y->always_errors && x->always_slower_ms == y->always_slower_ms;
}

static int check_upstreams(const struct draft *d, struct sl_config_error *ret_error)
{
	for (size_t i = 0; i < d->config->n_upstreams; i++) {
		const struct sl_upstream_config *c = &d->config->upstreams[i];

		if (!sl_upstream_has_room(d->generation->upstream[i], c))
			return sl_config_fail(-ENOSPC, ret_error,
					      "upstream %s: too many servers of before still have "
					      "connections: try again later",
					      c->name);
	}
	return 0;
}

static int make_eras(struct sl_daemon *s, struct draft *d)
{
	for (uint32_t i = 0; i < s->n_workers; i++) {
		d->era[i] = sl_server_new_era(s, d->generation, i);
		if (!d->era[i])
			return -ENOMEM;
	}
	return 0;
}

static int make(struct sl_daemon *s, struct draft *d, struct sl_config_error *ret_error)
{
	int r;

	if (!s->config->file)
		return sl_config_fail(-ENOENT, ret_error,
				      "sluice runs without a file: nothing to reload");
	if (s->draining)
		return sl_config_fail(-ESHUTDOWN, ret_error, "sluice is draining");
	if (s->n_stuck)
		return sl_config_fail(-EBUSY, ret_error, "a worker is stuck");
	r = sl_config_load(s->config->file, &d->config, ret_error);
	if (!r)
		r = sl_server_check_fixed(s, d->config, ret_error);
	if (!r)
		r = sl_server_new_generation(s, d->config, &d->generation, ret_error);
	if (!r)
		r = check_upstreams(d, ret_error);
	if (r < 0)
		return r;
	d->new_log = !same_log(d->config, s->config);
	if (d->new_log)
		r = sl_server_open_log(s, d->config, &d->access_log, ret_error);
	if (!r)
		r = sl_server_open_doors(s, d->config, ret_error);
	if (r < 0)
		return r;
	r = make_eras(s, d);
	return r < 0 ? sl_config_fail(r, ret_error, "out of memory") : 0;
}

static void discard(struct sl_daemon *s, struct draft *d)
{
	for (uint32_t i = 0; i < s->n_workers; i++)
		sl_era_free(d->era[i]);
	sl_access_log_close(d->access_log);
	sl_server_close_doors(s, s->config);
	if (d->generation)
		sl_generation_leave(d->generation);
	else
		sl_config_free(d->config);
}

/* --- what can't --- */

static bool has(const struct sl_generation *g, const struct sl_upstream *u)
{
	for (size_t i = 0; i < g->config->n_upstreams; i++)
		if (g->upstream[i] == u)
			return true;
	return false;
}

static void change_upstreams(struct sl_daemon *s, const struct draft *d)
{
	const struct sl_set_listener l = {.on_change = sl_server_upstream_changed, .owner = s};
	const struct sl_generation *g = d->generation;

	for (size_t i = 0; i < g->config->n_upstreams; i++)
		if (g->upstream[i]->config != &g->config->upstreams[i])
			sl_upstream_reconfigure(g->upstream[i], g->config, i,
						sl_loop_now_ms(s->loop), &l);
}

/* Requests on their way still find its servers; nobody comes after them. */
static void retire_upstreams(struct sl_daemon *s, const struct sl_generation *old)
{
	for (size_t i = 0; i < old->config->n_upstreams; i++) {
		if (has(s->generation, old->upstream[i]))
			continue;
		sl_upstream_retire(old->upstream[i], true);
		sl_server_upstream_changed(s, old->upstream[i]);
	}
}

struct entry {
	const struct draft *draft;
	int result;
};

static void enter(struct sl_worker *w, void *arg)
{
	struct entry *e = arg;
	int r;

	if (e->draft->new_log)
		w->access_log = e->draft->access_log;
	r = sl_worker_enter(w, e->draft->era[w->index]);
	e->result = e->result ? e->result : r;
}

static void enter_workers(struct sl_daemon *s, const struct draft *d)
{
	struct entry e = {.draft = d};

	for (uint32_t i = 0; i < s->n_workers; i++)
		sl_worker_call(s->worker[i], enter, &e);
	if (e.result)
		sl_error("reload: not every worker could begin to listen: %s", strerror(-e.result));
}

static void put_to_use(struct sl_daemon *s, const struct draft *d)
{
	struct sl_generation *old = s->generation;
	int r;

	sl_server_stop_checks(s);
	change_upstreams(s, d);
	sl_limits_change(s->shared.limits, d->config);
	s->generation = d->generation;
	s->config = d->config;
	enter_workers(s, d);
	retire_upstreams(s, old);
	sl_server_forget_drained(s);
	sl_server_close_doors(s, s->config);
	if (d->new_log) {
		sl_access_log_close(s->access_log);
		s->access_log = d->access_log;
	}
	sl_log_set_level(s->config->log_level);
	sl_generation_leave(old);
	r = sl_server_start_checks(s);
	if (r < 0)
		sl_error("reload: health checks: %s", strerror(-r));
}

static void tell_reloading(void)
{
	char text[64];

	snprintf(text, sizeof(text), "RELOADING=1\nMONOTONIC_USEC=%llu",
		 (unsigned long long)sl_clock_us());
	sl_notify(text, -1);
}

int sl_server_reload(struct sl_daemon *s, struct sl_config_error *ret_error)
{
	struct draft d = {0};
	int r;

	tell_reloading();
	r = make(s, &d, ret_error);

	if (r < 0) {
		discard(s, &d);
		sl_notify("READY=1", -1);
		s->reloads_refused++;
		sl_error("reload refused, the configuration stays as it is: %s", ret_error->text);
		return r;
	}
	put_to_use(s, &d);
	sl_server_tell_ready(s);
	sl_info("configuration %llu is in use: %s", (unsigned long long)s->generation->number,
		s->config->file);
	return 0;
}
