/* SPDX-License-Identifier: BSD-2-Clause */
/* The index of flows: every slot can be used, an entry that looks like another's misleads nobody, and
 * calls at the same time lose nothing. Needs BPF. */

#include "unit.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <bpf/bpf.h>

#include <sluice/index.h>

#include "harness.h"

#define SLOTS	4096
#define CHANGES 20000
#define THREADS 4

static struct harness h;

/* The pair of a slot: addresses of its own, every third IPv6. */
static struct sl_flow_pair pair_of(uint32_t slot, uint16_t generation)
{
	struct sl_flow_pair p = frame_pair(slot % 3 ? 4 : 6);

	p.generation = generation;
	p.leg[0].peer[14] = slot >> 8;
	p.leg[0].peer[15] = slot;
	p.leg[0].peer_port = htons(generation);
	p.leg[1].local_port = htons(slot);
	return p;
}

static int watch(uint32_t slot, uint16_t generation)
{
	struct sl_flow_pair p = pair_of(slot, generation);

	return harness_control(&h, SL_CONTROL_WATCH, slot, &p, 0, NULL);
}

static int release(uint32_t slot, uint16_t generation)
{
	struct sl_flow_pair p = pair_of(slot, generation);

	return harness_control(&h, SL_CONTROL_RELEASE, slot, &p, 0, NULL);
}

/* Both peers' packets are noted in the slot. */
static void assert_found(uint32_t slot, uint16_t generation)
{
	struct sl_flow_pair p = pair_of(slot, generation), now;

	for (int leg = 0; leg < 2; leg++) {
		struct frame f = frame_from(&p, leg);
		FRAME_BUFFER(in);

		f.flags = FRAME_ACK;
		assert_int_equal(harness_run(&h, leg, in, frame_write(&f, in)), PASSED);
	}
	now = harness_pair(&h, slot);
	if (!(now.leg[0].flags & now.leg[1].flags & SL_LEG_SEEN))
		fail_msg("slot %u: a packet did not find it", slot);
}

static struct sl_bucket bucket(uint32_t id)
{
	struct sl_bucket b;

	assert_int_equal(bpf_map_lookup_elem(h.pins.buckets, &id, &b), 0);
	return b;
}

static void assert_empty(void)
{
	for (uint32_t id = 0; id < sl_index_buckets(SLOTS); id++) {
		struct sl_bucket b = bucket(id);

		for (int i = 0; i < SL_BUCKET_ENTRIES; i++)
			assert_int_equal(b.entry[i], 0);
	}
}

static void every_slot_can_be_used(void **state)
{
	uint16_t *generation = calloc(SLOTS, sizeof(*generation));

	for (uint32_t slot = 0; slot < SLOTS; slot++)
		assert_int_equal(watch(slot, ++generation[slot]), 0);
	srand(1);
	for (int i = 0; i < CHANGES; i++) {
		uint32_t slot = rand() % SLOTS;

		assert_int_equal(release(slot, generation[slot]), 0);
		assert_int_equal(watch(slot, ++generation[slot]), 0);
	}
	for (uint32_t slot = 0; slot < SLOTS; slot++)
		assert_found(slot, generation[slot]);
	for (uint32_t slot = 0; slot < SLOTS; slot++)
		assert_int_equal(release(slot, generation[slot]), 0);
	assert_empty();
	free(generation);
}

static uint32_t entry_of(const struct sl_flow_pair *p, int leg, uint32_t slot,
			 struct sl_index_place *ret_at)
{
	const struct sl_leg *l = &p->leg[leg];
	struct sl_flow_key key = {.sport = l->peer_port, .dport = l->local_port};
	const struct sl_flow flow = {.pair = slot, .leg = leg};
	struct sl_index_secret secret;
	uint32_t zero = 0;

	assert_int_equal(bpf_map_lookup_elem(h.pins.secret, &zero, &secret), 0);
	memcpy(key.src, l->peer + 12, 4);
	memcpy(key.dst, l->local + 12, 4);
	sl_index_place4(&secret, &key, ret_at);
	return sl_entry_of(ret_at, &flow);
}

