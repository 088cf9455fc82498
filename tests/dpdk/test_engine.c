/* SPDX-License-Identifier: BSD-2-Clause */
/* The dpdk engine, between fake streams and a fake port: what is taken and what is refused, how pairs
 * end, and what the ends are told. */

#include "engine_fixture.h"

static void a_quiet_pair_leaves_the_stack_at_once(void **state)
{
	for (int version = 4; version <= 6; version += 2) {
		struct frame request, answer;

		splice(version, 0);
		for (int side = 0; side < 2; side++) {
			assert_null(pair->stream[side]);
			assert_int_equal(end[side].closed, 1);
			assert_int_equal(end[side].how, SL_CLOSE_SILENT);
		}
		request = segment(CLIENT, FRAME_ACK | FRAME_PSH, 300);
		answer = segment(SERVER, FRAME_ACK, 700);
		answer.ack += 300;
		assert_sent(&request, CLIENT);
		assert_sent(&answer, SERVER);
		assert_null(fake_port_take());
		engine->ops->count(pair);
		assert_int_equal(pair->from[SL_CLIENT].bytes, 100 + 300);
		assert_int_equal(pair->from[SL_CLIENT].messages, 2);
		assert_int_equal(pair->from[SL_UPSTREAM].bytes, 200 + 700);
		assert_int_equal(figure("packet_bytes_total", "sent"), version == 4 ? 1000 : 2000);
		engine->ops->abort(pair);
		assert_reset(CLIENT, 700, 300);
		assert_reset(SERVER, 300, 700);
	}
}

enum change {
	NOTHING,
	NOT_QUIET,
	NO_NEIGHBOUR,
	NO_ROOM,
	PENDING,
	OTHER_TRANSPORT,
	BROKEN,
	FINISHED,
	INPUT_ENDED,
	SMALL_SEGMENTS,
	TIMESTAMPS,
	FAMILIES,
};

static void change_end(enum change change, int side)
{
	static struct sl_buf buf;
	struct end *e = &end[side];

	switch (change) {
	case NOT_QUIET:
		e->tcp.quiet = false;
		break;
	case NO_NEIGHBOUR:
		e->known = -EAGAIN;
		break;
	case NO_ROOM:
		e->tcp.peer_window = 2499;
		break;
	case PENDING:
		pair->pending[side] = &buf;
		break;
	case OTHER_TRANSPORT:
		e->known = -EOPNOTSUPP;
		break;
	case BROKEN:
		e->known = -ENOTCONN;
		break;
	case FINISHED:
		e->tcp.peer_finished = true;
		break;
	case INPUT_ENDED:
		pair->input_ended[side] = true;
		break;
	case SMALL_SEGMENTS:
		e->tcp.mss = 1200;
		break;
	case TIMESTAMPS:
		e->endpoint.timestamps = true;
		break;
	case FAMILIES:
		e->endpoint.peer.in.sin_family = AF_INET6;
		break;
	case NOTHING:
		break;
	}
}

