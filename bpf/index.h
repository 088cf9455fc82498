/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#ifndef SLUICE_BPF_INDEX_H
#define SLUICE_BPF_INDEX_H

/* Finds the pair of a packet, and lets the control program add and remove flows: <sluice/index.h> over
 * the maps `buckets` and `flows`. An entry is put, replaced or taken out by one atomic change of a word; two
 * control calls at once take different places. */

#include "maps.h"

#include <sluice/index.h>
#include <sluice/steps.h>

SL_INLINE const struct sl_index_secret *sl_index_secret(void)
{
	const __u32 only = 0;

	return bpf_map_lookup_elem(&secret, &only);
}

/* The first entry of a bucket that may be the flow's; 0: none. */
SL_INLINE __u32 sl_bucket_first(__u32 id, const struct sl_index_place *at)
{
	const struct sl_bucket *b = bpf_map_lookup_elem(&buckets, &id);

	if (!b)
		return 0;
#pragma unroll
	for (int i = 0; i < SL_BUCKET_ENTRIES; i++) {
		__u32 entry = b->entry[i];

		if (sl_entry_fits(entry, at))
			return entry;
	}
	return 0;
}

SL_INLINE __u32 sl_index_first(const struct sl_index_place *at)
{
	__u32 entry = sl_bucket_first(at->bucket[0], at);

	return SL_UNLIKELY(!entry) ? sl_bucket_first(at->bucket[1], at) : entry;
}

/* The pair of an entry, the generation as of before the addresses are compared: who has them is whom it
 * belongs to. */
SL_INLINE int sl_found_at(__u32 entry, struct sl_found *ret)
{
	struct sl_flow_pair *pair;
	__u32 id = sl_entry_pair(entry);

	pair = bpf_map_lookup_elem(&flows, &id);
	if (!pair)
		return 0;
	ret->id = id;
	ret->leg = entry & SL_ENTRY_LEG;
	ret->pair = pair;
	ret->generation = pair->generation;
	sl_found_legs(ret);
	return 1;
}

/* A plain packet's pair. SL_PARSED_RARE: the first entry that looks like the flow's is another's, and
 * sl_find() knows. */
SL_INLINE enum sl_parsed sl_find_plain(const struct sl_packet *p, const void *data, const void *end,
				       struct sl_found *ret)
{
	const struct sl_index_secret *s = sl_index_secret();
	const void *ip = (const struct ethhdr *)data + 1;
	const struct tcphdr *tcp4 = ip + sizeof(struct iphdr), *tcp6 = ip + sizeof(struct ipv6hdr);
	struct sl_index_place at;
	struct sl_flow6_key key6;
	struct sl_flow_key key4;
	__u32 entry;

	if (p->version == 4 && s && (const void *)(tcp4 + 1) <= end) {
		sl_key4_of(ip, tcp4, &key4);
		sl_index_place4(s, &key4, &at);
	} else if (p->version == 6 && s && (const void *)(tcp6 + 1) <= end) {
		sl_key6_of(ip, tcp6, &key6);
		sl_index_place6(s, &key6, &at);
	} else {
		return SL_PARSED_RARE;
	}
	entry = sl_index_first(&at);
	if (!entry)
		return SL_PARSED_OTHERS;
	if (!sl_found_at(entry, ret))
		return SL_PARSED_RARE;
	return (p->version == 4 ? sl_leg_has4(ret->from, &key4) : sl_leg_has6(ret->from, &key6))
		       ? SL_PARSED_PLAIN
		       : SL_PARSED_RARE;
}

/* The leg that an entry names; NULL: there is no such slot. */
SL_INLINE const struct sl_leg *sl_entry_leg(__u32 entry)
{
	const struct sl_flow_pair *pair;
	__u32 id = sl_entry_pair(entry);

	pair = bpf_map_lookup_elem(&flows, &id);
	if (!pair)
		return NULL;
	return entry & SL_ENTRY_LEG ? &pair->leg[1] : &pair->leg[0];
}

/* The flow's own entry in a bucket, all that look like it considered; 0: there is none. */
SL_INLINE __u32 sl_bucket_find4(__u32 id, const struct sl_index_place *at,
				const struct sl_flow_key *key)
{
	const struct sl_bucket *b = bpf_map_lookup_elem(&buckets, &id);

	for (int i = 0; b && i < SL_BUCKET_ENTRIES; i++) {
		__u32 entry = b->entry[i];
		const struct sl_leg *leg = sl_entry_fits(entry, at) ? sl_entry_leg(entry) : NULL;

		if (leg && sl_leg_has4(leg, key))
			return entry;
	}
	return 0;
}

SL_INLINE __u32 sl_bucket_find6(__u32 id, const struct sl_index_place *at,
				const struct sl_flow6_key *key)
{
	const struct sl_bucket *b = bpf_map_lookup_elem(&buckets, &id);

	for (int i = 0; b && i < SL_BUCKET_ENTRIES; i++) {
		__u32 entry = b->entry[i];
		const struct sl_leg *leg = sl_entry_fits(entry, at) ? sl_entry_leg(entry) : NULL;

		if (leg && sl_leg_has6(leg, key))
			return entry;
	}
	return 0;
}

