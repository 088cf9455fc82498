/* SPDX-License-Identifier: BSD-2-Clause */
/* Discovery. A source is a configured name; it has targets, hosts to look up with the port and weight of
 * what is found there: one, the name itself, or those of its SRV records. In a turn the SRV records are
 * asked for, then the addresses of all targets at once; the turn ends when all have answered, with the
 * source's new addresses and the time of the next turn.
 *
 * Invariants: `pending` look-ups are out, and targets are not replaced until they are back. A look-up
 * that fails, and an answer without any address, leave what was known before: a name server that is
 * ill must not empty an upstream.
 *
 * c-ares calls back from inside, where nothing may be asked: the next step is always a deferred task. */

#include "proxy/upstream/discovery.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/util.h"
#include "proxy/names/resolve_dns.h"

#define AGAIN_MS    1000 /* for those that found no slot */
#define HOSTS_TTL_S 5	 /* a change of /etc/hosts is seen after that */
#define WEIGHT_MAX  1000
#define NAME_AS_MAX (SL_NAME_MAX + sizeof(":65535"))
#define FOUND_MAX   (2 * SL_SERVERS_MAX)

enum family {
	V6,
	V4,
	FAMILIES,
};

struct target {
	struct source *source;
	uint16_t port;
	uint32_t weight;
	bool backup;
	char host[SL_NAME_MAX + 1], as[NAME_AS_MAX];
	struct sl_dns_lookup half[FAMILIES];
	struct sl_addrs known[FAMILIES]; /* the last good answers */
};

struct source {
	struct sl_discovery *discovery;
	struct sl_upstream *upstream;
	const struct sl_server_config *config;
	struct sl_timer next;
	struct sl_task step;
	struct sl_dns_srv_lookup *srv; /* NULL: an address */
	bool asks_srv;
	unsigned pending;
	struct target *target;
	size_t n_targets;
	const char *why; /* of the latest failure; NULL: none since the latest success */
	uint32_t ttl_s;	 /* the shortest of this turn */
};

struct sl_discovery {
	struct sl_discovery_options options;
	struct sl_dns *dns;
	struct sl_timer again; /* for upstreams that were full */
	uint64_t random;
	size_t n;
	struct source source[];
};

static const char *reason(int error)
{
	switch (error) {
	case -ENOENT:
		return "dns-no-name";
	case -ETIMEDOUT:
		return "dns-timeout";
	case -ENOMEM:
		return "no memory";
	default:
		return "dns-failed";
	}
}

/* --- what was found --- */

static bool has_address(const struct source *s)
{
	for (size_t i = 0; i < s->n_targets; i++)
		if (s->target[i].known[V6].n || s->target[i].known[V4].n)
			return true;
	return false;
}

struct list {
	size_t n;
	struct sl_found found[FOUND_MAX];
};

static void add_target(const struct target *t, struct list *list)
{
	for (int f = 0; f < FAMILIES; f++)
		for (size_t i = 0; i < t->known[f].n && list->n < FOUND_MAX; i++) {
			struct sl_found *found = &list->found[list->n++];

			*found = (struct sl_found){
				.source = t->source->config,
				.addr = t->known[f].addr[i],
				.as = t->as,
				.weight = t->weight,
				.backup = t->backup,
			};
			sl_addr_unmap(&found->addr);
			sl_addr_set_port(&found->addr, t->port);
		}
}

static void add_source(const struct source *s, struct list *list)
{
	if (!has_address(s) && list->n < FOUND_MAX)
		list->found[list->n++] = (struct sl_found){
			.source = s->config,
			.why = s->why,
			.weight = s->config->weight,
			.backup = s->config->backup,
		};
	for (size_t i = 0; i < s->n_targets; i++)
		add_target(&s->target[i], list);
}

static void apply(struct sl_discovery *d, struct sl_upstream *u)
{
	struct list list = {0};

	for (size_t i = 0; i < d->n; i++)
		if (d->source[i].upstream == u)
			add_source(&d->source[i], &list);
	if (sl_upstream_set(u, list.found, list.n, sl_loop_now_ms(d->options.loop),
			    &d->options.listener))
		sl_loop_arm(d->options.loop, &d->again, AGAIN_MS);
}

static void apply_again(struct sl_timer *t)
{
	struct sl_discovery *d = sl_container_of(t, struct sl_discovery, again);
	const struct sl_upstream *done = NULL;

	for (size_t i = 0; i < d->n; i++) {
		if (d->source[i].upstream != done)
			apply(d, d->source[i].upstream);
		done = d->source[i].upstream;
	}
}

/* --- the end of a turn --- */

