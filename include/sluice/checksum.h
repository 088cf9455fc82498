/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#ifndef SLUICE_CHECKSUM_H
#define SLUICE_CHECKSUM_H

/* Incremental Internet checksum, RFC 1624: HC' = ~(~HC + ~m + m'), for any number of words m.
 *
 * A __u64 accumulates ~m + m' of words as they lie in memory (one's complement sums don't depend on
 * byte order). It has room for 2^31 words. */

#include <sluice/compiler.h>

SL_INLINE void sl_sum_replace32(__u64 *sum, __u32 old, __u32 new)
{
	*sum += (__u64)(__u32)~old + new;
}

SL_INLINE void sl_sum_replace16(__u64 *sum, __u16 old, __u16 new)
{
	*sum += (__u32)(__u16)~old + new;
}

/* The same sum in 32 bits: what bpf_l4_csum_replace and bpf_csum_update take. */
SL_INLINE __u32 sl_sum_fold32(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffffffff) + (sum >> 32);
	return (__u32)sum;
}

SL_INLINE __u16 sl_sum_fold16(__u64 sum)
{
	__u32 s = sl_sum_fold32(sum);

	s = (s & 0xffff) + (s >> 16);
	s = (s & 0xffff) + (s >> 16);
	return (__u16)s;
}

/* A complete checksum field after the change that sum stands for. */
SL_INLINE __u16 sl_csum_update(__u16 check, __u64 sum)
{
	return (__u16)~sl_sum_fold16(sum + (__u16)~check);
}

/* A checksum field that holds just the sum of the pseudo header, not complemented: Linux'
 * CHECKSUM_PARTIAL, where the device adds the rest. */
SL_INLINE __u16 sl_csum_update_partial(__u16 check, __u64 pseudo)
{
	return sl_sum_fold16(pseudo + check);
}

#endif
