/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_PROXY_TRACE_H
#define SLUICE_PROXY_TRACE_H

/* W3C Trace Context (level 1): the traceparent of a request, read, passed on or made. sluice reports no
 * spans of its own, so it leaves the parent as it came: what a server says of its parent stays true. */

#include <stdbool.h>

#include "base/slice.h"
#include "http/head.h"
#include "proxy/config/config.h"

#define SL_TRACEPARENT_LEN 55 /* "00-" 32 digits "-" 16 digits "-" 2 digits */

struct sl_trace {
	char text[SL_TRACEPARENT_LEN]; /* version 00, as it goes on */
	bool there;		       /* text is valid */
	bool came;		       /* from the client: its tracestate goes on, too */
	bool sampled;
};

/* What the request brought. A traceparent that is malformed or repeated counts as none; one of a later
 * version counts for the part that is known, and goes on as version 00. */
void sl_trace_read(const struct sl_head *h, struct sl_trace *ret);
/* A new trace, with the flag "sampled" for that share of them. */
void sl_trace_make(double sample, struct sl_trace *ret);

/* Of a trace that is there. */
static inline struct sl_slice sl_trace_id(const struct sl_trace *t)
{
	return sl_slice(t->text + 3, t->there ? 32 : 0);
}

static inline struct sl_slice sl_trace_parent(const struct sl_trace *t)
{
	return sl_slice(t->text + 36, t->there ? 16 : 0);
}

#endif
