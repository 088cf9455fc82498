/* SPDX-License-Identifier: BSD-2-Clause */
/* Options that packets get on their way out, and what is read from those that come in. What leaves is
 * compared with the same segment as the frames' oracle writes it, checksums included. */

#include "unit.h"

#include <string.h>

#include "dpdk/tcp_options.h"
#include "frames.h"

#define LINK 14

static struct frame segment(int version, uint8_t flags)
{
	struct frame f = {.version = version,
			  .ttl = 255,
			  .sport = 3128,
			  .dport = 40000,
			  .seq = 77,
			  .ack = 99,
			  .flags = flags,
			  .window = 65535};

	for (int i = 0; i < 16; i++) {
		f.src[i] = (uint8_t)(17 * i + 1);
		f.dst[i] = (uint8_t)(29 * i + 5);
	}
	return f;
}

static struct frame_option mss(void)
{
	return (struct frame_option){.kind = 2, .len = 4, .data = {5, 0xb4}};
}

static struct frame_option scale(uint8_t by)
{
	return (struct frame_option){.kind = 3, .len = 3, .data = {by}};
}

static struct frame_option permitted(void)
{
	return (struct frame_option){.kind = 4, .len = 2};
}

static void append(struct frame *f, struct frame_option o)
{
	f->option[f->options++] = o;
}

/* As lwIP writes it. */
static struct frame syn(int version, uint8_t flags, uint8_t by)
{
	struct frame f = segment(version, flags);

	append(&f, mss());
	append(&f, frame_nop());
	append(&f, scale(by));
	return f;
}

static void assert_packet(const uint8_t *packet, size_t len, const struct frame *wanted)
{
	FRAME_BUFFER(out);

	assert_int_equal(len, frame_write(wanted, out) - LINK);
	assert_memory_equal(packet, out + LINK, len);
}

static void a_syn_offers_both_in_either_family(void **state)
{
	for (int version = 4; version <= 6; version += 2) {
		struct frame f = syn(version, FRAME_SYN, 1), wanted = syn(version, FRAME_SYN, 7);
		FRAME_BUFFER(out);
		size_t len = frame_write(&f, out) - LINK;
		bool scaled;

		append(&wanted, frame_nop());
		append(&wanted, frame_nop());
		append(&wanted, permitted());
		len = sl_tcp_offer(out + LINK, len, true, &scaled);
		assert_true(scaled);
		assert_packet(out + LINK, len, &wanted);
		assert_true(sl_tcp_permits_sack(out + LINK + (version == 4 ? 20 : 40), 32));
	}
}

static void an_answer_offers_what_was_asked_for(void **state)
{
	struct frame f = segment(4, FRAME_SYN | FRAME_ACK);
	FRAME_BUFFER(out);
	size_t len;
	bool scaled = true;

	append(&f, mss());
	len = sl_tcp_offer(out + LINK, frame_write(&f, out) - LINK, false, &scaled);
	assert_false(scaled);
	assert_packet(out + LINK, len, &f);
	assert_false(sl_tcp_permits_sack(out + LINK + 20, 24));
}

static void a_syn_that_is_full_stays_without(void **state)
{
	struct frame f = syn(4, FRAME_SYN, 1), wanted = syn(4, FRAME_SYN, 7);
	FRAME_BUFFER(out);
	bool scaled;

	for (int i = 0; i < 8; i++) {
		append(&f, mss());
		append(&wanted, mss());
	}
	assert_packet(out + LINK,
		      sl_tcp_offer(out + LINK, frame_write(&f, out) - LINK, true, &scaled),
		      &wanted);
}

