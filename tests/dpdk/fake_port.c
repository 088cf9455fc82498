/* SPDX-License-Identifier: BSD-2-Clause */
#include "fake_port.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rte_eal.h>
#include <rte_mbuf.h>

#include "base/util.h"
#include "dpdk/port.h"

#define FRAMES 255
#define SENT   64

struct sl_port {
	struct rte_mempool *pool;
	struct rte_mbuf *sent[SENT];
	unsigned first, n;
};

static struct sl_port only;

static void die(const char *what)
{
	printf("Bail out! %s\n", what);
	exit(1);
}

void fake_port_start(void)
{
	static char *argv[] = {
		"test",	       "--no-huge",	 "-m",		"64",	 "--no-pci",
		"--no-shconf", "--no-telemetry", "--log-level", "error", "--iova-mode=va"};

	if (rte_eal_init(SL_ARRAY_SIZE(argv), argv) < 0)
		die("DPDK does not start");
	only.pool = rte_pktmbuf_pool_create("frames", FRAMES, 0, 0, RTE_MBUF_DEFAULT_BUF_SIZE,
					    SOCKET_ID_ANY);
	if (!only.pool)
		die("no memory for frames");
}

void fake_port_stop(void)
{
	if (rte_mempool_in_use_count(only.pool))
		die("frames were leaked");
	rte_mempool_free(only.pool);
	rte_eal_cleanup();
}

struct rte_mbuf *fake_port_arrival(const uint8_t *bytes, size_t len)
{
	struct rte_mbuf *m = sl_port_frame();

	memcpy(rte_pktmbuf_append(m, (uint16_t)len), bytes, len);
	m->port = 0;
	return m;
}

struct rte_mbuf *fake_port_take(void)
{
	struct rte_mbuf *m;

	if (!only.n)
		return NULL;
	m = only.sent[only.first++ % SENT];
	only.n--;
	return m;
}

/* --- dpdk/port.h --- */

struct sl_port *sl_port_of(uint16_t id)
{
	return &only;
}

struct sl_port *sl_port_get(unsigned i)
{
	return i ? NULL : &only;
}

unsigned sl_port_index(const struct sl_port *p)
{
	return 0;
}

const uint8_t *sl_port_mac(const struct sl_port *p)
{
	return (const uint8_t *)"\2port";
}

void sl_port_send(struct sl_port *p, struct rte_mbuf **frames, unsigned n)
{
	if (p != &only || p->n + n > SENT)
		die("too many frames, or to a port that is none");
	for (unsigned i = 0; i < n; i++)
		p->sent[(p->first + p->n++) % SENT] = frames[i];
}

struct rte_mbuf *sl_port_frame(void)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(only.pool);

	if (!m)
		die("no frame is left: were some leaked?");
	return m;
}
