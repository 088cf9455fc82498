// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* A bad network for tests, at both directions of an endpoint's device: loses, duplicates and delays a
 * given share of its TCP packets, and notes every RST by the endpoint's port. A delayed packet is sent
 * to a tap device; user space puts it back later, so that others overtake it.
 *
 * The share is drawn by a seeded generator. RSTs have a share of their own: a lost one leaves an end
 * waiting until it speaks, which is TCP, and no finding. */

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <linux/tcp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "fault.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

const volatile struct fault_share share; /* per 65536 */
const volatile __u32 seed;
const volatile __u32 loopback; /* both ends of a connection are on this device */

struct fault_count count;
__u32 drawn;

/* RSTs by the endpoint's port. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 65536);
	__type(key, __u32);
	__type(value, struct fault_resets);
} resets SEC(".maps");

static __always_inline __u32 draw(void)
{
	__u32 x = seed + __sync_fetch_and_add(&drawn, 1) * 0x9e3779b9u;

	x = (x ^ (x >> 16)) * 0x85ebca6bu;
	x = (x ^ (x >> 13)) * 0xc2b2ae35u;
	return (x ^ (x >> 16)) & 0xffff;
}

/* Where the TCP header is; 0: none. */
static __always_inline __u32 find_tcp(struct __sk_buff *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct ipv6hdr *ip6 = (void *)(eth + 1);
	struct iphdr *ip4 = (void *)(eth + 1);

	if ((void *)(ip4 + 1) > end)
		return 0;
	if (eth->h_proto == bpf_htons(ETH_P_IP) && ip4->protocol == 6)
		return sizeof(*eth) + ip4->ihl * 4;
	if (eth->h_proto == bpf_htons(ETH_P_IPV6) && (void *)(ip6 + 1) <= end && ip6->nexthdr == 6)
		return sizeof(*eth) + sizeof(*ip6);
	return 0;
}

static __always_inline void note_reset(__be16 endpoint, int out)
{
	__u32 port = bpf_ntohs(endpoint);
	struct fault_resets *r = bpf_map_lookup_elem(&resets, &port);

	if (r)
		__sync_fetch_and_add(out ? &r->out : &r->in, 1);
	__sync_fetch_and_add(out ? &count.resets_out : &count.resets_in, 1);
}

enum fate {
	FATE_NONE,
	FATE_DRAWN, /* a TCP packet that faults may happen to */
	FATE_LOST,
};

static __always_inline enum fate look(struct __sk_buff *ctx, int out)
{
	__u32 at = find_tcp(ctx);
	struct tcphdr tcp;

	if (!at || ctx->mark == FAULT_MARK || bpf_skb_load_bytes(ctx, at, &tcp, sizeof(tcp)))
		return FATE_NONE;
	if (!tcp.rst)
		return FATE_DRAWN;
	if (out || loopback)
		note_reset(tcp.source, 1);
	if (draw() < share.resets) {
		__sync_fetch_and_add(&count.lost_resets, 1);
		return FATE_LOST;
	}
	if (!out || loopback)
		note_reset(tcp.dest, 0);
	return FATE_NONE;
}

static __always_inline void duplicate(struct __sk_buff *ctx, __u64 flags)
{
	__u32 mark = ctx->mark;

	ctx->mark = FAULT_MARK;
	bpf_clone_redirect(ctx, ctx->ifindex, flags);
	ctx->mark = mark;
	__sync_fetch_and_add(&count.duplicated, 1);
}

/* What the endpoint sends. A loss must look like success to its TCP. */
SEC("tc")
int fault_out(struct __sk_buff *ctx)
{
	enum fate fate = look(ctx, 1);

	if (fate != FATE_DRAWN)
		return fate == FATE_LOST ? TC_ACT_STOLEN : TC_ACT_OK;
	if (draw() < share.lose) {
		__sync_fetch_and_add(&count.lost, 1);
		return TC_ACT_STOLEN;
	}
	if (draw() < share.duplicate)
		duplicate(ctx, 0);
	if (draw() < share.delay && share.tap) {
		__sync_fetch_and_add(&count.delayed, 1);
		return bpf_redirect(share.tap, 0);
	}
	return TC_ACT_OK;
}

/* What it receives. */
SEC("tc")
int fault_in(struct __sk_buff *ctx)
{
	enum fate fate = look(ctx, 0);

	if (fate != FATE_DRAWN)
		return fate == FATE_LOST ? TC_ACT_SHOT : TC_ACT_OK;
	if (draw() < share.lose) {
		__sync_fetch_and_add(&count.lost, 1);
		return TC_ACT_SHOT;
	}
	if (draw() < share.duplicate)
		duplicate(ctx, BPF_F_INGRESS);
	return TC_ACT_OK;
}
