/* SPDX-License-Identifier: BSD-2-Clause */
/* What the workers share of upstreams. */

#include "proxy/upstream.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

#define IDLE_MAX 65536 /* of a worker */

static int init_upstream(struct sl_upstream *u, const struct sl_upstream_config *c)
{
	size_t bytes = c->n_servers * sizeof(*u->server);

	u->config = c;
	u->server = aligned_alloc(64, bytes);
	if (!u->server)
		return -ENOMEM;
	memset(u->server, 0, bytes);
	u->n_servers = c->n_servers;
	for (uint32_t i = 0; i < u->n_servers; i++)
		u->server[i] = (struct sl_server){
			.config = &c->servers[i],
			.upstream = u,
			.index = i,
		};
	return 0;
}

int sl_upstreams_new(const struct sl_config *c, struct sl_upstreams **ret)
{
	struct sl_upstreams *u = calloc(1, sizeof(*u));
	int r = 0;

	if (!u)
		return -ENOMEM;
	u->upstream = calloc(c->n_upstreams + 1, sizeof(*u->upstream));
	if (!u->upstream)
		r = -ENOMEM;
	for (; !r && u->n < c->n_upstreams; u->n++)
		r = init_upstream(&u->upstream[u->n], &c->upstreams[u->n]);
	if (r) {
		sl_upstreams_free(u);
		return r;
	}
	*ret = u;
	return 0;
}

void sl_upstreams_free(struct sl_upstreams *u)
{
	if (!u)
		return;
	for (size_t i = 0; i < u->n; i++)
		free(u->upstream[i].server);
	free(u->upstream);
	free(u);
}

uint32_t sl_upstreams_idle_max(const struct sl_config *c)
{
	uint64_t n = 0;

	for (size_t i = 0; i < c->n_upstreams; i++)
		n += (uint64_t)c->upstreams[i].pool.idle * c->upstreams[i].n_servers;
	return (uint32_t)sl_min(n, (uint64_t)IDLE_MAX);
}

void sl_server_forget_idle(struct sl_server *s)
{
	__atomic_sub_fetch(&s->idle, 1, __ATOMIC_RELAXED);
}
