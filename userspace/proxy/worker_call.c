/* SPDX-License-Identifier: BSD-2-Clause */
/* Calls into a worker's thread. A call that its caller has given up is never run: who waits and who runs
 * agree on it under a lock, and the last one of them frees it. */

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "base/util.h"
#include "proxy/worker.h"

enum call_state {
	CALL_WAITS,
	CALL_RUNS,
	CALL_DONE,
	CALL_ABANDONED,
};

struct call {
	struct sl_task task;
	struct sl_worker *worker;
	void (*fn)(struct sl_worker *w, void *arg);
	void *arg;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	enum call_state state;
};

static void free_call(struct call *call)
{
	pthread_cond_destroy(&call->changed);
	pthread_mutex_destroy(&call->lock);
	free(call);
}

static void set_state(struct call *call, enum call_state state)
{
	pthread_mutex_lock(&call->lock);
	call->state = state;
	pthread_cond_signal(&call->changed);
	pthread_mutex_unlock(&call->lock);
}

static void run_call(struct sl_task *t)
{
	struct call *call = sl_container_of(t, struct call, task);
	bool abandoned;

	pthread_mutex_lock(&call->lock);
	abandoned = call->state == CALL_ABANDONED;
	call->state = CALL_RUNS;
	pthread_mutex_unlock(&call->lock);
	if (abandoned) {
		free_call(call);
		return;
	}
	call->fn(call->worker, call->arg);
	set_state(call, CALL_DONE);
}

static struct call *new_call(struct sl_worker *w, void (*fn)(struct sl_worker *w, void *arg),
			     void *arg)
{
	struct call *call = calloc(1, sizeof(*call));
	pthread_condattr_t monotonic;

	if (!call)
		return NULL;
	call->worker = w;
	call->fn = fn;
	call->arg = arg;
	pthread_mutex_init(&call->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&call->changed, &monotonic);
	pthread_condattr_destroy(&monotonic);
	sl_task_init(&call->task, run_call);
	return call;
}

static struct timespec in_ms(uint32_t ms)
{
	uint64_t at = sl_clock_us() + (uint64_t)ms * 1000;

	return (struct timespec){.tv_sec = (time_t)(at / 1000000),
				 .tv_nsec = (long)(at % 1000000) * 1000};
}

/* What has begun is waited for: it is short, and uses the caller's arg. */
static int wait_for(struct call *call, const struct timespec *until)
{
	int r = 0;

	pthread_mutex_lock(&call->lock);
	while (call->state == CALL_WAITS && until && !r)
		r = pthread_cond_timedwait(&call->changed, &call->lock, until);
	if (call->state == CALL_WAITS && r)
		call->state = CALL_ABANDONED;
	while (call->state != CALL_DONE && call->state != CALL_ABANDONED)
		pthread_cond_wait(&call->changed, &call->lock);
	r = call->state == CALL_DONE ? 0 : -ETIMEDOUT;
	pthread_mutex_unlock(&call->lock);
	if (!r)
		free_call(call);
	return r;
}

int sl_worker_ask(struct sl_worker *w, void (*fn)(struct sl_worker *w, void *arg), void *arg,
		  uint32_t bound_ms)
{
	const struct timespec until = in_ms(bound_ms);
	struct call *call = new_call(w, fn, arg);

	if (!call)
		return -ENOMEM;
	sl_loop_post(w->loop, &call->task);
	return wait_for(call, &until);
}

/* In the caller's memory: it can't fail. */
void sl_worker_call(struct sl_worker *w, void (*fn)(struct sl_worker *w, void *arg), void *arg)
{
	struct call call = {
		.worker = w,
		.fn = fn,
		.arg = arg,
		.lock = PTHREAD_MUTEX_INITIALIZER,
		.changed = PTHREAD_COND_INITIALIZER,
	};

	sl_task_init(&call.task, run_call);
	sl_loop_post(w->loop, &call.task);
	pthread_mutex_lock(&call.lock);
	while (call.state != CALL_DONE)
		pthread_cond_wait(&call.changed, &call.lock);
	pthread_mutex_unlock(&call.lock);
}
