/* SPDX-License-Identifier: BSD-2-Clause */
/* Choosing a server. Smooth weighted round robin: each candidate earns its weight, the richest is
 * chosen and pays what all earned, so that 5:1:1 gives a a b a c a a and not a a a a a b c. */

#include "proxy/balance.h"

#include <errno.h>
#include <stdlib.h>

static size_t choose_in_turn(struct sl_balancer *b, const struct sl_candidate *c, size_t n)
{
	int64_t total = 0;
	size_t best = 0;

	for (size_t i = 0; i < n; i++) {
		b->current[c[i].server] += c[i].weight;
		total += c[i].weight;
		if (b->current[c[i].server] > b->current[c[best].server])
			best = i;
	}
	b->current[c[best].server] -= total;
	return best;
}

int sl_balancer_init(struct sl_balancer *b, const struct sl_upstream_config *u, uint32_t turn)
{
	*b = (struct sl_balancer){.current = calloc(u->n_servers, sizeof(*b->current))};
	if (!b->current)
		return -ENOMEM;
	if (turn % u->n_servers)
		b->current[turn % u->n_servers] = 1;
	return 0;
}

void sl_balancer_destroy(struct sl_balancer *b)
{
	free(b->current);
	b->current = NULL;
}

size_t sl_balancer_choose(struct sl_balancer *b, const struct sl_candidate *c, size_t n)
{
	return choose_in_turn(b, c, n);
}
