/* SPDX-License-Identifier: BSD-2-Clause */
/* Rows are found by a hash of their name in a small open-addressed index, and never removed, so a reader
 * that takes n first finds every row below it complete. Nothing is allocated. */

#include "proxy/observe/scopes.h"

#include <string.h>
#include <xxhash.h>

#include "base/util.h"

#define INDEX_SIZE SL_ARRAY_SIZE(((struct sl_scope_table *)NULL)->index)

_Static_assert((INDEX_SIZE & (INDEX_SIZE - 1)) == 0, "the index is masked");
_Static_assert(SL_SCOPE_ROWS < UINT8_MAX, "a row's number fits into the index");

const uint64_t sl_bound_us[SL_BOUNDS] = {
	100,	 250,	   500,	     1000,     2500,	  5000,	      10000,
	25000,	 50000,	   100000,   250000,   500000,	  1000000,    2500000,
	5000000, 10000000, 30000000, 60000000, 300000000, 1800000000, 3600000000,
};
const char *const sl_bound_text[SL_BOUNDS] = {
	"0.0001", "0.00025", "0.0005", "0.001", "0.0025", "0.005", "0.01",
	"0.025",  "0.05",    "0.1",    "0.25",	"0.5",	  "1",	   "2.5",
	"5",	  "10",	     "30",     "60",	"300",	  "1800",  "3600",
};

static void bump(uint64_t *counter, uint64_t n)
{
	__atomic_store_n(counter, *counter + n, __ATOMIC_RELAXED);
}

static uint64_t load(const uint64_t *value)
{
	return __atomic_load_n(value, __ATOMIC_RELAXED);
}

static unsigned bucket_of(uint64_t us)
{
	unsigned i = 0;

	while (i < SL_BOUNDS && us > sl_bound_us[i])
		i++;
	return i;
}

/* The row of that name, a new one, or "other". name is zero-padded. */
static struct sl_scope *find_row(struct sl_scope_table *t, const char name[SL_SCOPE_NAME_MAX],
				 size_t len)
{
	uint64_t hash = XXH3_64bits(name, len);
	size_t at = hash & (INDEX_SIZE - 1);
	struct sl_scope *row;

	for (; t->index[at]; at = (at + 1) & (INDEX_SIZE - 1)) {
		row = &t->row[t->index[at] - 1];
		if (row->hash == hash && !memcmp(row->name, name, len + 1))
			return row;
	}
	if (t->n == SL_SCOPE_ROWS)
		return &t->other;
	row = &t->row[t->n];
	row->hash = hash;
	memcpy(row->name, name, SL_SCOPE_NAME_MAX);
	t->index[at] = (uint8_t)(t->n + 1);
	__atomic_store_n(&t->n, t->n + 1, __ATOMIC_RELEASE);
	return row;
}

/* Strings one behind the other, as far as they fit. */
struct name {
	char text[SL_SCOPE_NAME_MAX];
	size_t len;
};

static void append(struct name *name, const char *s)
{
	size_t n = sl_min(strlen(s), SL_SCOPE_NAME_MAX - 1 - name->len);

	memcpy(name->text + name->len, s, n);
	name->len += n;
}

static void count(struct sl_scopes *s, enum sl_scope_kind kind, const char *text,
		  const struct sl_scope_event *e)
{
	struct name name = {0};
	struct sl_scope *row;
	unsigned class = e->status / 100;

	if (!text)
		return;
	append(&name, text);
	row = find_row(&s->kind[kind], name.text, name.len);
	bump(&row->n, 1);
	bump(&row->by_class[class < SL_SCOPE_CLASSES ? class : 0], 1);
	for (int i = 0; i < SL_SCOPE_TIMES && kind != SL_SCOPE_REASON; i++) {
		/* A tunnel's life is no request's time. */
		if (e->us[i] == SL_SCOPE_NO_TIME ||
		    (e->engine && kind != SL_SCOPE_ENGINE && i == SL_SCOPE_DURATION))
			continue;
		bump(&row->time[i].bucket[bucket_of(e->us[i])], 1);
		bump(&row->time[i].sum_us, e->us[i]);
	}
}

void sl_scopes_count(struct sl_scopes *s, const struct sl_scope_event *e)
{
	struct name route = {0};

	append(&route, e->listener);
	append(&route, " ");
	append(&route, e->host ? e->host : "*");
	append(&route, e->path ? e->path : "");
	count(s, SL_SCOPE_ROUTE, route.text, e);
	count(s, SL_SCOPE_UPSTREAM, e->upstream, e);
	count(s, SL_SCOPE_ENGINE, e->engine, e);
	count(s, SL_SCOPE_REASON, e->reason, e);
}

static void merge_row(struct sl_scope *to, const struct sl_scope *from)
{
	to->n += load(&from->n);
	for (int i = 0; i < SL_SCOPE_CLASSES; i++)
		to->by_class[i] += load(&from->by_class[i]);
	for (int i = 0; i < SL_SCOPE_TIMES; i++) {
		for (int k = 0; k <= SL_BOUNDS; k++)
			to->time[i].bucket[k] += load(&from->time[i].bucket[k]);
		to->time[i].sum_us += load(&from->time[i].sum_us);
	}
}

void sl_scopes_merge(struct sl_scopes *to, const struct sl_scopes *from)
{
	for (int k = 0; k < SL_SCOPE_KINDS; k++) {
		const struct sl_scope_table *t = &from->kind[k];
		uint32_t n = __atomic_load_n(&t->n, __ATOMIC_ACQUIRE);

		for (uint32_t i = 0; i < n; i++)
			merge_row(find_row(&to->kind[k], t->row[i].name, strlen(t->row[i].name)),
				  &t->row[i]);
		merge_row(&to->kind[k].other, &t->other);
	}
}
