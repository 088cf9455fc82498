// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* The packet engine at XDP: before the stack sees a packet. For devices with native XDP and high
 * rates of small packets. TCP checksums must be complete here: a device that lets senders leave
 * them to it (veth) needs its transmit checksum offload off. What isn't ours is XDP_PASS. */

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "environment.h"

#include <sluice/errors.h>
#include <sluice/find.h>
#include <sluice/track.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* Headers must be in the first buffer of a frame; all drivers do that. */
SL_INLINE int is_whole(struct xdp_md *ctx, const struct sl_packet *p)
{
	return p->frame_len <= ctx->data_end - ctx->data ||
	       p->frame_len <= bpf_xdp_get_buff_len(ctx);
}

/* Global, so that it is verified by itself. */
__attribute__((noinline)) int sl_parse_xdp(struct xdp_md *ctx, struct sl_packet *p)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;

	return p && sl_packet_parse(p, data, end, end - data) && is_whole(ctx, p);
}

SL_INLINE int find(struct xdp_md *ctx, const struct sl_packet *p, struct sl_found *ret)
{
	return sl_find(p, (void *)(long)ctx->data, (void *)(long)ctx->data_end, ret);
}

/* A tag that the device stripped can't be seen here: such devices need rxvlan off. False: no room
 * for an Ethernet header, which can't be. */
SL_INLINE int note_arrival(struct xdp_md *ctx, const struct sl_packet *p, struct sl_arrival *ret)
{
	ret->eth = (void *)(long)ctx->data;
	ret->ifindex = ctx->ingress_ifindex;
	ret->tag[0] = p->tag[0];
	ret->tag[1] = p->tag[1];
	ret->tagging = p->tagging;
	ret->unsummed = 0;
	return (void *)(ret->eth + 1) <= (void *)(long)ctx->data_end;
}

/* Whether a sender left the TCP checksum to a device that it never met (a veth's). The addresses are
 * those of the leg; IPv4's prefix there is a word of ones, which adds nothing to such a sum. Out of
 * line, for its stack. */
static __attribute__((noinline)) int is_unsummed(struct xdp_md *ctx, struct sl_leg *from, __u32 at,
						 __u32 len)
{
	__be32 header[15] = {0};
	__s64 sum;

	if (len < sizeof(struct tcphdr) || len > sizeof(header) ||
	    bpf_xdp_load_bytes(ctx, at, header, len))
		return 0;
	sum = bpf_csum_diff(NULL, 0, (__be32 *)from->peer, sizeof(from->peer),
			    sl_hton16(SL_PROTO_TCP) + sl_hton16(len));
	sum = bpf_csum_diff(NULL, 0, (__be32 *)from->local, sizeof(from->local), sum);
	sum = bpf_csum_diff(NULL, 0, header, sizeof(header), sum);
	return sl_sum_fold16(sum) != 0xffff;
}

/* A packet of a pair that is not spliced. Every connection has some without payload, and these are
 * looked at. */
SL_INLINE int watch(struct xdp_md *ctx, const struct sl_packet *p, const struct sl_found *f,
		    struct sl_arrival *a)
{
	if (!p->payload_len)
		a->unsummed =
			is_unsummed(ctx, f->from, p->l4_at, sizeof(struct tcphdr) + p->options_len);
	return sl_watch(p, f, a);
}

SL_INLINE int load_options(struct xdp_md *ctx, struct sl_packet *p, struct sl_options *o)
{
	__u32 len = p->options_len;

	if (p->layout != SL_OPTS_SLOW)
		return 1;
	/* Options come in words. "len < 1" would be compiled to "len == 0", of which the verifier of
	 * Linux 6.1 remembers nothing. */
	if (len < 4 || len > SL_OPTIONS_MAX)
		return 0;
	if (bpf_xdp_load_bytes(ctx, p->l4_at + sizeof(struct tcphdr), o->bytes, len))
		return 0;
	return sl_take_options(p, o, len);
}

SL_INLINE long change(struct xdp_md *ctx, const struct sl_packet *p, struct sl_options *o,
		      const struct sl_found *f, __u32 *ret_notes)
{
	struct sl_change c = {
		.data = (void *)(long)ctx->data,
		.end = (void *)(long)ctx->data_end,
		.from = f->from,
		.to = f->to,
		.address_sum = sl_address_sum(f->pair, f->leg),
		.timestamps = f->pair->flags & SL_PAIR_TIMESTAMPS,
	};
	struct tcphdr *tcp = (void *)c.data + (p->l4_at & 127);

	if (!sl_rewrite(p, &c) || !sl_rewrite_link(p, &c, 0) || (void *)(tcp + 1) > c.end)
		return -EINVAL;
	*ret_notes = c.notes;
	if (p->layout == SL_OPTS_SLOW)
		sl_rewrite_slow_options(o, &c);
	tcp->check = sl_csum_update(tcp->check, c.sums.pseudo + c.sums.tcp);
	if (p->layout != SL_OPTS_SLOW)
		return 0;
	return bpf_xdp_store_bytes(ctx, p->l4_at + sizeof(struct tcphdr), o->bytes,
				   sl_options_bound(o->len));
}

