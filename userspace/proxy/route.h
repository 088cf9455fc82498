/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_PROXY_ROUTE_H
#define SLUICE_PROXY_ROUTE_H

/* Where a request goes: the routes of a listener, compiled once, read by all workers.
 *
 * Precedence, in this order, whatever the order in the file:
 * 1. host: exact, then the longest `*.suffix`, then routes without a host;
 * 2. among those, the longest path prefix (whole segments: /v1 matches /v1 and /v1/x, not /v10);
 * 3. among those, routes with more conditions (method, each header) before those with fewer;
 * 4. among those, the first in the file.
 * A host that is named by some route but has no matching path does not fall back to another host's
 * routes. */

#include "base/slice.h"
#include "http/head.h"
#include "proxy/config/config.h"

struct sl_routes;

struct sl_route_query {
	struct sl_slice host;	    /* without port; case and one final dot don't matter */
	struct sl_slice path;	    /* as it came; what is behind a "?" doesn't matter */
	const struct sl_head *head; /* for conditions on method and header */
};

/* l must outlive it. 0 or -ENOMEM. */
int sl_routes_new(const struct sl_listener_config *l, struct sl_routes **ret);
/* Takes NULL. */
void sl_routes_free(struct sl_routes *r);
/* NULL: none. */
const struct sl_route_config *sl_routes_find(const struct sl_routes *r,
					     const struct sl_route_query *q);

/* True if the path has a segment "." or "..", percent-encoded or not, or a backslash: what a route
 * matched might not be what the server resolves it to. */
bool sl_path_is_ambiguous(struct sl_slice path);

#endif
