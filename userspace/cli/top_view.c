/* SPDX-License-Identifier: BSD-2-Clause */
/* The views of `sluice top` and the way between them: lists scroll around a selected row, Enter goes into
 * it, Escape goes back. */

#include "cli/top_view.h"

#include <stdio.h>
#include <string.h>

#include "cli/text.h"

#define FLOWS_MAX 1000
#define KEYS	  "q quit o all f flows v servers l listeners p pools r refusals w workers ? help"

static const struct {
	const char *name;
	const struct sl_top_list *list; /* NULL: it is none */
	char key;
} views[SL_TOP_VIEWS] = {
	[SL_TOP_OVERVIEW] = {"overview", NULL, 'o'},
	[SL_TOP_FLOWS] = {"flows", &sl_top_flows, 'f'},
	[SL_TOP_SERVERS] = {"servers", &sl_top_servers, 'v'},
	[SL_TOP_LISTENERS] = {"listeners", &sl_top_listeners, 'l'},
	[SL_TOP_POOLS] = {"pools", &sl_top_pools, 'p'},
	[SL_TOP_REFUSALS] = {"refusals", &sl_top_refusals, 'r'},
	[SL_TOP_WORKERS] = {"workers", &sl_top_workers, 'w'},
	[SL_TOP_FLOW] = {"a flow", NULL, 0},
	[SL_TOP_HELP] = {"help", NULL, '?'},
};

/* --- lists --- */

/* The rows around the selected one; two lines stay for what is below. */
static void draw_rows(struct sl_top *t, const struct sl_top_list *l, const json_t *rows,
		      struct sl_page *p)
{
	size_t n = json_array_size(rows), room = sl_page_room(p) > 2 ? sl_page_room(p) - 2 : 0;

	t->selected = n ? sl_min(t->selected, n - 1) : 0;
	if (t->selected < t->first || !room)
		t->first = t->selected;
	else if (t->selected >= t->first + room)
		t->first = t->selected - room + 1;
	for (size_t i = t->first; i < n && i < t->first + room; i++)
		l->row(p, i == t->selected ? SL_LOOK_SELECTED : SL_LOOK_PLAIN,
		       json_array_get(rows, i));
}

static void draw_list(struct sl_top *t, const struct sl_facts *f, struct sl_page *p)
{
	const struct sl_top_list *l = views[t->view].list;
	const char *order = l->orders[t->sort[t->view] % l->n_orders].name;
	json_t *rows = sl_top_sorted(l, f, t->sort[t->view]);
	size_t n = json_array_size(rows);
	unsigned long long matched = sl_answer_number(f->flows, "matched");

	l->heading(p);
	draw_rows(t, l, rows, p);
	if (t->view == SL_TOP_FLOWS)
		sl_page_add(p, SL_LOOK_FAINT, "%zu of %llu pairs%s%s%s%s, by %s (s: another order)",
			    n, sl_max(matched, (unsigned long long)n), *t->listener ? " of " : "",
			    t->listener, *t->target ? " to " : "", t->target, order);
	else
		sl_page_add(p, SL_LOOK_FAINT, "%zu %s, by %s (s: another order%s)", n,
			    views[t->view].name, order,
			    t->view == SL_TOP_SERVERS || t->view == SL_TOP_LISTENERS
				    ? ", Enter: its flows"
				    : "");
	json_decref(rows);
}

/* --- one pair --- */

/* As it is now, if it is still there. */
static void find_flow(struct sl_top *t, const struct sl_facts *f)
{
	json_t *flow;
	size_t i;

	json_array_foreach(json_object_get(f->flows, "flows"), i, flow)
	{
		if (sl_answer_number(flow, "id") != sl_answer_number(t->flow, "id"))
			continue;
		json_incref(flow);
		json_decref(t->flow);
		t->flow = flow;
		return;
	}
}

static void draw_flow(struct sl_top *t, const struct sl_facts *f, struct sl_page *p)
{
	const char *key;
	json_t *value;

	find_flow(t, f);
	sl_page_add(p, SL_LOOK_HEADING, "ONE PAIR (Escape: back; as it was last seen)");
	json_object_foreach(t->flow, key, value)
	{
		char text[SL_TEXT_MAX];

		if (json_is_string(value))
			sl_page_add(p, SL_LOOK_PLAIN, "%-24s %s", key, json_string_value(value));
		else if (strstr(key, "bytes") || strstr(key, "rate"))
			sl_page_add(p, SL_LOOK_PLAIN, "%-24s %" JSON_INTEGER_FORMAT " (%s)", key,
				    json_integer_value(value),
				    sl_text_bytes((uint64_t)json_integer_value(value), text));
		else
			sl_page_add(p, SL_LOOK_PLAIN, "%-24s %" JSON_INTEGER_FORMAT, key,
				    json_integer_value(value));
	}
}

static void draw_help(struct sl_page *p)
{
	static const char *const lines[] = {
		"o  overview         rates, latencies, states, engines, top talkers",
		"f  flows            open pairs; Enter shows one whole",
		"v  servers          of upstreams; Enter shows the flows to one",
		"l  listeners        Enter shows the flows of one",
		"p  pools            connections to upstreams, their reuse, who waits",
		"r  refusals         and timeouts, by reason",
		"w  workers          how busy each is",
		"s  sort             goes through the orders of a list",
		"up, down, j, k, page up, page down, home    select a row",
		"Enter, Escape       into the row, and back (Escape also takes off a filter)",
		"space               pause, and go on",
		"q                   quit",
		"",
		"Rates are differences between the two latest answers, over sluice's own time",
		"between them. Latencies are of the samples that came in the time shown.",
		"Flows are those with the most bytes, at most 1000 of them.",
	};

	sl_page_add(p, SL_LOOK_HEADING, "KEYS");
	for (size_t i = 0; i < SL_ARRAY_SIZE(lines); i++)
		sl_page_add(p, SL_LOOK_PLAIN, "%s", lines[i]);
}

