/* SPDX-License-Identifier: BSD-2-Clause */
/* Listeners that an operator takes out of service, one by one, while the process goes on:
 *
 *	at once      not ready (/readyz/NAME); answers tell clients that their connection ends
 *	drain_delay  no more handshakes begin; a moment later it accepts what waits, and its address closes
 *	bound        what is left is reset, idle connections close
 *
 * They are known by name, so they stay out over reloads that still have the name, and over an upgrade; a
 * start begins with all in service. */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "proxy/server_state.h"

#define ASK_MS	     2000
#define RETRY_MS     1000
#define ENVIRONMENT  "SLUICE_DRAINED"
#define VARIABLE_MAX ((size_t)100 << 10) /* the kernel takes 128 KiB */

/* An order to a worker. */
struct order {
	uint32_t place;
	bool ends;
	int fd;
	int result;
	uint64_t reset; /* connections, by all workers */
};

static struct sl_drained *find(const struct sl_daemon *s, const char *name)
{
	for (size_t i = 0; i < s->n_drained; i++)
		if (!strcmp(s->drained[i].name, name))
			return &s->drained[i];
	return NULL;
}

static const struct sl_listener_config *find_config(const struct sl_daemon *s, const char *name,
						    uint32_t *ret_place)
{
	for (size_t i = 0; i < s->config->n_listeners; i++) {
		if (strcmp(s->config->listeners[i].name, name))
			continue;
		*ret_place = s->generation->place[i];
		return &s->config->listeners[i];
	}
	return NULL;
}

bool sl_server_is_drained(const struct sl_daemon *s, const char *name)
{
	return find(s, name);
}

bool sl_server_is_shut(const struct sl_daemon *s, const char *name)
{
	const struct sl_drained *d = find(s, name);

	return d && d->shut;
}

bool sl_server_is_closed(const struct sl_daemon *s, const char *name)
{
	const struct sl_drained *d = find(s, name);

	return d && d->closed;
}

static int tell_workers(struct sl_daemon *s, void (*fn)(struct sl_worker *w, void *arg),
			struct order *o)
{
	int r = 0, one;

	for (uint32_t i = 0; i < s->n_workers; i++) {
		one = sl_worker_ask(s->worker[i], fn, o, ASK_MS);
		if (one < 0)
			sl_error("listener: worker %u does not answer", i);
		r = r ? r : one;
	}
	return r;
}

static void set_ending(struct sl_worker *w, void *arg)
{
	const struct order *o = arg;

	sl_worker_set_ending(w, o->place, o->ends);
}

static void close_listener(struct sl_worker *w, void *arg)
{
	sl_worker_close_listener(w, ((const struct order *)arg)->place);
}

static void open_listener(struct sl_worker *w, void *arg)
{
	struct order *o = arg;

	o->result = sl_worker_open_listener(w, o->place, o->fd);
}

static void end_conns(struct sl_worker *w, void *arg)
{
	struct order *o = arg;

	o->reset += sl_worker_end_conns(w, o->place);
}

/* --- in time --- */

/* It may have gone from the configuration. */
static void shut_now(struct sl_daemon *s, struct sl_drained *d)
{
	uint32_t place;
	const struct sl_listener_config *c = find_config(s, d->name, &place);

	if (c && !s->draining)
		sl_doors_shut(&s->doors, &c->listen);
	d->shut = true;
	d->close_ms = sl_loop_now_ms(s->loop) + SL_SHUT_MS;
}

static void close_now(struct sl_daemon *s, struct sl_drained *d)
{
	struct order o = {.place = d->place};

	if (tell_workers(s, close_listener, &o) < 0) {
		d->close_ms = sl_loop_now_ms(s->loop) + RETRY_MS;
		return;
	}
	d->closed = true;
	if (!s->draining) /* else the doors are closed, or another process's */
		sl_server_close_doors(s, s->config);
	sl_info("listener %s: closed, %u connections are left", d->name,
		sl_limits_open(s->shared.limits, d->place));
}

static void end_now(struct sl_daemon *s, struct sl_drained *d)
{
	struct order o = {.place = d->place};
	int r = tell_workers(s, end_conns, &o);

	d->reset += o.reset;
	if (o.reset)
		sl_warning("listener %s: time is over, %llu connections are reset", d->name,
			   (unsigned long long)o.reset);
	d->until_ms = r < 0 ? sl_loop_now_ms(s->loop) + RETRY_MS : 0;
}

static void arm(struct sl_daemon *s);