SL_INLINE int send(struct xdp_md *ctx, const struct sl_packet *p, const struct sl_leg *to)
{
	if (to->output == SL_OUT_UP) {
		sl_count_sent(SL_SENT_UP, p->payload_len);
		return XDP_PASS;
	}
	sl_count_sent(SL_SENT, p->payload_len);
	return to->ifindex == ctx->ingress_ifindex ? XDP_TX : bpf_redirect(to->ifindex, 0);
}

SL_INLINE int send_on(struct xdp_md *ctx, const struct sl_packet *p, struct sl_options *o,
		      const struct sl_found *f)
{
	__u32 notes = 0;
	long error = change(ctx, p, o, f, &notes);

	if (SL_UNLIKELY(error)) {
		sl_fail(p, f, error);
		return XDP_DROP;
	}
	sl_account(p, f, notes);
	return send(ctx, p, f->to);
}

/* Any packet of TCP, else SL_OTHER. Global, so that it is verified by itself. */
__attribute__((noinline)) int sl_splice_rare(struct xdp_md *ctx)
{
	struct sl_options options = {0};
	struct sl_packet p = {0};
	struct sl_arrival arrival;
	enum sl_action action;
	struct sl_found found;

	if (!sl_parse_xdp(ctx, &p))
		return SL_OTHER;
	if (!find(ctx, &p, &found) || !note_arrival(ctx, &p, &arrival))
		return XDP_PASS;
	if (!load_options(ctx, &p, &options)) {
		sl_count(SL_DROP_OPTIONS, p.payload_len);
		return XDP_DROP;
	}
	if (!sl_is_spliced(found.pair) && !watch(ctx, &p, &found, &arrival))
		return XDP_PASS;
	action = sl_track(&p, &found, &arrival);
	if (action != SL_SEND)
		return action == SL_DROP ? XDP_DROP : XDP_PASS;
	return send_on(ctx, &p, &options, &found);
}

/* An ICMP error about a packet that was sent on. The rest passes. */
__attribute__((noinline)) int sl_splice_error(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct sl_change c = {.data = data, .end = end};
	struct sl_icmp_error e = {0};
	struct sl_packet p = {0};
	enum sl_action action;
	struct sl_found found;

	if (!sl_icmp_parse(&p, &e, data, end, bpf_xdp_get_buff_len(ctx)))
		return XDP_PASS;
	action = sl_judge_error(&p, &e, data, end, &found);
	if (action != SL_SEND)
		return action == SL_DROP ? XDP_DROP : XDP_PASS;
	c.to = found.to;
	if (!sl_icmp_rewrite(&p, &e, &c) || !sl_rewrite_link(&p, &c, 0))
		return XDP_DROP;
	sl_count(SL_ICMP, 0);
	return send(ctx, &p, found.to);
}

/* A plain packet that changes nothing of its pair; else SL_RARE, and nothing was done. */
__attribute__((noinline)) int sl_splice_plain(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct sl_arrival arrival;
	enum sl_parsed parsed;
	struct sl_found found;
	struct sl_packet p;

	parsed = sl_packet_glance(&p, data, end);
	if (parsed == SL_PARSED_PLAIN)
		parsed = sl_find_plain(&p, data, end, &found);
	if (parsed != SL_PARSED_PLAIN)
		return parsed == SL_PARSED_RARE ? SL_RARE : XDP_PASS;
	if (!sl_packet_parse_plain(&p, data, end, end - data) || !is_whole(ctx, &p) ||
	    !note_arrival(ctx, &p, &arrival) || !sl_is_routine(&p, &found, &arrival))
		return SL_RARE;
	sl_advance(&p, found.from, found.to);
	return send_on(ctx, &p, NULL, &found);
}

/* Several functions and not one, so that they share the 512 bytes of stack and don't add up. */
SEC("xdp.frags")
int sl_splice_xdp(struct xdp_md *ctx)
{
	int verdict = sl_splice_plain(ctx);

	if (verdict == SL_RARE)
		verdict = sl_splice_rare(ctx);
	return verdict == SL_OTHER ? sl_splice_error(ctx) : verdict;
}
