/* SPDX-License-Identifier: BSD-2-Clause */
/* Timer wheel. A timer sits in the lowest level whose span covers its delay; when the level below has
 * turned once, the next slot above is spread over it. Invariant: every armed timer in level k is due
 * within 64^(k+1) ticks of now, or sits in the top level and is re-armed when its slot comes up. */

#include "base/wheel.h"

#define LEVELS 4
#define BITS   6
#define SLOTS  (1u << BITS)
#define SPAN   ((uint64_t)1 << (BITS * LEVELS))

void sl_wheel_init(struct sl_wheel *w, uint64_t now_ms)
{
	w->now_ms = now_ms;
	w->armed = 0;
	for (unsigned level = 0; level < LEVELS; level++) {
		w->occupied[level] = 0;
		for (unsigned i = 0; i < SLOTS; i++)
			sl_list_init(&w->slot[level][i]);
	}
}

void sl_timer_init(struct sl_timer *t, void (*fire)(struct sl_timer *t))
{
	sl_list_init(&t->node);
	t->fire = fire;
	t->due_ms = 0;
}

static void put(struct sl_wheel *w, unsigned level, uint64_t at, struct sl_timer *t)
{
	unsigned i = (at >> (BITS * level)) % SLOTS;

	w->occupied[level] |= (uint64_t)1 << i;
	sl_list_add_tail(&w->slot[level][i], &t->node);
}

static void place(struct sl_wheel *w, struct sl_timer *t)
{
	uint64_t due = sl_max(t->due_ms, w->now_ms + 1);
	uint64_t delay = sl_min(due - w->now_ms, SPAN - 1);
	unsigned level = 0;

	while (level < LEVELS - 1 && delay >= (uint64_t)1 << (BITS * (level + 1)))
		level++;
	put(w, level, w->now_ms + delay, t);
}

void sl_wheel_arm(struct sl_wheel *w, struct sl_timer *t, uint64_t due_ms)
{
	sl_wheel_cancel(w, t);
	t->due_ms = due_ms;
	place(w, t);
	w->armed++;
}

void sl_wheel_cancel(struct sl_wheel *w, struct sl_timer *t)
{
	if (!sl_timer_armed(t))
		return;
	sl_list_del(&t->node);
	w->armed--;
}

/* Empties a slot of an upper level into the levels below. */
static void spread(struct sl_wheel *w, unsigned level)
{
	unsigned i = (w->now_ms >> (BITS * level)) % SLOTS;
	struct sl_list *slot = &w->slot[level][i];
	struct sl_list all;

	w->occupied[level] &= ~((uint64_t)1 << i);
	if (sl_list_empty(slot))
		return;
	sl_list_init(&all);
	sl_list_add_tail(slot, &all);
	sl_list_del(slot);
	while (!sl_list_empty(&all)) {
		struct sl_timer *t = sl_list_entry(all.next, struct sl_timer, node);

		sl_list_del(&t->node);
		if (t->due_ms <= w->now_ms)
			put(w, 0, w->now_ms, t);
		else
			place(w, t);
	}
}

static void tick(struct sl_wheel *w)
{
	struct sl_list *slot;

	w->now_ms++;
	for (unsigned level = LEVELS - 1; level > 0; level--)
		if (!(w->now_ms & (((uint64_t)1 << (BITS * level)) - 1)))
			spread(w, level);
	slot = &w->slot[0][w->now_ms % SLOTS];
	w->occupied[0] &= ~((uint64_t)1 << (w->now_ms % SLOTS));
	while (!sl_list_empty(slot)) {
		struct sl_timer *t = sl_list_entry(slot->next, struct sl_timer, node);

		sl_list_del(&t->node);
		w->armed--;
		w->fired++;
		t->fire(t);
	}
}

void sl_wheel_advance(struct sl_wheel *w, uint64_t now_ms)
{
	while (w->now_ms < now_ms) {
		if (!w->armed) {
			w->now_ms = now_ms;
			return;
		}
		tick(w);
	}
}

/* Ticks from now until the next occupied slot of a level comes up. */
static uint64_t level_next(const struct sl_wheel *w, unsigned level)
{
	uint64_t here = w->now_ms >> (BITS * level);
	unsigned first = (unsigned)((here + 1) % SLOTS);
	uint64_t bits = w->occupied[level];
	uint64_t turned = first ? bits >> first | bits << (SLOTS - first) : bits;

	if (!turned)
		return UINT64_MAX;
	return ((here + 1 + (uint64_t)__builtin_ctzll(turned)) << (BITS * level)) - w->now_ms;
}

int64_t sl_wheel_next_ms(const struct sl_wheel *w)
{
	uint64_t next = UINT64_MAX;

	if (!w->armed)
		return -1;
	for (unsigned level = 0; level < LEVELS; level++)
		next = sl_min(next, level_next(w, level));
	return (int64_t)next;
}
