/* SPDX-License-Identifier: BSD-2-Clause */
/* The event loop. epoll carries a table index, not a pointer: an entry that was deleted (and perhaps
 * reused) while its events sat in the current batch is recognised by its generation. */

#include "base/loop.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define BATCH 256

struct entry {
	struct sl_io *io; /* NULL: free, then next_free counts */
	uint32_t generation;
	uint32_t next_free;
};

struct sl_loop {
	int epoll_fd;
	struct sl_io wakeup; /* eventfd: something was posted, or stop */
	struct entry *entries;
	uint32_t n_entries, first_free;
	struct sl_wheel wheel;
	uint64_t now_us, end_us; /* when this turn's wait and the last turn ended */
	struct sl_list deferred;
	struct sl_poller *poller; /* or NULL */
	unsigned unwatched;	  /* turns since descriptors were looked at */
	pthread_mutex_t posted_lock;
	struct sl_list posted;
	bool stop; /* atomic */
	struct sl_loop_stats stats;
};

#define NO_ENTRY UINT32_MAX

uint64_t sl_clock_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static void wakeup_event(struct sl_io *io, uint32_t events)
{
	uint64_t n;

	if (read(io->fd, &n, sizeof(n)) < 0)
		return; /* EAGAIN: somebody else's wake-up was read already */
}

int sl_loop_new(struct sl_loop **ret)
{
	struct sl_loop *l = calloc(1, sizeof(*l));
	int r;

	if (!l)
		return -ENOMEM;
	l->first_free = NO_ENTRY;
	l->wakeup = (struct sl_io){.fd = -1, .on_event = wakeup_event};
	sl_list_init(&l->deferred);
	sl_list_init(&l->posted);
	pthread_mutex_init(&l->posted_lock, NULL);
	l->now_us = l->end_us = sl_clock_us();
	sl_wheel_init(&l->wheel, l->now_us / 1000);
	l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (l->epoll_fd < 0)
		goto fail;
	l->wakeup.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (l->wakeup.fd < 0)
		goto fail;
	r = sl_loop_add(l, &l->wakeup, EPOLLIN);
	if (r < 0) {
		sl_loop_free(l);
		return r;
	}
	*ret = l;
	return 0;
fail:
	r = -errno;
	sl_loop_free(l);
	return r;
}

void sl_loop_free(struct sl_loop *l)
{
	if (!l)
		return;
	sl_close(l->wakeup.fd);
	sl_close(l->epoll_fd);
	pthread_mutex_destroy(&l->posted_lock);
	free(l->entries);
	free(l);
}

static int grow_entries(struct sl_loop *l)
{
	uint32_t n = l->n_entries ? l->n_entries * 2 : 64;
	struct entry *entries = reallocarray(l->entries, n, sizeof(*entries));

	if (!entries)
		return -ENOMEM;
	for (uint32_t i = l->n_entries; i < n; i++)
		entries[i] = (struct entry){.next_free = i + 1 < n ? i + 1 : NO_ENTRY};
	l->first_free = l->n_entries;
	l->entries = entries;
	l->n_entries = n;
	return 0;
}

static uint64_t entry_key(const struct sl_loop *l, uint32_t index)
{
	return (uint64_t)l->entries[index].generation << 32 | index;
}

static void release_entry(struct sl_loop *l, uint32_t index)
{
	struct entry *e = &l->entries[index];

	e->io = NULL;
	e->generation++;
	e->next_free = l->first_free;
	l->first_free = index;
}

int sl_loop_add(struct sl_loop *l, struct sl_io *io, uint32_t events)
{
	struct epoll_event ev = {.events = events};
	uint32_t index;
	int r;

	if (l->first_free == NO_ENTRY) {
		r = grow_entries(l);
		if (r < 0)
			return r;
	}
	index = l->first_free;
	ev.data.u64 = entry_key(l, index);
	if (epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, io->fd, &ev) < 0)
		return -errno;
	l->first_free = l->entries[index].next_free;
	l->entries[index].io = io;
	io->index = index + 1; /* 0: not added */
	return 0;
}

int sl_loop_mod(struct sl_loop *l, struct sl_io *io, uint32_t events)
{
	struct epoll_event ev = {.events = events};

	ev.data.u64 = entry_key(l, io->index - 1);
	return epoll_ctl(l->epoll_fd, EPOLL_CTL_MOD, io->fd, &ev) < 0 ? -errno : 0;
}

