/* SPDX-License-Identifier: BSD-2-Clause */
/* The set of an upstream's servers.
 *
 * A slot is free for another server when its server is removed and nothing is counted at it. A worker
 * counts its lease first and looks for `removed` then; this thread sets `removed` first and looks at the
 * counts then: at least one of them sees the other, so nobody leases what is being rewritten.
 *
 * Servers are added, all workers told, and only then others removed: no worker that goes through the
 * slots in between finds none. Old tables, and old configurations, are freed when all workers have been
 * told of the new ones.
 *
 * Not here: where the servers come from (discovery.c). */

#include "proxy/upstream/upstream_set.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/util.h"

#define TEXT_MAX 272 /* a name, ':', a port */

/* What a server in this place is called. */
struct sl_slot {
	struct sl_server_config config; /* its texts are those below */
	bool wanted;			/* scratch of a change */
	bool configured;		/* as it stands here: not found by name */
	char address[TEXT_MAX], host[TEXT_MAX], as[TEXT_MAX];
	char source[TEXT_MAX]; /* the configured address that it comes from */
};

static void fill_slot(struct sl_slot *slot, const struct sl_server_config *c, const char *as,
		      const char *source)
{
	slot->config = *c;
	slot->configured = !as && !c->discover;
	snprintf(slot->source, sizeof(slot->source), "%s", source);
	snprintf(slot->address, sizeof(slot->address), "%s", c->address);
	snprintf(slot->host, sizeof(slot->host), "%s", c->host);
	snprintf(slot->as, sizeof(slot->as), "%s", as ? as : "");
	slot->config.address = slot->address;
	slot->config.host = slot->host;
	slot->config.found_as = as ? slot->as : NULL;
}

/* --- the table --- */

static int by_address(const void *a, const void *b)
{
	const struct sl_server *const *x = a, *const *y = b;

	return strcmp((*x)->config->address, (*y)->config->address);
}

/* Servers come and go, and their slots depend on history: the order of the names doesn't. */
static size_t list_present(const struct sl_upstream *u, const struct sl_server **ret)
{
	size_t n = 0;

	for (size_t i = 0; i < u->n_servers; i++)
		if (!u->server[i].removed)
			ret[n++] = &u->server[i];
	qsort(ret, n, sizeof(*ret), by_address);
	return n;
}

static int build_maglev(const struct sl_upstream *u, struct sl_maglev **ret)
{
	const struct sl_server *present[SL_SERVERS_MAX];
	struct sl_maglev_server s[SL_SERVERS_MAX];
	size_t n = list_present(u, present);
	int r;

	for (size_t i = 0; i < n; i++)
		s[i] = (struct sl_maglev_server){.name = present[i]->config->address,
						 .weight = present[i]->config->weight};
	r = sl_maglev_new(s, n, ret);
	for (size_t i = 0; !r && i < SL_MAGLEV_SLOTS; i++)
		(*ret)->server[i] = (uint16_t)present[(*ret)->server[i]]->index;
	return r;
}

/* Of a place that nobody looks at. */
static void fill_server(struct sl_upstream *u, size_t i, const struct sl_server_config *c,
			const char *as, const char *source)
{
	struct sl_server *s = &u->server[i];

	fill_slot(&u->slot[i], c, as, source);
	s->config = &u->slot[i].config;
	s->upstream = u;
	s->index = (uint32_t)i;
	s->health = (struct sl_server_health){0};
	s->reused = s->opened = 0;
	if (c->discover && !c->port) { /* nothing to connect to by this name */
		s->health.down = true;
		s->health.why = "not resolved yet";
	}
}

int sl_upstream_set_init(struct sl_upstream *u)
{
	const struct sl_upstream_config *c = u->config;

	u->slot = calloc(SL_SERVERS_MAX, sizeof(*u->slot));
	if (!u->slot)
		return -ENOMEM;
	for (size_t i = 0; i < c->n_servers; i++)
		fill_server(u, i, &c->servers[i], NULL, c->servers[i].address);
	u->n_servers = u->n_present = c->n_servers;
	return c->balance == SL_BALANCE_MAGLEV ? build_maglev(u, &u->maglev) : 0;
}

/* --- change --- */

/* One change of the set on its way. */
struct change {
	struct sl_upstream *upstream;
	uint64_t now_ms;
	bool added, removed, changed;
	size_t left_out;
};

/* Present ones before removed ones. NULL: there is none. */
static struct sl_server *find(const struct sl_upstream *u, const char *address)
{
	struct sl_server *found = NULL;

