/* SPDX-License-Identifier: BSD-2-Clause */
/* The transport over lwIP: listening, connecting, closing. Frames come from lcore.c; when lwIP has seen those
 * of a turn, owners of streams are told, and what they write leaves with the next turn, or before the
 * loop waits. */

#include "dpdk/transport.h"

#include <errno.h>
#include <lwip/priv/tcp_priv.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "dpdk/lcore.h"
#include "dpdk/stack_options.h"
#include "dpdk/stack_pcbs.h"
#include "dpdk/stack_private.h"
#include "dpdk/stream.h"

#define IDLE_TICK_MS	 250
#define PORT_FIRST	 32768 /* of our own choice */
#define PORT_COUNT	 28000
#define PORTS_TRIED	 512
#define CONNECTION_BYTES (sizeof(struct tcp_pcb))

static const struct sl_dpdk_config *configured;
static struct sl_dpdk_transport *instance;

void sl_dpdk_configure(const struct sl_dpdk_config *c)
{
	configured = c;
}

size_t sl_dpdk_stream_bytes(void)
{
	return sizeof(struct sl_dpdk_stream) + CONNECTION_BYTES;
}

/* --- the worker's turn --- */

static void input(struct sl_port *p, struct rte_mbuf **frames, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		sl_stack_input(p, frames[i]);
}

static unsigned tell_owners(void)
{
	sl_dpdk_stream_dispatch(instance);
	return 0;
}

static bool has_something_to_tell(void)
{
	return !sl_list_empty(&instance->ready);
}

static const struct sl_lcore_stack stack = {input, tell_owners, has_something_to_tell};

static void tick(struct sl_timer *timer)
{
	struct sl_dpdk_transport *t = sl_container_of(timer, struct sl_dpdk_transport, tick);

	sl_stack_tick();
	if (sl_pcbs_count())
		sl_pcbs_tick();
	sl_loop_arm(t->base.loop, timer, sl_pcbs_count() ? SL_PCBS_TICK_MS - 1 : IDLE_TICK_MS);
}

/* --- listening --- */

static err_t on_accept(void *arg, struct tcp_pcb *pcb, err_t error)
{
	struct sl_dpdk_acceptor *a = arg;
	struct sl_dpdk_stream *s;

	if (error != ERR_OK || !pcb)
		return ERR_VAL;
	s = sl_dpdk_stream_get(a->transport);
	if (!s) {
		a->base.stats.failed++;
		return ERR_MEM;
	}
	s->acceptor = a;
	sl_pcbs_keep_alive(pcb, a->base.keepalive_ms);
	sl_stack_from_ip(&pcb->local_ip, pcb->local_port, &s->base.local);
	sl_stack_from_ip(&pcb->remote_ip, pcb->remote_port, &s->base.peer);
	sl_dpdk_stream_attach(s, pcb);
	sl_dpdk_stream_notify(s, SL_WRITABLE);
	return ERR_OK;
}

static bool is_any(const struct sl_addr *a)
{
	static const struct in6_addr any;

	return a->family == AF_INET6 ? !memcmp(&a->in6.sin6_addr, &any, sizeof(any))
				     : !a->in.sin_addr.s_addr;
}

static int open_listener(const struct sl_addr *addr, struct tcp_pcb **ret)
{
	struct tcp_pcb *pcb, *listening;
	ip_addr_t ip;
	err_t e;

	if (!is_any(addr) && !sl_stack_is_own(addr))
		return -EADDRNOTAVAIL;
	sl_stack_to_ip(addr, &ip);
	pcb = tcp_new_ip_type(IP_GET_TYPE(&ip));
	if (!pcb)
		return -ENOMEM;
	/* A stream of another peer may have that port. */
	ip_set_option(pcb, SOF_REUSEADDR);
	e = tcp_bind(pcb, &ip, sl_addr_port(addr));
	listening = e == ERR_OK ? tcp_listen_with_backlog_and_err(pcb, 255, &e) : NULL;
	if (!listening) {
		tcp_close(pcb);
		return -sl_dpdk_errno(e);
	}
	*ret = listening;
	return 0;
}

static int dpdk_listen(struct sl_transport *transport, const struct sl_listen_options *o,
		       void (*accepted)(struct sl_acceptor *a, struct sl_stream *s), void *owner,
		       struct sl_acceptor **ret)
{
	struct sl_dpdk_acceptor *a = calloc(1, sizeof(*a));
	int r;

