// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* The packet engine at the tc ingress hook: tcx (Linux 6.6) or clsact. Works on whole GSO
 * super-packets and leaves checksum offload alone. What isn't ours goes to the next program. */

#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>

#include "environment.h"

#include <sluice/errors.h>
#include <sluice/find.h>
#include <sluice/track.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* Makes the headers linear. Most packets have them so, or are no longer than what is linear. */
SL_INLINE int pull_headers(struct __sk_buff *ctx)
{
	__u32 linear = ctx->data_end - ctx->data;
	__u32 want = ctx->len < SL_HEADERS_MAX ? ctx->len : SL_HEADERS_MAX;

	return linear >= want || !bpf_skb_pull_data(ctx, want);
}

/* Global, so that it is verified by itself. */
__attribute__((noinline)) int sl_parse_tc(struct __sk_buff *ctx, struct sl_packet *p)
{
	if (!p || !pull_headers(ctx))
		return 0;
	/* clang 14 shares ctx + offset with the loads before the pull; the verifier of Linux 6.18
	 * and older refuses a context pointer with an offset. */
	SL_OPAQUE(ctx);
	/* The kernel holds the outer of at most two tags apart from the frame. */
	return sl_packet_parse(p, (void *)(long)ctx->data, (void *)(long)ctx->data_end, ctx->len) &&
	       p->frame_len <= ctx->len && !(ctx->vlan_present && p->tags > 1);
}

SL_INLINE int find(struct __sk_buff *ctx, const struct sl_packet *p, struct sl_found *ret)
{
	return sl_find(p, (void *)(long)ctx->data, (void *)(long)ctx->data_end, ret);
}

/* The kernel holds the outer VLAN tag apart from the frame. False: no room for an Ethernet header,
 * which can't be. */
SL_INLINE int note_arrival(struct __sk_buff *ctx, const struct sl_packet *p, struct sl_arrival *ret)
{
	ret->eth = (void *)(long)ctx->data;
	ret->ifindex = ctx->ifindex;
	ret->tag[0] = p->tag[0];
	ret->tag[1] = p->tag[1];
	ret->tagging = p->tagging;
	ret->unsummed = 0;
	if (ctx->vlan_present) {
		ret->tag[1] = p->tag[0];
		ret->tag[0] = sl_hton16(ctx->vlan_tci);
		ret->tagging = p->tags + 1;
		if (ctx->vlan_proto == sl_hton16(ETH_P_8021AD))
			ret->tagging |= SL_TAG_SERVICE;
	}
	return (void *)(ret->eth + 1) <= (void *)(long)ctx->data_end;
}

SL_INLINE int load_options(struct __sk_buff *ctx, struct sl_packet *p, struct sl_options *o)
{
	__u32 len = p->options_len;

	if (p->layout != SL_OPTS_SLOW)
		return 1;
	/* Options come in words. "len < 1" would be compiled to "len == 0", of which the verifier of
	 * Linux 6.1 remembers nothing. */
	if (len < 4 || len > SL_OPTIONS_MAX)
		return 0;
	if (bpf_skb_load_bytes(ctx, p->l4_at + sizeof(struct tcphdr), o->bytes, len))
		return 0;
	return sl_take_options(p, o, len);
}

/* The kernel knows what the checksum field holds: the whole sum, or the pseudo header's. It takes the
 * pseudo header's change off a sum over the whole packet, which is right for IPv4; in IPv6 the
 * addresses themselves are part of that sum. */
SL_INLINE long ask_for_checksums(struct __sk_buff *ctx, const struct sl_packet *p,
				 const struct sl_sums *sums)
{
	__u32 at = p->l4_at + __builtin_offsetof(struct tcphdr, check);
	long error;

	if (p->version == 6)
		bpf_csum_update(ctx, sl_sum_fold32(sums->ip + sums->pseudo));
	error = bpf_l4_csum_replace(ctx, at, 0, sl_sum_fold32(sums->pseudo), BPF_F_PSEUDO_HDR);
	if (!error)
		error = bpf_l4_csum_replace(ctx, at, 0, sl_sum_fold32(sums->tcp), 0);
	return error;
}

/* The same without the two calls, half of the program's time, where that can be seen to be right: a
 * field that is not the sum of the pseudo header holds the whole sum. (A super-packet is not worth
 * the look; most have the pseudo header's.) */
SL_INLINE long update_checksums(struct __sk_buff *ctx, const struct sl_packet *p,
				const struct sl_change *c)
{
	struct tcphdr *tcp = (void *)(c->data + (p->l4_at & 127));
	const struct sl_sums *sums = &c->sums;

	if (ctx->gso_size)
		return ask_for_checksums(ctx, p, sums);
	if ((const void *)(tcp + 1) > c->end)
		return -EINVAL;
	if (tcp->check == sl_pseudo_sum(p, c->from))
		return ask_for_checksums(ctx, p, sums);
	tcp->check = sl_csum_update(tcp->check, sums->pseudo + sums->tcp);
	/* Of use if the kernel holds a sum over the whole packet, else refused. */
	bpf_csum_update(ctx,
			p->version == 6 ? sl_sum_fold32(sums->ip) : ~sl_sum_fold32(sums->pseudo));
	return 0;
}

SL_INLINE long set_outer_tag(struct __sk_buff *ctx, const struct sl_leg *to)
{
	__be16 tci = sl_hton16(ctx->vlan_tci), retagged = sl_retag(tci, to->tag[0]);
	__be16 proto = ctx->vlan_proto;
	long error;

	if (retagged == tci)
		return 0;
	error = bpf_skb_vlan_pop(ctx);
	return error ? error : bpf_skb_vlan_push(ctx, proto, sl_ntoh16(retagged));
}

