/* SPDX-License-Identifier: BSD-2-Clause */
/* The life of a pair, driven by packets and control calls at both hooks: WATCH, ARMED, ACTIVE,
 * CLOSED, DEAD, and what happens when maps are full. Needs root (BPF).
 *
 * The story: the client's request ended at 1000 and was read; the proxy answered up to 5000. On the
 * other leg the proxy sent up to 90000, and the server's bytes up to 0xfffffff0 were read. */

#include "unit.h"

#include <errno.h>
#include <string.h>

#include "harness.h"

#define CLIENT 0
#define SERVER 1
#define SLOT   3

static struct harness h;
static int hook;
static struct sl_flow_pair plan; /* addresses and numbers of the story */
static uint16_t generation;

/* A segment with everything at its standard place. */
static struct frame segment(int leg, uint8_t flags, int payload)
{
	struct frame f = frame_from(&plan, leg);

	f.flags = flags;
	f.payload = payload;
	return f;
}

static enum outcome run(const struct frame *f)
{
	FRAME_BUFFER(in);

	return harness_run(&h, hook, in, frame_write(f, in));
}

/* Runs it, and compares what leaves with the oracle. */
static void assert_sent(const struct frame *f, int leg)
{
	struct sl_flow_pair pair = harness_pair(&h, SLOT);
	FRAME_BUFFER(in);
	FRAME_BUFFER(want);
	size_t len = frame_write(f, in);
	struct frame out;

	assert_int_equal(harness_run(&h, hook, in, len), SENT);
	if (pair.state != SL_FLOW_ACTIVE) /* this very packet flipped it */
		pair = harness_pair(&h, SLOT);
	for (int i = 0; i < 2; i++) /* of which a FIN has taken the place */
		pair.leg[i].exp = plan.leg[i].exp;
	out = frame_splice(f, &pair, leg);
	frame_write(&out, want);
	assert_memory_equal(in, want, len);
}

static void assert_state(enum sl_flow_state state)
{
	assert_int_equal(harness_pair(&h, SLOT).state, state);
}

static void assert_event(enum sl_event_type type, int leg)
{
	struct sl_event e;

	assert_true(harness_event(&h, &e));
	assert_int_equal(e.type, type);
	assert_int_equal(e.leg, leg);
	assert_int_equal(e.pair, SLOT);
	assert_int_equal(e.generation, generation);
}

static void assert_no_event(void)
{
	struct sl_event e;

	assert_false(harness_event(&h, &e));
}

static int control(enum sl_control_op op, uint8_t flags, struct sl_control *ret)
{
	return harness_control(&h, op, SLOT, &plan, flags, ret);
}

/* A new pair in WATCH, whose peers have not been seen yet. */
static void watch(void)
{
	struct sl_event e;

	while (harness_event(&h, &e))
		;
	harness_control(&h, SL_CONTROL_RELEASE, SLOT, &plan, 0, NULL);
	plan = frame_pair(4);
	plan.generation = ++generation;
	assert_int_equal(control(SL_CONTROL_WATCH, 0, NULL), 0);
	assert_state(SL_FLOW_WATCH);
}

/* Both peers have acknowledged everything: the pair is quiet. */
static void hush(void)
{
	for (int leg = 0; leg < 2; leg++) {
		struct frame f = segment(leg, FRAME_ACK, 0);

		assert_int_equal(run(&f), PASSED);
	}
}

static void splice(uint8_t flags)
{
	struct sl_control c;

	watch();
	hush();
	assert_int_equal(control(SL_CONTROL_ARM, flags, &c), 0);
	assert_int_equal(c.ret_state, SL_FLOW_ACTIVE);
	assert_true(c.ret_flipped);
}