/* xorshift64*: turns of many names, and of many proxies, should not stay together. */
static uint64_t jitter(struct sl_discovery *d, uint64_t below)
{
	d->random ^= d->random >> 12;
	d->random ^= d->random << 25;
	d->random ^= d->random >> 27;
	return d->random * 0x2545f4914f6cdd1dull % (below + 1);
}

static void arm_next(struct source *s)
{
	const struct sl_discovery_config *c = &s->upstream->config->resolve;
	uint64_t ms = s->why ? c->min_ms : (uint64_t)s->ttl_s * 1000;

	ms = sl_max(sl_min(ms, (uint64_t)c->max_ms), (uint64_t)c->min_ms);
	sl_loop_arm(s->discovery->options.loop, &s->next, ms + jitter(s->discovery, ms / 10));
}

static void fail(struct source *s, int error)
{
	const char *why = reason(error);

	if (has_address(s) && (!s->why || strcmp(s->why, why)))
		sl_warning("upstream %s: %s: %s: the last known addresses are kept",
			   s->upstream->config->name, s->config->address, why);
	s->why = why;
}

/* Returns 0, or the error that left something as it was. */
static int learn(struct target *t)
{
	int error = 0;

	if (!t->half[V6].addrs.n && !t->half[V4].addrs.n)
		return t->half[V4].error == -ENOENT ? t->half[V6].error : t->half[V4].error;
	for (int f = 0; f < FAMILIES; f++) {
		const struct sl_dns_lookup *h = &t->half[f];

		if (h->addrs.n)
			t->source->ttl_s = sl_min(t->source->ttl_s, h->ttl_s);
		else if (h->error != -ENOENT)
			error = h->error;
		if (h->addrs.n || h->error == -ENOENT)
			t->known[f] = h->addrs;
	}
	return error;
}

static void end_turn(struct source *s)
{
	int error = 0, r;

	for (size_t i = 0; i < s->n_targets; i++) {
		r = learn(&s->target[i]);
		error = r ? r : error;
	}
	if (error)
		fail(s, error);
	else
		s->why = NULL;
	arm_next(s);
	apply(s->discovery, s->upstream);
}

/* --- look-ups --- */

static void answered(struct source *s)
{
	if (!--s->pending)
		sl_loop_defer(s->discovery->options.loop, &s->step);
}

static void half_done(struct sl_dns_lookup *l)
{
	answered(((struct target *)l->owner)->source);
}

static void srv_done(struct sl_dns_srv_lookup *l)
{
	answered(l->owner);
}

static bool ask_hosts(struct target *t)
{
	sl_dns_hosts(t->source->discovery->dns, t->host, &t->half[V6].addrs, &t->half[V4].addrs);
	return t->half[V6].addrs.n || t->half[V4].addrs.n;
}

static void ask_target(struct target *t)
{
	for (int f = 0; f < FAMILIES; f++)
		t->half[f] = (struct sl_dns_lookup){
			.family = f == V6 ? AF_INET6 : AF_INET,
			.on_done = half_done,
			.owner = t,
			.error = -ENOENT,
			.ttl_s = HOSTS_TTL_S,
		};
	if (!*t->host || ask_hosts(t))
		return;
	t->source->pending += FAMILIES;
	for (int f = 0; f < FAMILIES; f++)
		sl_dns_ask(t->source->discovery->dns, t->host, &t->half[f]);
}

static void ask_targets(struct source *s)
{
	s->asks_srv = false;
	s->pending = 1; /* until all are asked */
	for (size_t i = 0; i < s->n_targets; i++)
		ask_target(&s->target[i]);
	answered(s);
}

/* What is known of the same host and port stays known. */
static void take_known(const struct source *s, struct target *t)
{
	for (size_t i = 0; i < s->n_targets; i++)
		if (!strcmp(s->target[i].as, t->as))
			memcpy(t->known, s->target[i].known, sizeof(t->known));
}

/* Weights may be up to 65535, and 0 for "hardly": here they are 1 to 1000, in the same proportions as far
 * as that goes. The lowest priority is asked first, the others are backups. */
static void take_srv(const struct source *s, const struct sl_srvs *srvs, struct target *target)
{
	unsigned first = UINT16_MAX, heaviest = WEIGHT_MAX;

	for (size_t i = 0; i < srvs->n; i++) {
		first = sl_min(first, (unsigned)srvs->srv[i].priority);
		heaviest = sl_max(heaviest, (unsigned)srvs->srv[i].weight);
	}
	for (size_t i = 0; i < srvs->n; i++) {
		const struct sl_srv *srv = &srvs->srv[i];
		struct target *t = &target[i];

		t->source = (struct source *)s;
		t->port = srv->port;
		t->weight = sl_max(srv->weight * WEIGHT_MAX / heaviest, 1u);
		t->backup = s->config->backup || srv->priority > first;
		memcpy(t->host, srv->target, sizeof(t->host));
		snprintf(t->as, sizeof(t->as), "%s:%u", srv->target, srv->port);
		take_known(s, t);
	}
}

