/* SPDX-License-Identifier: BSD-2-Clause */
/* Samples in Prometheus text. The bounds of histograms fall inside buckets of base/histogram.h: a sample
 * within 1/16 above a bound's bucket counts as slower, never as faster. Those by scope are exact. */

#include "proxy/observe/exposition.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

void sl_expo_family(FILE *f, const char *name, const char *type, const char *help)
{
	fprintf(f, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

void sl_expo_plain(FILE *f, const char *name, const char *type, const char *help, uint64_t value)
{
	sl_expo_family(f, name, type, help);
	fprintf(f, "%s %" PRIu64 "\n", name, value);
}

void sl_expo_seconds(FILE *f, uint64_t us)
{
	fprintf(f, "%" PRIu64 ".%06" PRIu64 "\n", us / 1000000, us % 1000000);
}

void sl_expo_histogram(FILE *f, const char *name, const char *help, const struct sl_histogram *h)
{
	sl_expo_family(f, name, "histogram", help);
	for (size_t i = 0; i < SL_BOUNDS; i++)
		fprintf(f, "%s_bucket{le=\"%s\"} %" PRIu64 "\n", name, sl_bound_text[i],
			sl_histogram_count_upto(h, sl_bound_us[i]));
	fprintf(f, "%s_bucket{le=\"+Inf\"} %" PRIu64 "\n%s_sum ", name, h->count, name);
	sl_expo_seconds(f, h->sum_us);
	fprintf(f, "%s_count %" PRIu64 "\n", name, h->count);
}

void sl_expo_label(FILE *f, const char *name, const char *value)
{
	fprintf(f, "%s=\"", name);
	for (; *value; value++) {
		if (*value == '\n')
			fputs("\\n", f);
		else if (*value == '"' || *value == '\\')
			fprintf(f, "\\%c", *value);
		else
			fputc(*value, f);
	}
	fputc('"', f);
}

/* --- by scope --- */

enum shown {
	SHOWN_COUNT,	/* n */
	SHOWN_CLASSES,	/* by_class */
	SHOWN_DURATION, /* time[] */
};

static const struct scope_family {
	enum sl_scope_kind kind;
	enum shown shown;
	enum sl_scope_time time;
	const char *name, *help;
} families[] = {
	{SL_SCOPE_ROUTE, SHOWN_CLASSES, 0, "sluice_route_responses_total",
	 "Requests and tunnels by route and class of the response"},
	{SL_SCOPE_ROUTE, SHOWN_DURATION, SL_SCOPE_DURATION, "sluice_route_request_duration_seconds",
	 "Requests by route: from the head's first byte to the response's last"},
	{SL_SCOPE_ROUTE, SHOWN_DURATION, SL_SCOPE_FIRST_BYTE, "sluice_route_first_byte_seconds",
	 "Requests by route: from the request sent to the response head"},
	{SL_SCOPE_UPSTREAM, SHOWN_CLASSES, 0, "sluice_upstream_responses_total",
	 "Requests and tunnels by upstream and class of the response, retries counted once"},
	{SL_SCOPE_UPSTREAM, SHOWN_DURATION, SL_SCOPE_DURATION,
	 "sluice_upstream_request_duration_seconds", "Requests by upstream: the whole"},
	{SL_SCOPE_UPSTREAM, SHOWN_DURATION, SL_SCOPE_FIRST_BYTE,
	 "sluice_upstream_first_byte_seconds",
	 "Requests by upstream: from the request sent to the response head"},
	{SL_SCOPE_UPSTREAM, SHOWN_DURATION, SL_SCOPE_CONNECT,
	 "sluice_upstream_connect_duration_seconds",
	 "New connections by upstream: connecting, all tries"},
	{SL_SCOPE_UPSTREAM, SHOWN_DURATION, SL_SCOPE_QUEUE, "sluice_upstream_queue_wait_seconds",
	 "Requests that waited, by upstream: for a connection"},
	{SL_SCOPE_ENGINE, SHOWN_DURATION, SL_SCOPE_DURATION,
	 "sluice_engine_tunnel_duration_seconds",
	 "Tunnels by the engine that carried them last: from the request to the end"},
	{SL_SCOPE_REASON, SHOWN_COUNT, 0, "sluice_ended_total",
	 "Requests and tunnels by why they ended, the access log's reason"},
};

/* "LISTENER ROUTE": names of listeners have no space. */
static void put_labels(FILE *f, const struct scope_family *family, const char *name)
{
	static const char *const labels[SL_SCOPE_KINDS] = {"route", "upstream", "engine", "reason"};
	const char *space = strchr(name, ' ');
	char listener[SL_SCOPE_NAME_MAX];

	if (family->kind == SL_SCOPE_ROUTE && space) {
		snprintf(listener, sizeof(listener), "%.*s", (int)(space - name), name);
		sl_expo_label(f, "listener", listener);
		fputc(',', f);
		name = space + 1;
	}
	sl_expo_label(f, labels[family->kind], name);
}

static void put_sample(FILE *f, const struct scope_family *family, const char *suffix,
		       const char *scope, const char *label, const char *value)
{
	fprintf(f, "%s%s{", family->name, suffix);
	put_labels(f, family, scope);
	if (label)
		fprintf(f, ",%s=\"%s\"", label, value);
	fputs("} ", f);
}

static void put_classes(FILE *f, const struct scope_family *family, const char *name,
			const struct sl_scope *row)
{
	static const char *const classes[SL_SCOPE_CLASSES] = {"none", "1xx", "2xx",
							      "3xx",  "4xx", "5xx"};

	for (int i = 0; i < SL_SCOPE_CLASSES; i++) {
		put_sample(f, family, "", name, "class", classes[i]);
		fprintf(f, "%" PRIu64 "\n", row->by_class[i]);
	}
}

static void put_duration(FILE *f, const struct scope_family *family, const char *name,
			 const struct sl_durations *d)
{
	uint64_t n = 0;

	for (int i = 0; i <= SL_BOUNDS; i++) {
		n += d->bucket[i];
		put_sample(f, family, "_bucket", name, "le",
			   i < SL_BOUNDS ? sl_bound_text[i] : "+Inf");
		fprintf(f, "%" PRIu64 "\n", n);
	}
	put_sample(f, family, "_sum", name, NULL, NULL);
	sl_expo_seconds(f, d->sum_us);
	put_sample(f, family, "_count", name, NULL, NULL);
	fprintf(f, "%" PRIu64 "\n", n);
}

static void put_row(FILE *f, const struct scope_family *family, const char *name,
		    const struct sl_scope *row)
{
	switch (family->shown) {
	case SHOWN_CLASSES:
		put_classes(f, family, name, row);
		break;
	case SHOWN_DURATION:
		put_duration(f, family, name, &row->time[family->time]);
		break;
	case SHOWN_COUNT:
		put_sample(f, family, "", name, NULL, NULL);
		fprintf(f, "%" PRIu64 "\n", row->n);
		break;
	}
}

int sl_expo_scopes(FILE *f, const struct sl_control_source *source)
{
	_sl_free_ struct sl_scopes *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	source->scopes(source->owner, s);
	for (size_t i = 0; i < SL_ARRAY_SIZE(families); i++) {
		const struct scope_family *family = &families[i];
		const struct sl_scope_table *t = &s->kind[family->kind];

		sl_expo_family(f, family->name,
			       family->shown == SHOWN_DURATION ? "histogram" : "counter",
			       family->help);
		for (uint32_t k = 0; k < t->n; k++)
			put_row(f, family, t->row[k].name, &t->row[k]);
		put_row(f, family, family->kind == SL_SCOPE_ROUTE ? "other other" : "other",
			&t->other);
	}
	return 0;
}