static void what_cannot_be_spliced_stays_as_it_is_and_says_why(void **state)
{
	static const struct {
		enum change change;
		int r;
		const char *reason;
	} rows[] = {
		{NOT_QUIET, -EAGAIN, "busy: bytes are on their way, or not acknowledged"},
		{NO_NEIGHBOUR, -EAGAIN, "the link address of a peer's next hop is not known"},
		{NO_ROOM, -EAGAIN, "a peer has less room than the other was promised"},
		{PENDING, -EAGAIN, "busy: bytes wait to be written"},
		{OTHER_TRANSPORT, -EOPNOTSUPP, "only one of its connections goes through DPDK"},
		{BROKEN, -EOPNOTSUPP, "the state of a connection can't be read"},
		{FINISHED, -EOPNOTSUPP, "a peer has finished or reset already"},
		{INPUT_ENDED, -EOPNOTSUPP, "a peer has finished or reset already"},
		{SMALL_SEGMENTS, -EOPNOTSUPP,
		 "a peer may send larger segments than the other takes"},
		{TIMESTAMPS, -EOPNOTSUPP, "only one leg negotiated TCP timestamps"},
		{FAMILIES, -EOPNOTSUPP, "IPv4 and IPv6 legs: the copy engine carries them"},
	};
	uint64_t free_slots = figure("packet_slots", "free");
	const char *reason = NULL;

	for (size_t i = 0; i < SL_ARRAY_SIZE(rows); i++) {
		for (int side = 0; side < 2; side++) {
			uint64_t before = figure("packet_refusals_total", rows[i].reason);

			make_pair(4, 0);
			change_end(rows[i].change, side);
			if (join(&reason) != rows[i].r || strcmp(reason, rows[i].reason))
				fail_msg("row %zu, side %d: %s", i, side, reason);
			assert_int_equal(end[0].closed + end[1].closed, 0);
			assert_ptr_equal(pair->stream[side], &end[side].base);
			assert_null(pair->engine);
			assert_int_equal(figure("packet_refusals_total", rows[i].reason),
					 before + (rows[i].r == -EOPNOTSUPP));
			assert_int_equal(figure("packet_slots", "free"), free_slots);
		}
	}
}

static void close_pair(void)
{
	struct frame f = segment(CLIENT, FRAME_ACK | FRAME_FIN, 0);
	struct rte_mbuf *rest;

	assert_sent(&f, CLIENT);
	f = segment(SERVER, FRAME_ACK | FRAME_FIN, 0);
	f.ack++;
	assert_sent(&f, SERVER);
	assert_int_equal(ended, 0);
	f = segment(CLIENT, FRAME_ACK, 0);
	f.seq++;
	f.ack++;
	rte_pktmbuf_free(arrive(&f, &rest));
	assert_null(rest);
	assert_int_equal(ended, 0); /* not within the burst */
	turn();
	assert_int_equal(ended, 1);
	assert_int_equal(pair->end, SL_PAIR_FINISHED);
}

static void late_packets_of_a_closed_pair_are_rewritten_for_a_while(void **state)
{
	struct frame late;

	splice(4, 0);
	close_pair();
	assert_int_equal(figure("packet_slots", "closed"), 1);
	late = segment(SERVER, FRAME_ACK | FRAME_FIN, 0);
	late.ack++;
	assert_sent(&late, SERVER);
	let_time_wait_pass();
	assert_passed(&late);
	assert_int_equal(figure("packet_slots", "free"), PAIRS);
}

static void a_new_tunnel_may_have_the_addresses_of_a_closed_one(void **state)
{
	struct frame syn, f;

	splice(4, 0);
	close_pair();
	syn = segment(CLIENT, FRAME_SYN, 0);
	syn.seq += 1 << 20;
	assert_passed(&syn);
	splice(4, 0);
	f = segment(CLIENT, FRAME_ACK, 10);
	assert_sent(&f, CLIENT);
	let_time_wait_pass(); /* the old slot's end leaves the new pair alone */
	f.seq += 10;
	assert_sent(&f, CLIENT);
	engine->ops->abort(pair);
	take_resets();
}

static void one_side_may_finish_and_the_other_go_on(void **state)
{
	struct frame f;

	splice(4, 0);
	f = segment(CLIENT, FRAME_ACK | FRAME_FIN, 0);
	assert_sent(&f, CLIENT);
	for (uint32_t sent = 0; sent < 5000; sent += 1000) {
		f = segment(SERVER, FRAME_ACK, 1000);
		f.seq += sent;
		f.ack++;
		assert_sent(&f, SERVER);
	}
	turn();
	assert_int_equal(ended, 0);
	engine->ops->count(pair);
	assert_int_equal(pair->from[SL_UPSTREAM].bytes, 200 + 5000);
	engine->ops->abort(pair);
	take_resets();
}

