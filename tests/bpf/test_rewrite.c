/* SPDX-License-Identifier: BSD-2-Clause */
/* The programs on packet tables, at both hooks: what is sent on, as what; what passes; what is
 * dropped, and for which reason. Needs root (BPF). */

#include "unit.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <bpf/bpf.h>
#include <linux/bpf.h>

#include "harness.h"

static struct harness h;

/* A row changes the standard data segment of frame_from(). */
struct row {
	const char *what;
	int leg;
	enum outcome outcome;
	enum sl_reason reason;
	int32_t seq, ack; /* added */
	uint8_t flags;	  /* 0: as it is */
	int payload;	  /* 0: as it is, -1: none */
	uint8_t ttl, tos; /* 0: as it is */
	int tags, untagged_leg, ip_options;
	int options; /* 0: as it is, -1: none */
	struct frame_option option[4];
	bool no_sack, no_ecn; /* on the other leg */
	bool no_window;	      /* the other peer offers none */
	uint8_t state;	      /* 0: ACTIVE */
};

static const struct row rows[] = {
	{"data from the client", 0, SENT, SL_SENT},
	{"data from the server", 1, SENT, SL_SENT},
	{"a pure ACK", 0, SENT, SL_SENT, .payload = -1, .flags = FRAME_ACK},
	{"a frame without options", 1, SENT, SL_SENT, .options = -1},
	{"an unknown option, not on a word", 0, SENT, SL_SENT, .options = 2,
	 .option = {{.kind = 200, .len = 3, .data = {9}}, {.kind = 8, .len = 10, .data = {7}}}},
	{"SACK without timestamps", 0, SENT, SL_SENT, .options = 1, .payload = -1,
	 .option = {{.kind = 5, .len = 10, .data = {0, 0, 1, 2, 0, 0, 3, 4}}}},
	{"SACK to a peer that knows none", 0, SENT, SL_SENT, .options = 1, .no_sack = true,
	 .option = {{.kind = 5, .len = 10, .data = {0, 0, 1, 2, 0, 0, 3, 4}}}},
	{"one VLAN tag", 0, SENT, SL_SENT, .tags = 1},
	{"two VLAN tags", 1, SENT, SL_SENT, .tags = 2},
	{"a VLAN's packet on the device below", 0, PASSED, SL_PASS_TAGS, .tags = 1,
	 .untagged_leg = 1},
	{"an IP header with options", 0, SENT, SL_SENT, .ip_options = 40},
	{"ECN marks to a peer that knows them", 0, SENT, SL_SENT, .tos = 3,
	 .flags = FRAME_ACK | FRAME_ECE},
	{"ECN marks to a peer that knows none", 0, SENT, SL_SENT, .tos = 3, .no_ecn = true,
	 .flags = FRAME_ACK | FRAME_ECE | FRAME_CWR},
	{"a keepalive", 0, SENT, SL_SENT, .seq = -1, .payload = -1, .flags = FRAME_ACK},
	{"a keepalive with a byte", 1, SENT, SL_SENT, .seq = -1, .payload = 1},
	{"a probe of a window that is zero", 0, SENT, SL_SENT, .payload = 1, .no_window = true},
	{"urgent data", 1, SENT, SL_SENT, .flags = FRAME_ACK | FRAME_URG},
	{"a FIN again, before its ACK", 0, SENT, SL_SENT, .seq = -100,
	 .flags = FRAME_ACK | FRAME_FIN},
	{"an RST in the window, but not at its edge", 0, SENT, SL_RST_INEXACT, .seq = 1000,
	 .flags = FRAME_RST, .payload = -1},
	{"a retransmission", 0, SENT, SL_SENT, .seq = -1000},
	{"a SYN in the middle, for its challenge ACK", 0, SENT, SL_SENT, .flags = FRAME_SYN,
	 .seq = 1 << 30, .payload = -1},
	{"the last hop", 0, DROPPED, SL_DROP_TTL, .ttl = 1},
	{"data far beyond the window", 0, DROPPED, SL_DROP_WINDOW, .seq = 1 << 28},
	{"data far below the window", 1, DROPPED, SL_DROP_WINDOW, .seq = -(1 << 28)},
	{"an RST far outside the window", 0, DROPPED, SL_DROP_WINDOW, .seq = 1 << 28,
	 .flags = FRAME_RST, .payload = -1},
	{"an ACK of what was never sent", 0, DROPPED, SL_DROP_ACK, .ack = 1 << 28},
	{"an ACK from long ago", 0, DROPPED, SL_DROP_ACK, .ack = -(1 << 28)},
	{"an MD5 signature", 0, DROPPED, SL_DROP_OPTIONS, .options = 1,
	 .option = {{.kind = 19, .len = 18}}},
	{"an option that lies", 0, DROPPED, SL_DROP_OPTIONS, .options = 2,
	 .option = {{.kind = 1}, {.kind = 8, .len = 9}}},
	{"data of a pair that is watched", 0, PASSED, SL_PASS_WATCHED, .state = SL_FLOW_WATCH},
	{"data of a dead pair", 0, PASSED, SL_PASS_STALE, .state = SL_FLOW_DEAD},
	{"data after the end", 0, SENT, SL_SENT, .state = SL_FLOW_CLOSED},
	{"a new SYN after the end", 0, PASSED, SL_PASS_REUSED, .state = SL_FLOW_CLOSED,
	 .flags = FRAME_SYN, .payload = -1},
};

