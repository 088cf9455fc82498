/* SPDX-License-Identifier: BSD-2-Clause */
/* The pool of frames.
 *
 * DPDK places the objects of a pool so that none crosses a page, for devices that know physical addresses
 * only: in ordinary memory a frame of 2.5 KB then takes 4. net_af_xdp (22.11) gives the kernel as many
 * bytes as the frames have without such gaps. What it is told of frames behind that is ignored in
 * silence: they are not filled, not sent, and never come back. So where no PCI device is, frames lie one
 * right behind the other. */

#include "dpdk/frames.h"

#include <errno.h>
#include <rte_mbuf.h>
#include <rte_mbuf_pool_ops.h>
#include <stdio.h>

#include "dpdk/eal.h"

#define CACHE 256
#define BYTES (sizeof(struct rte_mbuf) + SL_PORT_PRIVATE + RTE_MBUF_DEFAULT_BUF_SIZE)

static unsigned flags_for(const struct sl_dpdk_config *c)
{
	for (size_t i = 0; i < c->n_ports; i++)
		if (sl_eal_is_pci(c->port[i].device))
			return 0;
	return RTE_MEMPOOL_F_NO_IOVA_CONTIG;
}

/* As rte_pktmbuf_pool_create(), which takes no flags. */
static struct rte_mempool *create(unsigned n, unsigned flags)
{
	struct rte_pktmbuf_pool_private own = {.mbuf_data_room_size = RTE_MBUF_DEFAULT_BUF_SIZE,
					       .mbuf_priv_size = SL_PORT_PRIVATE};
	struct rte_mempool *pool = rte_mempool_create_empty("sluice", n, BYTES, CACHE, sizeof(own),
							    SOCKET_ID_ANY, flags);

	if (!pool)
		return NULL;
	if (rte_mempool_set_ops_byname(pool, rte_mbuf_best_mempool_ops(), NULL))
		goto fail;
	rte_pktmbuf_pool_init(pool, &own);
	if (rte_mempool_populate_default(pool) < 0)
		goto fail;
	rte_mempool_obj_iter(pool, rte_pktmbuf_init, NULL);
	return pool;
fail:
	rte_mempool_free(pool);
	return NULL;
}

int sl_frames_create(const struct sl_dpdk_config *c, struct rte_mempool **ret,
		     char ret_reason[SL_PORT_WORD_MAX])
{
	const unsigned flags = flags_for(c);
	const size_t room = (size_t)c->memory_mb / 2 << 20;
	const unsigned n = (unsigned)(room / rte_mempool_calc_obj_size(BYTES, flags, NULL));
	struct rte_mempool *pool = create(n, flags);

	if (!pool) {
		snprintf(ret_reason, SL_PORT_WORD_MAX,
			 "no memory for %u frames: dpdk.memory is %u MiB", n, c->memory_mb);
		return -ENOMEM;
	}
	*ret = pool;
	return 0;
}

struct extent {
	const char *end; /* of what net_af_xdp gives the kernel */
	bool exceeded;
};

static void look_at(struct rte_mempool *pool, void *arg, void *object, unsigned i)
{
	struct extent *e = arg;

	if ((const char *)object + pool->elt_size + pool->trailer_size > e->end)
		e->exceeded = true;
}

bool sl_frames_are_dense(struct rte_mempool *pool)
{
	const struct rte_mempool_memhdr *first = STAILQ_FIRST(&pool->mem_list);
	const size_t each = rte_mempool_calc_obj_size(pool->elt_size, pool->flags, NULL);
	struct extent e = {.end = (const char *)first->addr + each * pool->populated_size};

	rte_mempool_obj_iter(pool, look_at, &e);
	return pool->nb_mem_chunks == 1 && !e.exceeded;
}
