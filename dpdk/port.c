/* SPDX-License-Identifier: BSD-2-Clause */
/* Ports: one receive and one transmit queue each, frames of at most one mbuf. What is sent is gathered
 * and leaves in bursts.
 *
 * It sets up nothing outside the process: huge pages, drivers bound to a card, and links are the
 * operator's. Errors say what of that is missing. */

#include "dpdk/port.h"

#include <errno.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <stdio.h>
#include <string.h>

#include "base/util.h"
#include "dpdk/eal.h"
#include "dpdk/frames.h"
#include "dpdk/port_socket.h"

#define DESCRIPTORS 2048
#define SEND_TRIES  16 /* of a full queue, before frames are dropped */
#define SCARCE	    4  /* frames are when less than a fourth of them is free */

struct sl_port {
	const struct sl_port_config *config;
	uint16_t id;
	uint16_t mtu;
	uint8_t mac[ETH_ALEN];
	int fd;
	bool interrupts; /* fd is the device's own */
	unsigned n_out;
	struct rte_mbuf *out[SL_PORT_BURST];
	struct sl_port_stats stats;
};

static struct sl_port ports[SL_PORTS_MAX];
static unsigned n_ports;
static struct rte_mempool *pool;
static bool scarce;

unsigned sl_ports_count(void)
{
	return n_ports;
}

struct sl_port *sl_port_get(unsigned i)
{
	return &ports[i];
}

struct sl_port *sl_port_of(uint16_t id)
{
	for (unsigned i = 0; i < n_ports; i++)
		if (ports[i].id == id)
			return &ports[i];
	return NULL;
}

unsigned sl_port_index(const struct sl_port *p)
{
	return (unsigned)(p - ports);
}

const struct sl_port_config *sl_port_config(const struct sl_port *p)
{
	return p->config;
}

const uint8_t *sl_port_mac(const struct sl_port *p)
{
	return p->mac;
}

uint16_t sl_port_mtu(const struct sl_port *p)
{
	return p->mtu;
}

int sl_port_fd(const struct sl_port *p)
{
	return p->fd;
}

void sl_port_expect(struct sl_port *p, bool waiting)
{
	if (!p->interrupts)
		return;
	if (waiting)
		rte_eth_dev_rx_intr_enable(p->id, 0);
	else
		rte_eth_dev_rx_intr_disable(p->id, 0);
}

/* --- frames --- */

bool sl_port_frames_are_scarce(void)
{
	return scarce;
}

void sl_port_frames(uint64_t *ret_all, uint64_t *ret_free)
{
	*ret_all = pool ? pool->size : 0;
	*ret_free = pool ? rte_mempool_avail_count(pool) : 0;
}

/* Drivers fetch frames that have left when they send: now, though there is nothing to send. */
static void reap(void)
{
	for (unsigned i = 0; i < n_ports; i++)
		rte_eth_tx_burst(ports[i].id, 0, NULL, 0);
}

struct rte_mbuf *sl_port_frame(void)
{
	struct rte_mbuf *frame = rte_pktmbuf_alloc(pool);

	if (frame)
		return frame;
	reap();
	return rte_pktmbuf_alloc(pool);
}

unsigned sl_port_receive(struct sl_port *p, struct rte_mbuf **ret)
{
	unsigned n = rte_eth_rx_burst(p->id, 0, ret, SL_PORT_BURST);

	/* A driver that has no frame to give for those that arrived does not hand them out. */
	if (!n && scarce)
		reap();
	if (n || scarce)
		scarce = rte_mempool_avail_count(pool) < pool->size / SCARCE;
	p->stats.rx_frames += n;
	for (unsigned i = 0; i < n; i++)
		p->stats.rx_bytes += ret[i]->pkt_len;
	return n;
}

void sl_port_flush(struct sl_port *p)
{
	unsigned sent = 0;

	for (unsigned i = 0; sent < p->n_out && i < SEND_TRIES; i++)
		sent += rte_eth_tx_burst(p->id, 0, p->out + sent, (uint16_t)(p->n_out - sent));
	p->stats.tx_frames += sent;
	p->stats.tx_dropped += p->n_out - sent;
	rte_pktmbuf_free_bulk(p->out + sent, p->n_out - sent);
	p->n_out = 0;
}

void sl_port_send(struct sl_port *p, struct rte_mbuf **frames, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		p->stats.tx_bytes += frames[i]->pkt_len;
		p->out[p->n_out++] = frames[i];
		if (p->n_out == SL_PORT_BURST)
			sl_port_flush(p);
	}
}

void sl_port_stats(const struct sl_port *p, struct sl_port_stats *ret)
{
	struct rte_eth_stats device;

	*ret = p->stats;
	if (rte_eth_stats_get(p->id, &device))
		return;
	ret->rx_missed = device.imissed + device.rx_nombuf;
	ret->tx_errors = device.oerrors;
	if (!p->interrupts)
		sl_port_socket_count(p->config, p->fd, &ret->rx_missed, &ret->tx_errors);
}

