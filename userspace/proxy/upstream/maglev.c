/* SPDX-License-Identifier: BSD-2-Clause */
/* Filling the table: in each round a server takes the next free slots of its own permutation of all
 * slots, as many as its weight says. */

#include "proxy/upstream/maglev.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define FREE UINT16_MAX

struct permutation {
	uint32_t at, skip;
};

static struct permutation permutation_of(const char *name)
{
	XXH128_hash_t h = XXH3_128bits(name, strlen(name));

	return (struct permutation){
		.at = (uint32_t)(h.low64 % SL_MAGLEV_SLOTS),
		.skip = (uint32_t)(h.high64 % (SL_MAGLEV_SLOTS - 1)) + 1,
	};
}

static void take_slot(struct sl_maglev *m, struct permutation *p, uint16_t server)
{
	while (m->server[p->at] != FREE)
		p->at = (p->at + p->skip) % SL_MAGLEV_SLOTS;
	m->server[p->at] = server;
}

static void fill(struct sl_maglev *m, const struct sl_maglev_server *s, size_t n,
		 struct permutation *p)
{
	size_t left = SL_MAGLEV_SLOTS;

	for (size_t i = 0; left; i = (i + 1) % n)
		for (uint32_t turn = 0; turn < s[i].weight && left; turn++, left--)
			take_slot(m, &p[i], (uint16_t)i);
}

int sl_maglev_new(const struct sl_maglev_server *s, size_t n, struct sl_maglev **ret)
{
	struct sl_maglev *m = malloc(sizeof(*m));
	struct permutation *p = calloc(n, sizeof(*p));

	if (!m || !p) {
		free(m);
		free(p);
		return -ENOMEM;
	}
	memset(m, 0xff, sizeof(*m));
	for (size_t i = 0; i < n; i++)
		p[i] = permutation_of(s[i].name);
	fill(m, s, n, p);
	free(p);
	*ret = m;
	return 0;
}