static void arming_a_quiet_pair_splices_it(void **state)
{
	struct frame request, answer;
	struct sl_flow_pair pair;

	splice(0);
	assert_no_event(); /* the caller knows */
	pair = harness_pair(&h, SLOT);
	assert_true(pair.flags & SL_PAIR_DRAINED);
	assert_memory_equal(pair.leg[0].peer_mac, plan.leg[0].peer_mac, 6);
	assert_memory_equal(pair.leg[1].local_mac, plan.leg[1].local_mac, 6);
	assert_int_equal(pair.leg[0].ifindex, 1);
	request = segment(CLIENT, FRAME_ACK, 100);
	assert_sent(&request, CLIENT);
	answer = segment(SERVER, FRAME_ACK, 50);
	answer.ack = 90000 + 100;
	assert_sent(&answer, SERVER);
}

static void an_armed_pair_waits_for_the_last_ack(void **state)
{
	uint64_t waits = harness_count(&h, SL_WAIT_ACK), flips = harness_count(&h, SL_FLIP_PACKET);
	struct frame late = segment(CLIENT, FRAME_ACK, 0), data;
	struct sl_control c;

	watch();
	late = segment(CLIENT, FRAME_ACK, 0);
	late.ack -= 10;
	assert_int_equal(run(&late), PASSED);
	data = segment(SERVER, FRAME_ACK, 0);
	assert_int_equal(run(&data), PASSED);
	assert_int_equal(control(SL_CONTROL_ARM, 0, &c), 0);
	assert_int_equal(c.ret_state, SL_FLOW_ARMED);
	assert_int_equal(harness_count(&h, SL_WAIT_ACK), waits + 1);
	late.ack += 10;
	assert_int_equal(run(&late), PASSED); /* it is for the socket, and flips the pair */
	assert_event(SL_EVENT_FLIPPED, CLIENT);
	assert_int_equal(harness_count(&h, SL_FLIP_PACKET), flips + 1);
	assert_state(SL_FLOW_ACTIVE);
	data = segment(SERVER, FRAME_ACK, 10);
	assert_sent(&data, SERVER);
}

static void bytes_that_the_proxy_has_not_read_keep_the_pair(void **state)
{
	struct frame data, next;
	struct sl_control c;

	watch();
	hush();
	data = segment(CLIENT, FRAME_ACK, 100);
	assert_int_equal(run(&data), PASSED);
	assert_int_equal(control(SL_CONTROL_ARM, 0, &c), 0);
	assert_int_equal(c.ret_state, SL_FLOW_ARMED);
	next = data;
	next.seq += 100;
	assert_int_equal(run(&next), PASSED);
	/* The proxy reads and relays 200 bytes, which the server acknowledges. */
	plan.leg[CLIENT].exp += 200;
	plan.leg[SERVER].wseq += 200;
	assert_int_equal(control(SL_CONTROL_ARM, 0, &c), 0);
	assert_int_equal(c.ret_state, SL_FLOW_ARMED);
	next = segment(SERVER, FRAME_ACK, 0);
	next.ack += 200;
	assert_int_equal(run(&next), PASSED);
	assert_event(SL_EVENT_FLIPPED, SERVER);
	/* The middle of the first bytes again, then new ones. */
	assert_sent(&data, CLIENT);
	data.seq += 200;
	assert_sent(&data, CLIENT);
}

static void the_packet_that_finds_quiet_is_the_first_to_be_spliced(void **state)
{
	struct frame f;
	struct sl_control c;

	watch();
	hush();
	plan.leg[CLIENT].wseq += 10; /* the proxy's own last bytes */
	assert_int_equal(control(SL_CONTROL_ARM, 0, &c), 0);
	assert_int_equal(c.ret_state, SL_FLOW_ARMED);
	f = segment(CLIENT, FRAME_ACK, 30);
	f.ack += 10;
	assert_sent(&f, CLIENT);
	assert_event(SL_EVENT_FLIPPED, CLIENT);
	assert_state(SL_FLOW_ACTIVE);
}

static void a_pair_that_ends_is_not_spliced(void **state)
{
	static const uint8_t flags[] = {FRAME_ACK | FRAME_FIN, FRAME_ACK | FRAME_RST};
	struct sl_control c;

	for (int i = 0; i < 2; i++) {
		struct frame f;

		watch();
		hush();
		f = segment(SERVER, flags[i], 0);
		assert_int_equal(run(&f), PASSED);
		assert_int_equal(control(SL_CONTROL_ARM, 0, &c), -EOPNOTSUPP);
		assert_int_equal(c.ret_refusal, SL_REFUSE_ENDED);
		assert_state(SL_FLOW_WATCH);
	}
}