/* --- set-up --- */

static int fail(char reason[SL_PORT_WORD_MAX], const struct sl_port *p, const char *what, int r)
{
	snprintf(reason, SL_PORT_WORD_MAX, "%s: %s: %s", p->config->device, what, strerror(-r));
	return r;
}

static int set_up_queues(struct sl_port *p, bool interrupts, char reason[SL_PORT_WORD_MAX])
{
	const struct rte_eth_conf conf = {.intr_conf.rxq = interrupts};
	uint16_t rx = DESCRIPTORS, tx = DESCRIPTORS;
	int socket = rte_eth_dev_socket_id(p->id);
	int r = rte_eth_dev_configure(p->id, 1, 1, &conf);

	if (r)
		return fail(reason, p, "it can't be configured with one queue each way", r);
	r = rte_eth_dev_adjust_nb_rx_tx_desc(p->id, &rx, &tx);
	if (!r)
		r = rte_eth_rx_queue_setup(p->id, 0, rx, (unsigned)socket, NULL, pool);
	if (r)
		return fail(reason, p, "the receive queue can't be set up", r);
	r = rte_eth_tx_queue_setup(p->id, 0, tx, (unsigned)socket, NULL);
	return r ? fail(reason, p, "the transmit queue can't be set up", r) : 0;
}

/* A device of DPDK's own may have an interrupt for its queue, one of the kernel's has a socket. */
static void find_descriptor(struct sl_port *p, bool interrupts)
{
	p->interrupts = false;
	p->fd = interrupts ? rte_eth_dev_rx_intr_ctl_q_get_fd(p->id, 0) : -1;
	if (p->fd >= 0)
		p->interrupts = !rte_eth_dev_rx_intr_enable(p->id, 0);
	if (p->interrupts)
		rte_eth_dev_rx_intr_disable(p->id, 0);
	else
		p->fd = sl_port_socket_find(p->config);
}

static int try_start(struct sl_port *p, bool interrupts, char reason[SL_PORT_WORD_MAX])
{
	int r = set_up_queues(p, interrupts, reason);

	if (!r)
		r = rte_eth_dev_start(p->id);
	if (r)
		return fail(reason, p, "it can't be started", r);
	find_descriptor(p, interrupts);
	return 0;
}

/* Whether a driver has interrupts is not told: it refuses to start with them. */
static int start_port(struct sl_port *p, char reason[SL_PORT_WORD_MAX])
{
	struct rte_ether_addr mac;
	int r = -ENOTSUP;

	if (sl_eal_is_pci(p->config->device))
		r = try_start(p, true, reason);
	if (r)
		r = try_start(p, false, reason);
	if (r)
		return r;
	rte_eth_macaddr_get(p->id, &mac);
	memcpy(p->mac, mac.addr_bytes, ETH_ALEN);
	if (rte_eth_dev_get_mtu(p->id, &p->mtu))
		p->mtu = ETHERMTU;
	/* The multicast groups of neighbour discovery. Not every device can, or needs to be told. */
	rte_eth_allmulticast_enable(p->id);
	return 0;
}

/* net_af_xdp starts with any pool, and loses frames of one with gaps. */
static int check_frames(const struct sl_dpdk_config *c, char reason[SL_PORT_WORD_MAX])
{
	const bool dense = sl_frames_are_dense(pool);

	for (size_t i = 0; i < c->n_ports; i++) {
		const struct sl_port_config *p = &c->port[i];

		if (dense || !sl_eal_is_xdp(p))
			continue;
		snprintf(reason, SL_PORT_WORD_MAX,
			 "%s: af_xdp needs frames without gaps between them, which a PCI device "
			 "beside it does not allow: use driver: af_packet",
			 p->device);
		return -EINVAL;
	}
	return 0;
}

int sl_ports_open(const struct sl_dpdk_config *c, char ret_reason[SL_PORT_WORD_MAX])
{
	int r = sl_eal_start(c, ret_reason);

	if (!r)
		r = sl_frames_create(c, &pool, ret_reason);
	if (!r)
		r = check_frames(c, ret_reason);
	for (size_t i = 0; !r && i < c->n_ports; i++) {
		struct sl_port *p = &ports[i];

		*p = (struct sl_port){.config = &c->port[i], .fd = -1};
		r = sl_eal_find_port(c, i, &p->id, ret_reason);
		if (!r)
			r = start_port(p, ret_reason);
		n_ports += !r;
	}
	if (r)
		sl_ports_close();
	return r;
}

void sl_ports_close(void)
{
	for (unsigned i = 0; i < n_ports; i++) {
		rte_pktmbuf_free_bulk(ports[i].out, ports[i].n_out);
		rte_eth_dev_stop(ports[i].id);
		rte_eth_dev_close(ports[i].id);
	}
	n_ports = 0;
	rte_mempool_free(pool);
	pool = NULL;
	scarce = false;
	sl_port_socket_forget();
	sl_eal_stop();
}
