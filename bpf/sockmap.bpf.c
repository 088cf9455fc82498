// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* The sockmap engine's verdict program: it runs for every buffer that arrives at a socket of a pair, and
 * sends it to the other socket, or to user space.
 *
 * Invariants:
 * - A buffer is redirected only if the peer's send buffer takes it now, with all that is on its way. The
 *   kernel itself would queue without end.
 * - From the first passed byte on everything is passed, until user space has relayed all of it: bytes
 *   can't overtake each other.
 * - Every byte is counted, as redirected or as passed.
 *
 * It does not propagate FIN: that is user space's, once all bytes before it have arrived. */

#include <linux/bpf.h>
#include <stdbool.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#include <sluice/compiler.h>

#include "sockmap_kernel.h"
#include "sockmap_maps.h"

/* Most buffers that may wait in a socket's queue: small ones weigh more than their bytes. */
#define QUEUE_MAX     64
/* Memory of buffers that user space has not read. Only a sender of tiny segments can get there, since these
 * weigh up to 1000 times what the window says. From the first on user space is asked to read on though
 * it can't write. Beyond the second, which takes more than 10,000 segments before user space gets to
 * run, bytes are dropped, and the pair ends. */
#define RECEIVE_HEAVY (1 << 18)
#define HEAVY_FACTOR  8 /* memory for so many times the bytes: other senders are not meant */
#define RECEIVE_MAX   (1 << 23)

char LICENSE[] SEC("license") = "Dual BSD/GPL";

SL_INLINE struct sock *sock_of(struct tcp_sock *tcp)
{
	return &tcp->inet_conn.icsk_inet.sk;
}

SL_INLINE __u32 queue_length(struct sock *sk)
{
	unsigned long psock = (unsigned long)sk->sk_user_data & ~SL_SK_USER_DATA_FLAGS;

	return psock ? BPF_CORE_READ((struct sk_psock *)psock, ingress_skb.qlen) : QUEUE_MAX;
}

/* Redirected bytes are on their way for a moment, in the peer's queue, before they count in its send
 * buffer. The margin of a quarter is for the difference between bytes and the memory they take. */
SL_INLINE bool has_room(struct sl_sockmap_flow *f, struct tcp_sock *peer, __u32 len)
{
	struct sock *sk = sock_of(peer);
	__u32 need, written = peer->write_seq;

	if (f->rebase) {
		f->rebase = 0;
		f->base = written - (__u32)f->redirected;
	}
	need = f->base + (__u32)f->redirected - written + len;
	need += need >> 2;
	return sk->sk_wmem_queued + need <= sk->sk_sndbuf && queue_length(sk) < QUEUE_MAX;
}

SL_INLINE bool peer_has_room(struct sl_sockmap_flow *f, __u32 peer, __u32 len)
{
	struct bpf_sock *sk = bpf_map_lookup_elem(&sl_sockets, &peer);
	struct tcp_sock *tcp;
	bool room = false;

	if (!sk)
		return false;
	tcp = bpf_skc_to_tcp_sock(sk);
	if (tcp)
		room = has_room(f, tcp, len);
	bpf_sk_release(sk);
	if (!room)
		f->held++;
	return room;
}

/* Bytes that were passed and not relayed yet. */
SL_INLINE __u64 behind(const struct sl_sockmap_flow *f)
{
	return f->passed - *(const volatile __u64 *)&f->relayed;
}

SL_INLINE bool redirect(struct __sk_buff *skb, struct sl_sockmap_flow *f, __u32 peer)
{
	if (*(volatile __u32 *)&f->mode != SL_SOCKMAP_REDIRECT || behind(f) ||
	    !peer_has_room(f, peer, skb->len))
		return false;
	if (bpf_sk_redirect_map(skb, &sl_sockets, peer, 0) != SK_PASS)
		return false;
	f->redirected += skb->len;
	f->messages++;
	return true;
}

SL_INLINE void tell(struct sl_sockmap_flow *f, __u32 slot)
{
	struct sl_sockmap_event e = {.slot = slot, .cookie = (__u32)f->cookie};

	if (bpf_ringbuf_output(&sl_passes, &e, sizeof(e), 0))
		f->lost_events++;
}

/* Memory of what waits to be read. */
SL_INLINE __u32 unread(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;
	struct tcp_sock *tcp = sk ? bpf_skc_to_tcp_sock(sk) : NULL;

	return tcp ? sock_of(tcp)->sk_backlog.rmem_alloc.counter : 0;
}

SL_INLINE int pass(struct __sk_buff *skb, struct sl_sockmap_flow *f, __u32 slot)
{
	__u32 memory = unread(skb);
	bool was_heavy = f->heavy;
	__u64 before;

	f->heavy = memory > RECEIVE_HEAVY && memory / HEAVY_FACTOR > behind(f);
	if (memory > RECEIVE_MAX) {
		f->overflow = 1;
		tell(f, slot);
		return SK_DROP;
	}
	f->rebase = 1;
	/* First the count, then the look at what is relayed; user space does it the other way round.
	 * So at least one of both sees the other's step, and no passed byte is forgotten. */
	before = __sync_fetch_and_add(&f->passed, skb->len);
	if (before == *(volatile __u64 *)&f->relayed || (f->heavy && !was_heavy))
		tell(f, slot);
	return SK_PASS;
}

SEC("sk_skb/stream_verdict")
int sl_sockmap_verdict(struct __sk_buff *skb)
{
	__u64 cookie = bpf_get_socket_cookie(skb);
	__u32 *slot = bpf_map_lookup_elem(&sl_slots, &cookie);
	struct sl_sockmap_flow *f = slot ? bpf_map_lookup_elem(&sl_flows, slot) : NULL;

	if (!f)
		return SK_PASS;
	/* A bare FIN. Redirected it would break the peer, passed it would be an empty message. */
	if (!skb->len)
		return SK_DROP;
	if (redirect(skb, f, *slot ^ 1))
		return SK_PASS;
	return pass(skb, f, *slot);
}
