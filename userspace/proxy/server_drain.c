/* SPDX-License-Identifier: BSD-2-Clause */
/* The drain of the whole process, in this order:
 *
 *	at once          not ready; answers tell clients that their connection ends
 *	drain_delay      no more handshakes begin
 *	a moment later   listeners accept what waits and close; idle connections close
 *	bound, or empty  what is left is reset, but for pairs that the kernel carries, and the loop ends
 *
 * Whoever follows the progress hears how it ended before the process does: it stays for a moment longer,
 * until it was asked once more. */

#include <errno.h>

#include "base/util.h"
#include "proxy/notify.h"
#include "proxy/server_state.h"

#define CHECK_MS     20
#define ASK_MS	     2000
#define FOLLOWED_MS  2000 /* whoever asked so lately will ask again */
#define LAST_WORD_MS 100  /* for the answer to leave */

static uint64_t sum_of(const struct sl_daemon *s, size_t offset)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < s->n_workers; i++)
		n += __atomic_load_n(
			(const uint64_t *)((const char *)&s->worker[i]->stats + offset),
			__ATOMIC_RELAXED);
	return n;
}

#define SUM(s, name) sum_of(s, offsetof(struct sl_stats, name))

/* With adopted tunnels, which have no connection of this process. */
static uint64_t active_connections(const struct sl_daemon *s)
{
	return SUM(s, connections_active) + SUM(s, tunnels_adopted);
}

/* --- the end --- */

/* Pairs of the packet engine need no process; DPDK's end with it. */
static uint64_t spliced_in_kernel(const struct sl_daemon *s)
{
	struct sl_engine_totals t;
	uint64_t n = 0;

	if (s->config->transport != SL_TRANSPORT_SOCKET)
		return 0;
	for (uint32_t i = 0; i < s->n_workers; i++)
		for (size_t k = 1; k < s->worker[i]->engines.n; k++) {
			const struct sl_engine *e = s->worker[i]->engines.engine[k];

			if (!e || e->ops->for_talk)
				continue;
			e->ops->totals(e, &t);
			n += t.active;
		}
	return n;
}

static void end(struct sl_daemon *s, uint64_t left)
{
	const uint64_t now = sl_loop_now_ms(s->loop);

	s->drain_over = true;
	s->drain_kept = sl_min(left, spliced_in_kernel(s));
	s->drain_reset = left - s->drain_kept;
	if (s->drain_reset)
		sl_warning("drain: time is over, %llu connections are reset",
			   (unsigned long long)s->drain_reset);
	if (s->drain_kept)
		sl_info("drain: time is over, %llu spliced tunnels go on in the kernel",
			(unsigned long long)s->drain_kept);
	if (s->followed_ms && now - s->followed_ms < FOLLOWED_MS)
		sl_loop_arm(s->loop, &s->drain_check, FOLLOWED_MS);
	else
		sl_loop_stop(s->loop);
}

static void end_lingering(struct sl_worker *w, void *arg)
{
	sl_worker_end_lingering(w);
}

/* What is left when nobody waits for a FIN any more. */
static uint64_t left_in_earnest(const struct sl_daemon *s)
{
	for (uint32_t i = 0; i < s->n_workers; i++)
		if (!s->stuck[i])
			sl_worker_ask(s->worker[i], end_lingering, NULL, ASK_MS);
	return active_connections(s);
}

static void check_drain(struct sl_timer *t)
{
	struct sl_daemon *s = sl_container_of(t, struct sl_daemon, drain_check);
	uint64_t left = active_connections(s);

	if (s->drain_over)
		sl_loop_stop(s->loop);
	else if (left && (!s->drain_until_ms || sl_loop_now_ms(s->loop) < s->drain_until_ms))
		sl_loop_arm(s->loop, &s->drain_check, CHECK_MS);
	else
		end(s, left ? left_in_earnest(s) : 0);
}

/* --- the listeners --- */

static void drain_worker(struct sl_worker *w, void *arg)
{
	sl_worker_drain(w);
}

/* A worker that does not answer may still poll its descriptors. */
static void close_doors(struct sl_daemon *s)
{
	if (s->retired)
		sl_doors_close(&s->doors); /* the other process has the same sockets */
	else
		sl_server_close_doors(s, NULL);
}

