/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_PROXY_SCOPES_H
#define SLUICE_PROXY_SCOPES_H

/* What a worker counts by route, upstream, engine and reason. A name gets a row when it is seen first, and
 * keeps it: rows outlive a changed configuration. A kind has a limit of rows; names that come when they
 * are taken share the row "other". One writer, the worker; others may read at any time and see
 * each figure whole. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"

#define SL_BOUNDS 21
/* Upper bounds of every histogram that is shown, in us, and as Prometheus writes them. */
extern const uint64_t sl_bound_us[SL_BOUNDS];
extern const char *const sl_bound_text[SL_BOUNDS];

struct sl_durations {
	uint64_t bucket[SL_BOUNDS + 1]; /* not cumulative; the last one is beyond every bound */
	uint64_t sum_us;
};

enum sl_scope_kind {
	SL_SCOPE_ROUTE,	   /* a listener's route */
	SL_SCOPE_UPSTREAM, /* an upstream of the configuration */
	SL_SCOPE_ENGINE,   /* what carried a tunnel last */
	SL_SCOPE_REASON,   /* why it ended */
	SL_SCOPE_KINDS,
};

enum sl_scope_time {
	SL_SCOPE_DURATION, /* the whole */
	SL_SCOPE_FIRST_BYTE,
	SL_SCOPE_CONNECT,
	SL_SCOPE_QUEUE,
	SL_SCOPE_TIMES,
};

#define SL_SCOPE_ROWS	  64 /* of a kind, without "other" */
#define SL_SCOPE_NAME_MAX 128
#define SL_SCOPE_CLASSES  6 /* of responses: none, 1xx to 5xx */

struct sl_scope {
	uint64_t hash;
	uint32_t len;		      /* of the name, behind which is a NUL */
	char name[SL_SCOPE_NAME_MAX]; /* cut if longer; of a route "LISTENER ROUTE" */
	uint64_t n;
	uint64_t by_class[SL_SCOPE_CLASSES];
	struct sl_durations time[SL_SCOPE_TIMES];
};

struct sl_scope_table {
	uint32_t n;			    /* published last */
	uint8_t index[2 * SL_SCOPE_ROWS];   /* by hash: number of the row and one; 0: free */
	struct sl_scope row[SL_SCOPE_ROWS]; /* the first n are in use */
	struct sl_scope other;
};

struct sl_scopes {
	struct sl_scope_table kind[SL_SCOPE_KINDS];
};

/* What an exchange was, when it is over. Durations in us; UINT64_MAX: it had none. */
struct sl_scope_event {
	const char *listener;
	const char *host, *path; /* of the route; NULL: any */
	const char *upstream;	 /* NULL: none */
	const char *engine;	 /* NULL: no tunnel */
	const char *reason;
	unsigned status; /* 0: nothing was sent */
	uint64_t us[SL_SCOPE_TIMES];
};
#define SL_SCOPE_NO_TIME UINT64_MAX

void sl_scopes_count(struct sl_scopes *s, const struct sl_scope_event *e);
/* Adds what `from` holds now to `to`, a plain object of the reader. */
void sl_scopes_merge(struct sl_scopes *to, const struct sl_scopes *from);

#endif