static struct frame frame_of(const struct row *r, const struct sl_flow_pair *pair)
{
	struct frame f = frame_from(pair, r->leg);

	f.seq += r->seq;
	f.ack += r->ack;
	f.flags = r->flags ? r->flags : f.flags;
	f.payload = r->payload < 0 ? 0 : r->payload ? r->payload : f.payload;
	f.ttl = r->ttl ? r->ttl : f.ttl;
	f.tos = r->tos ? r->tos : f.tos;
	f.tags = r->tags;
	f.tci[0] = 0xa123;
	f.tci[1] = 0x1fff;
	f.ip_options = f.version == 4 ? r->ip_options : 0;
	if (r->options) {
		f.options = r->options < 0 ? 0 : r->options;
		memcpy(f.option, r->option, sizeof(r->option));
	}
	return f;
}

static void check_row(const struct row *r, int version, int hook)
{
	struct sl_flow_pair pair = frame_pair(version);
	FRAME_BUFFER(in);
	FRAME_BUFFER(want);
	struct frame f, out;
	uint64_t before = harness_count(&h, r->reason);
	size_t len;

	pair.generation = 7;
	pair.state = r->state ? r->state : SL_FLOW_ACTIVE;
	pair.leg[0].tagging = pair.leg[1].tagging = r->untagged_leg ? 0 : r->tags;
	if (r->no_sack)
		pair.leg[!r->leg].flags &= ~SL_LEG_SACK;
	if (r->no_ecn)
		pair.leg[!r->leg].flags &= ~SL_LEG_ECN;
	if (r->no_window)
		pair.leg[!r->leg].edge = pair.leg[!r->leg].ack;
	harness_install(&h, 3, &pair);
	f = frame_of(r, &pair);
	out = r->outcome == SENT ? frame_splice(&f, &pair, r->leg) : f;
	len = frame_write(&f, in);
	frame_write(&out, want);
	if (harness_run(&h, hook, in, len) != r->outcome)
		fail_msg("%s, IPv%d at %s: wrong verdict", r->what, version, hooks[hook].name);
	if (harness_count(&h, r->reason) != before + 1)
		fail_msg("%s, IPv%d at %s: not counted", r->what, version, hooks[hook].name);
	if (r->outcome != DROPPED && memcmp(in, want, len))
		fail_msg("%s, IPv%d at %s: wrong bytes", r->what, version, hooks[hook].name);
}

static void packets_leave_as_the_table_says(void **state)
{
	for (size_t i = 0; i < SL_ARRAY_SIZE(rows); i++)
		for (int hook = 0; hook < 2; hook++)
			for (int version = 4; version <= 6; version += 2)
				check_row(&rows[i], version, hook);
}

static void packets_to_a_peer_follow_where_its_own_come_from(void **state)
{
	for (int hook = 0; hook < 2; hook++) {
		struct sl_flow_pair pair = frame_pair(4);
		struct frame f = frame_from(&pair, 0);
		uint64_t before = harness_count(&h, SL_MOVED);
		FRAME_BUFFER(in);

		harness_install(&h, 3, &pair);
		memset(f.from_mac, 0x66, 6);
		memset(f.to_mac, 0x88, 6);
		for (int i = 0; i < 2; i++)
			assert_int_equal(harness_run(&h, hook, in, frame_write(&f, in)), SENT);
		assert_int_equal(harness_count(&h, SL_MOVED), before + 1);
		f = frame_from(&pair, 1);
		assert_int_equal(harness_run(&h, hook, in, frame_write(&f, in)), SENT);
		for (int i = 0; i < 6; i++) {
			assert_int_equal(in[i], 0x66);
			assert_int_equal(in[6 + i], 0x88);
		}
		f = frame_from(&pair, 0);
		f.seq += 1u << 30; /* a forger's: outside the window */
		assert_int_equal(harness_run(&h, hook, in, frame_write(&f, in)), DROPPED);
		assert_int_equal(harness_pair(&h, 3).leg[0].peer_mac[0], 0x66);
	}
}

/* Devices may hand a sum over the whole packet up (CHECKSUM_COMPLETE): the kernel compares it with the
 * packet afterwards. Linux 6.10 and newer can be asked for that. */
