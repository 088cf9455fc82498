/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#ifndef SLUICE_COMPILER_H
#define SLUICE_COMPILER_H

/* The one file that knows whether we are compiled for BPF, for DPDK or for the host. BPF sources
 * include <bpf/bpf_helpers.h> before any header of ours. */

#include <stddef.h>

#include <linux/types.h>

#define SL_INLINE static inline __attribute__((always_inline))

#define SL_UNLIKELY(x) __builtin_expect(!!(x), 0)

/* Makes the compiler forget what it knows of x. */
#define SL_OPAQUE(x)  __asm__ volatile("" : "+r"(x))
/* What is read and written before comes before what is after. */
#define SL_IN_ORDER() __asm__ volatile("" ::: "memory")

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define SL_SWAP16(x) __builtin_bswap16(x)
#define SL_SWAP32(x) __builtin_bswap32(x)
#else
#define SL_SWAP16(x) (x)
#define SL_SWAP32(x) (x)
#endif

SL_INLINE __u16 sl_ntoh16(__be16 x)
{
	return SL_SWAP16((__u16)x);
}

SL_INLINE __u32 sl_ntoh32(__be32 x)
{
	return SL_SWAP32((__u32)x);
}

SL_INLINE __be16 sl_hton16(__u16 x)
{
	return (__be16)SL_SWAP16(x);
}

SL_INLINE __be32 sl_hton32(__u32 x)
{
	return (__be32)SL_SWAP32(x);
}

/* Calls step(i, arg) for i = 0 .. n-1 until it returns other than 0. */
#ifdef __bpf__
/* A plain loop whose steps branch exceeds the verifier's million instructions (seen on 6.18);
 * bpf_loop (Linux 5.17) verifies its step once. */
#define sl_loop(n, step, arg) bpf_loop(n, step, arg, 0)
#else
#define sl_loop(n, step, arg)                                          \
	do {                                                           \
		for (__u32 _i = 0; _i < (n) && !(step)(_i, arg); _i++) \
			;                                              \
	} while (0)
#endif

#endif
