/* SPDX-License-Identifier: BSD-2-Clause */
/* See frames.h. Checksums are computed over the bytes, big endian, without any shortcut. */

#include "frames.h"

#include <arpa/inet.h>
#include <string.h>

static void put16(uint8_t *at, uint32_t v)
{
	at[0] = v >> 8;
	at[1] = v;
}

static void put32(uint8_t *at, uint32_t v)
{
	put16(at, v >> 16);
	put16(at + 2, v);
}

static uint32_t get32(const uint8_t *at)
{
	return (uint32_t)at[0] << 24 | at[1] << 16 | at[2] << 8 | at[3];
}

uint32_t frame_sum(const uint8_t *p, size_t n, uint32_t s)
{
	for (size_t i = 0; i < n; i++)
		s += i % 2 ? p[i] : p[i] << 8;
	while (s >> 16)
		s = (s & 0xffff) + (s >> 16);
	return s;
}

static size_t write_options(const struct frame *f, uint8_t *out)
{
	size_t n = 0;

	for (int i = 0; i < f->options; i++) {
		const struct frame_option *o = &f->option[i];

		out[n++] = o->kind;
		if (o->kind < 2)
			continue;
		out[n++] = o->len;
		memcpy(out + n, o->data, o->len - 2);
		n += o->len - 2;
	}
	while (n % 4)
		out[n++] = 0;
	return n;
}

static uint32_t pseudo_sum(const struct frame *f, size_t len)
{
	size_t bytes = f->version == 4 ? 4 : 16;

	return frame_sum(f->src, bytes, frame_sum(f->dst, bytes, 6 + (uint32_t)len));
}

static size_t write_tcp(const struct frame *f, uint8_t *out)
{
	size_t header = 20 + write_options(f, out + 20);
	size_t len = header + f->payload;
	uint32_t pseudo = pseudo_sum(f, len);

	put16(out, f->sport);
	put16(out + 2, f->dport);
	put32(out + 4, f->seq);
	put32(out + 8, f->ack);
	out[12] = header / 4 << 4;
	out[13] = f->flags;
	put16(out + 14, f->window);
	put32(out + 16, 0);
	for (int i = 0; i < f->payload; i++)
		out[header + i] = i * 7 + 1;
	put16(out + 16, f->partial ? pseudo : ~frame_sum(out, len, pseudo));
	return len;
}

static size_t write_ip4(const struct frame *f, uint8_t *out)
{
	size_t header = 20 + f->ip_options;
	size_t len;

	memset(out, 1, header);
	len = header + write_tcp(f, out + header);
	out[0] = 0x40 | header / 4;
	out[1] = f->tos;
	put16(out + 2, len);
	put16(out + 4, 0x1234);
	put16(out + 6, f->fragment);
	out[8] = f->ttl;
	out[9] = 6;
	put16(out + 10, 0);
	memcpy(out + 12, f->src, 4);
	memcpy(out + 16, f->dst, 4);
	put16(out + 10, ~frame_sum(out, header, 0));
	return len;
}

static size_t write_ip6(const struct frame *f, uint8_t *out)
{
	size_t len = write_tcp(f, out + 40);

	put32(out, 6u << 28 | f->tos << 20 | 0x54321);
	put16(out + 4, len);
	out[6] = 6;
	out[7] = f->ttl;
	memcpy(out + 8, f->src, 16);
	memcpy(out + 24, f->dst, 16);
	return len + 40;
}

size_t frame_write(const struct frame *f, uint8_t *out)
{
	size_t n = 12;

	memset(out, 0, FRAME_MAX);
	memcpy(out, f->to_mac, 6);
	memcpy(out + 6, f->from_mac, 6);
	for (int i = 0; i < f->tags; i++, n += 4) {
		put16(out + n, i == 0 && f->service ? 0x88a8 : 0x8100);
		put16(out + n + 2, f->tci[i]);
	}
	put16(out + n, f->version == 4 ? 0x0800 : 0x86dd);
	n += 2;
	n += f->version == 4 ? write_ip4(f, out + n) : write_ip6(f, out + n);
	return n + f->padding;
}

static void splice_timestamps(struct frame_option *o, const struct sl_leg *from,
			      const struct sl_leg *to)
{
	int64_t echo = (uint32_t)(get32(o->data + 4) - to->ts_add);

	/* the distance from the floor, as a signed 32 bit number */
	if ((int32_t)((uint32_t)echo - to->ts_last) < 0)
		echo = to->ts_last;
	put32(o->data, get32(o->data) + from->ts_add);
	put32(o->data + 4, (uint32_t)echo);
}

static void splice_sack(struct frame *f, int at, bool keep, uint32_t sub)
{
	struct frame_option *o = &f->option[at];
	int len = o->len;

	if (keep) {
		for (int i = 0; i + 2 < len; i += 4)
			put32(o->data + i, get32(o->data + i) - sub);
		return;
	}
	/* One option becomes len NOPs: as one "option" whose bytes are all 1. */
	o->kind = 1;
	memmove(o + len, o + 1, (f->options - at - 1) * sizeof(*o));
	for (int i = 0; i < len; i++)
		o[i] = frame_nop();
	f->options += len - 1;
}

static uint16_t splice_window(const struct frame *f, const struct sl_leg *from,
			      const struct sl_leg *to)
{
	uint64_t bytes = (uint64_t)f->window << from->peer_wscale;
	uint64_t window = bytes / (1u << to->local_wscale);

	if (f->flags & FRAME_SYN)
		return f->window;
	if (window > 65535)
		return 65535;
	return bytes && !window ? 1 : window;
}

