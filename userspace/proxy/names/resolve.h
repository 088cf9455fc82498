/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_PROXY_RESOLVE_H
#define SLUICE_PROXY_RESOLVE_H

/* Names to addresses: c-ares on the worker's loop, A and AAAA at once, /etc/hosts first, answers
 * cached by their TTL (negative ones, too), equal questions asked once. One instance per worker. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/loop.h"
#include "base/slice.h"
#include "proxy/config/config.h"

struct sl_resolver;

#define SL_RESOLVE_MAX 16 /* addresses of one answer that are used */

struct sl_addrs {
	size_t n;
	struct sl_addr addr[SL_RESOLVE_MAX]; /* in the order to try: families interleaved (RFC 8305
						section 4), IPv6 first unless this host has no way
						there, as the server sent them inside; port 0 */
};

#define SL_NAME_MAX 253

/* Writes the name in lower case, without a final dot. False for what no host is called: empty or long
 * labels, bytes that DNS libraries treat specially (backslash), anything that is not ASCII. */
bool sl_name_normalise(struct sl_slice name, char ret[SL_NAME_MAX + 1]);

/* A question. Lives in the asker's object until on_answer or sl_resolve_cancel(). */
struct sl_query {
	/* error 0: addresses follow (at least one). Else -ENOENT (no such name or no address),
	 * -ETIMEDOUT, -EIO (server failure, refused), -ENOBUFS (too many questions). */
	void (*on_answer)(struct sl_query *q, int error, const struct sl_addrs *addrs);
	struct sl_list node; /* the resolver's */
	bool pending;
};

/* 0, -EINVAL (a server that is no address), -ENOMEM or another -errno. */
int sl_resolver_new(struct sl_loop *loop, const struct sl_resolver_config *c,
		    struct sl_resolver **ret);
/* Pending questions get no answer. Not from on_answer. Takes NULL. */
void sl_resolver_free(struct sl_resolver *r);

/* name: a host name (no literal); case and one final dot don't matter, what can't be a host name is
 * -ENOENT. Answers from the cache or /etc/hosts come at once: then 0 is returned, *ret is filled and
 * on_answer is not called (or a negative error from the list above). -EINPROGRESS: on_answer will be
 * called, from the loop; it may ask and cancel anything. */
int sl_resolve(struct sl_resolver *r, struct sl_slice name, struct sl_query *q,
	       struct sl_addrs *ret);
/* Idempotent; no callback follows. */
void sl_resolve_cancel(struct sl_query *q);

struct sl_resolver_stats {
	uint64_t asked;	   /* questions sent to c-ares */
	uint64_t cached;   /* answered from the cache */
	uint64_t negative; /* of these, negative */
	uint64_t joined;   /* waited for an equal question */
	uint64_t failed;
	uint64_t timed_out;
	uint64_t refused; /* too many at once */
};
/* Single writer; others read relaxed. */
const struct sl_resolver_stats *sl_resolver_stats(const struct sl_resolver *r);

#endif