/* Afterwards no pointer into the packet is valid. */
SL_INLINE long change(struct __sk_buff *ctx, const struct sl_packet *p, struct sl_options *o,
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
	long error = 0;

	if (!sl_rewrite(p, &c) || !sl_rewrite_link(p, &c, ctx->vlan_present))
		return -EINVAL;
	*ret_notes = c.notes;
	if (!o || p->layout != SL_OPTS_SLOW) {
		error = update_checksums(ctx, p, &c);
	} else {
		sl_rewrite_slow_options(o, &c);
		error = bpf_skb_store_bytes(ctx, p->l4_at + sizeof(struct tcphdr), o->bytes,
					    sl_options_bound(o->len), 0);
		if (!error)
			error = ask_for_checksums(ctx, p, &c.sums);
	}
	if (!error && ctx->vlan_present)
		error = set_outer_tag(ctx, f->to);
	return error;
}

SL_INLINE int send(const struct sl_packet *p, const struct sl_leg *to)
{
	switch (to->output) {
	case SL_OUT_PEER:
		sl_count_sent(SL_SENT_PEER, p->payload_len);
		return bpf_redirect_peer(to->ifindex, 0);
	case SL_OUT_NEIGH:
		sl_count_sent(SL_SENT_NEIGH, p->payload_len);
		return bpf_redirect_neigh(to->ifindex, NULL, 0, 0);
	case SL_OUT_UP:
		sl_count_sent(SL_SENT_UP, p->payload_len);
		return TC_ACT_OK;
	default:
		sl_count_sent(SL_SENT, p->payload_len);
		return bpf_redirect(to->ifindex, 0);
	}
}

SL_INLINE int send_on(struct __sk_buff *ctx, const struct sl_packet *p, struct sl_options *o,
		      const struct sl_found *f)
{
	__u32 notes = 0;
	long error = change(ctx, p, o, f, &notes);

	if (SL_UNLIKELY(error)) {
		sl_fail(p, f, error);
		return TC_ACT_SHOT;
	}
	sl_account(p, f, notes);
	return send(p, f->to);
}

/* Any packet of TCP, else SL_OTHER. Global, so that it is verified by itself. */
__attribute__((noinline)) int sl_splice_rare(struct __sk_buff *ctx)
{
	struct sl_options options = {0};
	struct sl_packet p = {0};
	struct sl_arrival arrival;
	enum sl_action action;
	struct sl_found found;

	if (!sl_parse_tc(ctx, &p))
		return SL_OTHER;
	if (!find(ctx, &p, &found) || !note_arrival(ctx, &p, &arrival))
		return TC_ACT_UNSPEC;
	if (!load_options(ctx, &p, &options)) {
		sl_count(SL_DROP_OPTIONS, p.payload_len);
		return TC_ACT_SHOT;
	}
	if (!sl_is_spliced(found.pair) && !sl_watch(&p, &found, &arrival))
		return TC_ACT_UNSPEC;
	action = sl_track(&p, &found, &arrival);
	if (action != SL_SEND)
		return action == SL_DROP ? TC_ACT_SHOT : TC_ACT_UNSPEC;
	return send_on(ctx, &p, &options, &found);
}

/* An ICMP error about a packet that was sent on. The rest passes. */
__attribute__((noinline)) int sl_splice_error(struct __sk_buff *ctx)
{
	struct sl_icmp_error e = {0};
	struct sl_packet p = {0};
	struct sl_change c = {0};
	enum sl_action action;
	struct sl_found found;

	if (!pull_headers(ctx))
		return TC_ACT_UNSPEC;
	SL_OPAQUE(ctx);
	c.data = (void *)(long)ctx->data;
	c.end = (void *)(long)ctx->data_end;
	if (!sl_icmp_parse(&p, &e, c.data, c.end, ctx->len))
		return TC_ACT_UNSPEC;
	action = sl_judge_error(&p, &e, c.data, c.end, &found);
	if (action != SL_SEND)
		return action == SL_DROP ? TC_ACT_SHOT : TC_ACT_UNSPEC;
	c.to = found.to;
	if (!sl_icmp_rewrite(&p, &e, &c) || !sl_rewrite_link(&p, &c, ctx->vlan_present))
		return TC_ACT_SHOT;
	bpf_csum_update(ctx, sl_sum_fold32(c.sums.ip));
	if (ctx->vlan_present && set_outer_tag(ctx, found.to))
		return TC_ACT_SHOT;
	sl_count(SL_ICMP, 0);
	return send(&p, found.to);
}

/* A plain packet that changes nothing of its pair; else SL_RARE, and nothing was done. */
__attribute__((noinline)) int sl_splice_plain(struct __sk_buff *ctx)
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
		return parsed == SL_PARSED_RARE ? SL_RARE : TC_ACT_UNSPEC;
	if (!sl_packet_parse_plain(&p, data, end, ctx->len) || p.frame_len > ctx->len ||
	    !note_arrival(ctx, &p, &arrival) || !sl_is_routine(&p, &found, &arrival))
		return SL_RARE;
	sl_advance(&p, found.from, found.to);
	return send_on(ctx, &p, NULL, &found);
}

/* Several functions and not one, so that they share the 512 bytes of stack and don't add up. */
SEC("tc")
int sl_splice_tc(struct __sk_buff *ctx)
{
	int verdict = sl_splice_plain(ctx);

	if (verdict == SL_RARE)
		verdict = sl_splice_rare(ctx);
	return verdict == SL_OTHER ? sl_splice_error(ctx) : verdict;
}