void sl_top_draw(struct sl_top *t, const struct sl_facts *f, struct sl_page *p)
{
	sl_top_draw_state(f, t, p);
	if (views[t->view].list)
		draw_list(t, f, p);
	else if (t->view == SL_TOP_FLOW)
		draw_flow(t, f, p);
	else if (t->view == SL_TOP_HELP)
		draw_help(p);
	else
		sl_top_draw_overview(t, f, p);
	while (sl_page_room(p) > 1)
		sl_page_add(p, SL_LOOK_PLAIN, "%s", "");
	if (!sl_page_room(p) && p->n)
		p->n--; /* the keys are never pushed out */
	sl_page_add(p, SL_LOOK_HEADING, "%s", KEYS);
}

/* --- keys --- */

static void go_to(struct sl_top *t, enum sl_top_view view)
{
	t->view = view;
	t->selected = t->first = 0;
}

static void take_off_filter(struct sl_top *t)
{
	t->listener[0] = t->target[0] = 0;
}

static void enter(struct sl_top *t, const struct sl_facts *f)
{
	const struct sl_top_list *l = views[t->view].list;
	json_t *rows = l ? sl_top_sorted(l, f, t->sort[t->view]) : NULL;
	size_t n = json_array_size(rows);
	/* Keys may come faster than pictures: the selection may be behind the end still. */
	json_t *row = n ? json_array_get(rows, sl_min(t->selected, n - 1)) : NULL;

	if (row && t->view == SL_TOP_FLOWS) {
		json_decref(t->flow);
		t->flow = json_incref(row);
		t->view = SL_TOP_FLOW;
	} else if (row && t->view == SL_TOP_LISTENERS) {
		take_off_filter(t);
		sl_answer_text(row, "listener", 63, t->listener);
		go_to(t, SL_TOP_FLOWS);
	} else if (row && t->view == SL_TOP_SERVERS) {
		take_off_filter(t);
		sl_answer_text(row, "server", 63, t->target);
		go_to(t, SL_TOP_FLOWS);
	}
	json_decref(rows);
}

static void go_back(struct sl_top *t)
{
	if (t->view == SL_TOP_FLOW)
		t->view = SL_TOP_FLOWS; /* the selection is what it was */
	else if (t->view == SL_TOP_FLOWS && (*t->listener || *t->target))
		take_off_filter(t);
	else
		go_to(t, SL_TOP_OVERVIEW);
}

static void move(struct sl_top *t, long by)
{
	if (by < 0)
		t->selected -= sl_min(t->selected, (size_t)-by);
	else
		t->selected += (size_t)by; /* drawing knows how many there are */
}

static void choose_view(struct sl_top *t, int key)
{
	for (int i = 0; i < SL_TOP_VIEWS; i++)
		if (views[i].key && views[i].key == key)
			go_to(t, (enum sl_top_view)i);
	if (key == 'f' || key == 'o')
		take_off_filter(t);
}

static void act(struct sl_top *t, const struct sl_facts *f, int key)
{
	switch (key) {
	case 'q':
		t->quit = true;
		return;
	case ' ':
		t->paused = !t->paused;
		return;
	case 's':
		t->sort[t->view]++;
		return;
	case SL_KEY_UP:
	case 'k':
		move(t, -1);
		return;
	case SL_KEY_DOWN:
	case 'j':
		move(t, 1);
		return;
	case SL_KEY_PAGE_UP:
		move(t, -15);
		return;
	case SL_KEY_PAGE_DOWN:
		move(t, 15);
		return;
	case SL_KEY_HOME:
		t->selected = 0;
		return;
	case '\n':
	case '\r':
		enter(t, f);
		return;
	case SL_KEY_BACK:
		go_back(t);
		return;
	default:
		choose_view(t, key);
	}
}

bool sl_top_key(struct sl_top *t, const struct sl_facts *f, int key)
{
	json_t *before = sl_top_flows_request(t), *after;
	bool others;

	act(t, f, key);
	after = sl_top_flows_request(t);
	others = !json_equal(before, after);
	json_decref(before);
	json_decref(after);
	return others;
}

json_t *sl_top_flows_request(const struct sl_top *t)
{
	static const char *const orders[] = {"bytes", "bytes", "age", "newest", "source", "target"};
	const char *order = orders[t->sort[SL_TOP_FLOWS] % SL_ARRAY_SIZE(orders)];
	json_t *request = json_pack("{s:s, s:i, s:s}", "command", "flows", "max", FLOWS_MAX, "sort",
				    t->view == SL_TOP_OVERVIEW ? "bytes" : order);

	if (*t->listener)
		json_object_set_new(request, "listener", json_string(t->listener));
	if (*t->target)
		json_object_set_new(request, "target", json_string(t->target));
	return request;
}

void sl_top_free(struct sl_top *t)
{
	json_decref(t->flow);
}
