/* SPDX-License-Identifier: BSD-2-Clause */
/* The look-up of the index (bpf/index.h) while slots change hands: between any two reads of a map another
 * CPU may release a pair and give its slot to the next. The maps are arrays here, and a hook plays the other CPU. */

#include "unit.h"

#include <string.h>

#include <sluice/flow.h>

#define SLUICE_BPF_MAPS_H /* the maps are these */

#define SLOTS	2
#define BUCKETS 64

static struct sl_flow_pair flows[SLOTS];
static struct sl_bucket buckets[BUCKETS];
static struct sl_index_secret secret = {.number = {1, 3, 5, 7}, .mask = BUCKETS - 1};

static int reads_of_flows,
	change_before; /* the read before which the slot changes hands; 0: never */

/* The slot's pair is gone, and another has it. */
static void give_to_another(struct sl_flow_pair *pair)
{
	pair->leg[0].peer_port++;
	pair->generation++;
}

static void *read_flows(const __u32 *id)
{
	if (++reads_of_flows == change_before)
		give_to_another(&flows[*id]);
	return *id < SLOTS ? &flows[*id] : NULL;
}

static void *read_map(const void *map, const __u32 *id)
{
	if (map == &flows)
		return read_flows(id);
	return map == &buckets ? (void *)&buckets[*id] : (void *)&secret;
}

#define bpf_map_lookup_elem read_map

int sl_tell_event(__u32 pair, __u16 generation, enum sl_event_type type, __u8 leg);
__u32 sl_index_entry4(const struct sl_flow_key *key);
__u32 sl_index_entry6(const struct sl_flow6_key *key);

/* What clang for BPF takes without a word. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpointer-arith"
#pragma GCC diagnostic ignored "-Wunknown-pragmas"
#include "../../bpf/index.h"
#pragma GCC diagnostic pop

int sl_tell_event(__u32 pair, __u16 generation, enum sl_event_type type, __u8 leg)
{
	return 0;
}

static struct sl_flow_key set_up(void)
{
	const struct sl_flow_key key = {{10, 1, 0, 2}, {10, 1, 0, 1}, 1000, 3128};
	const struct sl_flow flow = {.pair = 1};
	struct sl_leg *l = &flows[1].leg[0];

	memset(buckets, 0, sizeof(buckets));
	memcpy(l->peer + 12, key.src, 4);
	memcpy(l->local + 12, key.dst, 4);
	l->peer_port = key.sport;
	l->local_port = key.dport;
	flows[1].generation = 1;
	change_before = 0;
	assert_int_equal(sl_flow4_put(&key, &flow), 0);
	reads_of_flows = 0;
	return key;
}

static void a_flow_is_found_with_its_generation(void **state)
{
	struct sl_flow_key key = set_up();
	struct sl_found found;

	assert_true(sl_flow4_find(&key, &found));
	assert_int_equal(found.id, 1);
	assert_int_equal(found.generation, 1);
	key.sport++;
	assert_false(sl_flow4_find(&key, &found));
}

/* The addresses were compared before the generation was read: a packet of the old pair was noted for the
 * new one, with a generation that said it belonged there. */
static void a_slot_that_changes_hands_is_not_taken_for_the_old_pair(void **state)
{
	struct sl_flow_key key = set_up();
	struct sl_found found = {0};
	int reads;

	assert_true(sl_flow4_find(&key, &found));
	reads = reads_of_flows;
	for (int n = 1; n <= reads; n++) {
		set_up();
		change_before = n;
		if (sl_flow4_find(&key, &found))
			assert_int_equal(found.generation, 1);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_flow_is_found_with_its_generation),
		cmocka_unit_test(a_slot_that_changes_hands_is_not_taken_for_the_old_pair),
	};

	return cmocka_run_group_tests_name("index-find", tests, NULL, NULL);
}