/* The flow's own entry; 0: there is none. Global, so that each is verified by itself; with little on the
 * stack, of which the programs for rare packets leave 64 bytes (Linux 6.1). */
__attribute__((noinline)) __u32 sl_index_entry4(const struct sl_flow_key *key)
{
	const struct sl_index_secret *s = sl_index_secret();
	struct sl_index_place at;
	__u32 entry;

	if (!s || !key)
		return 0;
	sl_index_place4(s, key, &at);
	entry = sl_bucket_find4(at.bucket[0], &at, key);
	return entry ? entry : sl_bucket_find4(at.bucket[1], &at, key);
}

__attribute__((noinline)) __u32 sl_index_entry6(const struct sl_flow6_key *key)
{
	const struct sl_index_secret *s = sl_index_secret();
	struct sl_index_place at;
	__u32 entry;

	if (!s || !key)
		return 0;
	sl_index_place6(s, key, &at);
	entry = sl_bucket_find6(at.bucket[0], &at, key);
	return entry ? entry : sl_bucket_find6(at.bucket[1], &at, key);
}

/* --- what the control program does --- */

/* Changes an entry of a bucket into another. False: it has none such. */
SL_INLINE int sl_bucket_change(__u32 id, __u32 from, __u32 to)
{
	struct sl_bucket *b = bpf_map_lookup_elem(&buckets, &id);

	for (int i = 0; b && i < SL_BUCKET_ENTRIES; i++)
		if (b->entry[i] == from &&
		    __sync_val_compare_and_swap(&b->entry[i], from, to) == from)
			return 1;
	return 0;
}

SL_INLINE int sl_index_change(const struct sl_index_place *at, __u32 from, __u32 to)
{
	return sl_bucket_change(at->bucket[0], from, to) ||
	       sl_bucket_change(at->bucket[1], from, to);
}

SL_INLINE __u32 sl_bucket_used(__u32 id)
{
	const struct sl_bucket *b = bpf_map_lookup_elem(&buckets, &id);
	__u32 n = 0;

	for (int i = 0; b && i < SL_BUCKET_ENTRIES; i++)
		n += b->entry[i] != 0;
	return n;
}

/* Half full, the first bucket gives way to an emptier second one. */
SL_INLINE long sl_index_add(const struct sl_index_place *at, __u32 entry)
{
	__u32 used = sl_bucket_used(at->bucket[0]);

	if (used > SL_BUCKET_ENTRIES / 2 && sl_bucket_used(at->bucket[1]) < used &&
	    sl_bucket_change(at->bucket[1], 0, entry))
		return 0;
	return sl_index_change(at, 0, entry) ? 0 : -ENOSPC;
}

/* Takes the place of an entry for the same addresses, which the caller has seen to be over. */
SL_INLINE long sl_index_put(const struct sl_index_place *at, __u32 old, __u32 entry)
{
	if (old && sl_index_change(at, old, entry))
		return 0;
	return sl_index_add(at, entry);
}

SL_INLINE long sl_flow4_put(const struct sl_flow_key *key, const struct sl_flow *flow)
{
	const struct sl_index_secret *s = sl_index_secret();
	struct sl_index_place at;

	if (!s)
		return -ENOSPC;
	sl_index_place4(s, key, &at);
	return sl_index_put(&at, sl_index_entry4(key), sl_entry_of(&at, flow));
}

SL_INLINE long sl_flow6_put(const struct sl_flow6_key *key, const struct sl_flow *flow)
{
	const struct sl_index_secret *s = sl_index_secret();
	struct sl_index_place at;

	if (!s)
		return -ENOSPC;
	sl_index_place6(s, key, &at);
	return sl_index_put(&at, sl_index_entry6(key), sl_entry_of(&at, flow));
}

SL_INLINE void sl_flow4_remove(const struct sl_flow_key *key, const struct sl_flow *flow)
{
	const struct sl_index_secret *s = sl_index_secret();
	struct sl_index_place at;

	if (!s)
		return;
	sl_index_place4(s, key, &at);
	sl_index_change(&at, sl_entry_of(&at, flow), 0);
}

SL_INLINE void sl_flow6_remove(const struct sl_flow6_key *key, const struct sl_flow *flow)
{
	const struct sl_index_secret *s = sl_index_secret();
	struct sl_index_place at;

	if (!s)
		return;
	sl_index_place6(s, key, &at);
	sl_index_change(&at, sl_entry_of(&at, flow), 0);
}

/* Compares once more now that the generation is known: since the entry was chosen another pair may have
 * got the slot. */
SL_INLINE int sl_flow4_find(const struct sl_flow_key *key, struct sl_found *ret)
{
	__u32 entry = sl_index_entry4(key);

	if (!entry || !sl_found_at(entry, ret))
		return 0;
	SL_IN_ORDER();
	return sl_leg_has4(ret->from, key);
}

SL_INLINE int sl_flow6_find(const struct sl_flow6_key *key, struct sl_found *ret)
{
	__u32 entry = sl_index_entry6(key);

	if (!entry || !sl_found_at(entry, ret))
		return 0;
	SL_IN_ORDER();
	return sl_leg_has6(ret->from, key);
}

#endif
