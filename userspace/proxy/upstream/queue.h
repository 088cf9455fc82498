/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_PROXY_QUEUE_H
#define SLUICE_PROXY_QUEUE_H

/* Who waits for room at an upstream, whatever their worker: first come, first served. Whoever makes
 * room wakes the first; a waiter that finds the room taken goes back to the front.
 *
 * Any thread may call; a waiter is added and removed by the thread of its loop, where it is woken. */

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/loop.h"

struct sl_queue {
	pthread_mutex_t lock;
	struct sl_list waiting;
	uint32_t n;
};

struct sl_waiter {
	struct sl_list node;
	struct sl_loop *loop;
	struct sl_task wake; /* its run is called once for each time that it is added */
	bool woken;	     /* wake is on its way */
};

void sl_queue_init(struct sl_queue *q);
void sl_queue_destroy(struct sl_queue *q);

void sl_waiter_init(struct sl_waiter *w, struct sl_loop *loop, void (*wake)(struct sl_task *t));
/* False if `limit` wait already. */
bool sl_queue_add(struct sl_queue *q, struct sl_waiter *w, uint32_t limit);
void sl_queue_add_first(struct sl_queue *q, struct sl_waiter *w);
/* Whatever its state. True if it was woken and has not run: somebody else may have its turn. */
bool sl_queue_remove(struct sl_queue *q, struct sl_waiter *w);
/* To be called first by w's wake. */
void sl_queue_woken(struct sl_queue *q, struct sl_waiter *w);

void sl_queue_wake_first(struct sl_queue *q);

static inline uint32_t sl_queue_len(const struct sl_queue *q)
{
	return __atomic_load_n(&q->n, __ATOMIC_SEQ_CST);
}

#endif
