/* SPDX-License-Identifier: BSD-2-Clause */
/* A queue of waiters of several threads.
 *
 * Invariant: a waiter is in the list, or woken (its task is posted), or neither; all three change under
 * the lock only. `n` is the length of the list, readable without the lock. */

#include "proxy/upstream/queue.h"

void sl_queue_init(struct sl_queue *q)
{
	pthread_mutex_init(&q->lock, NULL);
	sl_list_init(&q->waiting);
	q->n = 0;
}

void sl_queue_destroy(struct sl_queue *q)
{
	pthread_mutex_destroy(&q->lock);
}

void sl_waiter_init(struct sl_waiter *w, struct sl_loop *loop, void (*wake)(struct sl_task *t))
{
	sl_list_init(&w->node);
	sl_task_init(&w->wake, wake);
	w->loop = loop;
	w->woken = false;
}

static void count(struct sl_queue *q, int n)
{
	__atomic_store_n(&q->n, q->n + (uint32_t)n, __ATOMIC_SEQ_CST);
}

bool sl_queue_add(struct sl_queue *q, struct sl_waiter *w, uint32_t limit)
{
	bool fits;

	pthread_mutex_lock(&q->lock);
	fits = q->n < limit;
	if (fits) {
		sl_list_add_tail(&q->waiting, &w->node);
		count(q, 1);
	}
	pthread_mutex_unlock(&q->lock);
	return fits;
}

void sl_queue_add_first(struct sl_queue *q, struct sl_waiter *w)
{
	pthread_mutex_lock(&q->lock);
	sl_list_add(&q->waiting, &w->node);
	count(q, 1);
	pthread_mutex_unlock(&q->lock);
}

bool sl_queue_remove(struct sl_queue *q, struct sl_waiter *w)
{
	bool woken;

	pthread_mutex_lock(&q->lock);
	woken = w->woken;
	w->woken = false;
	if (!sl_list_empty(&w->node)) {
		sl_list_del(&w->node);
		count(q, -1);
	}
	pthread_mutex_unlock(&q->lock);
	if (woken)
		sl_loop_unpost(w->loop, &w->wake);
	return woken;
}

void sl_queue_woken(struct sl_queue *q, struct sl_waiter *w)
{
	pthread_mutex_lock(&q->lock);
	w->woken = false;
	pthread_mutex_unlock(&q->lock);
}

void sl_queue_wake_first(struct sl_queue *q)
{
	struct sl_waiter *w;

	pthread_mutex_lock(&q->lock);
	if (!sl_list_empty(&q->waiting)) {
		w = sl_list_entry(q->waiting.next, struct sl_waiter, node);
		sl_list_del(&w->node);
		count(q, -1);
		w->woken = true;
		sl_loop_post(w->loop, &w->wake);
	}
	pthread_mutex_unlock(&q->lock);
}
