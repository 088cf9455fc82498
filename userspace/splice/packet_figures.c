/* SPDX-License-Identifier: BSD-2-Clause */
/* What the packet engine counts beside its totals. Counters of the BPF programs live as long as the pinned
 * maps; the others as long as the process. All families are always there, with zeros where the engine
 * was not opened. */

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/util.h"
#include "splice/packet_shared.h"

typedef void each_fn(void *arg, const struct sl_figure *f);

static struct sl_packet_shared *const shared = &sl_packet_shared;

void sl_packet_count_refusal(const char *reason)
{
	struct sl_packet_refusal *r = shared->refusal;
	unsigned i;

	pthread_mutex_lock(&shared->lock);
	for (i = 0; i < SL_PACKET_REFUSALS - 1 && r[i].reason; i++)
		if (!strcmp(r[i].reason, reason))
			break;
	if (i < SL_PACKET_REFUSALS - 1)
		r[i].reason = reason;
	r[i].n++;
	pthread_mutex_unlock(&shared->lock);
}

void sl_packet_count_arm(void)
{
	__atomic_add_fetch(&shared->arms, 1, __ATOMIC_RELAXED);
}

/* --- counters of the programs --- */

/* What happens to pairs and not to packets. */
static bool is_event(enum sl_reason reason)
{
	const char *name = sl_reason_name(reason);

	return !strncmp(name, "FLIP_", 5) || !strncmp(name, "CLOSED_", 7) ||
	       !strcmp(name, "FAILED") || !strcmp(name, "EVENTS_LOST");
}

static void lower(const char *in, char out[32])
{
	size_t i = 0;

	for (; in[i] && i < 31; i++)
		out[i] = (char)tolower((unsigned char)in[i]);
	out[i] = 0;
}

static void tell_reasons(const struct sl_counter counter[SL_REASON_COUNT], struct sl_figure f,
			 bool events, bool bytes, each_fn *each, void *arg)
{
	char name[32];

	for (int i = 0; i < SL_REASON_COUNT; i++) {
		if (is_event(i) != events)
			continue;
		lower(sl_reason_name(i), name);
		f.value = name;
		f.n = bytes ? counter[i].bytes : counter[i].packets;
		each(arg, &f);
	}
}

static void tell_counters(each_fn *each, void *arg)
{
	struct sl_counter counter[SL_REASON_COUNT] = {0};

	if (shared->slot)
		sl_pins_counters(&shared->pins, counter);
	tell_reasons(counter,
		     (struct sl_figure){"packet_packets_total", "counter",
					"Packets by what became of them, since the programs were "
					"loaded",
					"reason"},
		     false, false, each, arg);
	tell_reasons(counter,
		     (struct sl_figure){"packet_bytes_total", "counter",
					"TCP payload of those packets", "reason"},
		     false, true, each, arg);
	tell_reasons(counter,
		     (struct sl_figure){"packet_events_total", "counter",
					"What happened to pairs, since the programs were loaded",
					"event"},
		     true, false, each, arg);
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

/* The last row, "other", takes what finds no row of its own. */
static void tell_refusals(each_fn *each, void *arg)
{
	struct sl_figure f = {"packet_refusals_total", "counter",
			      "Pairs that stay copied, by the reason that `sluice flows` shows",
			      "reason"};

	for (unsigned i = 0; i < SL_PACKET_REFUSALS; i++) {
		f.value = i < SL_PACKET_REFUSALS - 1 ? shared->refusal[i].reason : "other";
		f.n = shared->refusal[i].n;
		if (f.value)
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
	tell_refusals(each, arg);
	tell_plain(each, arg);
	pthread_mutex_unlock(&shared->lock);
}