static void look(struct sl_timer *t)
{
	struct sl_daemon *s = sl_container_of(t, struct sl_daemon, drained_timer);

	for (size_t i = 0; i < s->n_drained; i++) {
		struct sl_drained *d = &s->drained[i];
		uint64_t now = sl_loop_now_ms(s->loop);

		if (!d->shut && now >= d->close_ms)
			shut_now(s, d);
		else if (!d->closed && now >= d->close_ms)
			close_now(s, d);
		if (d->until_ms && now >= d->until_ms)
			end_now(s, d);
	}
	arm(s);
}

/* For what comes first. */
static void arm(struct sl_daemon *s)
{
	uint64_t next = UINT64_MAX, now = sl_loop_now_ms(s->loop);

	for (size_t i = 0; i < s->n_drained; i++) {
		const struct sl_drained *d = &s->drained[i];

		if (!d->closed)
			next = sl_min(next, d->close_ms);
		if (d->until_ms)
			next = sl_min(next, d->until_ms);
	}
	if (next != UINT64_MAX)
		sl_loop_arm(s->loop, &s->drained_timer, next > now ? next - now : 0);
}

static void rearm(struct sl_daemon *s)
{
	sl_loop_disarm(s->loop, &s->drained_timer);
	arm(s);
}

/* --- orders --- */

static int add(struct sl_daemon *s, const char *name, uint32_t place, struct sl_drained **ret)
{
	struct sl_drained *grown = reallocarray(s->drained, s->n_drained + 1, sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	s->drained = grown;
	*ret = &grown[s->n_drained++];
	**ret = (struct sl_drained){.place = place};
	snprintf((*ret)->name, sizeof((*ret)->name), "%s", name);
	return 0;
}

static void drop(struct sl_daemon *s, struct sl_drained *d)
{
	*d = s->drained[--s->n_drained];
}

static int check_order(const struct sl_daemon *s, const char *name, uint32_t *ret_place,
		       struct sl_config_error *ret_error)
{
	if (!find_config(s, name, ret_place))
		return sl_config_fail(-ENOENT, ret_error, "there is no such listener");
	if (s->draining)
		return sl_config_fail(-ESHUTDOWN, ret_error, "sluice is draining");
	if (s->n_stuck)
		return sl_config_fail(-EBUSY, ret_error, "a worker is stuck");
	return 0;
}

int sl_server_drain_listener(struct sl_daemon *s, const char *name, const uint64_t *bound_ms,
			     struct sl_config_error *ret_error)
{
	const uint64_t now = sl_loop_now_ms(s->loop);
	const uint32_t delay = s->config->timeouts.drain_delay;
	uint64_t bound = bound_ms ? *bound_ms : s->config->timeouts.drain;
	struct sl_drained *d = find(s, name);
	bool known = d;
	struct order o = {.ends = true};
	int r = check_order(s, name, &o.place, ret_error);

	if (!r && !known && add(s, name, o.place, &d) < 0)
		r = sl_config_fail(-ENOMEM, ret_error, "out of memory");
	if (r < 0)
		return r;
	if (!known) {
		d->close_ms = now + delay;
		tell_workers(s, set_ending, &o);
		sl_info("listener %s: draining, closes in %u ms", name, delay);
	}
	if (!known || bound_ms)
		d->until_ms = bound ? sl_max(d->close_ms, now) + bound : 0;
	rearm(s);
	return known;
}

static void begin_again(struct sl_daemon *s, const struct sl_listener_config *c, uint32_t place)
{
	struct order o = {.place = place};

	for (uint32_t i = 0; i < s->n_workers; i++) {
		o.fd = sl_doors_fd(&s->doors, &c->listen, i);
		if (sl_worker_ask(s->worker[i], set_ending, &o, ASK_MS) < 0 ||
		    sl_worker_ask(s->worker[i], open_listener, &o, ASK_MS) < 0 || o.result < 0)
			sl_error("listener %s: worker %u does not listen", c->name, i);
	}
}

int sl_server_enable_listener(struct sl_daemon *s, const char *name,
			      struct sl_config_error *ret_error)
{
	const struct sl_listener_config *c;
	struct sl_drained *d = find(s, name), was;
	uint32_t place = 0;
	int r = check_order(s, name, &place, ret_error);

	if (!r && !d)
		r = sl_config_fail(-EALREADY, ret_error, "the listener is not drained");
	if (r < 0)
		return r;
	was = *d;
	drop(s, d);
	r = sl_server_open_doors(s, s->config, ret_error);
	if (r < 0) { /* there was room for it */
		s->drained[s->n_drained++] = was;
		return r;
	}
	c = find_config(s, name, &place);
	begin_again(s, c, place);
	sl_server_tell_ready(s);
	sl_info("listener %s: in service", name);
	rearm(s);
	return 0;
}

/* --- what becomes of them --- */

void sl_server_forget_drained(struct sl_daemon *s)
{
	struct order o = {.ends = false};

	for (size_t i = s->n_drained; i-- > 0;) {
		struct sl_drained *d = &s->drained[i];

		if (find_config(s, d->name, &o.place))
			continue;
		o.place = d->place;
		tell_workers(s, set_ending, &o);
		drop(s, d);
	}
	rearm(s);
}

/* --- over an upgrade: names of listeners, and UPSTREAM/SERVER --- */

static void name_server(void *arg, const struct sl_server_info *i)
{
	if (!strcmp(i->state, "drained"))
		fprintf(arg, "%s/%s ", i->upstream, i->server);
}

char *sl_server_drained_variable(const struct sl_daemon *s)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	if (!f)
		return NULL;
	fprintf(f, ENVIRONMENT "=");
	for (size_t i = 0; i < s->n_drained; i++)
		fprintf(f, "%s ", s->drained[i].name);
	sl_upstreams_describe(s->upstreams, sl_loop_now_ms(s->loop), name_server, f);
	if (!fclose(f) && len < VARIABLE_MAX)
		return text;
	free(text);
	return NULL;
}