static void blocks_are_reported_and_read(void **state)
{
	const struct sl_tcp_block block[SL_TCP_BLOCKS_MAX] = {
		{50, 60}, {100, 1100}, {0xfffffff0, 16}, {3000, 4000}};
	struct sl_tcp_block read[SL_TCP_BLOCKS_MAX];
	uint32_t edges[2 * SL_TCP_BLOCKS_MAX];

	memcpy(edges, block, sizeof(edges));
	for (unsigned n = 1; n <= SL_TCP_BLOCKS_MAX; n++) {
		struct frame f = segment(6, FRAME_ACK), wanted = f;
		FRAME_BUFFER(out);
		size_t len;

		append(&wanted, frame_nop());
		append(&wanted, frame_nop());
		append(&wanted, frame_sack((int)n, edges));
		len = sl_tcp_report(out + LINK, frame_write(&f, out) - LINK, block, n);
		assert_packet(out + LINK, len, &wanted);
		/* one is below the acknowledgement of 99, one above it by way of 0, and so far below */
		assert_int_equal(sl_tcp_sacked(out + LINK + 40, len - 40, read), n < 2	 ? 0
										 : n < 4 ? 1
											 : 2);
		if (n == 4)
			assert_int_equal(read[1].right, 4000);
		assert_int_equal(sl_tcp_sacked(out + LINK + 40, len - 41, read), 0);
	}
}

static void what_is_no_whole_segment_is_none(void **state)
{
	struct frame f = segment(4, FRAME_ACK);
	struct sl_tcp_view v;
	FRAME_BUFFER(out);
	uint8_t *packet = out + LINK;
	size_t len;

	f.payload = 3;
	len = frame_write(&f, out) - LINK;
	assert_true(sl_tcp_look(packet, len, &v));
	assert_true(v.has_payload && !v.is_ip6 && v.flags == FRAME_ACK && v.tcp == packet + 20);
	assert_true(sl_tcp_look(packet, 40, &v) && !v.has_payload);
	for (size_t cut = 0; cut < 40; cut++)
		assert_false(sl_tcp_look(packet, cut, &v));
	packet[7] = 3; /* a later fragment */
	assert_false(sl_tcp_look(packet, len, &v));
	packet[7] = 0;
	packet[9] = 17;
	assert_false(sl_tcp_look(packet, len, &v));
	packet[9] = 6;
	packet[32] = 4 << 4;
	assert_false(sl_tcp_look(packet, len, &v));
}

/* Option bytes behind a header; 4 means nothing here but in its place. */
static void strange_options_end_the_search(void **state)
{
	static const struct {
		uint8_t bytes[8];
		bool permits;
	} rows[] = {
		{{4, 2, 0, 0}, true},
		{{1, 1, 4, 2}, true},
		{{0, 0, 4, 2}, false},
		{{2, 0, 4, 2}, false},
		{{2, 1, 4, 2}, false},
		{{2, 9, 4, 2, 0, 0, 0, 0}, false},
		{{5, 2, 4, 2}, true},
		{{1, 1, 1, 4}, false},
		{{1, 1, 1, 1, 1, 1, 1, 4}, false},
		{{3, 3, 4, 4, 2, 0, 0, 0}, true},
		{{8, 10, 4, 2, 4, 2, 4, 2}, false},
	};

	for (size_t i = 0; i < SL_ARRAY_SIZE(rows); i++) {
		struct sl_tcp_block read[SL_TCP_BLOCKS_MAX];
		uint8_t tcp[28] = {[12] = 7 << 4};

		memcpy(tcp + 20, rows[i].bytes, 8);
		assert_int_equal(sl_tcp_permits_sack(tcp, sizeof(tcp)), rows[i].permits);
		assert_int_equal(sl_tcp_sacked(tcp, sizeof(tcp), read), 0);
		assert_false(sl_tcp_permits_sack(tcp, sizeof(tcp) - 1));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_syn_offers_both_in_either_family),
		cmocka_unit_test(an_answer_offers_what_was_asked_for),
		cmocka_unit_test(a_syn_that_is_full_stays_without),
		cmocka_unit_test(blocks_are_reported_and_read),
		cmocka_unit_test(what_is_no_whole_segment_is_none),
		cmocka_unit_test(strange_options_end_the_search),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
