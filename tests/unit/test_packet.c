/* SPDX-License-Identifier: BSD-2-Clause */
/* include/sluice: parsing and rewriting, against the oracle of tests/frames. */

#include "unit.h"

#include <stdio.h>
#include <string.h>

#include "frames.h"

#include <sluice/rewrite.h>

#define ROUNDS 20000

static uint64_t seed = 0x9e3779b97f4a7c15;

static uint32_t any(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed >> 16;
}

static uint32_t below(uint32_t n)
{
	return any() % n;
}

/* Parses and splices in place as DPDK does. 0 or a reason; -1 if it is not ours. */
static int splice(uint8_t *frame, size_t len, const struct sl_flow_pair *pair, int from,
		  bool partial)
{
	struct sl_flow_pair fixed = *pair;
	struct sl_packet p;
	struct sl_change c = {
		.data = frame,
		.end = frame + len,
		.from = &fixed.leg[from],
		.to = &fixed.leg[!from],
		.timestamps = pair->flags & SL_PAIR_TIMESTAMPS,
	};

	sl_pair_prepare(&fixed);
	c.address_sum = sl_address_sum(&fixed, from);
	if (!sl_packet_parse(&p, frame, frame + len, len) || p.frame_len > len)
		return -1;
	return sl_packet_splice(&p, &c, partial);
}

static void assert_spliced(const struct frame *f, const struct sl_flow_pair *pair, int from)
{
	FRAME_BUFFER(in);
	FRAME_BUFFER(want);
	struct frame out = frame_splice(f, pair, from);
	size_t len = frame_write(f, in);

	assert_int_equal(frame_write(&out, want), len);
	assert_int_equal(splice(in, len, pair, from, f->partial), 0);
	/* One's complement has two zeros; the checksum of real frames is never 0xffff. */
	assert_memory_equal(in, want, len);
}

static void any_leg(struct sl_leg *l)
{
	l->peer_port = any();
	l->local_port = any();
	l->exp = any();
	l->wseq = any();
	l->ts_last = any();
	l->ts_add = any();
	l->peer_wscale = below(15);
	l->local_wscale = below(15);
	l->tag[0] = any();
	l->tag[1] = any();
	l->flags = any() & (SL_LEG_SACK | SL_LEG_ECN | SL_LEG_TIMESTAMPS);
	for (int i = 0; i < 6; i++) {
		l->peer_mac[i] = any();
		l->local_mac[i] = any();
	}
	for (int i = 12; i < 16; i++) {
		l->peer[i] = any();
		l->local[i] = any();
	}
}

static int add_option(struct frame *f, int room, struct frame_option o)
{
	int len = o.kind < 2 ? 1 : o.len;

	if (len > room || f->options >= 12)
		return room;
	f->option[f->options++] = o;
	return room - len;
}

static struct frame_option any_option(void)
{
	uint32_t edges[8];
	struct frame_option o = {.kind = 30 + below(200), .len = 2 + below(6)};

	for (int i = 0; i < 8; i++)
		edges[i] = any();
	for (int i = 0; i < 6; i++)
		o.data[i] = any();
	switch (below(4)) {
	case 0:
		return frame_timestamps(any(), any());
	case 1:
		return frame_sack(1 + below(4), edges);
	case 2:
		return frame_nop();
	default:
		return o;
	}
}

/* At most one of each known kind: two of them are malformed. A SACK of 34 bytes that turns into
 * NOPs must still find room in frame.option, hence no more than 16 - 1 + ... entries: it is kept
 * only where the receiver knows SACK or it is short. */
static void any_options(struct frame *f, bool sack_kept)
{
	bool has[256] = {0};
	int room = 40;

	f->options = 0;
	for (int i = 0; i < 6; i++) {
		struct frame_option o = any_option();

		if ((o.kind == 5 || o.kind == 8) && has[o.kind])
			continue;
		if (o.kind == 5 && !sack_kept)
			continue;
		has[o.kind] = true;
		room = add_option(f, room, o);
	}
}

static struct frame any_frame(const struct sl_flow_pair *pair, int from)
{
	struct frame f = frame_from(pair, from);

	f.tags = below(3);
	f.tci[0] = any();
	f.tci[1] = any();
	f.service = f.tags && below(2);
	f.ttl = 2 + below(254);
	f.tos = any();
	f.ip_options = f.version == 4 ? 4 * below(11) : 0;
	f.seq = any();
	f.ack = any();
	f.flags = any();
	f.window = below(3) ? any() : below(3);
	f.payload = below(1400);
	f.padding = below(3) ? 0 : below(20);
	f.partial = below(2);
	if (below(2))
		any_options(&f, pair->leg[!from].flags & SL_LEG_SACK);
	return f;
}

static void any_packet_is_rewritten_as_its_meaning_says(void **state)
{
	for (int i = 0; i < ROUNDS; i++) {
		struct sl_flow_pair pair = frame_pair(below(2) ? 4 : 6);
		int from = below(2);
		struct frame f;

		any_leg(&pair.leg[0]);
		any_leg(&pair.leg[1]);
		f = any_frame(&pair, from);
		if (below(2))
			pair.flags &= ~SL_PAIR_TIMESTAMPS;
		assert_spliced(&f, &pair, from);
	}
}

