/* SPDX-License-Identifier: BSD-2-Clause */
/* Spliced pairs under random segments and random bytes: what leaves is what the oracle says, and every
 * frame is accounted for. */

#include "engine_fixture.h"

#define ROUNDS 20000

static uint64_t seed = 0x9e3779b97f4a7c15;

static uint32_t below(uint32_t n)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (uint32_t)(seed >> 16) % n;
}

static struct frame any_segment(int leg)
{
	static const uint8_t flags[] = {
		FRAME_ACK, FRAME_ACK | FRAME_PSH, FRAME_ACK | FRAME_URG, FRAME_ACK | FRAME_ECE,
		0,	   FRAME_SYN | FRAME_ACK};
	static const uint32_t reach[] = {1, 100, 70000, 1u << 30};
	struct frame f = segment(leg, flags[below(SL_ARRAY_SIZE(flags))], (int)below(1400));
	uint32_t spread = reach[below(4)];

	f.seq += below(spread) - spread / 2;
	f.ack += below(spread) - spread / 2;
	f.window = (uint16_t)below(65536);
	f.ttl = (uint8_t)(1 + below(255));
	f.tos = (uint8_t)below(256);
	f.ip_options = f.version == 4 ? (int)below(3) * 4 : 0;
	if (below(2)) {
		uint32_t edges[4] = {below(1000), below(1000), below(1000), below(1000)};

		f.option[0] = f.option[1] = frame_nop();
		f.option[2] = frame_sack(2, edges);
		f.options = 3;
	}
	return f;
}

/* Whatever arrives is dropped, or leaves as the oracle says; nothing is passed, lost or doubled. */
static void random_segments_leave_as_the_oracle_says_or_not_at_all(void **state)
{
	int sent = 0;

	splice(6, 0);
	for (int i = 0; i < ROUNDS; i++) {
		int leg = (int)below(2);
		struct frame f = any_segment(leg), out;
		struct rte_mbuf *rest, *m = arrive(&f, &rest);

		assert_null(rest);
		if (!m)
			continue;
		out = frame_splice(&f, &plan, leg);
		assert_frame(m, &out);
		sent++;
	}
	turn();
	assert_int_equal(ended, 0);
	assert_true(sent > ROUNDS / 10 && sent < ROUNDS);
	engine->ops->abort(pair);
	take_resets();
}

/* Cut, mangled, of no protocol that is known: the stack gets it as it came, or it is dropped. */
static void random_bytes_are_left_to_the_stack_or_dropped(void **state)
{
	splice(4, 0);
	for (int i = 0; i < ROUNDS; i++) {
		struct frame f = any_segment((int)below(2));
		struct rte_mbuf *m, *rest = NULL;
		FRAME_BUFFER(in);
		size_t len = frame_write(&f, in);

		for (uint32_t n = below(4); n; n--)
			in[below((uint32_t)len)] ^= (uint8_t)below(256);
		if (below(2))
			len = below((uint32_t)len + 1);
		m = fake_port_arrival(in, len);
		if (sl_splice_burst(table, &m, 1, &rest)) {
			assert_int_equal(rest->pkt_len, len);
			assert_memory_equal(rte_pktmbuf_mtod(rest, void *), in, len);
			rte_pktmbuf_free(rest);
		}
		rte_pktmbuf_free(fake_port_take());
		turn();
		if (ended)
			splice(4, 1 + i % 1000);
		if (i % 100 == 0)
			let_time_wait_pass();
	}
	if (!ended) {
		engine->ops->abort(pair);
		take_resets();
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_segments_leave_as_the_oracle_says_or_not_at_all),
		cmocka_unit_test(random_bytes_are_left_to_the_stack_or_dropped),
	};

	return cmocka_run_group_tests_name("engine-random", tests, start, stop);
}
