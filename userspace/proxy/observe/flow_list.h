/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_PROXY_FLOW_LIST_H
#define SLUICE_PROXY_FLOW_LIST_H

/* Which pairs somebody wants to see, and the first of them in a wanted order. */

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "proxy/flows.h"

#define SL_FLOWS_MAX	  100000  /* shown by one request */
#define SL_FLOWS_SCAN_MAX 1000000 /* looked at for it */

enum sl_flow_order {
	SL_FLOW_BY_AGE, /* oldest first */
	SL_FLOW_BY_NEWEST,
	SL_FLOW_BY_BYTES, /* most first, both directions */
	SL_FLOW_BY_CLIENT_BYTES,
	SL_FLOW_BY_UPSTREAM_BYTES,
	SL_FLOW_BY_SOURCE, /* by address */
	SL_FLOW_BY_TARGET, /* by name */
};

/* One end of a pair: an address, a range of them, or a name; and a port. */
struct sl_flow_end {
	bool any_host, by_address;
	struct sl_cidr cidr; /* by address */
	char name[256];	     /* else: as asked for; "*.x" is every name below x */
	uint16_t port;	     /* 0: any */
};

struct sl_flow_filter {
	struct sl_flow_end source, target;
	char engine[16], listener[64]; /* "": any */
	uint64_t min_age_ms, max_age_ms;
	uint64_t min_bytes, max_bytes; /* both directions */
	enum sl_flow_order order;
	uint32_t max;  /* most pairs shown */
	uint32_t scan; /* most pairs looked at */
};

/* Reads a request of the command "flows": docs/operations.md has its keys. 0, or -EINVAL with one line of
 * what is wrong. */
int sl_flow_filter_read(const json_t *request, struct sl_flow_filter *ret, char *ret_problem,
			size_t size);
bool sl_flow_filter_takes(const struct sl_flow_filter *f, const struct sl_flow_info *flow);

/* The first filter->max pairs of those that were offered, in memory for as many as there are. */
struct sl_flow_list {
	const struct sl_flow_filter *filter;
	struct sl_flow_info *flow;
	size_t n, cap;
	uint64_t seen, matched;
	bool out_of_memory;
};

/* Takes a copy of the pair if the filter wants it. An `each` of sl_control_source.flows. */
void sl_flow_list_offer(void *list, const struct sl_flow_info *flow);
/* Puts what was taken in its order. */
void sl_flow_list_sort(struct sl_flow_list *l);

#endif