/* Before a flow's own entry stand others with the same bits of the hash. */
static void entries_that_look_alike_mislead_nobody(void **state)
{
	enum { SLOT = 1, OTHER = 2 };
	struct sl_flow_pair p = pair_of(SLOT, 1);

	assert_int_equal(watch(OTHER, 1), 0);
	assert_int_equal(watch(SLOT, 1), 0);
	for (int leg = 0; leg < 2; leg++) {
		struct sl_index_place at;
		uint32_t own = entry_of(&p, leg, SLOT, &at);
		struct sl_bucket b = bucket(at.bucket[0]);

		assert_int_equal(b.entry[0], own);
		b.entry[0] = entry_of(&p, leg, OTHER, &at);
		b.entry[1] = entry_of(&p, leg, SLOTS + 1, &at);
		b.entry[5] = own;
		assert_int_equal(bpf_map_update_elem(h.pins.buckets, &at.bucket[0], &b, 0), 0);
	}
	assert_found(SLOT, 1);
	assert_int_equal(release(SLOT, 1), 0);
	for (int leg = 0; leg < 2; leg++) {
		struct sl_index_place at;
		struct sl_bucket b = {0};

		entry_of(&p, leg, SLOT, &at);
		assert_int_equal(bucket(at.bucket[0]).entry[5], 0);
		assert_int_equal(bpf_map_update_elem(h.pins.buckets, &at.bucket[0], &b, 0), 0);
	}
	release(OTHER, 1);
}

/* A pair whose clients' flow is kept in the same bucket as the other threads'. */
struct share {
	pthread_t thread;
	struct sl_flow_pair pair;
	uint32_t slot, bucket, entry;
	int lost;
};

static struct share share_of(uint32_t slot, uint32_t wanted_bucket)
{
	struct share s = {.slot = slot, .pair = pair_of(slot, 1), .bucket = UINT32_MAX};

	s.pair.leg[0].peer_port = htons(slot);
	for (uint32_t n = 0; s.bucket != wanted_bucket; n++) {
		struct sl_index_place at;

		memcpy(s.pair.leg[0].peer + 12, &n, sizeof(n));
		s.entry = entry_of(&s.pair, 0, slot, &at);
		s.bucket = at.bucket[0];
	}
	return s;
}

static bool has_entry(const struct share *s)
{
	struct sl_bucket b = bucket(s->bucket);

	for (int i = 0; i < SL_BUCKET_ENTRIES; i++)
		if (b.entry[i] == s->entry)
			return true;
	return false;
}

static void *change_slot(void *arg)
{
	struct share *s = arg;

	for (int i = 0; i < CHANGES; i++) {
		s->lost += harness_control(&h, SL_CONTROL_WATCH, s->slot, &s->pair, 0, NULL) != 0;
		s->lost += !has_entry(s);
		s->lost += harness_control(&h, SL_CONTROL_RELEASE, s->slot, &s->pair, 0, NULL) != 0;
	}
	return NULL;
}

static void calls_at_the_same_time_lose_nothing(void **state)
{
	struct share share[THREADS];

	for (int i = 0; i < THREADS; i++)
		share[i] = share_of(3 * i + 1, 7);
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&share[i].thread, NULL, change_slot, &share[i]), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(share[i].thread, NULL);
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(share[i].lost, 0);
	assert_empty();
}

/* Two processes may choose the same port at once. Where both calls found it free, both have an entry, and
 * the release of the one took out none, as it met the other's: a place was lost for good. */
static void of_two_entries_for_the_same_addresses_each_pair_takes_out_its_own(void **state)
{
	enum { SLOT = 1, OTHER = 2 };
	struct sl_flow_pair p = pair_of(SLOT, 1);
	uint32_t other = OTHER;

	assert_int_equal(watch(SLOT, 1), 0);
	p.state = SL_FLOW_WATCH;
	assert_int_equal(bpf_map_update_elem(h.pins.flows, &other, &p, 0), 0);
	for (int leg = 0; leg < 2; leg++) {
		struct sl_index_place at;
		uint32_t entry = entry_of(&p, leg, OTHER, &at);
		struct sl_bucket b = bucket(at.bucket[0]);

		b.entry[7] = entry;
		assert_int_equal(bpf_map_update_elem(h.pins.buckets, &at.bucket[0], &b, 0), 0);
	}
	assert_int_equal(harness_control(&h, SL_CONTROL_RELEASE, OTHER, &p, 0, NULL), 0);
	assert_found(SLOT, 1);
	assert_int_equal(release(SLOT, 1), 0);
	assert_empty();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_slot_can_be_used),
		cmocka_unit_test(entries_that_look_alike_mislead_nobody),
		cmocka_unit_test(calls_at_the_same_time_lose_nothing),
		cmocka_unit_test(of_two_entries_for_the_same_addresses_each_pair_takes_out_its_own),
	};
	int failed;

	if (harness_open(&h, SLOTS))
		return HARNESS_SKIP;
	failed = cmocka_run_group_tests_name("index", tests, NULL, NULL);
	harness_close(&h);
	return failed;
}
