/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_PROXY_THROTTLE_H
#define SLUICE_PROXY_THROTTLE_H

/* How many requests (in modes tcp and sni: connections) a listener or route takes: in a second, by source
 * or in all, and at once. Shared by the workers; any thread may call. */

#include <stdint.h>

#include "base/addr.h"
#include "proxy/config/config.h"

struct sl_throttle;

enum sl_throttle_verdict {
	SL_THROTTLE_OK,
	SL_THROTTLE_RATE,	/* too many in a second: 429 */
	SL_THROTTLE_CONCURRENT, /* too many at once: 503 */
};

/* Of one configuration, which must outlive it. before: of the one before, or NULL; limits of the same
 * listener or route go on counting from there. One thread's, as is the end. 0 or -errno. */
int sl_throttle_new(const struct sl_config *c, struct sl_throttle *before,
		    struct sl_throttle **ret);
/* Takes NULL. */
void sl_throttle_free(struct sl_throttle *t);

/* Takes a request of that source. route: where it goes, or NULL. With SL_THROTTLE_RATE *ret_wait_us is
 * the time until another one would be taken. now_us: CLOCK_MONOTONIC. */
enum sl_throttle_verdict sl_throttle_admit(struct sl_throttle *t,
					   const struct sl_listener_config *listener,
					   const struct sl_route_config *route,
					   const struct sl_addr *source, uint64_t now_us,
					   uint64_t *ret_wait_us);
/* It is over; after SL_THROTTLE_OK, with the same route. */
void sl_throttle_release(struct sl_throttle *t, const struct sl_route_config *route);

#endif