static void copy_address(uint8_t *out, const uint8_t *address, int version)
{
	memset(out, 0, 16);
	memcpy(out, address + (version == 4 ? 12 : 0), version == 4 ? 4 : 16);
}

static void splice_options(struct frame *f, const struct sl_flow_pair *pair, int from)
{
	const struct sl_leg *l = &pair->leg[from], *o = &pair->leg[!from];

	for (int i = 0; i < f->options; i++) {
		if (f->option[i].kind == 0)
			return;
		if (f->option[i].kind == 8 && pair->flags & SL_PAIR_TIMESTAMPS)
			splice_timestamps(&f->option[i], l, o);
		else if (f->option[i].kind == 5)
			splice_sack(f, i, o->flags & SL_LEG_SACK, l->wseq - o->exp);
	}
}

struct frame frame_splice(const struct frame *in, const struct sl_flow_pair *pair, int from)
{
	const struct sl_leg *l = &pair->leg[from], *o = &pair->leg[!from];
	struct frame f = *in;

	memcpy(f.to_mac, o->peer_mac, 6);
	memcpy(f.from_mac, o->local_mac, 6);
	for (int i = 0; i < f.tags; i++)
		f.tci[i] = (f.tci[i] & 0xf000) | (ntohs(o->tag[i]) & 0x0fff);
	copy_address(f.src, o->local, f.version);
	copy_address(f.dst, o->peer, f.version);
	f.ttl--;
	f.sport = ntohs(o->local_port);
	f.dport = ntohs(o->peer_port);
	f.seq = in->seq + (o->wseq - l->exp);
	if (in->flags & FRAME_ACK)
		f.ack = in->ack - (l->wseq - o->exp);
	f.window = splice_window(in, l, o);
	if (!(o->flags & SL_LEG_ECN)) {
		f.tos &= 0xfc;
		if (!(in->flags & FRAME_SYN))
			f.flags &= ~(FRAME_ECE | FRAME_CWR);
	}
	splice_options(&f, pair, from);
	return f;
}

struct frame_option frame_timestamps(uint32_t tsval, uint32_t tsecr)
{
	struct frame_option o = {.kind = 8, .len = 10};

	put32(o.data, tsval);
	put32(o.data + 4, tsecr);
	return o;
}

struct frame_option frame_sack(int blocks, const uint32_t *edges)
{
	struct frame_option o = {.kind = 5, .len = 2 + 8 * blocks};
	int edges_max = sizeof(o.data) / 4;

	for (int i = 0; i < 2 * blocks && i < edges_max; i++)
		put32(o.data + 4 * i, edges[i]);
	return o;
}

struct frame_option frame_nop(void)
{
	return (struct frame_option){.kind = 1, .len = 1};
}

static void set_address(uint8_t *at, int version, uint8_t net, uint8_t host)
{
	uint8_t v4[16] = {[10] = 0xff, 0xff, 10, net, 0, host};
	uint8_t v6[16] = {0x20, 0x01, 0x0d, 0xb8, [5] = net, [15] = host};

	memcpy(at, version == 4 ? v4 : v6, 16);
}

struct sl_flow_pair frame_pair(int version)
{
	struct sl_flow_pair p = {
		.state = SL_FLOW_ACTIVE,
		.flags = SL_PAIR_DRAINED | SL_PAIR_TIMESTAMPS,
		.leg[0] = {.peer_port = htons(40000),
			   .local_port = htons(3128),
			   .ifindex = 1,
			   .exp = 1000,
			   .wseq = 5000,
			   .end = 1000,
			   .ack = 5000,
			   .edge = 70000,
			   .ts_last = 100,
			   .ts_add = 77777,
			   .peer_wscale = 7,
			   .local_wscale = 5},
		.leg[1] = {.peer_port = htons(443),
			   .local_port = htons(20001),
			   .ifindex = 1,
			   .exp = 0xfffffff0,
			   .wseq = 90000,
			   .end = 0xfffffff0,
			   .ack = 90000,
			   .edge = 160000,
			   .ts_last = 0xffffff00,
			   .ts_add = 3,
			   .peer_wscale = 9,
			   .local_wscale = 7},
	};

	for (int i = 0; i < 2; i++) {
		struct sl_leg *l = &p.leg[i];

		set_address(l->peer, version, i, 2);
		set_address(l->local, version, i, 1);
		memset(l->peer_mac, 0x20 + i, 6);
		memset(l->local_mac, 0x40 + i, 6);
		l->flags =
			SL_LEG_SEEN | SL_LEG_TSVAL | SL_LEG_SACK | SL_LEG_TIMESTAMPS | SL_LEG_ECN;
	}
	return p;
}

struct frame frame_from(const struct sl_flow_pair *pair, int leg)
{
	const struct sl_leg *l = &pair->leg[leg];
	bool v4 = !l->peer[0];
	struct frame f = {
		.version = v4 ? 4 : 6,
		.ttl = 64,
		.tos = 0xb8,
		.fragment = 0x4000,
		.sport = ntohs(l->peer_port),
		.dport = ntohs(l->local_port),
		.seq = l->end,
		.ack = l->ack,
		.flags = FRAME_ACK | FRAME_PSH,
		.window = 500,
		.options = 3,
		.payload = 100,
	};

	f.option[0] = f.option[1] = frame_nop();
	f.option[2] = frame_timestamps(l->ts_last + 10, pair->leg[!leg].ts_add + 5);
	copy_address(f.src, l->peer, f.version);
	copy_address(f.dst, l->local, f.version);
	memcpy(f.from_mac, l->peer_mac, 6);
	memcpy(f.to_mac, l->local_mac, 6);
	return f;
}
