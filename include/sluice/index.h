/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#ifndef SLUICE_INDEX_H
#define SLUICE_INDEX_H

/* Where the index of the packet engine's maps keeps the entry of a flow: numbers only, no map.
 *
 * A flow's entry is in one of two buckets of eight, and carries eight bits of its hash. That it is the
 * flow's own is seen in the pair's record, which has the addresses; so the index has four bytes a flow.
 * An entry never moves: a packet that looks for it finds it from the moment that it is put there until
 * it is taken out, each an atomic change of one word.
 *
 * The hash is a sum of products with secret numbers (multilinear; its upper half is strongly universal):
 * who chooses addresses and ports can't tell which of them meet. */

#include <sluice/flow.h>

#include <sluice/compiler.h>

/* An entry: the hash's bits, the pair, IPv6, the leg. 0: none. */
#define SL_ENTRY_TAG_SHIFT  24
#define SL_ENTRY_PAIR_SHIFT 2
#define SL_ENTRY_IP6	    2u
#define SL_ENTRY_LEG	    1u
#define SL_ENTRY_WANTED	    (0xffu << SL_ENTRY_TAG_SHIFT | SL_ENTRY_IP6)

struct sl_index_place {
	__u32 bucket[2];
	__u32 wanted; /* what the entry has in its bits SL_ENTRY_WANTED: never 0 */
};

/* Buckets for so many pairs: half of the places are taken at most. A power of two, and not so few that
 * chance fills one. */
static inline __u32 sl_index_buckets(__u32 pairs)
{
	__u32 n = 64;

	while (n < (pairs + 1) / 2)
		n *= 2;
	return n;
}

/* The second bucket is another one than the first. */
SL_INLINE void sl_index_place(const struct sl_index_secret *s, __u64 sum, __u32 ip6,
			      struct sl_index_place *ret)
{
	__u32 hash = sum >> 32;
	__u32 tag = ((hash >> 16) * 255 >> 16) + 1;

	ret->wanted = tag << SL_ENTRY_TAG_SHIFT | ip6;
	ret->bucket[0] = hash & s->mask;
	ret->bucket[1] = (hash ^ (tag * 0x9e3779b1u >> 8 | 1)) & s->mask;
}

SL_INLINE void sl_index_place4(const struct sl_index_secret *s, const struct sl_flow_key *key,
			       struct sl_index_place *ret)
{
	const __u32 *word = (const __u32 *)key;

	sl_index_place(s,
		       s->number[0] + word[0] * s->number[1] + word[1] * s->number[2] +
			       word[2] * s->number[3],
		       0, ret);
}

SL_INLINE void sl_index_place6(const struct sl_index_secret *s, const struct sl_flow6_key *key,
			       struct sl_index_place *ret)
{
	const __u32 *word = (const __u32 *)key;
	__u64 sum = s->number[0];

	for (int i = 0; i < 9; i++)
		sum += word[i] * s->number[i + 1];
	sl_index_place(s, sum, SL_ENTRY_IP6, ret);
}

SL_INLINE __u32 sl_entry_of(const struct sl_index_place *at, const struct sl_flow *flow)
{
	return at->wanted | flow->pair << SL_ENTRY_PAIR_SHIFT | (flow->leg & SL_ENTRY_LEG);
}

SL_INLINE __u32 sl_entry_pair(__u32 entry)
{
	return (entry & 0xffffff) >> SL_ENTRY_PAIR_SHIFT;
}

SL_INLINE int sl_entry_fits(__u32 entry, const struct sl_index_place *at)
{
	return ((entry ^ at->wanted) & SL_ENTRY_WANTED) == 0;
}

/* Whether packets of this key come from this leg; the entry has told the family. */
SL_INLINE int sl_leg_has4(const struct sl_leg *leg, const struct sl_flow_key *key)
{
	const __u32 *word = (const __u32 *)key;

	return ((const __u32 *)leg->peer)[3] == word[0] &&
	       ((const __u32 *)leg->local)[3] == word[1] && leg->peer_port == key->sport &&
	       leg->local_port == key->dport;
}

SL_INLINE int sl_leg_has6(const struct sl_leg *leg, const struct sl_flow6_key *key)
{
	const __u32 *word = (const __u32 *)key, *peer = (const __u32 *)leg->peer;
	const __u32 *local = (const __u32 *)leg->local;

	for (int i = 0; i < 4; i++)
		if (peer[i] != word[i] || local[i] != word[i + 4])
			return 0;
	return leg->peer_port == key->sport && leg->local_port == key->dport;
}

#endif