static void a_blind_rst_does_not_keep_a_pair_from_being_spliced(void **state)
{
	struct frame f;
	struct sl_control c;

	watch();
	hush();
	f = segment(SERVER, FRAME_RST, 0);
	f.seq += 5;
	assert_int_equal(run(&f), PASSED);
	assert_int_equal(control(SL_CONTROL_ARM, 0, &c), 0);
	assert_int_equal(c.ret_state, SL_FLOW_ACTIVE);
}

static void what_cannot_be_translated_is_refused_with_its_reason(void **state)
{
	struct sl_flow_pair six = frame_pair(6);
	struct sl_control c;

	watch();
	hush();
	plan.leg[0].flags &= ~SL_LEG_TIMESTAMPS;
	assert_int_equal(control(SL_CONTROL_ARM, 0, &c), -EOPNOTSUPP);
	assert_int_equal(c.ret_refusal, SL_REFUSE_TIMESTAMPS);
	harness_control(&h, SL_CONTROL_RELEASE, SLOT, &plan, 0, NULL);
	memcpy(plan.leg[1].peer, six.leg[1].peer, 16);
	memcpy(plan.leg[1].local, six.leg[1].local, 16);
	plan.leg[0].flags |= SL_LEG_TIMESTAMPS;
	plan.generation = ++generation;
	assert_int_equal(control(SL_CONTROL_WATCH, 0, NULL), 0);
	assert_int_equal(control(SL_CONTROL_ARM, 0, &c), -EOPNOTSUPP);
	assert_int_equal(c.ret_refusal, SL_REFUSE_FAMILIES);
}

static void fins_both_ways_close_the_pair(void **state)
{
	struct frame f;
	struct sl_flow_pair pair;

	splice(0);
	pair = harness_pair(&h, SLOT);
	f = segment(CLIENT, FRAME_ACK | FRAME_FIN, 10);
	assert_sent(&f, CLIENT);
	f = segment(SERVER, FRAME_ACK, 0);
	f.ack = 90000 + 10; /* the data, not the FIN */
	assert_sent(&f, SERVER);
	assert_false(harness_pair(&h, SLOT).leg[CLIENT].flags & SL_LEG_FIN_ACKED);
	f = segment(SERVER, FRAME_ACK, 1000); /* half closed: the server goes on */
	f.ack = 90000 + 11;
	assert_sent(&f, SERVER);
	assert_state(SL_FLOW_ACTIVE);
	assert_true(harness_pair(&h, SLOT).leg[CLIENT].flags & SL_LEG_FIN_ACKED);
	f = segment(SERVER, FRAME_ACK | FRAME_FIN, 0);
	f.seq += 1000;
	f.ack = 90000 + 11;
	assert_sent(&f, SERVER);
	assert_no_event();
	f = segment(CLIENT, FRAME_ACK, 0);
	f.seq += 11;
	f.ack = 5000 + 1001;
	assert_sent(&f, CLIENT);
	assert_event(SL_EVENT_CLOSED, CLIENT);
	assert_state(SL_FLOW_CLOSED);
	f = segment(SERVER, FRAME_ACK | FRAME_FIN, 0); /* again: its ACK was lost */
	f.seq += 1000;
	f.ack = 90000 + 11;
	assert_sent(&f, SERVER);
	assert_no_event();
	assert_int_equal(pair.generation, generation);
}

static void fins_that_cross_close_the_pair(void **state)
{
	struct frame client, server;

	splice(0);
	client = segment(CLIENT, FRAME_ACK | FRAME_FIN, 0);
	server = segment(SERVER, FRAME_ACK | FRAME_FIN, 0);
	assert_sent(&client, CLIENT);
	assert_sent(&server, SERVER);
	assert_sent(&client, CLIENT); /* again */
	assert_state(SL_FLOW_ACTIVE);
	client = segment(CLIENT, FRAME_ACK, 0);
	client.seq++;
	client.ack++;
	assert_sent(&client, CLIENT);
	assert_no_event();
	server = segment(SERVER, FRAME_ACK, 0);
	server.seq++;
	server.ack++;
	assert_sent(&server, SERVER);
	assert_event(SL_EVENT_CLOSED, SERVER);
	assert_state(SL_FLOW_CLOSED);
}

