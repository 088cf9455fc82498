/* SPDX-License-Identifier: BSD-2-Clause */
/* Streams: what lwIP says becomes events, received buffers become read(), iovecs become segments.
 *
 * Received bytes count against the window until they are read. A peer that sends them one by one would
 * fill memory with buffers all the same: when more of them wait than full segments could fill the window,
 * they are put together (gather). */

#include "dpdk/stream.h"

#include <errno.h>
#include <string.h>

#include "dpdk/stack_options.h"
#include "dpdk/stack_pcbs.h"

#define QUEUE_MAX   64 /* buffers; a window is 45 full segments */
#define WRITE_MAX   16 /* segments that one call hands to lwIP: all or nothing there */
#define TOLD_ALWAYS (SL_CONNECTED | SL_HANGUP | SL_ERROR)

int sl_dpdk_errno(err_t e)
{
	switch (e) {
	case ERR_OK:
	case ERR_CLSD:
		return 0;
	case ERR_MEM:
	case ERR_BUF:
		return ENOMEM;
	case ERR_RTE:
		return ENETUNREACH;
	case ERR_USE:
		return EADDRINUSE;
	case ERR_RST:
		return ECONNRESET;
	case ERR_ABRT:
	case ERR_TIMEOUT:
		return ETIMEDOUT; /* lwIP gave up: nobody acknowledged */
	default:
		return EIO;
	}
}

/* --- events --- */

void sl_dpdk_stream_notify(struct sl_dpdk_stream *s, unsigned events)
{
	struct sl_dpdk_transport *t = sl_dpdk_transport(s->base.transport);

	s->events |= (uint8_t)(events & (s->interest | TOLD_ALWAYS));
	if (s->events && sl_list_empty(&s->ready))
		sl_list_add_tail(&t->ready, &s->ready);
}

void sl_dpdk_stream_hand_over(struct sl_dpdk_stream *s)
{
	struct sl_acceptor *a = &s->acceptor->base;

	s->acceptor = NULL;
	a->stats.accepted++;
	a->on_accept(a, &s->base);
}

static void tell(struct sl_dpdk_stream *s)
{
	unsigned events = s->events & (s->interest | TOLD_ALWAYS);

	s->events = 0;
	if (events)
		s->base.on_event(&s->base, events);
}

/* Not what is added meanwhile: an owner that answers itself must not keep the loop here. */
void sl_dpdk_stream_dispatch(struct sl_dpdk_transport *t)
{
	struct sl_list batch;

	if (sl_list_empty(&t->ready))
		return;
	sl_list_init(&batch);
	sl_list_add_tail(&t->ready, &batch);
	sl_list_del(&t->ready);
	while (!sl_list_empty(&batch)) {
		struct sl_dpdk_stream *s = sl_list_entry(batch.next, struct sl_dpdk_stream, ready);

		sl_list_del(&s->ready);
		if (!s->acceptor) {
			tell(s);
			continue;
		}
		sl_dpdk_stream_hand_over(s);
		if (s->events && sl_list_empty(&s->ready))
			sl_list_add_tail(&batch, &s->ready);
	}
}

/* --- what lwIP tells --- */

static void gather(struct sl_dpdk_stream *s)
{
	struct pbuf *all = pbuf_alloc(PBUF_RAW, (u16_t)s->queued_bytes, PBUF_RAM);
	uint32_t at = 0;

	if (!all)
		return;
	while (s->head) {
		struct pbuf *p = s->head;
		uint32_t n = p->len - s->read_offset;

		memcpy((char *)all->payload + at, (char *)p->payload + s->read_offset, n);
		at += n;
		s->read_offset = 0;
		s->head = p->next;
		p->next = NULL;
		pbuf_free(p);
	}
	s->head = s->tail = all;
	s->n_queued = 1;
}

/* A chain of buffers is unlinked: each has one reference, and that is ours. */
static void append(struct sl_dpdk_stream *s, struct pbuf *p)
{
	struct pbuf *next;

	for (; p; p = next) {
		next = p->next;
		p->next = NULL;
		p->tot_len = p->len;
		if (s->tail)
			s->tail->next = p;
		else
			s->head = p;
		s->tail = p;
		s->n_queued++;
		s->queued_bytes += p->len;
	}
	if (s->n_queued > QUEUE_MAX && s->queued_bytes <= UINT16_MAX)
		gather(s);
}

static err_t on_recv(void *arg, struct tcp_pcb *pcb, struct pbuf *p, err_t error)
{
	struct sl_dpdk_stream *s = arg;

	if (p) {
		append(s, p);
		sl_dpdk_stream_notify(s, SL_READABLE);
	} else {
		s->got_fin = true;
		sl_dpdk_stream_notify(s, SL_READABLE | SL_HANGUP);
	}
	return ERR_OK;
}

static err_t on_sent(void *arg, struct tcp_pcb *pcb, u16_t len)
{
	struct sl_dpdk_stream *s = arg;

	/* A quarter of the buffer at least: an owner that is called for every segment writes crumbs. */
	if (s->blocked && (tcp_sndbuf(pcb) >= TCP_SND_BUF / 4 || !pcb->unacked)) {
		s->blocked = false;
		sl_dpdk_stream_notify(s, SL_WRITABLE);
	}
	return ERR_OK;
}

err_t sl_dpdk_stream_connected(void *arg, struct tcp_pcb *pcb, err_t error)
{
	struct sl_dpdk_stream *s = arg;

	s->connecting = false;
	sl_options_established(pcb);
	sl_dpdk_stream_notify(s, SL_CONNECTED | SL_WRITABLE);
	return ERR_OK;
}

