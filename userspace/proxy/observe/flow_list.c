/* SPDX-License-Identifier: BSD-2-Clause */
/* The first pairs in an order, out of many that are offered one by one: a heap with the last of those kept
 * on top, so that memory is bounded by what is shown. Pairs that are equal are told apart by their ids,
 * so that an order is the same each time. */

#include "proxy/observe/flow_list.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

#define CAP_FIRST ((size_t)64)

/* --- the filter --- */

/* The host of "host:port". */
static struct sl_slice host_of(const char *target)
{
	const char *colon = strrchr(target, ':');
	struct sl_slice host = sl_slice(target, colon ? (size_t)(colon - target) : strlen(target));

	if (host.len > 2 && host.p[0] == '[' && host.p[host.len - 1] == ']')
		host = sl_slice(host.p + 1, host.len - 2);
	return host;
}

static bool is_named(const char *pattern, const char *target)
{
	struct sl_slice host = host_of(target);

	if (*pattern == '*')
		return sl_slice_ends_nocase(host, sl_slice_str(pattern + 1));
	return sl_slice_eq_nocase(host, sl_slice_str(pattern));
}

static uint16_t port_of(const char *target)
{
	const char *colon = strrchr(target, ':');

	return colon ? (uint16_t)strtoul(colon + 1, NULL, 10) : 0;
}

static bool is_source(const struct sl_flow_end *e, const struct sl_addr *client)
{
	if (e->port && e->port != sl_addr_port(client))
		return false;
	return e->any_host || sl_cidr_contains(&e->cidr, client);
}

static bool is_target(const struct sl_flow_end *e, const struct sl_flow_info *flow)
{
	if (e->port && e->port != port_of(flow->target) && e->port != sl_addr_port(&flow->upstream))
		return false;
	if (e->any_host)
		return true;
	return e->by_address ? sl_cidr_contains(&e->cidr, &flow->upstream)
			     : is_named(e->name, flow->target);
}

static uint64_t bytes_of(const struct sl_flow_info *flow)
{
	return flow->from[SL_CLIENT].bytes + flow->from[SL_UPSTREAM].bytes;
}

static bool is_word(const char *wanted, const char *word)
{
	return !*wanted || (word && !strcmp(wanted, word));
}

bool sl_flow_filter_takes(const struct sl_flow_filter *f, const struct sl_flow_info *flow)
{
	uint64_t bytes = bytes_of(flow);

	return flow->age_ms >= f->min_age_ms && flow->age_ms <= f->max_age_ms &&
	       bytes >= f->min_bytes && bytes <= f->max_bytes && is_word(f->engine, flow->engine) &&
	       is_word(f->listener, flow->listener) && is_source(&f->source, &flow->client) &&
	       is_target(&f->target, flow);
}

/* --- order --- */

/* Below 0: a comes first. */
static int by_number(uint64_t a, uint64_t b)
{
	return a > b ? -1 : a < b;
}

static int by_source(const struct sl_addr *a, const struct sl_addr *b)
{
	int r = (int)a->family - (int)b->family;

	if (!r && a->family == AF_INET)
		r = memcmp(&a->in.sin_addr, &b->in.sin_addr, sizeof(a->in.sin_addr));
	else if (!r && a->family == AF_INET6)
		r = memcmp(&a->in6.sin6_addr, &b->in6.sin6_addr, sizeof(a->in6.sin6_addr));
	return r ? r : (int)sl_addr_port(a) - (int)sl_addr_port(b);
}

static int in_order(enum sl_flow_order order, const struct sl_flow_info *a,
		    const struct sl_flow_info *b)
{
	switch (order) {
	case SL_FLOW_BY_AGE:
		return by_number(a->age_ms, b->age_ms);
	case SL_FLOW_BY_NEWEST:
		return by_number(b->age_ms, a->age_ms);
	case SL_FLOW_BY_BYTES:
		return by_number(bytes_of(a), bytes_of(b));
	case SL_FLOW_BY_CLIENT_BYTES:
		return by_number(a->from[SL_CLIENT].bytes, b->from[SL_CLIENT].bytes);
	case SL_FLOW_BY_UPSTREAM_BYTES:
		return by_number(a->from[SL_UPSTREAM].bytes, b->from[SL_UPSTREAM].bytes);
	case SL_FLOW_BY_SOURCE:
		return by_source(&a->client, &b->client);
	case SL_FLOW_BY_TARGET:
		return strcmp(a->target, b->target);
	}
	return 0;
}

static bool comes_before(const struct sl_flow_list *l, const struct sl_flow_info *a,
			 const struct sl_flow_info *b)
{
	int r = in_order(l->filter->order, a, b);

	return r ? r < 0 : a->id < b->id;
}

/* --- the heap --- */

static void swap(struct sl_flow_list *l, size_t a, size_t b)
{
	struct sl_flow_info other = l->flow[a];

	l->flow[a] = l->flow[b];
	l->flow[b] = other;
}

static void sift_up(struct sl_flow_list *l, size_t i)
{
	for (; i && comes_before(l, &l->flow[(i - 1) / 2], &l->flow[i]); i = (i - 1) / 2)
		swap(l, i, (i - 1) / 2);
}

static void sift_down(struct sl_flow_list *l, size_t i, size_t n)
{
	for (;;) {
		size_t last = i;

		for (size_t child = 2 * i + 1; child <= 2 * i + 2 && child < n; child++)
			if (comes_before(l, &l->flow[last], &l->flow[child]))
				last = child;
		if (last == i)
			return;
		swap(l, i, last);
		i = last;
	}
}

static int make_room(struct sl_flow_list *l)
{
	size_t cap = l->cap ? l->cap * 2 : CAP_FIRST;
	struct sl_flow_info *grown;

	if (l->n < l->cap)
		return 0;
	grown = reallocarray(l->flow, cap, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	l->flow = grown;
	l->cap = cap;
	return 0;
}

void sl_flow_list_offer(void *list, const struct sl_flow_info *flow)
{
	struct sl_flow_list *l = list;

	l->seen++;
	if (!sl_flow_filter_takes(l->filter, flow))
		return;
	l->matched++;
	if (l->n < l->filter->max) {
		if (make_room(l) < 0) {
			l->out_of_memory = true;
			return;
		}
		l->flow[l->n++] = *flow;
		sift_up(l, l->n - 1);
	} else if (comes_before(l, flow, &l->flow[0])) {
		l->flow[0] = *flow;
		sift_down(l, 0, l->n);
	}
}

void sl_flow_list_sort(struct sl_flow_list *l)
{
	for (size_t n = l->n; n > 1; n--) {
		swap(l, 0, n - 1);
		sift_down(l, 0, n - 1);
	}
}
