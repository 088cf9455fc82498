/* SPDX-License-Identifier: BSD-2-Clause */
/* What a worker does with its ports, as the poller of its loop:
 *
 *   receive a burst -> spliced pairs' packets go straight out -> the rest to the stack, which may send by
 *   itself -> what is gathered leaves before the loop waits
 *
 * While frames come, the loop does not wait. After IDLE_POLLS turns without any it sleeps on the
 * descriptors of the ports and of the stack; a port without one is looked at every millisecond.
 *
 * One worker has all ports, so what is known of it is here. */

#include "dpdk/lcore.h"

#include <errno.h>
#include <rte_lcore.h>
#include <sys/epoll.h>

#include "base/loop.h"

#define IDLE_POLLS 200
#define BURSTS	   4 /* of a port in a turn */

static struct {
	struct sl_loop *loop; /* NULL: not started */
	const struct sl_lcore_stack *stack;
	struct sl_dpdk_splice *splice;
	struct sl_poller poller;
	struct sl_io io[2 * SL_PORTS_MAX]; /* of ports, and of the stack for each */
	unsigned n_io;
	bool all_have_descriptors;
	unsigned idle_polls;
	bool waiting;	 /* the ports were told so */
	bool registered; /* the worker's thread is known to DPDK */
} lcore;

void sl_lcore_set_splice(struct sl_dpdk_splice *s)
{
	lcore.splice = s;
}

static unsigned poll_port(struct sl_port *p)
{
	struct rte_mbuf *frames[SL_PORT_BURST];
	unsigned n, rest, all = 0;

	for (unsigned i = 0; i < BURSTS; i++) {
		n = sl_port_receive(p, frames);
		rest = n && lcore.splice ? sl_splice_burst(lcore.splice, frames, n, frames) : n;
		if (rest)
			lcore.stack->input(p, frames, rest);
		all += n;
		if (n < SL_PORT_BURST)
			break;
	}
	return all;
}

static void flush_ports(void)
{
	for (unsigned i = 0; i < sl_ports_count(); i++)
		sl_port_flush(sl_port_get(i));
}

static void expect(bool waiting)
{
	if (lcore.waiting == waiting)
		return;
	lcore.waiting = waiting;
	for (unsigned i = 0; i < sl_ports_count(); i++)
		sl_port_expect(sl_port_get(i), waiting);
}

static int may_wait(struct sl_poller *p)
{
	flush_ports();
	if (lcore.stack->busy() || lcore.idle_polls < IDLE_POLLS)
		return 0;
	expect(true);
	return lcore.all_have_descriptors ? -1 : 1;
}

static void poll(struct sl_poller *p)
{
	unsigned n = 0;

	if (!lcore.registered) {
		rte_thread_register(); /* else this thread has no caches of frames */
		lcore.registered = true;
	}
	expect(false);
	for (unsigned i = 0; i < sl_ports_count(); i++)
		n += poll_port(sl_port_get(i));
	n += lcore.stack->turn();
	lcore.idle_polls = n ? 0 : lcore.idle_polls + 1;
}

/* The poller looks at the ports each turn; this only ends the wait. */
static void ignore_event(struct sl_io *io, uint32_t events)
{
}

int sl_lcore_watch(int fd)
{
	struct sl_io *io = &lcore.io[lcore.n_io];
	int r;

	*io = (struct sl_io){.fd = fd, .on_event = ignore_event};
	r = sl_loop_add(lcore.loop, io, EPOLLIN);
	lcore.n_io += !r;
	return r;
}

void sl_lcore_unwatch(int fd)
{
	for (unsigned i = 0; i < lcore.n_io; i++)
		if (lcore.io[i].fd == fd)
			sl_loop_del(lcore.loop, &lcore.io[i]);
}

int sl_lcore_start(struct sl_loop *loop, const struct sl_lcore_stack *stack)
{
	int r = 0;

	lcore.loop = loop;
	lcore.stack = stack;
	lcore.n_io = lcore.idle_polls = 0;
	lcore.waiting = lcore.registered = false;
	lcore.all_have_descriptors = true;
	lcore.poller = (struct sl_poller){.may_wait = may_wait, .poll = poll};
	for (unsigned i = 0; i < sl_ports_count() && !r; i++) {
		int fd = sl_port_fd(sl_port_get(i));

		if (fd >= 0)
			r = sl_lcore_watch(fd);
		else
			lcore.all_have_descriptors = false;
	}
	sl_loop_set_poller(loop, &lcore.poller);
	return r;
}

void sl_lcore_stop(void)
{
	if (!lcore.loop)
		return;
	sl_loop_set_poller(lcore.loop, NULL);
	flush_ports();
	while (lcore.n_io)
		sl_loop_del(lcore.loop, &lcore.io[--lcore.n_io]);
	lcore.loop = NULL;
}