	for (size_t i = 0; i < u->n_servers; i++) {
		struct sl_server *s = &u->server[i];

		if ((found && s->removed) || strcmp(s->config->address, address))
			continue;
		found = s;
		if (!s->removed)
			break;
	}
	return found;
}

/* Drained ones last: when their address is back, they are still to be drained. */
static struct sl_server *find_free(const struct sl_upstream *u)
{
	struct sl_server *drained = NULL;

	for (size_t i = 0; i < SL_SERVERS_MAX; i++) {
		struct sl_server *s = &u->server[i];

		if (i >= u->n_servers)
			return s;
		if (!s->removed || __atomic_load_n(&s->leased, __ATOMIC_SEQ_CST) ||
		    __atomic_load_n(&s->idle, __ATOMIC_SEQ_CST))
			continue;
		if (!s->health.drained)
			return s;
		drained = s;
	}
	return drained;
}

/* A server that is new starts slowly, where that is configured. */
static void appear(struct change *c, struct sl_server *s)
{
	struct sl_upstream *u = c->upstream;

	__atomic_store_n(&s->health.up_since_ms, c->now_ms, __ATOMIC_RELAXED);
	__atomic_store_n(&s->removed, false, __ATOMIC_SEQ_CST);
	if (s->index >= u->n_servers)
		__atomic_store_n(&u->n_servers, s->index + 1, __ATOMIC_RELEASE);
	__atomic_store_n(&u->n_present, u->n_present + 1, __ATOMIC_RELAXED);
	c->added = true;
	if (s->config->found_as)
		sl_info("upstream %s: server %s of %s is added", u->config->name,
			s->config->address, s->config->found_as);
}

static void disappear(struct change *c, struct sl_server *s)
{
	struct sl_upstream *u = c->upstream;

	__atomic_store_n(&s->removed, true, __ATOMIC_SEQ_CST);
	__atomic_store_n(&u->n_present, u->n_present - 1, __ATOMIC_RELAXED);
	c->removed = true;
	if (s->config->found_as)
		sl_info("upstream %s: server %s of %s is removed", u->config->name,
			s->config->address, s->config->found_as);
}

/* How a found server is configured; its texts are in text or borrowed. */
static struct sl_server_config config_of(const struct sl_found *f, char text[2][SL_ADDR_STR_MAX])
{
	struct sl_server_config c = *f->source;

	c.weight = f->weight;
	c.backup = f->backup;
	if (f->addr.family == AF_UNSPEC)
		return c;
	c.address = (char *)sl_addr_format(&f->addr, text[0]);
	c.host = (char *)sl_addr_format_host(&f->addr, text[1]);
	c.port = sl_addr_port(&f->addr);
	c.discover = false;
	return c;
}

static void place(struct change *c, const struct sl_server_config *config, const char *as,
		  const char *source)
{
	struct sl_upstream *u = c->upstream;
	struct sl_server *s = find_free(u);
	size_t i;

	if (!s) {
		c->left_out++;
		return;
	}
	i = (size_t)(s - u->server);
	fill_server(u, i, config, as, source);
	u->slot[i].wanted = true;
	appear(c, s);
}

static void keep(struct change *c, struct sl_server *s, const struct sl_server_config *config)
{
	struct sl_slot *slot = &c->upstream->slot[s->index];

	if (slot->wanted)
		return;
	slot->wanted = true;
	c->changed |= slot->config.weight != config->weight;
	__atomic_store_n(&slot->config.weight, config->weight, __ATOMIC_RELAXED);
	__atomic_store_n(&slot->config.backup, config->backup, __ATOMIC_RELAXED);
	if (s->removed)
		appear(c, s);
}

/* A name without addresses. */
static void tell_state(struct change *c, struct sl_server *s, const char *why)
{
	const struct sl_server_health *h = &s->health;

	if (why && (!h->down || !h->why || strcmp(h->why, why)))
		sl_server_set_down(s, true, c->now_ms, why);
}

static bool is_configured(const struct sl_upstream *u, const struct sl_server *s)
{
	return u->slot[s->index].configured;
}

static void want(struct change *c, const struct sl_found *f)
{
	char text[2][SL_ADDR_STR_MAX];
	const struct sl_server_config config = config_of(f, text);
	struct sl_server *s = find(c->upstream, config.address);

	if (s && !(is_configured(c->upstream, s) && !s->removed))
		keep(c, s, &config);
	else if (!s)
		place(c, &config, f->addr.family == AF_UNSPEC ? NULL : f->as, f->source->address);
	s = f->why ? find(c->upstream, config.address) : NULL;
	if (s)
		tell_state(c, s, f->why);
}

