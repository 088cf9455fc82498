/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_CLI_TOP_VIEW_H
#define SLUICE_CLI_TOP_VIEW_H

/* What `sluice top` shows and what its keys do, without a terminal. */

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "cli/facts.h"
#include "cli/page.h"

enum sl_top_view {
	SL_TOP_OVERVIEW,
	SL_TOP_FLOWS,
	SL_TOP_SERVERS,
	SL_TOP_LISTENERS,
	SL_TOP_POOLS,
	SL_TOP_REFUSALS,
	SL_TOP_WORKERS,
	SL_TOP_FLOW, /* one pair */
	SL_TOP_HELP,
	SL_TOP_VIEWS,
};

struct sl_top {
	enum sl_top_view view;
	unsigned sort[SL_TOP_VIEWS];
	size_t selected, first; /* rows of the list that is shown */
	/* Flows are those of a listener, or to a server; "": of all. */
	char listener[64], target[64];
	json_t *flow; /* shown by SL_TOP_FLOW */
	bool paused, quit;
};

/* Keys that are no characters. */
enum {
	SL_KEY_UP = 256,
	SL_KEY_DOWN,
	SL_KEY_PAGE_UP,
	SL_KEY_PAGE_DOWN,
	SL_KEY_HOME,
	SL_KEY_BACK,
};

/* Draws the whole screen; may move the selection into what there is. */
void sl_top_draw(struct sl_top *t, const struct sl_facts *f, struct sl_page *p);
/* True if other flows are wanted than before. */
bool sl_top_key(struct sl_top *t, const struct sl_facts *f, int key);
/* The request for the flows that the view wants. */
json_t *sl_top_flows_request(const struct sl_top *t);
void sl_top_free(struct sl_top *t);

/* --- within top --- */

/* The lines that stand on top of every view. */
void sl_top_draw_state(const struct sl_facts *f, const struct sl_top *t, struct sl_page *p);
/* Rates, latencies, states, engines, refusals, and as many of the fastest pairs as there is room for. */
void sl_top_draw_overview(struct sl_top *t, const struct sl_facts *f, struct sl_page *p);

/* A list: rows of objects in an order, under a heading. */
struct sl_top_list {
	/* New references to what is listed, as an array of objects. */
	json_t *(*rows)(const struct sl_facts *f);
	/* Orders that the key `s` goes through; the first is the default. */
	const struct sl_top_order {
		const char *name;
		double (*value)(const json_t *row); /* largest first; NULL: */
		const char *text;		    /* by this member, in alphabetical order */
	} * orders;
	size_t n_orders;
	void (*heading)(struct sl_page *p);
	void (*row)(struct sl_page *p, enum sl_look look, const json_t *row);
};

extern const struct sl_top_list sl_top_flows, sl_top_servers, sl_top_listeners, sl_top_pools,
	sl_top_refusals, sl_top_workers;

/* The list's objects in the order number `sort`: a new reference. */
json_t *sl_top_sorted(const struct sl_top_list *l, const struct sl_facts *f, unsigned sort);

#endif
