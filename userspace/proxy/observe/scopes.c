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
	unsigned i = us > sl_bound_us[7] ? 8 : 0;

	if (us == SL_SCOPE_NO_TIME)
		return SL_BOUNDS;
	while (i < SL_BOUNDS && us > sl_bound_us[i])
		i++;
	return i;
}

/* A name that is cut has its row under what is left of it. */
static void name_row(struct sl_scope *row, struct sl_slice name, uint64_t hash)
{
	row->hash = hash;
	row->len = (uint32_t)name.len;
	memcpy(row->name, name.p, name.len);
}

/* The row of that name, a new one, or "other". */
static struct sl_scope *find_row(struct sl_scope_table *t, struct sl_slice name)
{
	size_t len = sl_min(name.len, (size_t)SL_SCOPE_NAME_MAX - 1);
	uint64_t hash = XXH3_64bits(name.p, len);
	size_t at = hash & (INDEX_SIZE - 1);
	struct sl_scope *row;

	for (; t->index[at]; at = (at + 1) & (INDEX_SIZE - 1)) {
		row = &t->row[t->index[at] - 1];
		if (row->hash == hash && row->len == len && !memcmp(row->name, name.p, len))
			return row;
	}
	if (t->n == SL_SCOPE_ROWS)
		return &t->other;
	row = &t->row[t->n];
	name_row(row, sl_slice(name.p, len), hash);
	t->index[at] = (uint8_t)(t->n + 1);
	__atomic_store_n(&t->n, t->n + 1, __ATOMIC_RELEASE);
	return row;
}

/* Buckets of an event's durations, found once for all its rows. */
struct buckets {
	unsigned of[SL_SCOPE_TIMES];
};

static void count(struct sl_scopes *s, enum sl_scope_kind kind, struct sl_slice name,
		  const struct sl_scope_event *e, const struct buckets *buckets)
{
	struct sl_scope *row = find_row(&s->kind[kind], name);
	unsigned class = e->status / 100;

	bump(&row->n, 1);
	bump(&row->by_class[class < SL_SCOPE_CLASSES ? class : 0], 1);
	for (int i = 0; i < SL_SCOPE_TIMES && kind != SL_SCOPE_REASON; i++) {
		/* A tunnel's life is no request's time. */
		if (e->us[i] == SL_SCOPE_NO_TIME ||
		    (e->engine && kind != SL_SCOPE_ENGINE && i == SL_SCOPE_DURATION))
			continue;
		bump(&row->time[i].bucket[buckets->of[i]], 1);
		bump(&row->time[i].sum_us, e->us[i]);
	}
}

static size_t append(char *out, size_t len, size_t cap, const char *s)
{
	size_t n = sl_min(strlen(s), cap - len);

	memcpy(out + len, s, n);
	return len + n;
}

static struct sl_slice route_name(const struct sl_scope_event *e, char out[SL_SCOPE_NAME_MAX])
{
	size_t len = append(out, 0, SL_SCOPE_NAME_MAX, e->listener);

	len = append(out, len, SL_SCOPE_NAME_MAX, " ");
	len = append(out, len, SL_SCOPE_NAME_MAX, e->host ? e->host : "*");
	if (e->path)
		len = append(out, len, SL_SCOPE_NAME_MAX, e->path);
	return sl_slice(out, len);
}

void sl_scopes_count(struct sl_scopes *s, const struct sl_scope_event *e)
{
	char route[SL_SCOPE_NAME_MAX];
	struct buckets buckets;

	for (int i = 0; i < SL_SCOPE_TIMES; i++)
		buckets.of[i] = bucket_of(e->us[i]);
	count(s, SL_SCOPE_ROUTE, route_name(e, route), e, &buckets);
	if (e->upstream)
		count(s, SL_SCOPE_UPSTREAM, sl_slice_str(e->upstream), e, &buckets);
	if (e->engine)
		count(s, SL_SCOPE_ENGINE, sl_slice_str(e->engine), e, &buckets);
	count(s, SL_SCOPE_REASON, sl_slice_str(e->reason), e, &buckets);
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
			merge_row(find_row(&to->kind[k], sl_slice(t->row[i].name, t->row[i].len)),
				  &t->row[i]);
		merge_row(&to->kind[k].other, &t->other);
	}
}
