/* SPDX-License-Identifier: BSD-2-Clause */
/* Choosing a server. Loads are compared as (load + 1) / weight: an idle server of twice the weight is
 * preferred to an idle one. */

#include "proxy/upstream/balance.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#define PROBES_MAX 64

/* xorshift64*: which server is tried must be even, not secret. */
static uint64_t next_random(struct sl_balancer *b)
{
	b->random ^= b->random >> 12;
	b->random ^= b->random << 25;
	b->random ^= b->random >> 27;
	return b->random * 0x2545f4914f6cdd1dull;
}

/* Smooth weighted round robin: each candidate earns its weight, the richest is chosen and pays what all
 * earned, so that 5:1:1 gives a a b a c a a and not a a a a a b c. */
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

static bool is_less_loaded(const struct sl_candidate *a, const struct sl_candidate *b)
{
	return ((uint64_t)a->load + 1) * b->weight < ((uint64_t)b->load + 1) * a->weight;
}

/* Equal ones take turns. */
static size_t choose_least_loaded(struct sl_balancer *b, const struct sl_candidate *c, size_t n)
{
	size_t first = b->turn++ % n, best = first;

	for (size_t i = 1; i < n; i++) {
		size_t k = (first + i) % n;

		if (is_less_loaded(&c[k], &c[best]))
			best = k;
	}
	return best;
}

static size_t choose_by_weight(struct sl_balancer *b, const struct sl_candidate *c, size_t n,
			       uint64_t total)
{
	uint64_t at = next_random(b) % total;
	size_t i = 0;

	while (at >= c[i].weight && i < n - 1)
		at -= c[i++].weight;
	return i;
}

/* The better of two is nearly as good as the best of all, and doesn't send everybody to a server that
 * just came up. */
static size_t choose_of_two(struct sl_balancer *b, const struct sl_candidate *c, size_t n)
{
	uint64_t total = 0;
	size_t one, other;

	for (size_t i = 0; i < n; i++)
		total += c[i].weight;
	one = choose_by_weight(b, c, n, total);
	other = choose_by_weight(b, c, n, total);
	for (int i = 0; i < 4 && other == one; i++)
		other = choose_by_weight(b, c, n, total);
	/* The weights are in the choice already. */
	return c[other].load < c[one].load ? other : one;
}

static size_t find_server(const struct sl_candidate *c, size_t n, uint32_t server)
{
	size_t from = 0, to = n;

	while (from < to) {
		size_t middle = (from + to) / 2;

		if (c[middle].server < server)
			from = middle + 1;
		else
			to = middle;
	}
	return from < n && c[from].server == server ? from : n;
}

/* Keys whose server is no candidate go to servers of other slots, each key always to the same ones; all
 * other keys stay where they are. */
static size_t choose_by_hash(struct sl_balancer *b, const struct sl_candidate *c, size_t n,
			     uint64_t hash)
{
	for (int i = 0; i < PROBES_MAX; i++) {
		size_t found = find_server(c, n, sl_maglev_lookup(b->maglev, hash));

		if (found < n)
			return found;
		hash = (hash ^ hash >> 31) * 0x9e3779b97f4a7c15ull + 1;
	}
	return hash % n;
}

int sl_balancer_init(struct sl_balancer *b, const struct sl_upstream_config *u,
		     const struct sl_maglev *maglev, uint32_t turn)
{
	*b = (struct sl_balancer){
		.kind = u->balance,
		.maglev = maglev,
		.current = calloc(SL_SERVERS_MAX, sizeof(*b->current)),
		.random = 0x9e3779b97f4a7c15ull + turn,
		.turn = turn,
	};
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

size_t sl_balancer_choose(struct sl_balancer *b, const struct sl_candidate *c, size_t n,
			  uint64_t hash)
{
	switch (b->kind) {
	case SL_BALANCE_ROUND_ROBIN:
		break;
	case SL_BALANCE_LEAST_CONN:
		return choose_least_loaded(b, c, n);
	case SL_BALANCE_RANDOM2:
		return choose_of_two(b, c, n);
	case SL_BALANCE_MAGLEV:
		return choose_by_hash(b, c, n, hash);
	}
	return choose_in_turn(b, c, n);
}
