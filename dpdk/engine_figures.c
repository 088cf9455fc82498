/* SPDX-License-Identifier: BSD-2-Clause */
/* What the dpdk engine counts beside its totals, under the names that the packet engine has. */

#include "dpdk/engine_private.h"

/* The control thread tells figures, the worker's makes and ends the instance. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct sl_dpdk_engine *instance;

void sl_dpdk_publish(struct sl_dpdk_engine *e)
{
	pthread_mutex_lock(&lock);
	instance = e;
	pthread_mutex_unlock(&lock);
}

void sl_dpdk_count_refusal(struct sl_dpdk_engine *e, const char *reason)
{
	pthread_mutex_lock(&lock);
	sl_refusals_count(&e->refusals, reason);
	pthread_mutex_unlock(&lock);
}

static void tell_slots(const struct sl_dpdk_engine *e, sl_figure_fn *each, void *arg)
{
	struct sl_figure f = {"packet_slots", "gauge", "Slots for pairs by state", "state"};
	uint32_t taken = __atomic_load_n(&e->slots.n_taken, __ATOMIC_RELAXED);
	uint32_t cooling = __atomic_load_n(&e->slots.n_cooling, __ATOMIC_RELAXED);
	uint64_t active = __atomic_load_n(&e->totals.active, __ATOMIC_RELAXED);

	f.value = "free";
	f.n = e->slots.n - taken - cooling;
	each(arg, &f);
	f.value = "watch";
	f.n = taken > active ? taken - active : 0;
	each(arg, &f);
	f.value = "active";
	f.n = active;
	each(arg, &f);
	f.value = "closed";
	f.n = cooling;
	each(arg, &f);
}

static void tell_fill(const struct sl_dpdk_engine *e, sl_figure_fn *each, void *arg)
{
	const struct sl_map_fill fill = {
		"pairs",
		__atomic_load_n(&e->slots.n_taken, __ATOMIC_RELAXED) +
			__atomic_load_n(&e->slots.n_cooling, __ATOMIC_RELAXED),
		e->slots.n};

	sl_tell_fill(&fill, 1, each, arg);
}

static void tell(const struct sl_dpdk_engine *e, sl_figure_fn *each, void *arg)
{
	const struct sl_figure arms = {"packet_arms_total",
				       "counter",
				       "Times that a pair was armed; those above the flips found "
				       "it busy",
				       NULL,
				       NULL,
				       __atomic_load_n(&e->arms, __ATOMIC_RELAXED)};
	const struct sl_figure resets = {"packet_resets_total",
					 "counter",
					 "Pairs whose peers were reset by RSTs",
					 NULL,
					 NULL,
					 __atomic_load_n(&e->resets, __ATOMIC_RELAXED)};
	struct sl_counter counter[SL_REASON_COUNT] = {0};

	if (e->table)
		sl_dpdk_splice_count(e->table, counter);
	sl_tell_counters(counter, each, arg);
	tell_slots(e, each, arg);
	tell_fill(e, each, arg);
	sl_refusals_tell(&e->refusals, each, arg);
	each(arg, &arms);
	each(arg, &resets);
}

void sl_dpdk_figures(void (*each)(void *arg, const struct sl_figure *f), void *arg)
{
	pthread_mutex_lock(&lock);
	if (instance)
		tell(instance, each, arg);
	pthread_mutex_unlock(&lock);
}
