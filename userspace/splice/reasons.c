/* SPDX-License-Identifier: BSD-2-Clause */
/* Counters by reason as metrics. Their names are those of enum sl_reason, in small letters. */

#include "splice/reasons.h"

#include <ctype.h>
#include <string.h>

#define X(name, text) #name,
static const char *const reason_names[] = {SL_REASONS(X)};
#undef X
#define X(name, text) text,
static const char *const reason_texts[] = {SL_REASONS(X)};
static const char *const refusal_texts[] = {SL_REFUSALS(X)};
#undef X

const char *sl_reason_name(enum sl_reason reason)
{
	return reason < SL_REASON_COUNT ? reason_names[reason] : "?";
}

const char *sl_reason_text(enum sl_reason reason)
{
	return reason < SL_REASON_COUNT ? reason_texts[reason] : "?";
}

const char *sl_refusal_text(enum sl_refusal refusal)
{
	return refusal < SL_REFUSAL_COUNT ? refusal_texts[refusal] : "?";
}

void sl_refusals_count(struct sl_refusals *r, const char *reason)
{
	struct sl_refusal_row *row = r->row;
	unsigned i;

	for (i = 0; i < SL_REFUSAL_ROWS - 1 && row[i].reason; i++)
		if (!strcmp(row[i].reason, reason))
			break;
	if (i < SL_REFUSAL_ROWS - 1)
		row[i].reason = reason;
	row[i].n++;
}

/* The last row, "other", takes what finds no row of its own. */
void sl_refusals_tell(const struct sl_refusals *r, sl_figure_fn *each, void *arg)
{
	struct sl_figure f = {"packet_refusals_total", "counter",
			      "Pairs that stay copied, by the reason that `sluice flows` shows",
			      "reason"};

	for (unsigned i = 0; i < SL_REFUSAL_ROWS; i++) {
		f.value = i < SL_REFUSAL_ROWS - 1 ? r->row[i].reason : "other";
		f.n = r->row[i].n;
		if (f.value)
			each(arg, &f);
	}
}

/* What happens to pairs and not to packets. */
static bool is_event(enum sl_reason reason)
{
	const char *name = sl_reason_name(reason);

	return !strncmp(name, "FLIP_", 5) || !strncmp(name, "CLOSED_", 7) ||
	       !strcmp(name, "FAILED") || !strcmp(name, "EVENTS_LOST");
}

static void lower(const char *in, char out[32])
{
	size_t i = 0;

	for (; in[i] && i < 31; i++)
		out[i] = (char)tolower((unsigned char)in[i]);
	out[i] = 0;
}

static void tell_reasons(const struct sl_counter counter[SL_REASON_COUNT], struct sl_figure f,
			 bool events, bool bytes, sl_figure_fn *each, void *arg)
{
	char name[32];

	for (int i = 0; i < SL_REASON_COUNT; i++) {
		if (is_event(i) != events)
			continue;
		lower(sl_reason_name(i), name);
		f.value = name;
		f.n = bytes ? counter[i].bytes : counter[i].packets;
		each(arg, &f);
	}
}

void sl_tell_counters(const struct sl_counter counter[SL_REASON_COUNT], sl_figure_fn *each,
		      void *arg)
{
	tell_reasons(counter,
		     (struct sl_figure){"packet_packets_total", "counter",
					"Packets by what became of them, since the programs were "
					"loaded",
					"reason"},
		     false, false, each, arg);
	tell_reasons(counter,
		     (struct sl_figure){"packet_bytes_total", "counter",
					"TCP payload of those packets", "reason"},
		     false, true, each, arg);
	tell_reasons(counter,
		     (struct sl_figure){"packet_events_total", "counter",
					"What happened to pairs, since the programs were loaded",
					"event"},
		     true, false, each, arg);
}

void sl_tell_fill(const struct sl_map_fill *map, size_t n, sl_figure_fn *each, void *arg)
{
	struct sl_figure used = {"map_used", "gauge", "Pairs that are in the table", "map"};
	struct sl_figure limit = {"map_limit", "gauge", "Pairs that the table has room for", "map"};

	for (size_t i = 0; i < n; i++) {
		used.value = map[i].map;
		used.n = map[i].used;
		each(arg, &used);
	}
	for (size_t i = 0; i < n; i++) {
		limit.value = map[i].map;
		limit.n = map[i].limit;
		each(arg, &limit);
	}
}
