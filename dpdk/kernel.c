/* SPDX-License-Identifier: BSD-2-Clause */
/* Frames between the ports and the kernel's devices. A frame is one system call, so this is for what can't
 * be spliced, or not yet.
 *
 * The kernel works on a frame within the write: when it returns, the segment has been to its socket. */

#include "dpdk/kernel.h"

#include <errno.h>
#include <rte_mbuf.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"
#include "dpdk/lcore.h"
#include "dpdk/tap.h"
#include "splice/netlink.h"

#define BURSTS	   4  /* of a device in a turn */
#define LAST_TURNS 64 /* for what the kernel says at the end */

static struct {
	bool started;
	int netlink;
	unsigned n; /* taps */
	struct sl_tap tap[SL_PORTS_MAX];
	struct sl_kernel_stats stats;
} kernel;

static void count(uint64_t *counter)
{
	__atomic_store_n(counter, *counter + 1, __ATOMIC_RELAXED);
}

/* --- to the kernel --- */

/* The counter of why not, or NULL. The port may see all frames on its wire, and a packet socket also what
 * the kernel sends by the device itself. */
static uint64_t *check(const struct sl_port *p, const struct rte_mbuf *m)
{
	const uint8_t *data = rte_pktmbuf_mtod(m, const uint8_t *);

	if (m->nb_segs > 1 || m->data_len <= ETH_HLEN ||
	    !memcmp(data + ETH_ALEN, sl_port_mac(p), ETH_ALEN))
		return &kernel.stats.malformed;
	if (!(data[0] & 1) && memcmp(data, sl_port_mac(p), ETH_ALEN))
		return &kernel.stats.not_ours;
	return NULL;
}

static void hand_in(const struct sl_port *p, const struct rte_mbuf *m)
{
	uint64_t *why_not = check(p, m);
	ssize_t n;

	if (why_not) {
		count(why_not);
		return;
	}
	n = write(kernel.tap[sl_port_index(p)].fd, rte_pktmbuf_mtod(m, void *), m->data_len);
	count(n < 0 ? &kernel.stats.refused : &kernel.stats.to_kernel);
}

static void input(struct sl_port *p, struct rte_mbuf **frames, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		hand_in(p, frames[i]);
	rte_pktmbuf_free_bulk(frames, n);
}

/* --- from the kernel --- */

/* Somebody has deleted the device. Spliced pairs go on; the rest is for a new start. */
static void give_up(struct sl_tap *t, const struct sl_port *p)
{
	sl_error("dpdk: %s is gone: the kernel gets nothing of %s any more", sl_port_config(p)->tap,
		 sl_port_config(p)->device);
	sl_lcore_unwatch(t->fd);
	sl_tap_close(t);
}

/* One frame; false if there is none. */
static bool fetch(struct sl_tap *t, const struct sl_port *p, struct rte_mbuf *m)
{
	ssize_t n = read(t->fd, rte_pktmbuf_mtod(m, void *), rte_pktmbuf_tailroom(m));

	if (n <= 0) {
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			give_up(t, p);
		return false;
	}
	m->data_len = (uint16_t)n;
	m->pkt_len = (uint32_t)n;
	return true;
}

static unsigned fetch_burst(struct sl_tap *t, struct sl_port *p)
{
	struct rte_mbuf *frames[SL_PORT_BURST];
	unsigned n = 0;

	while (n < SL_PORT_BURST && t->fd >= 0) {
		frames[n] = sl_port_frame();
		if (!frames[n]) {
			count(&kernel.stats.no_memory);
			break;
		}
		if (!fetch(t, p, frames[n])) {
			rte_pktmbuf_free(frames[n]);
			break;
		}
		count(&kernel.stats.from_kernel);
		n++;
	}
	sl_port_send(p, frames, n);
	return n;
}

static unsigned turn(void)
{
	unsigned n, all = 0;

	for (unsigned i = 0; i < kernel.n; i++)
		for (unsigned k = 0; k < BURSTS; k++) {
			n = fetch_burst(&kernel.tap[i], sl_port_get(i));
			all += n;
			if (n < SL_PORT_BURST)
				break;
		}
	return all;
}

static bool never_busy(void)
{
	return false;
}

static const struct sl_lcore_stack stack = {input, turn, never_busy};

/* --- routes --- */

int sl_kernel_route(const struct sl_addr *to, struct sl_addr *ret_source)
{
	struct sl_route route;
	int r = sl_netlink_route(kernel.netlink, to, NULL, &route);

	if (r)
		return r;
	for (unsigned i = 0; i < kernel.n; i++)
		if (kernel.tap[i].ifindex == route.ifindex) {
			*ret_source = route.source;
			return 0;
		}
	return -EOPNOTSUPP;
}

void sl_kernel_stats(struct sl_kernel_stats *ret)
{
	*ret = kernel.stats;
}

/* --- start and end --- */

static int open_all(struct sl_loop *loop, const struct sl_dpdk_config *c,
		    char reason[SL_PORT_WORD_MAX])
{
	int r = sl_ports_open(c, reason);

	for (unsigned i = 0; !r && i < sl_ports_count(); i++) {
		r = sl_tap_open(sl_port_get(i), &kernel.tap[i], reason);
		kernel.n += !r;
	}
	if (r)
		return r;
	snprintf(reason, SL_PORT_WORD_MAX, "the devices can't be watched");
	r = sl_netlink_open(&kernel.netlink);
	if (!r)
		r = sl_lcore_start(loop, &stack);
	for (unsigned i = 0; !r && i < kernel.n; i++)
		r = sl_lcore_watch(kernel.tap[i].fd);
	return r;
}

int sl_kernel_start(struct sl_loop *loop, const struct sl_dpdk_config *c)
{
	char reason[SL_PORT_WORD_MAX] = "";
	int r;

	memset(&kernel, 0, sizeof(kernel));
	kernel.netlink = -1;
	kernel.started = true;
	r = open_all(loop, c, reason);
	if (r) {
		sl_error("dpdk: %s", reason);
		sl_kernel_stop();
	}
	return r;
}

void sl_kernel_stop(void)
{
	if (!kernel.started)
		return;
	for (unsigned i = 0; i < LAST_TURNS && turn(); i++)
		;
	sl_lcore_stop();
	while (kernel.n)
		sl_tap_close(&kernel.tap[--kernel.n]);
	kernel.netlink = sl_close(kernel.netlink);
	sl_ports_close();
	kernel.started = false;
}
