/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_PROXY_BALANCE_H
#define SLUICE_PROXY_BALANCE_H

/* Which server of an upstream is next. A balancer belongs to one worker; it knows nothing of health or
 * limits: whoever asks names the candidates. */

#include <stddef.h>
#include <stdint.h>

#include "proxy/config/config.h"
#include "proxy/upstream/maglev.h"

struct sl_candidate {
	uint32_t server; /* its index in the upstream; candidates are in this order */
	uint32_t weight; /* > 0 */
	uint32_t load;	 /* connections in use, of all workers */
};

struct sl_balancer {
	enum sl_balance kind;
	const struct sl_maglev *maglev; /* of SL_BALANCE_MAGLEV; borrowed */
	int64_t *current;		/* by server: what smooth round robin owes it */
	uint64_t random;
	uint32_t turn;
};

/* turn: workers begin at different servers. 0 or -ENOMEM. */
int sl_balancer_init(struct sl_balancer *b, const struct sl_upstream_config *u,
		     const struct sl_maglev *maglev, uint32_t turn);
void sl_balancer_destroy(struct sl_balancer *b);
/* An index into c[0..n), n > 0. hash: of the request's key, for SL_BALANCE_MAGLEV. */
size_t sl_balancer_choose(struct sl_balancer *b, const struct sl_candidate *c, size_t n,
			  uint64_t hash);

#endif