void sl_loop_del(struct sl_loop *l, struct sl_io *io)
{
	if (!io->index)
		return;
	epoll_ctl(l->epoll_fd, EPOLL_CTL_DEL, io->fd, NULL);
	sl_loop_forget(l, io);
}

void sl_loop_forget(struct sl_loop *l, struct sl_io *io)
{
	if (!io->index)
		return;
	release_entry(l, io->index - 1);
	io->index = 0;
}

void sl_loop_set_poller(struct sl_loop *l, struct sl_poller *p)
{
	l->poller = p;
}

void sl_task_init(struct sl_task *t, void (*run)(struct sl_task *t))
{
	sl_list_init(&t->node);
	t->run = run;
}

void sl_loop_defer(struct sl_loop *l, struct sl_task *t)
{
	if (sl_list_empty(&t->node))
		sl_list_add_tail(&l->deferred, &t->node);
}

void sl_loop_cancel(struct sl_task *t)
{
	sl_list_del(&t->node);
}

static void wake(struct sl_loop *l)
{
	uint64_t one = 1;

	if (write(l->wakeup.fd, &one, sizeof(one)) < 0)
		return; /* EAGAIN: the counter is full, so the loop wakes up anyway */
}

void sl_loop_post(struct sl_loop *l, struct sl_task *t)
{
	pthread_mutex_lock(&l->posted_lock);
	sl_list_add_tail(&l->posted, &t->node);
	pthread_mutex_unlock(&l->posted_lock);
	wake(l);
}

void sl_loop_stop(struct sl_loop *l)
{
	__atomic_store_n(&l->stop, true, __ATOMIC_RELEASE);
	wake(l);
}

uint64_t sl_loop_now_us(const struct sl_loop *l)
{
	return l->now_us;
}

uint64_t sl_loop_now_ms(const struct sl_loop *l)
{
	return l->now_us / 1000;
}

/* Rounded up by a tick, because now is sampled: a timer must not fire early. */
void sl_loop_arm(struct sl_loop *l, struct sl_timer *t, uint64_t delay_ms)
{
	sl_wheel_arm(&l->wheel, t, sl_loop_now_ms(l) + delay_ms + 1);
}

void sl_loop_disarm(struct sl_loop *l, struct sl_timer *t)
{
	sl_wheel_cancel(&l->wheel, t);
}

/* Runs what was in the list at the start; what is added meanwhile waits for the next turn. How many. */
static uint64_t run_list(struct sl_list *list)
{
	struct sl_list batch;
	uint64_t n = 0;

	if (sl_list_empty(list))
		return 0;
	sl_list_init(&batch);
	sl_list_add_tail(list, &batch);
	sl_list_del(list);
	while (!sl_list_empty(&batch)) {
		struct sl_task *t = sl_list_entry(batch.next, struct sl_task, node);

		sl_list_del(&t->node);
		t->run(t);
		n++;
	}
	return n;
}

/* Posted tasks run one by one off the shared list: they may be cancelled by an earlier one. */
void sl_loop_unpost(struct sl_loop *l, struct sl_task *t)
{
	pthread_mutex_lock(&l->posted_lock);
	sl_list_del(&t->node);
	pthread_mutex_unlock(&l->posted_lock);
}

static uint64_t run_posted(struct sl_loop *l)
{
	struct sl_list batch;

	sl_list_init(&batch);
	pthread_mutex_lock(&l->posted_lock);
	if (!sl_list_empty(&l->posted)) {
		sl_list_add_tail(&l->posted, &batch);
		sl_list_del(&l->posted);
	}
	pthread_mutex_unlock(&l->posted_lock);
	return run_list(&batch);
}

static int wait_ms(const struct sl_loop *l, int max_wait_ms)
{
	int64_t next = sl_wheel_next_ms(&l->wheel);
	int64_t late;

	if (!sl_list_empty(&l->deferred))
		return 0;
	if (next >= 0) {
		late = (int64_t)(sl_clock_us() / 1000) - (int64_t)l->wheel.now_ms;
		next = sl_max(next - late, (int64_t)0);
	}
	if (max_wait_ms >= 0 && (next < 0 || next > max_wait_ms))
		next = max_wait_ms;
	return (int)sl_min(next, (int64_t)INT_MAX);
}

/* One writer: others read each counter whole. */
static void count(uint64_t *counter, uint64_t n)
{
	__atomic_store_n(counter, *counter + n, __ATOMIC_RELAXED);
}

