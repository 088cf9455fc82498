/* SPDX-License-Identifier: BSD-2-Clause */
/* See errors.h. */

#include "errors.h"

#include <arpa/inet.h>
#include <string.h>

#define LINK 14

static void put16(uint8_t *at, uint32_t v)
{
	at[0] = v >> 8;
	at[1] = v;
}

static size_t ip_header(int version)
{
	return version == 4 ? 20 : 40;
}

static size_t write_icmp(const struct frame_error *e, uint8_t *out)
{
	size_t head = ip_header(e->quoted.version) + 8,
	       size = ip_header(e->quoted.version) + e->quote;
	FRAME_BUFFER(quoted);
	FRAME_BUFFER(tail);
	uint32_t rest = htonl(e->rest);

	frame_write(&e->quoted, quoted);
	frame_write(&e->tail, tail);
	out[0] = e->type;
	out[1] = e->code;
	put16(out + 2, 0);
	memcpy(out + 4, &rest, 4);
	memcpy(out + 8, tail + LINK, size);
	memcpy(out + 8, quoted + LINK, head < size ? head : size);
	return 8 + size;
}

static size_t write_outer4(const struct frame *f, size_t len, uint8_t *out)
{
	memset(out, 0, 20);
	out[0] = 0x45;
	out[1] = f->tos;
	put16(out + 2, 20 + len);
	put16(out + 6, f->fragment);
	out[8] = f->ttl;
	out[9] = 1;
	memcpy(out + 12, f->src, 4);
	memcpy(out + 16, f->dst, 4);
	put16(out + 10, ~frame_sum(out, 20, 0));
	put16(out + 22, ~frame_sum(out + 20, len, 0));
	return 20 + len;
}

static size_t write_outer6(const struct frame *f, size_t len, uint8_t *out)
{
	uint32_t pseudo = frame_sum(f->src, 16, frame_sum(f->dst, 16, 58 + (uint32_t)len));

	memset(out, 0, 40);
	out[0] = 0x60 | f->tos >> 4;
	out[1] = f->tos << 4;
	put16(out + 4, len);
	out[6] = 58;
	out[7] = f->ttl;
	memcpy(out + 8, f->src, 16);
	memcpy(out + 24, f->dst, 16);
	put16(out + 42, ~frame_sum(out + 40, len, pseudo));
	return 40 + len;
}

size_t frame_error_write(const struct frame_error *e, uint8_t *out)
{
	const struct frame *f = &e->outer;
	size_t at = LINK + ip_header(f->version), len;

	memset(out, 0, FRAME_MAX);
	memcpy(out, f->to_mac, 6);
	memcpy(out + 6, f->from_mac, 6);
	put16(out + 12, f->version == 4 ? 0x0800 : 0x86dd);
	len = write_icmp(e, out + at);
	return LINK + (f->version == 4 ? write_outer4(f, len, out + LINK)
				       : write_outer6(f, len, out + LINK));
}

struct frame_error frame_error_from(const struct sl_flow_pair *pair, int leg)
{
	const struct sl_leg *l = &pair->leg[leg];
	struct frame sent = frame_from(pair, !leg);
	struct frame_error e = {.outer = frame_from(pair, leg), .quote = 20, .rest = 1300};

	e.quoted = e.tail = frame_splice(&sent, pair, !leg);
	e.quoted.seq = e.tail.seq = l->ack; /* in flight: the first byte that isn't acknowledged */
	e.outer.src[e.outer.version == 4 ? 3 : 15] = 77; /* the router */
	e.type = e.outer.version == 4 ? 3 : 2;
	e.code = e.outer.version == 4 ? 4 : 0;
	return e;
}

static void copy_address(uint8_t *out, const uint8_t *address, int version)
{
	memcpy(out, address + (version == 4 ? 12 : 0), version == 4 ? 4 : 16);
}

struct frame_error frame_error_splice(const struct frame_error *in, const struct sl_flow_pair *pair,
				      int leg)
{
	const struct sl_leg *stuck = &pair->leg[leg], *sender = &pair->leg[!leg];
	struct frame_error e = *in;
	int version = e.outer.version;

	memcpy(e.outer.to_mac, sender->peer_mac, 6);
	memcpy(e.outer.from_mac, sender->local_mac, 6);
	copy_address(e.outer.src, sender->local, version);
	copy_address(e.outer.dst, sender->peer, version);
	e.outer.ttl--;
	copy_address(e.quoted.src, sender->peer, version);
	copy_address(e.quoted.dst, sender->local, version);
	e.quoted.sport = ntohs(sender->peer_port);
	e.quoted.dport = ntohs(sender->local_port);
	e.quoted.seq = in->quoted.seq - (stuck->wseq - sender->exp);
	return e;
}