static void an_rst_closes_only_where_its_receiver_believes_it(void **state)
{
	uint64_t inexact = harness_count(&h, SL_RST_INEXACT);
	struct frame f;

	splice(0);
	f = segment(CLIENT, FRAME_RST, 0);
	f.seq += 1000;
	assert_sent(&f, CLIENT); /* the server answers with a challenge */
	assert_int_equal(harness_count(&h, SL_RST_INEXACT), inexact + 1);
	assert_state(SL_FLOW_ACTIVE);
	f.seq -= 1000;
	assert_sent(&f, CLIENT);
	assert_event(SL_EVENT_RESET, CLIENT);
	assert_state(SL_FLOW_CLOSED);
}

static void a_lingering_pair_leaves_old_acks_to_the_socket(void **state)
{
	struct frame f;
	struct sl_control c;

	watch();
	f = segment(CLIENT, FRAME_ACK, 0);
	f.ack -= 40;
	assert_int_equal(run(&f), PASSED);
	f = segment(SERVER, FRAME_ACK, 0);
	assert_int_equal(run(&f), PASSED);
	assert_int_equal(control(SL_CONTROL_ARM, SL_PAIR_LINGER, &c), 0);
	assert_int_equal(c.ret_state, SL_FLOW_ACTIVE);
	assert_false(c.ret_flags & SL_PAIR_DRAINED);
	f = segment(CLIENT, FRAME_ACK, 0);
	f.ack -= 20;
	assert_int_equal(run(&f), PASSED);
	f = segment(CLIENT, FRAME_ACK, 100); /* data goes to the server all the same */
	f.ack -= 20;
	assert_sent(&f, CLIENT);
	assert_no_event();
	f = segment(CLIENT, FRAME_ACK, 0);
	f.seq += 100;
	assert_sent(&f, CLIENT);
	assert_event(SL_EVENT_DRAINED, CLIENT);
	assert_true(harness_pair(&h, SLOT).flags & SL_PAIR_DRAINED);
}

static void a_closed_pair_gives_its_addresses_to_a_new_syn(void **state)
{
	struct frame f;

	splice(0);
	f = segment(CLIENT, FRAME_RST, 0);
	assert_sent(&f, CLIENT);
	assert_event(SL_EVENT_RESET, CLIENT);
	f = segment(CLIENT, FRAME_SYN, 0);
	f.seq += 123456;
	assert_int_equal(run(&f), PASSED);
	assert_event(SL_EVENT_DEAD, CLIENT);
	assert_state(SL_FLOW_DEAD);
	/* Another slot takes the client's address, though the old one still has its flow. */
	plan.generation++;
	assert_int_equal(harness_control(&h, SL_CONTROL_WATCH, SLOT + 1, &plan, 0, NULL), 0);
	plan.generation--;
	assert_int_equal(control(SL_CONTROL_RELEASE, 0, NULL), 0);
	f = segment(CLIENT, FRAME_ACK, 0);
	assert_int_equal(run(&f), PASSED);
	assert_true(harness_pair(&h, SLOT + 1).leg[CLIENT].flags & SL_LEG_SEEN);
	plan.generation++;
	harness_control(&h, SL_CONTROL_RELEASE, SLOT + 1, &plan, 0, NULL);
	plan.generation--;
}

static void a_call_of_an_earlier_generation_changes_nothing(void **state)
{
	struct sl_control c;

	splice(0);
	plan.generation--;
	assert_int_equal(control(SL_CONTROL_KILL, 0, &c), -ESTALE);
	assert_int_equal(control(SL_CONTROL_ARM, 0, &c), -ESTALE);
	assert_int_equal(control(SL_CONTROL_RELEASE, 0, &c), -ESTALE);
	plan.generation++;
	assert_state(SL_FLOW_ACTIVE);
}

