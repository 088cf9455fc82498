/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_BASE_LOOP_H
#define SLUICE_BASE_LOOP_H

/* Event loop of one thread over epoll(7).
 *
 * Order inside one turn: wait; ask the poller; run I/O callbacks of the batch; fire due timers; run
 * what other threads posted; run deferred tasks. Deferred tasks run last, so "free me later" is
 * sl_loop_defer(): no callback of the same batch can then meet a freed object, provided that the
 * object was removed with sl_loop_del() before (its events still in the batch are dropped).
 *
 * Everything but sl_loop_post() and sl_loop_stop() belongs to the loop's own thread. */

#include <stdbool.h>
#include <stdint.h>

#include "base/histogram.h"
#include "base/list.h"
#include "base/wheel.h"

struct sl_loop;

/* A descriptor watched by the loop. events are EPOLL* bits. The loop owns neither it nor fd. */
struct sl_io {
	int fd;
	uint32_t index; /* the loop's own */
	void (*on_event)(struct sl_io *io, uint32_t events);
};

/* Work for later: node is the loop's while queued. */
struct sl_task {
	struct sl_list node;
	void (*run)(struct sl_task *t);
};

/* Something that is asked instead of waited for, such as a network card without the kernel: once a turn,
 * before the I/O callbacks. Owned by whoever set it. */
struct sl_poller {
	/* Before the loop waits: milliseconds that it may, -1: for ever, 0: not at all. */
	int (*may_wait)(struct sl_poller *p);
	/* After it has waited, or not. */
	void (*poll)(struct sl_poller *p);
};

int sl_loop_new(struct sl_loop **ret);
void sl_loop_free(struct sl_loop *l);

/* Runs until sl_loop_stop(); 0 or -errno of epoll_wait. */
int sl_loop_run(struct sl_loop *l);
/* One turn, waiting at most max_wait_ms (-1: no limit). For tests and for foreign poll loops. */
int sl_loop_turn(struct sl_loop *l, int max_wait_ms);
/* From any thread or signal handler. */
void sl_loop_stop(struct sl_loop *l);

/* io->fd and io->on_event set by the caller. 0 or -errno (of epoll_ctl, -ENOMEM). */
int sl_loop_add(struct sl_loop *l, struct sl_io *io, uint32_t events);
int sl_loop_mod(struct sl_loop *l, struct sl_io *io, uint32_t events);
/* Before the descriptor is closed. Idempotent. */
void sl_loop_del(struct sl_loop *l, struct sl_io *io);
/* The same for a descriptor without a duplicate that is closed at once: closing ends what epoll knows
 * of it, and saves a system call. */
void sl_loop_forget(struct sl_loop *l, struct sl_io *io);

/* One poller; NULL: none. While it does not let the loop wait, descriptors are looked at in every
 * SL_LOOP_POLLS-th turn only. */
#define SL_LOOP_POLLS 8
void sl_loop_set_poller(struct sl_loop *l, struct sl_poller *p);

void sl_task_init(struct sl_task *t, void (*run)(struct sl_task *t));
/* Runs t at the end of this turn (or of the next, if deferred from a deferred task). A task that
 * is queued already stays queued once. */
void sl_loop_defer(struct sl_loop *l, struct sl_task *t);
void sl_loop_cancel(struct sl_task *t);
/* From any thread: runs t in the loop's thread soon. The task must not be queued anywhere. */
void sl_loop_post(struct sl_loop *l, struct sl_task *t);
/* In the loop's thread: takes back a posted task that has not run. Nothing happens if it has. */
void sl_loop_unpost(struct sl_loop *l, struct sl_task *t);

/* CLOCK_MONOTONIC, sampled once a turn. */
uint64_t sl_loop_now_ms(const struct sl_loop *l);
uint64_t sl_loop_now_us(const struct sl_loop *l);
/* CLOCK_MONOTONIC now. */
uint64_t sl_clock_us(void);

void sl_loop_arm(struct sl_loop *l, struct sl_timer *t, uint64_t delay_ms);
void sl_loop_disarm(struct sl_loop *l, struct sl_timer *t);

struct sl_loop_stats {
	uint64_t turns;
	uint64_t events;
	uint64_t busy_us;    /* outside epoll_wait */
	uint64_t longest_us; /* longest turn without the wait: the loop's lag */
	uint64_t wait_us;
	uint64_t io_us, timer_us, task_us; /* parts of busy_us: I/O with polling, timers, tasks */
	uint64_t readable, writable, hangups; /* events with these bits; one may have several */
	uint64_t stale;			      /* events of what was deleted in the same turn */
	uint64_t timers, posted, deferred;    /* that ran */
	struct sl_histogram turn;	      /* of all turns, without the wait */
};
void sl_loop_stats(const struct sl_loop *l, struct sl_loop_stats *ret);

#endif
