/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_PROXY_BALANCE_H
#define SLUICE_PROXY_BALANCE_H

/* Which server of an upstream is next. A balancer belongs to one worker; it knows nothing of health or
 * limits: whoever asks names the candidates. */

#include <stddef.h>
#include <stdint.h>

#include "proxy/config.h"

struct sl_candidate {
	uint32_t server; /* its index in the upstream */
	uint32_t weight; /* > 0 */
};

struct sl_balancer {
	int64_t *current; /* by server: what smooth round robin owes it */
};

/* turn: workers begin at different servers. 0 or -ENOMEM. */
int sl_balancer_init(struct sl_balancer *b, const struct sl_upstream_config *u, uint32_t turn);
void sl_balancer_destroy(struct sl_balancer *b);
/* An index into c[0..n), n > 0. */
size_t sl_balancer_choose(struct sl_balancer *b, const struct sl_candidate *c, size_t n);

#endif