static void sack_blocks_beside_timestamps_are_rewritten_in_place(void **state)
{
	static const uint32_t edges[] = {5100, 5200, 0xfffffff0, 100, 7, 8};

	for (int blocks = 1; blocks <= 3; blocks++) {
		for (int keep = 0; keep < 2; keep++) {
			struct sl_flow_pair pair = frame_pair(4);
			struct frame f = frame_from(&pair, 0);
			FRAME_BUFFER(in);
			struct sl_packet p;
			size_t len;

			f.option[3] = f.option[4] = frame_nop();
			f.option[5] = frame_sack(blocks, edges);
			f.options = 6;
			if (!keep)
				pair.leg[1].flags &= ~SL_LEG_SACK;
			len = frame_write(&f, in);
			assert_true(sl_packet_parse(&p, in, in + len, len));
			assert_int_equal(p.layout, SL_OPTS_FAST);
			assert_int_equal(p.blocks, blocks);
			if (keep) {
				assert_spliced(&f, &pair, 0);
				continue;
			}
			assert_int_equal(splice(in, len, &pair, 0, false), 0);
			for (size_t at = 14 + 20 + 20 + 12; at < 14 + 20 + 20 + 16 + 8u * blocks;
			     at++)
				assert_int_equal(in[at], 1);
		}
	}
}

static void an_echo_of_the_proxys_clock_becomes_the_last_timestamp_of_the_peer(void **state)
{
	struct sl_flow_pair pair = frame_pair(4);
	struct frame f = frame_from(&pair, 0);
	struct frame out;

	f.option[2] = frame_timestamps(200, pair.leg[1].ts_add + pair.leg[1].ts_last - 1);
	out = frame_splice(&f, &pair, 0);
	assert_memory_equal(out.option[2].data + 4, "\xff\xff\xff\x00", 4);
	assert_spliced(&f, &pair, 0);
}

static void what_is_not_tcp_or_is_cut_off_is_not_ours(void **state)
{
	struct sl_flow_pair pair = frame_pair(4);
	struct frame f = frame_from(&pair, 0);
	FRAME_BUFFER(good);
	FRAME_BUFFER(bad);
	size_t len = frame_write(&f, good);
	static const struct {
		const char *what;
		size_t at;
		uint8_t value;
	} rows[] = {
		{"ARP", 13, 6},
		{"UDP", 23, 17},
		{"IP version 5", 14, 0x55},
		{"an IP header of 16 bytes", 14, 0x44},
		{"a first fragment", 20, 0x20},
		{"a later fragment", 21, 1},
		{"a TCP header of 16 bytes", 46, 0x40},
		{"a TCP header longer than the packet", 17, 40},
		{"a packet longer than the frame", 16, 0x7f},
	};

	for (size_t i = 0; i < SL_ARRAY_SIZE(rows); i++) {
		memcpy(bad, good, len);
		bad[rows[i].at] = rows[i].value;
		if (splice(bad, len, &pair, 0, false) != -1)
			fail_msg("%s is taken for ours", rows[i].what);
	}
	for (size_t n = 0; n < len; n++) {
		memcpy(bad, good, len);
		assert_int_equal(splice(bad, n, &pair, 0, false), -1);
	}
}

static void options_that_lie_or_sign_are_refused(void **state)
{
	static const struct {
		const char *what;
		uint8_t bytes[12];
	} rows[] = {
		{"length 0", {2, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1}},
		{"length 1", {2, 1, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1}},
		{"beyond the end", {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 4}},
		{"cut before its length", {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2}},
		{"timestamps of 9", {8, 9, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1}},
		{"SACK of 9", {5, 9, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1}},
		{"MD5", {19, 10, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1}},
		{"TCP-AO", {29, 10, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1}},
	};
	struct sl_flow_pair pair = frame_pair(4);
	struct frame f = frame_from(&pair, 0);
	FRAME_BUFFER(in);

	for (size_t i = 0; i < SL_ARRAY_SIZE(rows); i++) {
		size_t len = frame_write(&f, in);

		memcpy(in + 54, rows[i].bytes, 12);
		if (splice(in, len, &pair, 0, false) != SL_DROP_OPTIONS)
			fail_msg("%s is accepted", rows[i].what);
	}
}

static void a_last_hop_is_not_sent_on(void **state)
{
	struct sl_flow_pair pair = frame_pair(6);
	struct frame f = frame_from(&pair, 1);
	FRAME_BUFFER(in);

	f.ttl = 1;
	assert_int_equal(splice(in, frame_write(&f, in), &pair, 1, false), SL_DROP_TTL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(any_packet_is_rewritten_as_its_meaning_says),
		cmocka_unit_test(sack_blocks_beside_timestamps_are_rewritten_in_place),
		cmocka_unit_test(
			an_echo_of_the_proxys_clock_becomes_the_last_timestamp_of_the_peer),
		cmocka_unit_test(what_is_not_tcp_or_is_cut_off_is_not_ours),
		cmocka_unit_test(options_that_lie_or_sign_are_refused),
		cmocka_unit_test(a_last_hop_is_not_sent_on),
	};

	return cmocka_run_group_tests_name("packet", tests, NULL, NULL);
}
