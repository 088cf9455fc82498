/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_PROXY_AUTH_H
#define SLUICE_PROXY_AUTH_H

/* Basic authentication (RFC 7617) against an htpasswd-style file: "user:hash" lines with strong
 * crypt(5) hashes ($2y$, $6$, $y$, ...). crypt(3) is slow on purpose (tens of milliseconds), so it
 * never runs in a worker: one thread checks, and verified credentials are remembered for a minute as
 * a keyed hash (no password is kept). The table of them is bounded; so is the queue of checks. */

#include <stdbool.h>
#include <stddef.h>

#include "base/loop.h"
#include "base/slice.h"

struct sl_auth;

enum sl_auth_verdict {
	SL_AUTH_OK,
	SL_AUTH_DENIED,	 /* no, malformed or wrong credentials: 407 */
	SL_AUTH_PENDING, /* the answer comes through the check's callback */
	SL_AUTH_BUSY,	 /* the queue is full: 503 */
};

#define SL_AUTH_USER_MAX  64
#define SL_AUTH_QUEUE_MAX 256 /* checks that wait or run */

/* Lives in the caller's object until on_verdict or sl_auth_cancel(). */
struct sl_auth_check {
	struct sl_loop *loop; /* set by the caller: where on_verdict runs */
	void (*on_verdict)(struct sl_auth_check *c, enum sl_auth_verdict v); /* OK or DENIED */
	void *pending;							     /* the module's */
	char user[SL_AUTH_USER_MAX + 1]; /* the user name, for the log, once known */
};

/* Reads the file. -errno, or -EINVAL with the line's number in *ret_line (else 0). */
int sl_auth_open(const char *path, struct sl_auth **ret, unsigned *ret_line);
/* One more owner, each of whom closes it. One thread's. Returns a. */
struct sl_auth *sl_auth_share(struct sl_auth *a);
/* Whether the file is the one that was read. */
bool sl_auth_is_current(const struct sl_auth *a);
/* No check of this owner's may be pending. Takes NULL. */
void sl_auth_close(struct sl_auth *a);
/* Reads the file again and forgets what was verified; on error the old users stay. Any thread. */
int sl_auth_reload(struct sl_auth *a, unsigned *ret_line);

/* value: of the Proxy-Authorization field, or empty. In the thread of c->loop. */
enum sl_auth_verdict sl_auth_verify(struct sl_auth *a, struct sl_slice value,
				    struct sl_auth_check *c);
/* In the thread of c->loop. Idempotent; no callback follows. */
void sl_auth_cancel(struct sl_auth_check *c);

#endif