	if (!a)
		return -ENOMEM;
	a->base.on_accept = accepted;
	a->base.owner = owner;
	a->base.local = o->addr;
	a->base.keepalive_ms = o->keepalive_ms;
	a->transport = sl_dpdk_transport(transport);
	r = open_listener(&o->addr, &a->pcb);
	if (r < 0) {
		free(a);
		return r;
	}
	sl_addr_set_port(&a->base.local, a->pcb->local_port);
	tcp_arg(a->pcb, a);
	tcp_accept(a->pcb, on_accept);
	*ret = &a->base;
	return 0;
}

static void dpdk_unlisten(struct sl_acceptor *acceptor)
{
	struct sl_dpdk_acceptor *a = sl_container_of(acceptor, struct sl_dpdk_acceptor, base);
	struct sl_list *pos, *tmp;

	if (!acceptor)
		return;
	sl_pcbs_forget_listener((struct tcp_pcb_listen *)a->pcb);
	tcp_close(a->pcb);
	sl_list_for_each_safe (pos, tmp, &a->transport->ready) {
		struct sl_dpdk_stream *s = sl_list_entry(pos, struct sl_dpdk_stream, ready);

		if (s->acceptor != a)
			continue;
		if (acceptor->leave_queue)
			sl_dpdk_ops.close(&s->base, SL_CLOSE_RESET); /* nobody else has it */
		else
			sl_dpdk_stream_hand_over(s);
	}
	free(a);
}

/* --- connecting --- */

/* Local address and port, and so the bucket; -EADDRINUSE if that port is taken, or none was found. */
static int choose_endpoint(struct tcp_pcb *pcb, const struct sl_connect_options *o)
{
	static uint32_t next;
	uint16_t port = o->source.family != AF_UNSPEC ? sl_addr_port(&o->source) : 0;
	unsigned tries = port ? 1 : PORTS_TRIED;

	if (!next)
		next = randombytes_uniform(PORT_COUNT) + 1;
	for (unsigned i = 0; i < tries; i++) {
		uint16_t p = port ? port : (uint16_t)(PORT_FIRST + next++ % PORT_COUNT);

		if (sl_pcbs_find(&pcb->local_ip, p, &pcb->remote_ip, pcb->remote_port))
			continue;
		pcb->local_port = p;
		return 0;
	}
	return -EADDRINUSE;
}

static int start_connecting(struct tcp_pcb *pcb, const struct sl_connect_options *o,
			    const ip_addr_t *to)
{
	const ip_addr_t *local;
	struct netif *n;
	int r;

	if (o->source.family == o->addr.family && !is_any(&o->source))
		sl_stack_to_ip(&o->source, &pcb->local_ip);
	n = ip_route(&pcb->local_ip, to);
	local = n ? ip_netif_get_local_ip(n, to) : NULL;
	if (!local)
		return -ENETUNREACH;
	if (ip_addr_isany(&pcb->local_ip))
		ip_addr_copy(pcb->local_ip, *local);
	ip_addr_copy(pcb->remote_ip, *to);
	pcb->remote_port = sl_addr_port(&o->addr);
	r = choose_endpoint(pcb, o);
	if (r)
		return r;
	return -sl_dpdk_errno(tcp_connect(pcb, to, pcb->remote_port, sl_dpdk_stream_connected));
}

static void discard_unconnected(struct tcp_pcb *pcb)
{
	pcb->local_port = pcb->remote_port = 0;
	tcp_close(pcb);
}

static int dpdk_connect(struct sl_transport *transport, const struct sl_connect_options *o,
			struct sl_stream **ret)
{
	struct sl_dpdk_stream *s;
	struct tcp_pcb *pcb;
	ip_addr_t to;
	int r;