static void a_sum_over_the_whole_packet_stays_right(void **state)
{
	if (h.program[0] < 0)
		skip(); /* no program of the kernel */
	static const struct frame_option odd = {.kind = 200, .len = 3};

	for (int version = 4; version <= 6; version += 2) {
		for (int row = 0; row < 3; row++) {
			struct sl_flow_pair pair = frame_pair(version);
			struct frame f = frame_from(&pair, 0);
			FRAME_BUFFER(in);
			LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = in, .repeat = 1,
				    .flags = BPF_F_TEST_SKB_CHECKSUM_COMPLETE);

			f.partial = row == 1; /* looks as if; the other way of changing it */
			if (row == 2)
				f.option[0] = odd, f.options = 1;
			pair.leg[1].flags &= ~SL_LEG_ECN;
			f.tos = 3;
			harness_install(&h, 3, &pair);
			opts.data_size_in = frame_write(&f, in);
			if (bpf_prog_test_run_opts(h.program[0], &opts))
				goto refused;
			assert_int_equal(opts.retval, hooks[0].sent[0]);
		}
	}
	return;
refused:
	if (errno == EINVAL)
		skip();
	fail_msg("the sum is wrong: %s", strerror(errno));
}

static void traffic_of_others_passes_untouched(void **state)
{
	static const uint8_t arp[60] = {[0 ... 5] = 0xff, [12] = 8, [13] = 6};

	for (int hook = 0; hook < 2; hook++) {
		struct sl_flow_pair pair = frame_pair(4);
		struct frame f = frame_from(&pair, 0);
		FRAME_BUFFER(in);
		FRAME_BUFFER(want);
		size_t len;

		f.sport = 5; /* no such flow */
		len = frame_write(&f, in);
		frame_write(&f, want);
		assert_int_equal(harness_run(&h, hook, in, len), PASSED);
		assert_memory_equal(in, want, len);
		f = frame_from(&pair, 0);
		f.fragment = 0x2000;
		assert_int_equal(harness_run(&h, hook, in, frame_write(&f, in)), PASSED);
		memcpy(in, arp, sizeof(arp));
		assert_int_equal(harness_run(&h, hook, in, sizeof(arp)), PASSED);
	}
}

/* A look-up that began before the slot changed hands: its entry leads to another's addresses. */
static void an_earlier_owner_of_a_slot_is_not_found(void **state)
{
	struct sl_flow_pair pair = frame_pair(4);
	uint64_t before = harness_count(&h, SL_SENT);
	struct frame f = frame_from(&pair, 0);
	struct sl_flow_pair next;
	uint32_t id = 3;

	pair.generation = 1;
	harness_install(&h, id, &pair);
	next = pair;
	next.generation = 2;
	next.leg[0].peer_port = 77;
	next.leg[1].local_port = 78;
	harness_install(&h, id, &next);
	for (int hook = 0; hook < 2; hook++) {
		FRAME_BUFFER(in);

		assert_int_equal(harness_run(&h, hook, in, frame_write(&f, in)), PASSED);
	}
	assert_int_equal(harness_count(&h, SL_SENT), before);
}

static void windows_are_clamped_and_never_rounded_to_zero(void **state)
{
	for (int hook = 0; hook < 2; hook++) {
		struct sl_flow_pair pair = frame_pair(4);
		struct frame f = frame_from(&pair, 1);
		uint64_t clamped = harness_count(&h, SL_WINDOW_CLAMPED);
		uint64_t raised = harness_count(&h, SL_WINDOW_RAISED);
		FRAME_BUFFER(in);

		f.window = 65535; /* scale 9 from the server, 5 to the client */
		harness_install(&h, 3, &pair);
		assert_int_equal(harness_run(&h, hook, in, frame_write(&f, in)), SENT);
		assert_int_equal(harness_count(&h, SL_WINDOW_CLAMPED), clamped + 1);
		pair.leg[1].peer_wscale = 0;
		f.window = 3;
		harness_install(&h, 3, &pair);
		assert_int_equal(harness_run(&h, hook, in, frame_write(&f, in)), SENT);
		assert_int_equal(harness_count(&h, SL_WINDOW_RAISED), raised + 1);
	}
}

static void what_is_sent_is_accounted(void **state)
{
	struct sl_flow_pair pair = frame_pair(4);
	struct frame f = frame_from(&pair, 1);
	FRAME_BUFFER(in);

	harness_install(&h, 3, &pair);
	for (int hook = 0; hook < 2; hook++)
		harness_run(&h, hook, in, frame_write(&f, in));
	pair = harness_pair(&h, 3);
	assert_int_equal(pair.leg[1].packets, 2);
	assert_int_equal(pair.leg[1].bytes, 200);
	assert_int_equal(pair.leg[0].packets, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(packets_leave_as_the_table_says),
		cmocka_unit_test(packets_to_a_peer_follow_where_its_own_come_from),
		cmocka_unit_test(a_sum_over_the_whole_packet_stays_right),
		cmocka_unit_test(traffic_of_others_passes_untouched),
		cmocka_unit_test(an_earlier_owner_of_a_slot_is_not_found),
		cmocka_unit_test(windows_are_clamped_and_never_rounded_to_zero),
		cmocka_unit_test(what_is_sent_is_accounted),
	};
	int failed;

	if (harness_open(&h, HARNESS_SLOTS))
		return HARNESS_SKIP;
	failed = cmocka_run_group_tests_name("rewrite", tests, NULL, NULL);
	harness_close(&h);
	return failed;
}
