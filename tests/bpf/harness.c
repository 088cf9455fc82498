/* SPDX-License-Identifier: BSD-2-Clause */
#include "harness.h"

#include <errno.h>
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>
#include <linux/pkt_cls.h>

#include "base/util.h"

#include <sluice/index.h>
#include <sluice/rewrite.h>

#include "control.skel.h"

const struct hook hooks[2] = {
	{"tc", "splice_tc", {-1, TC_ACT_OK}, TC_ACT_SHOT, {TC_ACT_REDIRECT, TC_ACT_REDIRECT}},
	{"xdp", "splice_xdp", {XDP_PASS, XDP_PASS}, XDP_DROP, {XDP_TX, XDP_REDIRECT}},
};

static struct sl_event last_event;

int harness_open(struct harness *h, uint32_t slots)
{
	int r;

	snprintf(h->folder, sizeof(h->folder), "/sys/fs/bpf/sluice-test-%d", getpid());
	r = sl_loader_load(h->folder, slots);
	if (!r)
		r = sl_loader_load_xdp(h->folder);
	if (!r)
		r = sl_pins_open(h->folder, &h->pins);
	if (r) {
		printf("1..0 # SKIP BPF programs can't be loaded here: %s\n", strerror(-r));
		sl_loader_unload(h->folder);
		return r;
	}
	for (size_t i = 0; i < SL_ARRAY_SIZE(hooks); i++)
		h->program[i] = sl_pin_open(h->folder, hooks[i].program);
	return 0;
}

void harness_close(struct harness *h)
{
	sl_pins_close(&h->pins);
	for (size_t i = 0; i < SL_ARRAY_SIZE(hooks); i++)
		h->program[i] = sl_close(h->program[i]);
	sl_loader_unload(h->folder);
}

int harness_use_control_frame(struct harness *h)
{
	LIBBPF_OPTS(bpf_object_open_opts, opts, .pin_root_path = h->folder);
	struct control *c = control__open_opts(&opts);
	int fd = -1;

	if (!c)
		return -errno;
	bpf_program__set_autoload(c->progs.sl_control_call, false);
	sl_loader_size(c->obj, h->pins.slots);
	if (!control__load(c))
		fd = dup(bpf_program__fd(c->progs.sl_control_frame));
	control__destroy(c);
	if (fd < 0)
		return -errno;
	sl_close(h->pins.control);
	h->pins.control = fd;
	h->pins.control_is_call = false;
	return 0;
}

static void die(const char *what)
{
	printf("Bail out! %s: %s\n", what, strerror(errno));
	exit(1);
}

enum outcome harness_run(struct harness *h, int hook, uint8_t *frame, size_t len)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = frame, .data_size_in = len,
		    .data_out = frame, .data_size_out = FRAME_MAX, .repeat = 1);
	const struct hook *k = &hooks[hook];
	int verdict;

	if (bpf_prog_test_run_opts(h->program[hook], &opts))
		die("BPF_PROG_TEST_RUN");
	verdict = opts.retval;
	if (verdict == k->passed[0] || verdict == k->passed[1])
		return PASSED;
	if (verdict == k->dropped)
		return DROPPED;
	if (verdict != k->sent[0] && verdict != k->sent[1])
		die("an unknown verdict");
	return SENT;
}

struct sl_flow_pair harness_pair(struct harness *h, uint32_t id)
{
	struct sl_flow_pair pair;

	if (bpf_map_lookup_elem(h->pins.flows, &id, &pair))
		die("pairs");
	return pair;
}

/* Where the entry of a leg's flow is kept. */
static void find_place(struct harness *h, const struct sl_leg *l, struct sl_index_place *ret)
{
	struct sl_flow_key key = {.sport = l->peer_port, .dport = l->local_port};
	struct sl_flow6_key key6 = {.sport = l->peer_port, .dport = l->local_port};
	struct sl_index_secret secret;
	uint32_t zero = 0;

	if (bpf_map_lookup_elem(h->pins.secret, &zero, &secret))
		die("secret");
	memcpy(key.src, l->peer + 12, 4);
	memcpy(key.dst, l->local + 12, 4);
	memcpy(key6.src, l->peer, 16);
	memcpy(key6.dst, l->local, 16);
	if (sl_is_ip4(l->peer))
		sl_index_place4(&secret, &key, ret);
	else
		sl_index_place6(&secret, &key6, ret);
}

/* Writes `to` over all places of a bucket that hold `from`, or over the first. */
static bool change_bucket(struct harness *h, uint32_t id, uint32_t from, uint32_t to, bool all)
{
	struct sl_bucket b;
	bool done = false;

	if (bpf_map_lookup_elem(h->pins.buckets, &id, &b))
		die("buckets");
	for (int i = 0; i < SL_BUCKET_ENTRIES && (all || !done); i++) {
		if (b.entry[i] != from)
			continue;
		b.entry[i] = to;
		done = true;
	}
	if (done && bpf_map_update_elem(h->pins.buckets, &id, &b, BPF_ANY))
		die("buckets");
	return done;
}

static void install_flow(struct harness *h, const struct sl_leg *l, const struct sl_flow *flow)
{
	struct sl_index_place at;
	uint32_t entry;

	find_place(h, l, &at);
	entry = sl_entry_of(&at, flow);
	for (int i = 0; i < 2; i++) /* installed before */
		if (change_bucket(h, at.bucket[i], entry, entry, false))
			return;
	for (int i = 0; i < 2; i++)
		if (change_bucket(h, at.bucket[i], 0, entry, false))
			return;
	die("no room for a flow");
}

void harness_install(struct harness *h, uint32_t id, const struct sl_flow_pair *pair)
{
	struct sl_flow_pair fixed = *pair;

	sl_pair_prepare(&fixed);
	for (int i = 0; i < 2; i++) {
		struct sl_flow flow = {.pair = id, .generation = pair->generation, .leg = i};

		install_flow(h, &pair->leg[i], &flow);
	}
	if (bpf_map_update_elem(h->pins.flows, &id, &fixed, BPF_ANY))
		die("flows");
}

/* No pair's entry: what no packet looks for. */
#define STRANGER 1u

void harness_fill(struct harness *h, const struct sl_flow_pair *pair, int leg)
{
	struct sl_index_place at;

	find_place(h, &pair->leg[leg], &at);
	for (int i = 0; i < 2; i++)
		change_bucket(h, at.bucket[i], 0, STRANGER, true);
}

void harness_clear(struct harness *h)
{
	for (uint32_t i = 0; i < sl_index_buckets(h->pins.slots); i++)
		change_bucket(h, i, STRANGER, 0, true);
}

uint64_t harness_count(struct harness *h, enum sl_reason reason)
{
	struct sl_counter c[SL_REASON_COUNT];

	if (sl_pins_counters(&h->pins, c))
		die("counters");
	return c[reason].packets;
}

static int take_event(void *arg, void *data, size_t size)
{
	last_event = *(struct sl_event *)data;
	return 1; /* ends this round of consuming */
}

bool harness_event(struct harness *h, struct sl_event *ret)
{
	struct ring_buffer *ring = ring_buffer__new(h->pins.events, take_event, NULL, NULL);
	int n;

	if (!ring)
		die("events");
	last_event = (struct sl_event){0};
	n = ring_buffer__consume(ring);
	ring_buffer__free(ring);
	*ret = last_event;
	return n > 0;
}

int harness_call(struct harness *h, struct sl_control *c)
{
	return sl_pins_control(&h->pins, c);
}