	/* lwIP can't talk to itself: what listens here is not reached by this way. */
	if (sl_stack_is_own(&o->addr) || is_any(&o->addr))
		return -ECONNREFUSED;
	s = sl_dpdk_stream_get(sl_dpdk_transport(transport));
	if (!s)
		return -ENOBUFS;
	sl_stack_to_ip(&o->addr, &to);
	pcb = tcp_new_ip_type(IP_GET_TYPE(&to));
	r = pcb ? start_connecting(pcb, o, &to) : -ENOMEM;
	if (r < 0) {
		if (pcb)
			discard_unconnected(pcb);
		sl_slab_put(&sl_dpdk_transport(transport)->streams, s);
		return r;
	}
	sl_dpdk_stream_attach(s, pcb);
	sl_pcbs_keep_alive(pcb, o->keepalive_ms);
	s->connecting = true;
	s->base.peer = o->addr;
	sl_stack_from_ip(&pcb->local_ip, pcb->local_port, &s->base.local);
	*ret = &s->base;
	return 0;
}

/* --- the rest of the operations --- */

static int dpdk_finish(struct sl_stream *stream)
{
	struct sl_dpdk_stream *s = sl_dpdk_stream(stream);

	if (s->finished)
		return 0;
	if (s->broken || s->connecting || !s->pcb)
		return s->broken ? -s->broken : -ENOTCONN;
	s->finished = true;
	sl_pcbs_select(s->pcb);
	return -sl_dpdk_errno(tcp_shutdown(s->pcb, 0, 1));
}

static int dpdk_watch(struct sl_stream *stream, unsigned events)
{
	struct sl_dpdk_stream *s = sl_dpdk_stream(stream);
	unsigned now = 0;

	s->interest = (uint8_t)(events & (SL_READABLE | SL_WRITABLE));
	if (s->connecting)
		return 0;
	if (s->head || s->got_fin || s->broken)
		now |= SL_READABLE;
	if (s->got_fin || s->broken)
		now |= SL_HANGUP;
	if (s->broken || (s->pcb && tcp_sndbuf(s->pcb) && !s->blocked))
		now |= SL_WRITABLE;
	sl_dpdk_stream_notify(s, now);
	return 0;
}

static void ignore_event(struct sl_stream *s, unsigned events)
{
}

static void release_stream(struct sl_task *task)
{
	struct sl_dpdk_stream *s = sl_container_of(task, struct sl_dpdk_stream, release);

	sl_slab_put(&sl_dpdk_transport(s->base.transport)->streams, s);
}

static void close_pcb(struct tcp_pcb *pcb, enum sl_close_how how)
{
	if (pcb->state == TIME_WAIT)
		return;
	sl_pcbs_select(pcb);
	if (how == SL_CLOSE_SILENT)
		sl_pcbs_drop(pcb);
	else if (how == SL_CLOSE_RESET || tcp_close(pcb) != ERR_OK)
		tcp_abort(pcb);
}

static void dpdk_close(struct sl_stream *stream, enum sl_close_how how)
{
	struct sl_dpdk_stream *s = sl_dpdk_stream(stream);
	struct tcp_pcb *pcb = sl_dpdk_stream_detach(s);

	if (pcb)
		close_pcb(pcb, how);
	sl_list_del(&s->ready);
	stream->on_event = ignore_event;
	sl_task_init(&s->release, release_stream);
	sl_loop_defer(stream->transport->loop, &s->release);
}

static int dpdk_endpoint(struct sl_stream *stream, struct sl_endpoint *ret)
{
	const struct sl_dpdk_stream *s = sl_dpdk_stream(stream);
	const struct tcp_pcb *p = s->pcb;

	if (s->connecting || !p)
		return -ENOTCONN;
	*ret = (struct sl_endpoint){
		.fd = -1,
		.local = stream->local,
		.peer = stream->peer,
		.tcp_known = true,
		.sack = p->flags & SL_PCB_SACK,
		.snd_wscale = p->snd_scale,
		.rcv_wscale = p->rcv_scale,
		.mss = p->mss,
		.announced_mss = TCP_MSS,
		.unacked = p->snd_nxt != p->lastack || p->unsent,
	};
	return 0;
}

static int dpdk_move(struct sl_stream *s, struct sl_transport *to, struct sl_stream **ret)
{
	return -EOPNOTSUPP;
}

/* --- what a splice needs --- */

static bool is_quiet(const struct sl_dpdk_stream *s)
{
	const struct tcp_pcb *p = s->pcb;

	return (p->state == ESTABLISHED || p->state == CLOSE_WAIT) && p->snd_nxt == p->lastack &&
	       !p->unsent && !p->unacked && !p->ooseq && !s->head;
}