static void close_listeners(struct sl_daemon *s)
{
	bool all = true;

	s->closing_listeners = false;
	sl_info("draining %llu connections", (unsigned long long)active_connections(s));
	for (uint32_t i = 0; i < s->n_workers; i++) {
		if (sl_worker_ask(s->worker[i], drain_worker, NULL, ASK_MS) == 0)
			continue;
		sl_error("drain: worker %u does not answer", i);
		all = false;
	}
	if (all)
		close_doors(s);
	if (s->drain_bound_ms)
		s->drain_until_ms = sl_loop_now_ms(s->loop) + s->drain_bound_ms;
	sl_timer_init(&s->drain_check, check_drain);
	sl_loop_arm(s->loop, &s->drain_check, 1);
}

static void handshakes_are_over(struct sl_timer *t)
{
	close_listeners(sl_container_of(t, struct sl_daemon, drain_check));
}

static void shut_doors(struct sl_daemon *s)
{
	for (size_t i = 0; i < s->doors.n; i++)
		sl_doors_shut(&s->doors, &s->doors.door[i].addr);
	sl_timer_init(&s->drain_check, handshakes_are_over);
	sl_loop_arm(s->loop, &s->drain_check, SL_SHUT_MS);
}

static void delay_passed(struct sl_timer *t)
{
	shut_doors(sl_container_of(t, struct sl_daemon, drain_check));
}

static void set_all_end(struct sl_worker *w, void *arg)
{
	w->all_end = true;
}

/* --- begin --- */

static void change_bound(struct sl_daemon *s, uint64_t bound_ms)
{
	s->drain_bound_ms = bound_ms;
	if (!s->closing_listeners)
		s->drain_until_ms = bound_ms ? sl_loop_now_ms(s->loop) + bound_ms : 0;
}

/* Whoever balances by readiness sees it go before a connection is refused. */
void sl_server_drain(struct sl_daemon *s, uint64_t bound_ms, bool at_once)
{
	uint32_t delay = s->retired ? 0 : s->config->timeouts.drain_delay;

	if (s->draining) {
		change_bound(s, bound_ms);
		return;
	}
	s->drain_bound_ms = bound_ms;
	s->draining = true;
	if (!s->retired)
		sl_notify("STOPPING=1", -1);
	if (!delay && at_once) {
		close_listeners(s);
		return;
	}
	sl_info("draining: not ready from now on, listeners close in %u ms", delay);
	for (uint32_t i = 0; i < s->n_workers; i++)
		sl_worker_ask(s->worker[i], set_all_end, NULL, ASK_MS);
	s->closing_listeners = true;
	s->drain_close_ms = sl_loop_now_ms(s->loop) + delay;
	if (!delay) {
		shut_doors(s);
		return;
	}
	sl_timer_init(&s->drain_check, delay_passed);
	sl_loop_arm(s->loop, &s->drain_check, delay);
}

/* --- progress --- */

static uint64_t left_of(uint64_t until_ms, uint64_t now)
{
	return until_ms > now ? until_ms - now : 0;
}

void sl_server_drain_progress(struct sl_daemon *s, struct sl_drain_progress *ret)
{
	const uint64_t now = sl_loop_now_ms(s->loop), adopted = SUM(s, tunnels_adopted);

	*ret = (struct sl_drain_progress){
		.state = s->drain_over ? "drained"
			 : s->draining ? "draining"
				       : "up",
		.closes_in_ms = s->closing_listeners ? left_of(s->drain_close_ms, now) : 0,
		.bounded = s->draining && s->drain_bound_ms,
		.ends_in_ms =
			s->closing_listeners ? s->drain_bound_ms : left_of(s->drain_until_ms, now),
		.connections = SUM(s, connections_active) + adopted,
		.idle = SUM(s, connections_idle),
		.tunnels = SUM(s, tunnels_active) + adopted,
		.reset = s->drain_reset,
		.kept = s->drain_kept,
	};
	s->followed_ms = now;
	if (s->drain_over && !s->drain_told)
		sl_loop_arm(s->loop, &s->drain_check, LAST_WORD_MS);
	s->drain_told = s->drain_over;
}