static void dispatch(struct sl_loop *l, const struct epoll_event *events, int n)
{
	uint64_t readable = 0, writable = 0, hangups = 0, stale = 0;

	for (int i = 0; i < n; i++) {
		uint32_t index = (uint32_t)events[i].data.u64, what = events[i].events;
		struct entry *e = &l->entries[index];

		if (!e->io || e->generation != events[i].data.u64 >> 32) {
			stale++;
			continue;
		}
		readable += !!(what & EPOLLIN);
		writable += !!(what & EPOLLOUT);
		hangups += !!(what & (EPOLLRDHUP | EPOLLHUP | EPOLLERR));
		e->io->on_event(e->io, what);
	}
	count(&l->stats.events, (uint64_t)n);
	count(&l->stats.readable, readable);
	count(&l->stats.writable, writable);
	count(&l->stats.hangups, hangups);
	count(&l->stats.stale, stale);
}

/* These three take the time when the one before ended and return when they did. The clock is asked only
 * behind what ran, so that the account of a turn costs one reading or two. */
static uint64_t run_io(struct sl_loop *l, const struct epoll_event *events, int n)
{
	uint64_t end_us;

	if (l->poller)
		l->poller->poll(l->poller);
	if (n > 0)
		dispatch(l, events, n);
	if (n <= 0 && !l->poller)
		return l->now_us;
	end_us = sl_clock_us();
	count(&l->stats.io_us, end_us - l->now_us);
	return end_us;
}

static uint64_t run_timers(struct sl_loop *l, uint64_t start_us)
{
	uint64_t before = l->wheel.fired, end_us;

	sl_wheel_advance(&l->wheel, l->now_us / 1000);
	if (l->wheel.fired == before)
		return start_us;
	end_us = sl_clock_us();
	count(&l->stats.timers, l->wheel.fired - before);
	count(&l->stats.timer_us, end_us - start_us);
	return end_us;
}

static uint64_t run_tasks(struct sl_loop *l, uint64_t start_us)
{
	uint64_t posted = run_posted(l), deferred = run_list(&l->deferred), end_us;

	if (!posted && !deferred)
		return start_us;
	end_us = sl_clock_us();
	count(&l->stats.posted, posted);
	count(&l->stats.deferred, deferred);
	count(&l->stats.task_us, end_us - start_us);
	return end_us;
}

/* As epoll_wait(2). A loop that does not wait need not ask the kernel each time. */
static int wait_events(struct sl_loop *l, struct epoll_event *events, int max_wait_ms)
{
	int may_ms = l->poller ? l->poller->may_wait(l->poller) : -1;

	if (may_ms >= 0 && (max_wait_ms < 0 || max_wait_ms > may_ms))
		max_wait_ms = may_ms;
	if (!may_ms && ++l->unwatched < SL_LOOP_POLLS)
		return 0;
	l->unwatched = 0;
	return epoll_wait(l->epoll_fd, events, BATCH, wait_ms(l, max_wait_ms));
}

int sl_loop_turn(struct sl_loop *l, int max_wait_ms)
{
	struct epoll_event events[BATCH];
	uint64_t spent_us;
	int n;

	n = wait_events(l, events, max_wait_ms);
	if (n < 0 && errno != EINTR)
		return -errno;
	l->now_us = sl_clock_us();
	count(&l->stats.wait_us, l->now_us - l->end_us);
	l->end_us = run_tasks(l, run_timers(l, run_io(l, events, n)));

	spent_us = l->end_us - l->now_us;
	count(&l->stats.turns, 1);
	count(&l->stats.busy_us, spent_us);
	if (spent_us > l->stats.longest_us)
		__atomic_store_n(&l->stats.longest_us, spent_us, __ATOMIC_RELAXED);
	sl_histogram_add(&l->stats.turn, spent_us);
	return 0;
}

int sl_loop_run(struct sl_loop *l)
{
	int r = 0;

	while (!r && !__atomic_load_n(&l->stop, __ATOMIC_ACQUIRE))
		r = sl_loop_turn(l, -1);
	return r;
}

void sl_loop_stats(const struct sl_loop *l, struct sl_loop_stats *ret)
{
	const uint64_t *from = (const uint64_t *)&l->stats;

	for (size_t i = 0; i < offsetof(struct sl_loop_stats, turn) / sizeof(*from); i++)
		((uint64_t *)ret)[i] = __atomic_load_n(&from[i], __ATOMIC_RELAXED);
	ret->turn = (struct sl_histogram){0};
	sl_histogram_merge(&ret->turn, &l->stats.turn);
}