/* The pcb is gone. ERR_CLSD: both sides had finished, which is no error. */
static void on_err(void *arg, err_t error)
{
	struct sl_dpdk_stream *s = arg;

	s->broken = sl_dpdk_errno(error);
	if (!s->broken)
		return;
	if (!s->connecting) {
		sl_dpdk_stream_notify(s, SL_READABLE | SL_WRITABLE | SL_HANGUP | SL_ERROR);
		return;
	}
	s->connecting = false;
	s->base.error = s->broken == ECONNRESET ? ECONNREFUSED : s->broken;
	sl_dpdk_stream_notify(s, SL_CONNECTED | SL_ERROR);
}

void sl_dpdk_stream_gone(struct tcp_pcb *pcb)
{
	struct sl_dpdk_stream *s = pcb->callback_arg;

	if (pcb->errf == on_err && s && s->pcb == pcb)
		s->pcb = NULL;
}

void sl_dpdk_stream_attach(struct sl_dpdk_stream *s, struct tcp_pcb *pcb)
{
	s->pcb = pcb;
	tcp_arg(pcb, s);
	tcp_recv(pcb, on_recv);
	tcp_sent(pcb, on_sent);
	tcp_err(pcb, on_err);
	tcp_nagle_disable(pcb);
}

struct tcp_pcb *sl_dpdk_stream_detach(struct sl_dpdk_stream *s)
{
	struct tcp_pcb *pcb = SL_TAKE_PTR(s->pcb);

	while (s->head) {
		struct pbuf *p = s->head;

		s->head = p->next;
		p->next = NULL;
		pbuf_free(p);
	}
	s->tail = NULL;
	if (!pcb)
		return NULL;
	tcp_arg(pcb, NULL);
	tcp_recv(pcb, NULL);
	tcp_sent(pcb, NULL);
	tcp_err(pcb, NULL);
	return pcb;
}

/* --- bytes --- */

/* Drops what was read from the front of the queue. */
static uint32_t take(struct sl_dpdk_stream *s, char *to, uint32_t room)
{
	struct pbuf *p = s->head;
	uint32_t n = sl_min(room, p->len - s->read_offset);

	memcpy(to, (char *)p->payload + s->read_offset, n);
	s->read_offset += n;
	s->queued_bytes -= n;
	if (s->read_offset < p->len)
		return n;
	s->head = p->next;
	if (!s->head)
		s->tail = NULL;
	p->next = NULL;
	pbuf_free(p);
	s->read_offset = 0;
	s->n_queued--;
	return n;
}

static void open_window(struct sl_dpdk_stream *s, size_t n)
{
	if (!s->pcb || !n)
		return;
	/* A peer that has finished needs no window, and may be gone: it would answer with RST. What
	 * was read counts all the same, or closing would take it for unread. */
	if (s->got_fin) {
		s->pcb->rcv_wnd = sl_min(s->pcb->rcv_wnd + (tcpwnd_size_t)n, TCP_WND_MAX(s->pcb));
		return;
	}
	sl_pcbs_select(s->pcb);
	for (; n; n -= sl_min(n, (size_t)UINT16_MAX))
		tcp_recved(s->pcb, (u16_t)sl_min(n, (size_t)UINT16_MAX));
}

ssize_t sl_dpdk_stream_read(struct sl_stream *stream, void *buf, size_t len)
{
	struct sl_dpdk_stream *s = sl_dpdk_stream(stream);
	size_t n = 0;

	stream->drained = false;
	while (s->head && n < len)
		n += take(s, (char *)buf + n, (uint32_t)sl_min(len - n, (size_t)UINT32_MAX));
	open_window(s, n);
	if (n) {
		stream->drained = !s->head && !s->got_fin && !s->broken;
		return (ssize_t)n;
	}
	if (s->got_fin)
		return 0;
	if (s->broken)
		return -s->broken;
	return s->pcb ? -EAGAIN : 0;
}

/* As many bytes as there is room for; 0: none. */
static size_t write_some(struct tcp_pcb *pcb, const char *data, size_t len)
{
	size_t done = 0;

	while (done < len) {
		size_t n = sl_min(len - done, (size_t)tcp_sndbuf(pcb));

		n = sl_min(n, (size_t)pcb->mss * WRITE_MAX);
		if (!n || tcp_write(pcb, data + done, (u16_t)n, TCP_WRITE_FLAG_COPY) != ERR_OK)
			break;
		done += n;
	}
	return done;
}

ssize_t sl_dpdk_stream_write(struct sl_stream *stream, const struct iovec *iov, int n_iov)
{
	struct sl_dpdk_stream *s = sl_dpdk_stream(stream);
	ssize_t done = 0;
	size_t n = 0;

	if (s->broken)
		return -s->broken;
	if (s->connecting)
		return -EAGAIN;
	if (!s->pcb || s->finished)
		return -EPIPE;
	sl_pcbs_select(s->pcb);
	for (int i = 0; i < n_iov; i++) {
		n = write_some(s->pcb, iov[i].iov_base, iov[i].iov_len);
		done += (ssize_t)n;
		if (n < iov[i].iov_len) {
			s->blocked = true;
			break;
		}
	}
	if (done)
		tcp_output(s->pcb);
	else if (s->blocked && !s->pcb->unacked && !s->pcb->unsent)
		return -ENOBUFS; /* memory is out, and nothing under way that could tell of more */
	return done || !s->blocked ? done : -EAGAIN;
}

struct sl_dpdk_stream *sl_dpdk_stream_get(struct sl_dpdk_transport *t)
{
	struct sl_dpdk_stream *s = sl_slab_get(&t->streams);

	if (!s)
		return NULL;
	s->base.ops = &sl_dpdk_ops;
	s->base.transport = &t->base;
	s->interest = SL_READABLE | SL_WRITABLE;
	sl_list_init(&s->ready);
	return s;
}