static int take_listener(struct sl_daemon *s, const char *name)
{
	struct sl_drained *d;
	uint32_t place;

	if (!find_config(s, name, &place) || find(s, name))
		return 0;
	if (add(s, name, place, &d) < 0)
		return -ENOMEM;
	d->shut = d->closed = true;
	for (uint32_t i = 0; i < s->n_workers; i++)
		sl_worker_set_ending(s->worker[i], place, true);
	sl_warning("listener %s: drained, as in the process before", name);
	return 0;
}

/* Those that are found by name are not known yet. */
static void take_server(struct sl_daemon *s, const char *upstream, const char *name)
{
	struct sl_server *server = sl_upstreams_find(s->upstreams, upstream, name);

	if (!server)
		return;
	sl_server_set_drained(server, true, sl_loop_now_ms(s->loop));
	sl_warning("server %s/%s: drained, as in the process before", upstream, name);
}

int sl_server_take_drained(struct sl_daemon *s)
{
	const char *value = getenv(ENVIRONMENT);
	_sl_free_ char *names = value ? strdup(value) : NULL;
	char *rest, *slash;
	int r = 0;

	sl_timer_init(&s->drained_timer, look);
	unsetenv(ENVIRONMENT);
	for (char *n = names ? strtok_r(names, " ", &rest) : NULL; n && !r;
	     n = strtok_r(NULL, " ", &rest)) {
		slash = strchr(n, '/');
		if (!slash) {
			r = take_listener(s, n);
			continue;
		}
		*slash = '\0';
		take_server(s, n, slash + 1);
	}
	return r;
}

/* --- what is told --- */

static void count_load(struct sl_worker *w, void *arg)
{
	sl_worker_count_load(w, arg);
}

void sl_server_listener_load(struct sl_daemon *s, struct sl_listener_load *load)
{
	for (uint32_t i = 0; i < s->n_workers; i++)
		if (!s->stuck[i])
			sl_worker_ask(s->worker[i], count_load, load, ASK_MS);
}

const char *sl_server_listener_state(const struct sl_daemon *s, const char *name, uint32_t place)
{
	if (!s->draining && !find(s, name))
		return "up";
	return (s->draining || sl_server_is_closed(s, name)) &&
			       !sl_limits_open(s->shared.limits, place)
		       ? "drained"
		       : "draining";
}

int sl_server_listener_progress(struct sl_daemon *s, const char *name,
				struct sl_drain_progress *ret)
{
	const uint64_t now = sl_loop_now_ms(s->loop);
	struct sl_listener_load load = {0};
	const struct sl_drained *d = find(s, name);

	if (!find_config(s, name, &load.place))
		return -ENOENT;
	sl_server_listener_load(s, &load);
	*ret = (struct sl_drain_progress){
		.state = sl_server_listener_state(s, name, load.place),
		.connections = load.connections,
		.idle = load.idle,
		.tunnels = load.tunnels,
	};
	if (!d)
		return 0;
	ret->closes_in_ms = !d->closed && d->close_ms > now ? d->close_ms - now : 0;
	ret->bounded = d->until_ms;
	ret->ends_in_ms = d->until_ms > now ? d->until_ms - now : 0;
	ret->reset = d->reset;
	return 0;
}
