/* SPDX-License-Identifier: BSD-2-Clause */
/* Samples of what operators list: listeners, servers and pools. A row has its labels and all its figures; families take
 * these in order. Lists are cut, so the number of series is bounded: docs/metrics.md has the bounds. */

#include "proxy/observe/exposition.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

/* More would cost every scrape megabytes. */
#define ROWS_MAX    1000
#define FIGURES_MAX 16

struct row {
	const char *name[2];
	uint64_t figure[FIGURES_MAX];
};

struct table {
	const char *label[2]; /* the second may be NULL */
	size_t n;
	struct row row[ROWS_MAX];
};

struct family {
	const char *name, *type, *help;
	/* Of several figures: a label tells them apart. NULL: there is one. */
	const char *label;
	const char *(*value)(unsigned i);
	unsigned figures;
};

static struct row *add_row(struct table *t)
{
	static struct row scrap;

	return t->n < ROWS_MAX ? &t->row[t->n++] : &scrap;
}

static void put_sample(FILE *f, const struct table *t, const struct row *r,
		       const struct family *family, unsigned i, uint64_t figure)
{
	fprintf(f, "%s{", family->name);
	sl_expo_label(f, t->label[0], r->name[0]);
	for (int k = 1; k < 2 && t->label[k]; k++) {
		fputc(',', f);
		sl_expo_label(f, t->label[k], r->name[k]);
	}
	if (family->label)
		fprintf(f, ",%s=\"%s\"", family->label, family->value(i));
	fprintf(f, "} %" PRIu64 "\n", figure);
}

static void put_table(FILE *f, const struct table *t, const struct family *families, size_t n)
{
	unsigned at = 0;

	for (size_t i = 0; i < n; i++) {
		const unsigned figures = families[i].label ? families[i].figures : 1;

		sl_expo_family(f, families[i].name, families[i].type, families[i].help);
		for (size_t k = 0; k < t->n; k++)
			for (unsigned v = 0; v < figures; v++)
				put_sample(f, t, &t->row[k], &families[i], v,
					   t->row[k].figure[at + v]);
		at += figures;
	}
}

/* --- listeners --- */

static const char *refusal_name(unsigned i)
{
	return sl_refused_name((enum sl_refused)i);
}

static const struct family listener_families[] = {
	{"sluice_listener_connections", "gauge", "Client connections now", NULL, NULL, 1},
	{"sluice_listener_drained", "gauge",
	 "1 if the listener is taken out of service, or sluice drains", NULL, NULL, 1},
	{"sluice_listener_accepted_total", "counter", "Client connections accepted", NULL, NULL, 1},
	{"sluice_listener_requests_total", "counter", "Request heads parsed, good or bad", NULL,
	 NULL, 1},
	{"sluice_listener_refused_total", "counter", "Connections and requests refused", "reason",
	 refusal_name, SL_REFUSED_COUNT},
};

static void add_listener(void *arg, const struct sl_listener_info *l)
{
	struct row *r = add_row(arg);

	*r = (struct row){{l->name},
			  {l->connections, strcmp(l->state, "up") != 0, l->stats.accepted,
			   l->stats.requests}};
	memcpy(&r->figure[4], l->stats.refused, sizeof(l->stats.refused));
	_Static_assert(4 + SL_REFUSED_COUNT <= FIGURES_MAX, "all figures have room");
}

/* --- servers --- */

static const struct family server_families[] = {
	{"sluice_server_up", "gauge", "1 if requests are sent to the server", NULL, NULL, 1},
	{"sluice_server_leased", "gauge", "Connections to the server in use or being opened", NULL,
	 NULL, 1},
	{"sluice_server_idle", "gauge", "Idle connections to the server", NULL, NULL, 1},
	{"sluice_server_opened_total", "counter", "Connections to the server that were opened",
	 NULL, NULL, 1},
	{"sluice_server_reused_total", "counter", "Uses of an idle connection instead", NULL, NULL,
	 1},
	{"sluice_server_requests_total", "counter", "Requests that tell how the server is", NULL,
	 NULL, 1},
	{"sluice_server_failures_total", "counter", "Of these, requests that it failed", NULL, NULL,
	 1},
	{"sluice_server_ejections_total", "counter", "Times that it was left out for failures",
	 NULL, NULL, 1},
};

static void add_server(void *arg, const struct sl_server_info *s)
{
	*add_row(arg) = (struct row){{s->upstream, s->server},
				     {s->up, s->leased, s->idle, s->opened, s->reused, s->requests,
				      s->failures, s->ejections}};
}

/* --- pools --- */

enum { REFUSED_FULL, REFUSED_TIMEOUT, REFUSED_REASONS };

static const char *turned_away_name(unsigned i)
{
	return i == REFUSED_FULL ? "full" : "timeout";
}

static const char *end_name(unsigned i)
{
	return sl_pool_end_name((enum sl_pool_end)i);
}

static const struct family pool_families[] = {
	{"sluice_pool_connections_limit", "gauge",
	 "Most connections to each server of the upstream, idle ones included", NULL, NULL, 1},
	{"sluice_pool_waiting", "gauge", "Requests that wait for a connection now", NULL, NULL, 1},
	{"sluice_pool_waiting_limit", "gauge", "Most requests that may wait", NULL, NULL, 1},
	{"sluice_pool_waits_total", "counter", "Requests that had to wait", NULL, NULL, 1},
	{"sluice_pool_refused_total", "counter",
	 "Requests refused because too many waited, or they had waited too long", "reason",
	 turned_away_name, REFUSED_REASONS},
	{"sluice_pool_closed_total", "counter", "Connections to servers that were closed", "reason",
	 end_name, SL_POOL_ENDS},
};

static void add_pool(void *arg, const struct sl_pool_info *p)
{
	struct row *r = add_row(arg);

	*r = (struct row){
		{p->upstream},
		{p->max, p->waiting, p->queue, p->waits, p->queue_full, p->queue_timeouts}};
	memcpy(&r->figure[6], p->closed, sizeof(p->closed));
	_Static_assert(6 + SL_POOL_ENDS <= FIGURES_MAX, "all figures have room");
}

int sl_expo_lists(FILE *f, const struct sl_control_source *source)
{
	_sl_free_ struct table *t = calloc(1, sizeof(*t));

	if (!t)
		return -ENOMEM;
	t->label[0] = "listener";
	source->listeners(source->owner, add_listener, t);
	put_table(f, t, listener_families, SL_ARRAY_SIZE(listener_families));
	t->n = 0;
	t->label[0] = "upstream";
	t->label[1] = "server";
	source->servers(source->owner, add_server, t);
	put_table(f, t, server_families, SL_ARRAY_SIZE(server_families));
	t->n = 0;
	t->label[1] = NULL;
	source->pools(source->owner, add_pool, t);
	put_table(f, t, pool_families, SL_ARRAY_SIZE(pool_families));
	return 0;
}
