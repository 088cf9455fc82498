/* SPDX-License-Identifier: BSD-2-Clause */
/* The harness of tests/bpf on dpdk/splice.c: one table, on a fake port. */

#include "harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rte_mbuf.h>

#include "dpdk/environment.h"
#include "dpdk/lcore.h"
#include "fake_port.h"

#include <sluice/control.h>

#define EVENTS 64

const struct hook hooks[2] = {{.name = "dpdk"}, {.name = "dpdk"}};

static struct sl_dpdk_splice *table;
static struct sl_event events[EVENTS];
static unsigned first_event, n_events;

static void die(const char *what)
{
	printf("Bail out! %s\n", what);
	exit(1);
}

static void note_event(void *owner, const struct sl_event *e)
{
	if (n_events == EVENTS)
		die("too many events");
	events[(first_event + n_events++) % EVENTS] = *e;
}

int harness_open(struct harness *h, uint32_t slots)
{
	const struct sl_dpdk_splice_options o = {.pairs = slots, .on_event = note_event};

	h->program[0] = h->program[1] = -1;
	fake_port_start();
	if (sl_dpdk_splice_new(&o, &table))
		die("no memory for the table");
	return 0;
}

void harness_close(struct harness *h)
{
	sl_dpdk_splice_free(table);
	fake_port_stop();
}

enum outcome harness_run(struct harness *h, int hook, uint8_t *frame, size_t len)
{
	struct rte_mbuf *m = fake_port_arrival(frame, len), *left = NULL;
	unsigned rest = sl_splice_burst(table, &m, 1, &left);
	struct rte_mbuf *sent = fake_port_take(), *out = sent ? sent : left;

	if (!out)
		return DROPPED;
	if ((sent && rest) || fake_port_take() || out->pkt_len != len)
		die("a frame was doubled or cut");
	memcpy(frame, rte_pktmbuf_mtod(out, void *), len);
	rte_pktmbuf_free(out);
	return sent ? SENT : PASSED;
}

struct sl_flow_pair harness_pair(struct harness *h, uint32_t id)
{
	return *sl_dpdk_splice_pair(table, id);
}

/* Flows of no pair. */
static int put_stranger(uint16_t n)
{
	const struct sl_flow_key key = {.sport = 1, .dport = n};
	const struct sl_flow flow = {.pair = HARNESS_SLOTS + 1};

	return sl_flow4_put(&key, &flow);
}

static void remove_stranger(uint16_t n)
{
	const struct sl_flow_key key = {.sport = 1, .dport = n};
	const struct sl_flow flow = {.pair = HARNESS_SLOTS + 1};

	sl_flow4_remove(&key, &flow);
}

void harness_fill(struct harness *h, const struct sl_flow_pair *pair, int leg)
{
	uint16_t n = 1;

	here = table;
	while (n <= 2 * HARNESS_SLOTS && !put_stranger(n))
		n++;
	if (leg == 1) /* added last: there is room for the first alone */
		remove_stranger(1);
}

void harness_clear(struct harness *h)
{
	here = table;
	for (uint16_t n = 1; n <= 2 * HARNESS_SLOTS; n++)
		remove_stranger(n);
}

void harness_install(struct harness *h, uint32_t id, const struct sl_flow_pair *pair)
{
	struct sl_flow_pair *slot = sl_dpdk_splice_pair(table, id);

	here = table;
	*slot = *pair;
	sl_pair_prepare(slot);
	for (int i = 0; i < 2; i++) {
		const struct sl_flow flow = {.pair = id, .generation = pair->generation, .leg = i};
		const struct sl_leg *l = &pair->leg[i];
		struct sl_leg_flow at;

		sl_leg_flow(l->peer, l->local, l->peer_port, l->local_port, &at);
		if (at.is_ip4 ? sl_flow4_put(&at.ip4, &flow) : sl_flow6_put(&at.ip6, &flow))
			die("the table is full");
	}
}

uint64_t harness_count(struct harness *h, enum sl_reason reason)
{
	struct sl_counter c[SL_REASON_COUNT] = {0};

	sl_dpdk_splice_count(table, c);
	return c[reason].packets;
}

bool harness_event(struct harness *h, struct sl_event *ret)
{
	*ret = (struct sl_event){0};
	if (!n_events)
		return false;
	*ret = events[first_event];
	first_event = (first_event + 1) % EVENTS;
	n_events--;
	return true;
}

int harness_call(struct harness *h, struct sl_control *c)
{
	sl_dpdk_splice_control(table, c);
	return 0;
}