/* As lwIP writes it into a SYN. */
static uint16_t announced_mss(const struct sl_port *port, const struct sl_addr *peer)
{
	const uint16_t headers = peer->family == AF_INET6 ? 60 : 40;

	return sl_min((uint16_t)TCP_MSS, (uint16_t)(sl_port_mtu(port) - headers));
}

/* Whoever carries the connection on doesn't know of it, and the peer would send again what it waits for. */
static void send_delayed_ack(struct tcp_pcb *pcb)
{
	if (!(pcb->flags & (TF_ACK_DELAY | TF_ACK_NOW)))
		return;
	tcp_ack_now(pcb);
	tcp_output(pcb);
}

int sl_dpdk_stream_tcp(struct sl_stream *stream, struct sl_dpdk_tcp *ret)
{
	const struct sl_dpdk_stream *s = sl_dpdk_stream(stream);
	const struct tcp_pcb *p;
	struct sl_dpdk_tcp t = {0};
	int r;

	if (stream->ops != &sl_dpdk_ops)
		return -EOPNOTSUPP;
	p = s->pcb;
	if (!p || s->connecting || s->broken)
		return -ENOTCONN;
	send_delayed_ack(s->pcb);
	r = sl_stack_next_hop(&stream->peer, &t.port, t.peer_mac);
	if (r)
		return r;
	t.quiet = is_quiet(s);
	t.peer_finished = s->got_fin;
	t.snd_nxt = p->snd_nxt;
	t.lastack = p->lastack;
	t.rcv_nxt = p->rcv_nxt;
	t.announced = p->rcv_ann_right_edge - p->rcv_nxt;
	t.peer_window = p->snd_wnd;
	t.snd_wscale = p->snd_scale;
	t.rcv_wscale = p->rcv_scale;
	t.mss = p->mss;
	t.announced_mss = announced_mss(t.port, &stream->peer);
	*ret = t;
	return 0;
}

/* --- start and end --- */

static void dpdk_destroy(struct sl_transport *transport)
{
	struct sl_dpdk_transport *t = sl_dpdk_transport(transport);

	if (!transport)
		return;
	sl_loop_disarm(transport->loop, &t->tick);
	sl_lcore_stop(); /* with the last FINs and RSTs */
	sl_pcbs_drop_all();
	sl_stack_stop();
	sl_ports_close();
	sl_slab_destroy(&t->streams);
	instance = NULL;
	free(t);
}

static int start(struct sl_dpdk_transport *t)
{
	char reason[SL_PORT_WORD_MAX] = "";
	int r = sl_ports_open(configured, reason);

	if (r) {
		sl_error("dpdk: %s", reason);
		return r;
	}
	r = sl_pcbs_init();
	if (!r)
		r = sl_stack_start();
	if (!r)
		r = sl_lcore_start(t->base.loop, &stack);
	if (r)
		sl_error("dpdk: the stack does not start: %s", strerror(-r));
	return r;
}

int sl_dpdk_transport_new(struct sl_loop *loop, uint32_t streams, struct sl_transport **ret)
{
	struct sl_dpdk_transport *t;
	int r;

	if (instance)
		return -EBUSY;
	t = calloc(1, sizeof(*t));
	if (!t)
		return -ENOMEM;
	t->base = (struct sl_transport){.ops = &sl_dpdk_ops, .loop = loop};
	sl_slab_init(&t->streams, "streams", sizeof(struct sl_dpdk_stream), streams);
	sl_list_init(&t->ready);
	sl_timer_init(&t->tick, tick);
	instance = t;
	r = start(t);
	if (r) {
		dpdk_destroy(&t->base);
		return r;
	}
	sl_pcbs_on_free(sl_dpdk_stream_gone);
	sl_loop_arm(loop, &t->tick, SL_PCBS_TICK_MS);
	*ret = &t->base;
	return 0;
}

const struct sl_transport_ops sl_dpdk_ops = {
	.name = "dpdk",
	.listen = dpdk_listen,
	.unlisten = dpdk_unlisten,
	.connect = dpdk_connect,
	.read = sl_dpdk_stream_read,
	.write = sl_dpdk_stream_write,
	.finish = dpdk_finish,
	.watch = dpdk_watch,
	.close = dpdk_close,
	.endpoint = dpdk_endpoint,
	.move = dpdk_move,
	.destroy = dpdk_destroy,
};
