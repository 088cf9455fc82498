/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#ifndef SLUICE_BPF_ENVIRONMENT_H
#define SLUICE_BPF_ENVIRONMENT_H

/* What <sluice/steps.h> asks of its surroundings, made of maps and helpers. */

#include "maps.h"

#include <sluice/compiler.h>

/* Beside a hook's verdicts: not plain, not TCP. The next function is to look at it. */
#define SL_RARE	 (-2)
#define SL_OTHER (-3)

/* How far TSvals jump ahead at the flip, ms: more than the clock that the sockets may still send
 * with during the grace before they are closed. */
const volatile __u32 sl_ts_slack_ms = 50;

#define sl_pair_lock(pair)   bpf_spin_lock(&(pair)->lock)
#define sl_pair_unlock(pair) bpf_spin_unlock(&(pair)->lock)

#define sl_pair_at(id) ((struct sl_flow_pair *)bpf_map_lookup_elem(&flows, id))

SL_INLINE __u32 sl_now_ms(void)
{
	return bpf_ktime_get_ns() / 1000000;
}

SL_INLINE int sl_count_sent(__u32 reason, __u32 bytes)
{
	const __u32 only = 0;
	struct sl_counter *c = bpf_map_lookup_elem(&counters, &only);

	if (!c || reason >= SL_REASON_COUNT)
		return 0;
	c[reason].packets++;
	c[reason].bytes += bytes;
	return 1;
}

/* Out of line: what is rare should take neither registers nor stack from what is not. The value is
 * returned because clang 14 makes the function void otherwise, and the verifier wants R0. */
static __attribute__((noinline)) int sl_count(__u32 reason, __u32 bytes)
{
	return sl_count_sent(reason, bytes);
}

static __attribute__((noinline)) int sl_tell_event(__u32 pair, __u16 generation,
						   enum sl_event_type type, __u8 leg)
{
	struct sl_event e = {.pair = pair, .generation = generation, .type = type, .leg = leg};
	long error = bpf_ringbuf_output(&events, &e, sizeof(e), 0);

	if (error)
		sl_count(SL_EVENTS_LOST, 0);
	return error;
}

#include "index.h"

#endif
