/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_DPDK_STREAM_H
#define SLUICE_DPDK_STREAM_H

/* A stream over a connection of lwIP's. lwIP calls back in the middle of its own work, where most of its
 * functions may not be called: the callbacks only note what happened, and put the stream on the
 * transport's list; its owner is told when lwIP is done with the burst. */

#include <lwip/pbuf.h>
#include <lwip/tcp.h>

#include "base/list.h"
#include "base/slab.h"
#include "dpdk/transport.h"

struct sl_dpdk_acceptor;

struct sl_dpdk_transport {
	struct sl_transport base;
	struct sl_slab streams;
	struct sl_list ready; /* streams with something to tell */
	struct sl_timer tick;
};

struct sl_dpdk_stream {
	struct sl_stream base;
	struct tcp_pcb *pcb; /* NULL: lwIP has freed it */
	struct sl_list ready;
	struct sl_dpdk_acceptor *acceptor; /* until on_accept was called */
	struct pbuf *head, *tail;	   /* received, not read; single pbufs linked by next */
	uint32_t n_queued, queued_bytes;
	uint32_t read_offset; /* in head */
	int broken;	      /* errno for read and write, 0: none */
	uint8_t events;	      /* that happened and were not told */
	uint8_t interest;
	bool connecting, finished, got_fin, blocked;
	struct sl_task release;
};

struct sl_dpdk_acceptor {
	struct sl_acceptor base;
	struct sl_dpdk_transport *transport;
	struct tcp_pcb *pcb;
};

static inline struct sl_dpdk_stream *sl_dpdk_stream(struct sl_stream *s)
{
	return sl_container_of(s, struct sl_dpdk_stream, base);
}

static inline struct sl_dpdk_transport *sl_dpdk_transport(struct sl_transport *t)
{
	return sl_container_of(t, struct sl_dpdk_transport, base);
}

/* A stream without a connection; NULL: there are as many as there may be. */
struct sl_dpdk_stream *sl_dpdk_stream_get(struct sl_dpdk_transport *t);
/* Ties both together: lwIP's callbacks come to the stream. */
void sl_dpdk_stream_attach(struct sl_dpdk_stream *s, struct tcp_pcb *pcb);
/* Unties them, and forgets what was received. The pcb is the caller's, or NULL. */
struct tcp_pcb *sl_dpdk_stream_detach(struct sl_dpdk_stream *s);
/* Tells the owner soon. */
void sl_dpdk_stream_notify(struct sl_dpdk_stream *s, unsigned events);
/* An accepted stream gets its owner. */
void sl_dpdk_stream_hand_over(struct sl_dpdk_stream *s);
/* Tells what there is to be told. */
void sl_dpdk_stream_dispatch(struct sl_dpdk_transport *t);
/* For sl_pcbs_on_free(). */
void sl_dpdk_stream_gone(struct tcp_pcb *pcb);
/* tcp_connect()'s callback. */
err_t sl_dpdk_stream_connected(void *arg, struct tcp_pcb *pcb, err_t error);
/* The errno that an error of lwIP's means. */
int sl_dpdk_errno(err_t e);

ssize_t sl_dpdk_stream_read(struct sl_stream *s, void *buf, size_t len);
ssize_t sl_dpdk_stream_write(struct sl_stream *s, const struct iovec *iov, int n);

extern const struct sl_transport_ops sl_dpdk_ops;

#endif