static void a_failed_pair_goes_to_the_stack(void **state)
{
	uint64_t failed = harness_count(&h, SL_FAILED);
	struct frame f;

	splice(0);
	assert_int_equal(control(SL_CONTROL_FAIL, 0, NULL), 0);
	assert_int_equal(harness_count(&h, SL_FAILED), failed + 1);
	assert_event(SL_EVENT_FAILED, 0);
	f = segment(CLIENT, FRAME_ACK, 10);
	assert_int_equal(run(&f), PASSED);
}

static void full_maps_refuse_and_leave_live_pairs_alone(void **state)
{
	struct sl_flow_pair other = frame_pair(4);
	struct frame f;

	splice(0);
	other.generation = 1;
	other.leg[0].peer_port = 9;
	other.leg[1].local_port = 9;
	assert_int_equal(harness_control(&h, SL_CONTROL_WATCH, HARNESS_SLOTS, &other, 0, NULL),
			 -ENOENT);
	for (int leg = 0; leg < 2; leg++) {
		harness_fill(&h, &other, leg);
		assert_int_equal(harness_control(&h, SL_CONTROL_WATCH, 5, &other, 0, NULL),
				 -ENOSPC);
		assert_int_equal(harness_pair(&h, 5).state, SL_FLOW_FREE);
		f = segment(CLIENT, FRAME_ACK, 10);
		assert_sent(&f, CLIENT);
		harness_clear(&h);
	}
	/* Nothing was left behind. */
	assert_int_equal(harness_control(&h, SL_CONTROL_WATCH, 6, &other, 0, NULL), 0);
	assert_int_equal(harness_control(&h, SL_CONTROL_RELEASE, 6, &other, 0, NULL), 0);
}

static void a_live_pair_keeps_its_addresses(void **state)
{
	struct sl_flow_pair other;

	splice(0);
	other = plan;
	other.generation = 1;
	other.leg[1].local_port = 9;
	assert_int_equal(harness_control(&h, SL_CONTROL_WATCH, 5, &other, 0, NULL), -EEXIST);
	assert_int_equal(control(SL_CONTROL_WATCH, 0, NULL), -EBUSY);
	assert_state(SL_FLOW_ACTIVE);
}

static int at_tc(void **state)
{
	hook = 0;
	return 0;
}

static int at_xdp(void **state)
{
	hook = 1;
	return 0;
}

#define BOTH(test) cmocka_unit_test_setup(test, at_tc), cmocka_unit_test_setup(test, at_xdp)

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(arming_a_quiet_pair_splices_it),
		BOTH(an_armed_pair_waits_for_the_last_ack),
		BOTH(bytes_that_the_proxy_has_not_read_keep_the_pair),
		BOTH(the_packet_that_finds_quiet_is_the_first_to_be_spliced),
		BOTH(a_pair_that_ends_is_not_spliced),
		BOTH(a_blind_rst_does_not_keep_a_pair_from_being_spliced),
		BOTH(what_cannot_be_translated_is_refused_with_its_reason),
		BOTH(fins_both_ways_close_the_pair),
		BOTH(fins_that_cross_close_the_pair),
		BOTH(an_rst_closes_only_where_its_receiver_believes_it),
		BOTH(a_lingering_pair_leaves_old_acks_to_the_socket),
		BOTH(a_closed_pair_gives_its_addresses_to_a_new_syn),
		BOTH(a_call_of_an_earlier_generation_changes_nothing),
		BOTH(a_failed_pair_goes_to_the_stack),
		BOTH(full_maps_refuse_and_leave_live_pairs_alone),
		BOTH(a_live_pair_keeps_its_addresses),
	};
	int failed;

	if (harness_open(&h, HARNESS_SLOTS))
		return HARNESS_SKIP;
	plan = frame_pair(4);
	failed = cmocka_run_group_tests_name("handover", tests, NULL, NULL);
	harness_close(&h);
	return failed;
}