static void remove_others(struct change *c)
{
	struct sl_upstream *u = c->upstream;

	for (size_t i = 0; i < u->n_servers; i++)
		if (!u->slot[i].wanted && !u->server[i].removed && u->n_present > 1)
			disappear(c, &u->server[i]);
}

/* Without memory the old table stays: its keys go to others where a server is missing. */
static struct sl_maglev *renew_maglev(struct sl_upstream *u)
{
	struct sl_maglev *old = u->maglev, *new;

	if (!old || build_maglev(u, &new) < 0)
		return NULL;
	u->maglev = new;
	return old;
}

static void note_left_out(struct sl_upstream *u, size_t n)
{
	if (n > u->n_left_out)
		sl_warning("upstream %s: no room for %zu more servers", u->config->name, n);
	u->n_left_out = n;
}

size_t sl_upstream_set(struct sl_upstream *u, const struct sl_found *f, size_t n, uint64_t now_ms,
		       const struct sl_set_listener *l)
{
	struct change c = {.upstream = u, .now_ms = now_ms};
	struct sl_maglev *old;

	for (size_t i = 0; i < u->n_servers; i++)
		u->slot[i].wanted = u->slot[i].configured;
	for (size_t i = 0; i < n; i++)
		want(&c, &f[i]);
	if (c.added)
		l->on_change(l->owner, u);
	remove_others(&c);
	note_left_out(u, c.left_out);
	if (!c.added && !c.removed && !c.changed)
		return c.left_out;
	old = renew_maglev(u);
	l->on_change(l->owner, u);
	free(old);
	sl_upstream_wake(u);
	return c.left_out;
}

/* --- another configuration --- */

/* Addresses that a name was found to have stay until it is asked again; before the first answer, and
 * after a change of sides, the name stands for itself. */
static bool keep_found(struct sl_upstream *u, const struct sl_server_config *config)
{
	bool found = false;

	for (size_t i = 0; config->discover && i < u->n_servers; i++) {
		if (u->server[i].removed || u->slot[i].configured ||
		    strcmp(u->slot[i].source, config->address))
			continue;
		u->slot[i].wanted = found = true;
	}
	return found;
}

static void want_configured(struct change *c, const struct sl_server_config *config)
{
	struct sl_server *s;

	if (keep_found(c->upstream, config))
		return;
	s = find(c->upstream, config->address);
	if (!s) {
		place(c, config, NULL, config->address);
		return;
	}
	keep(c, s, config);
	c->upstream->slot[s->index].configured = !config->discover;
}

/* What is not there yet. */
static size_t count_new(struct sl_upstream *u, const struct sl_upstream_config *c)
{
	size_t n = 0;

	for (size_t i = 0; i < c->n_servers; i++)
		n += !find(u, c->servers[i].address) && !keep_found(u, &c->servers[i]);
	return n;
}

bool sl_upstream_has_room(struct sl_upstream *u, const struct sl_upstream_config *c)
{
	size_t free = SL_SERVERS_MAX - u->n_servers;

	for (size_t i = 0; i < u->n_servers; i++)
		free += u->server[i].removed &&
			!__atomic_load_n(&u->server[i].leased, __ATOMIC_SEQ_CST) &&
			!__atomic_load_n(&u->server[i].idle, __ATOMIC_SEQ_CST);
	return count_new(u, c) <= free;
}

/* The table that the new configuration asks for, or none. Returns the old one, when it is of no more
 * use. */
static struct sl_maglev *change_maglev(struct sl_upstream *u)
{
	struct sl_maglev *new = NULL, *old = u->maglev;

	if (u->config->balance == SL_BALANCE_MAGLEV && build_maglev(u, &new) < 0)
		return NULL;
	u->maglev = new;
	return old;
}

void sl_upstream_reconfigure(struct sl_upstream *u, struct sl_config *config, size_t index,
			     uint64_t now_ms, const struct sl_set_listener *l)
{
	struct change c = {.upstream = u, .now_ms = now_ms};
	struct sl_config *before = u->keeps;
	struct sl_maglev *old;

	for (size_t i = 0; i < u->n_servers; i++)
		u->slot[i].wanted = false;
	for (size_t i = 0; i < config->upstreams[index].n_servers; i++)
		want_configured(&c, &config->upstreams[index].servers[i]);
	u->keeps = sl_config_keep(config);
	__atomic_store_n(&u->config, &config->upstreams[index], __ATOMIC_RELEASE);
	sl_upstream_retire(u, false);
	l->on_change(l->owner, u);
	remove_others(&c);
	note_left_out(u, c.left_out);
	old = change_maglev(u);
	l->on_change(l->owner, u);
	free(old);
	sl_config_free(before);
	sl_upstream_wake(u);
}