/* 0, or the error that left the targets as they were. */
static int renew_targets(struct source *s)
{
	const struct sl_srvs *srvs = &s->srv->srvs;
	struct target *target;

	if (s->srv->error)
		return s->srv->error;
	target = calloc(srvs->n, sizeof(*target));
	if (!target)
		return -ENOMEM;
	take_srv(s, srvs, target);
	free(s->target);
	s->target = target;
	s->n_targets = srvs->n;
	s->ttl_s = srvs->ttl_s;
	return 0;
}

static void step(struct sl_task *t)
{
	struct source *s = sl_container_of(t, struct source, step);
	int r;

	if (!s->asks_srv) {
		end_turn(s);
		return;
	}
	r = renew_targets(s);
	if (!r) {
		ask_targets(s);
		return;
	}
	fail(s, r);
	arm_next(s);
	apply(s->discovery, s->upstream);
}

static void begin(struct sl_timer *t)
{
	struct source *s = sl_container_of(t, struct source, next);

	s->ttl_s = UINT32_MAX;
	if (!s->srv) {
		ask_targets(s);
		return;
	}
	s->asks_srv = true;
	s->pending = 1;
	*s->srv = (struct sl_dns_srv_lookup){.on_done = srv_done, .owner = s};
	sl_dns_ask_srv(s->discovery->dns, s->config->host, s->srv);
}

/* --- life --- */

/* A name that no host can be called is not asked for: it fails as one that doesn't exist. */
static int init_source(struct source *s)
{
	const struct sl_server_config *c = s->config;
	struct target *t;

	sl_timer_init(&s->next, begin);
	sl_task_init(&s->step, step);
	if (!c->port) {
		s->srv = calloc(1, sizeof(*s->srv));
		return s->srv ? 0 : -ENOMEM;
	}
	t = s->target = calloc(1, sizeof(*s->target));
	if (!t)
		return -ENOMEM;
	s->n_targets = 1;
	t->source = s;
	t->port = c->port;
	t->weight = c->weight;
	t->backup = c->backup;
	snprintf(t->as, sizeof(t->as), "%s", c->address);
	if (!sl_name_normalise(sl_slice_str(c->host), t->host))
		*t->host = '\0';
	return 0;
}

static int init_sources(struct sl_discovery *d)
{
	int r = 0;

	for (size_t i = 0; i < d->options.config->n_upstreams; i++) {
		struct sl_upstream *u = d->options.upstream[i];

		for (size_t k = 0; k < u->config->n_servers && !r; k++) {
			if (!u->config->servers[k].discover)
				continue;
			d->source[d->n] = (struct source){
				.discovery = d, .upstream = u, .config = &u->config->servers[k]};
			r = init_source(&d->source[d->n++]);
		}
	}
	return r;
}

static size_t count_sources(const struct sl_config *c)
{
	size_t n = 0;

	for (size_t i = 0; i < c->n_upstreams; i++)
		for (size_t k = 0; k < c->upstreams[i].n_servers; k++)
			n += c->upstreams[i].servers[k].discover;
	return n;
}

int sl_discovery_new(const struct sl_discovery_options *o, struct sl_discovery **ret)
{
	size_t n = count_sources(o->config);
	struct sl_discovery *d;
	int r;

	*ret = NULL;
	if (!n)
		return 0;
	d = calloc(1, sizeof(*d) + n * sizeof(d->source[0]));
	if (!d)
		return -ENOMEM;
	d->options = *o;
	d->random = sl_clock_us() | 1;
	sl_timer_init(&d->again, apply_again);
	r = sl_dns_new(o->loop, &o->config->resolver, &d->dns);
	if (!r)
		r = init_sources(d);
	if (r < 0) {
		sl_discovery_free(d);
		return r;
	}
	for (size_t i = 0; i < d->n; i++)
		sl_loop_arm(o->loop, &d->source[i].next, 0);
	*ret = d;
	return 0;
}

void sl_discovery_free(struct sl_discovery *d)
{
	if (!d)
		return;
	sl_dns_free(d->dns);
	sl_loop_disarm(d->options.loop, &d->again);
	for (size_t i = 0; i < d->n; i++) {
		sl_loop_disarm(d->options.loop, &d->source[i].next);
		sl_loop_cancel(&d->source[i].step);
		free(d->source[i].srv);
		free(d->source[i].target);
	}
	free(d);
}