static void a_reset_is_sent_on_and_ends_the_pair(void **state)
{
	static const enum sl_pair_end ends[] = {SL_PAIR_CLIENT_RESET, SL_PAIR_UPSTREAM_RESET};

	for (int leg = 0; leg < 2; leg++) {
		struct frame f;

		splice(4, 0);
		f = segment(leg, FRAME_RST, 0);
		f.ack = 0;
		assert_sent(&f, leg);
		turn();
		assert_int_equal(ended, 1);
		assert_int_equal(pair->end, ends[leg]);
		let_time_wait_pass();
	}
}

static void a_pair_may_be_aborted_in_the_turn_of_its_end(void **state)
{
	struct frame f;

	splice(4, 0);
	f = segment(SERVER, FRAME_RST, 0);
	f.ack = 0;
	assert_sent(&f, SERVER);
	engine->ops->abort(pair);
	assert_int_equal(pair->end, SL_PAIR_FAILED);
	turn();
	assert_int_equal(ended, 0);
	take_resets();
}

static void both_ends_of_an_aborted_pair_are_told(void **state)
{
	for (int version = 4; version <= 6; version += 2) {
		struct frame f;

		splice(version, 0);
		engine->ops->abort(pair);
		assert_null(pair->engine);
		assert_int_equal(pair->end, SL_PAIR_FAILED);
		assert_reset(CLIENT, 0, 0);
		assert_reset(SERVER, 0, 0);
		f = segment(CLIENT, FRAME_ACK, 10);
		assert_passed(&f); /* the stack answers it */
		assert_int_equal(figure("packet_slots", "free"), PAIRS);
	}
}

static void a_pair_that_is_forgotten_is_reset_as_nobody_is_left_to_carry_it(void **state)
{
	splice(4, 0);
	engine->ops->forget(engine, pair);
	assert_null(pair->engine);
	assert_reset(CLIENT, 0, 0);
	assert_reset(SERVER, 0, 0);
	make_pair(4, 0);
	engine->ops->forget(engine, pair);
	assert_null(fake_port_take());
}

static void a_full_table_refuses_and_leaves_live_pairs_alone(void **state)
{
	static const char why[] = "the table of spliced pairs is full";
	uint64_t before = figure("packet_refusals_total", why);
	struct sl_flow_pair first;
	const char *reason;
	struct frame f;

	for (int i = 0; i < PAIRS; i++) {
		splice(4, i);
		if (!i)
			first = plan;
	}
	for (int version = 4; version <= 6; version += 2) {
		make_pair(version, PAIRS);
		assert_int_equal(join(&reason), -ENOSPC);
		assert_string_equal(reason, why);
	}
	assert_int_equal(end[0].closed, 0);
	assert_int_equal(figure("packet_refusals_total", why), before + 2);
	plan = first;
	f = segment(CLIENT, FRAME_ACK, 10);
	assert_sent(&f, CLIENT);
	for (int i = 0; i < PAIRS; i++) {
		engine->ops->abort(&pairs[i]);
		take_resets();
	}
	assert_int_equal(figure("packet_slots", "free"), PAIRS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_quiet_pair_leaves_the_stack_at_once),
		cmocka_unit_test(what_cannot_be_spliced_stays_as_it_is_and_says_why),
		cmocka_unit_test(late_packets_of_a_closed_pair_are_rewritten_for_a_while),
		cmocka_unit_test(a_new_tunnel_may_have_the_addresses_of_a_closed_one),
		cmocka_unit_test(one_side_may_finish_and_the_other_go_on),
		cmocka_unit_test(a_reset_is_sent_on_and_ends_the_pair),
		cmocka_unit_test(a_pair_may_be_aborted_in_the_turn_of_its_end),
		cmocka_unit_test(both_ends_of_an_aborted_pair_are_told),
		cmocka_unit_test(a_pair_that_is_forgotten_is_reset_as_nobody_is_left_to_carry_it),
		cmocka_unit_test(a_full_table_refuses_and_leaves_live_pairs_alone),
	};

	return cmocka_run_group_tests_name("engine", tests, start, stop);
}
