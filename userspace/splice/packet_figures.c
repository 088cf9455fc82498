/* SPDX-License-Identifier: BSD-2-Clause */
/* What the packet engine counts beside its totals. Counters of the BPF programs live as long as the pinned
 * maps; the others as long as the process. All families are always there, with zeros where the engine
 * was not opened. */

#include "base/util.h"
#include "splice/packet_shared.h"

typedef sl_figure_fn each_fn;

static struct sl_packet_shared *const shared = &sl_packet_shared;

void sl_packet_count_refusal(const char *reason)
{
	pthread_mutex_lock(&shared->lock);
	sl_refusals_count(&shared->refusals, reason);
	pthread_mutex_unlock(&shared->lock);
}

void sl_packet_count_arm(void)
{
	__atomic_add_fetch(&shared->arms, 1, __ATOMIC_RELAXED);
}

static void tell_counters(each_fn *each, void *arg)
{
	struct sl_counter counter[SL_REASON_COUNT] = {0};

	if (shared->slot)
		sl_pins_counters(&shared->pins, counter);
	sl_tell_counters(counter, each, arg);
}

/* --- counters of the process --- */

static void tell_slots(each_fn *each, void *arg)
{
	static const char *const uses[SL_PACKET_USES] = {
		[USE_FREE] = "free", [USE_WATCHED] = "watch",  [USE_SPLICED] = "active",
		[USE_LEFT] = "left", [USE_COOLING] = "closed",
	};
	struct sl_figure f = {"packet_slots", "gauge", "Slots for pairs by state", "state"};

	for (int i = 0; i < SL_PACKET_USES; i++) {
		f.value = uses[i];
		f.n = shared->slot ? shared->uses[i] : 0;
		each(arg, &f);
	}
}

static void tell_plain(each_fn *each, void *arg)
{
	const struct sl_figure figures[] = {
		{"packet_arms_total", "counter",
		 "Times that a pair was armed; those above the flips found it busy", NULL, NULL,
		 __atomic_load_n(&shared->arms, __ATOMIC_RELAXED)},
		{"packet_inbox_lost_total", "counter",
		 "Events that found a worker's inbox full; the scan finds their pairs", NULL, NULL,
		 shared->inbox_lost},
		{"packet_found_total", "counter",
		 "Pairs whose end no event told of, found by the scan", NULL, NULL, shared->found},
		{"packet_resets_total", "counter", "Pairs whose peers were reset by RSTs", NULL,
		 NULL, shared->resets},
		{"packet_map_bytes", "gauge", "Kernel memory of the maps", NULL, NULL,
		 shared->slot ? shared->map_bytes : 0},
	};

	for (size_t i = 0; i < SL_ARRAY_SIZE(figures); i++)
		each(arg, &figures[i]);
}

void sl_packet_figures(each_fn *each, void *arg)
{
	pthread_mutex_lock(&shared->lock);
	tell_counters(each, arg);
	tell_slots(each, arg);
	sl_refusals_tell(&shared->refusals, each, arg);
	tell_plain(each, arg);
	pthread_mutex_unlock(&shared->lock);
}

void sl_packet_fill(struct sl_map_fill *ret)
{
	*ret = (struct sl_map_fill){.map = "pairs"};
	pthread_mutex_lock(&shared->lock);
	for (int i = 0; shared->slot && i < SL_PACKET_USES; i++) {
		ret->limit += shared->uses[i];
		ret->used += i == USE_FREE ? 0 : shared->uses[i];
	}
	pthread_mutex_unlock(&shared->lock);
}
