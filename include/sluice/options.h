/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#ifndef SLUICE_OPTIONS_H
#define SLUICE_OPTIONS_H

/* TCP options in any order and alignment: find timestamps (RFC 7323) and SACK blocks (RFC 2018) in
 * a copy, and change them there. The two layouts that real stacks send don't come here: packet.h
 * rewrites them in place. */

#include <sluice/checksum.h>

#define SL_OPTIONS_MAX	  40
#define SL_OPTIONS_BUFFER 64 /* so that an index & 63 is in bounds, provably for the verifier */

enum sl_option_kind {
	SL_OPTION_END = 0,
	SL_OPTION_NOP = 1,
	SL_OPTION_SACK = 5,
	SL_OPTION_TIMESTAMPS = 8,
	SL_OPTION_MD5 = 19, /* RFC 2385: signs what we would change */
	SL_OPTION_AO = 29,  /* RFC 5925: the same */
};

struct sl_options {
	__u8 bytes[SL_OPTIONS_BUFFER] __attribute__((aligned(4)));
	__u32 len;	/* bytes in use */
	__u32 at;	/* the scan is here */
	__u32 ts;	/* offset of the timestamps option; 0 with has_ts unset */
	__u32 sack;	/* the same of the SACK option */
	__u32 sack_len; /* its length */
	__u8 has_ts, has_sack, bad;
};

/* len, which is 1 .. 40 here, in a form that the verifier believes. */
SL_INLINE __u32 sl_options_bound(__u32 len)
{
	SL_OPAQUE(len);
	return ((len - 1) & (SL_OPTIONS_BUFFER - 1)) + 1;
}

SL_INLINE __u8 *sl_option_at(struct sl_options *o, __u32 at)
{
	return &o->bytes[at & (SL_OPTIONS_BUFFER - 1)];
}

SL_INLINE __u32 sl_option_get32(struct sl_options *o, __u32 at)
{
	return (__u32)*sl_option_at(o, at) << 24 | (__u32)*sl_option_at(o, at + 1) << 16 |
	       (__u32)*sl_option_at(o, at + 2) << 8 | *sl_option_at(o, at + 3);
}

SL_INLINE void sl_option_put32(struct sl_options *o, __u32 at, __u32 value)
{
	*sl_option_at(o, at) = value >> 24;
	*sl_option_at(o, at + 1) = value >> 16;
	*sl_option_at(o, at + 2) = value >> 8;
	*sl_option_at(o, at + 3) = value;
}

/* Notes the option at o->at. False: it is malformed or signs the segment. */
SL_INLINE int sl_option_note(struct sl_options *o, __u8 kind, __u8 len)
{
	if (kind == SL_OPTION_MD5 || kind == SL_OPTION_AO)
		return 0;
	if (kind == SL_OPTION_TIMESTAMPS) {
		if (len != 10 || o->has_ts)
			return 0;
		o->ts = o->at;
		o->has_ts = 1;
	} else if (kind == SL_OPTION_SACK) {
		if (len < 10 || len > 34 || (len - 2) % 8 || o->has_sack)
			return 0;
		o->sack = o->at;
		o->sack_len = len;
		o->has_sack = 1;
	}
	return 1;
}

/* One step of the scan, for sl_loop: other than 0 ends it. */
static inline long sl_option_step(__u32 i, void *arg)
{
	struct sl_options *o = arg;
	__u32 at = o->at;
	__u8 kind, len;

	if (at >= o->len || at >= SL_OPTIONS_MAX)
		return 1;
	kind = *sl_option_at(o, at);
	if (kind == SL_OPTION_END)
		return 1;
	if (kind == SL_OPTION_NOP) {
		o->at = at + 1;
		return 0;
	}
	len = *sl_option_at(o, at + 1);
	if (at + 1 >= o->len || len < 2 || at + len > o->len || !sl_option_note(o, kind, len)) {
		o->bad = 1;
		return 1;
	}
	o->at = at + len;
	return 0;
}

/* Needs bytes (zero beyond len), len. Sets the rest; bad if the options can't be translated. */
SL_INLINE void sl_options_scan(struct sl_options *o)
{
	o->at = 0;
	o->has_ts = o->has_sack = o->bad = 0;
	sl_loop(SL_OPTIONS_MAX, sl_option_step, o);
}

SL_INLINE __u64 sl_options_sum(const struct sl_options *o)
{
	const __u32 *word = (const __u32 *)o->bytes;
	__u64 sum = 0;

	for (int i = 0; i < SL_OPTIONS_MAX / 4; i++)
		sum += word[i];
	return sum;
}

/* ~m + m' of everything that changed: the old sum is subtracted by adding its complement. */
SL_INLINE void sl_options_sum_change(__u64 *sum, __u64 before, __u64 after)
{
	*sum += (__u64)(__u32)~sl_sum_fold32(before) + sl_sum_fold32(after);
}

#endif
