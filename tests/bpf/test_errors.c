/* SPDX-License-Identifier: BSD-2-Clause */
/* ICMP errors about spliced packets, at both hooks: which are sent on, as what, and which are not
 * believed. Needs root (BPF). */

#include "unit.h"

#include <stdio.h>
#include <string.h>

#include "errors.h"
#include "harness.h"

static struct harness h;

/* A row changes the standard error of frame_error_from(), too big, for the client's packet. */
struct row {
	const char *what;
	enum outcome outcome;
	int reason;	      /* -1: none is counted */
	uint8_t type4, type6; /* 0: as it is */
	uint8_t code;
	int quote;   /* bytes of TCP; 0: as it is */
	int32_t seq; /* added to the quoted one */
	uint8_t ttl; /* 0: as it is */
	int cut;     /* bytes that the frame is too short by */
	bool ports, addresses, fragment, udp;
	uint8_t state; /* 0: ACTIVE */
};

static const struct row rows[] = {
	{"too big", SENT, SL_ICMP},
	{"too big, with 8 bytes of TCP", SENT, SL_ICMP, .quote = 8},
	{"too big, with the options", SENT, SL_ICMP, .quote = 32},
	{"no route", SENT, SL_ICMP, .type4 = 3, .type6 = 1},
	{"time exceeded", SENT, SL_ICMP, .type4 = 11, .type6 = 3},
	{"the last byte in flight", SENT, SL_ICMP, .seq = 0},
	{"about a closed pair", SENT, SL_ICMP, .state = SL_FLOW_CLOSED},
	{"a sequence number before what is in flight", DROPPED, SL_DROP_ICMP, .seq = -1},
	{"a sequence number after it", DROPPED, SL_DROP_ICMP, .seq = 1},
	{"half the number space away", DROPPED, SL_DROP_ICMP, .seq = INT32_MIN},
	{"a guess", DROPPED, SL_DROP_ICMP, .seq = 1 << 30},
	{"the last hop", DROPPED, SL_DROP_TTL, .ttl = 1},
	{"about a pair that is watched", PASSED, -1, .state = SL_FLOW_WATCH},
	{"about a dead pair", PASSED, -1, .state = SL_FLOW_DEAD},
	{"about another port", PASSED, -1, .ports = true},
	{"to another address than the quoted one", PASSED, -1, .addresses = true},
	{"about UDP", PASSED, -1, .udp = true},
	{"about a later fragment", PASSED, -1, .fragment = true},
	{"an echo request", PASSED, -1, .type4 = 8, .type6 = 128},
	{"a redirect", PASSED, -1, .type4 = 5, .type6 = 137},
	{"7 bytes of TCP", PASSED, -1, .quote = 7},
	{"cut off in the quoted TCP header", PASSED, -1, .quote = 8, .cut = 1},
	{"cut off in the quoted IP header", PASSED, -1, .quote = 8, .cut = 20},
	{"cut off in its own header", PASSED, -1, .quote = 8, .cut = 32},
};

static struct frame_error error_of(const struct row *r, const struct sl_flow_pair *pair, int leg)
{
	struct frame_error e = frame_error_from(pair, leg);
	uint8_t type = e.outer.version == 4 ? r->type4 : r->type6;

	if (type)
		e.type = type, e.code = r->code;
	e.quote = r->quote ? r->quote : e.quote;
	e.quoted.seq += r->seq;
	e.outer.ttl = r->ttl ? r->ttl : e.outer.ttl;
	e.quoted.sport += r->ports;
	e.outer.dst[0] += r->addresses;
	return e;
}

/* Where the quoted IP header says what it carries. */
static void spoil(const struct row *r, int version, uint8_t *frame)
{
	uint8_t *quote = frame + 14 + (version == 4 ? 20 : 40) + 8;

	if (r->udp)
		quote[version == 4 ? 9 : 6] = 17;
	if (r->fragment)
		quote[version == 4 ? 7 : 6] = version == 4 ? 1 : 44;
}

static void check_row(const struct row *r, int version, int leg, int hook)
{
	struct sl_flow_pair pair = frame_pair(version);
	uint64_t before = r->reason < 0 ? 0 : harness_count(&h, r->reason);
	struct frame_error e, out;
	FRAME_BUFFER(in);
	FRAME_BUFFER(want);
	size_t len;

	pair.state = r->state ? r->state : SL_FLOW_ACTIVE;
	harness_install(&h, 3, &pair);
	e = error_of(r, &pair, leg);
	out = r->outcome == SENT ? frame_error_splice(&e, &pair, leg) : e;
	len = frame_error_write(&e, in) - r->cut;
	frame_error_write(&out, want);
	spoil(r, version, in);
	spoil(r, version, want);
	if (harness_run(&h, hook, in, len) != r->outcome)
		fail_msg("%s, IPv%d at %s: wrong verdict", r->what, version, hooks[hook].name);
	if (r->reason >= 0 && harness_count(&h, r->reason) != before + 1)
		fail_msg("%s, IPv%d at %s: not counted", r->what, version, hooks[hook].name);
	if (r->outcome != DROPPED && memcmp(in, want, len))
		fail_msg("%s, IPv%d at %s: wrong bytes", r->what, version, hooks[hook].name);
}

static void errors_leave_as_the_table_says(void **state)
{
	for (size_t i = 0; i < SL_ARRAY_SIZE(rows); i++)
		for (int hook = 0; hook < 2; hook++)
			for (int version = 4; version <= 6; version += 2)
				for (int leg = 0; leg < 2; leg++)
					check_row(&rows[i], version, leg, hook);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(errors_leave_as_the_table_says),
	};
	int failed;

	if (harness_open(&h, HARNESS_SLOTS))
		return HARNESS_SKIP;
	failed = cmocka_run_group_tests_name("errors", tests, NULL, NULL);
	harness_close(&h);
	return failed;
}
