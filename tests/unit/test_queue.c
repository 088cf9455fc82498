/* SPDX-License-Identifier: BSD-2-Clause */
/* proxy/queue: who is woken, how often, and what remains of those who leave. */

#include "unit.h"

#include "proxy/upstream/queue.h"

#define WAITERS 4

static struct sl_queue queue;
static struct sl_loop *loop;
static struct sl_waiter waiter[WAITERS];
static unsigned woken[WAITERS], order[16], n_order;

static void wake(struct sl_task *t)
{
	struct sl_waiter *w = sl_container_of(t, struct sl_waiter, wake);

	sl_queue_woken(&queue, w);
	woken[w - waiter]++;
	order[n_order++] = (unsigned)(w - waiter);
}

static int open_queue(void **state)
{
	n_order = 0;
	assert_int_equal(sl_loop_new(&loop), 0);
	sl_queue_init(&queue);
	for (int i = 0; i < WAITERS; i++) {
		woken[i] = 0;
		sl_waiter_init(&waiter[i], loop, wake);
	}
	return 0;
}

static int close_queue(void **state)
{
	sl_queue_destroy(&queue);
	sl_loop_free(loop);
	return 0;
}

static void turn(void)
{
	assert_int_equal(sl_loop_turn(loop, 0), 0);
}

static void waiters_are_woken_in_order_and_once(void **state)
{
	for (int i = 0; i < 3; i++)
		assert_true(sl_queue_add(&queue, &waiter[i], 3));
	assert_false(sl_queue_add(&queue, &waiter[3], 3));
	assert_int_equal(sl_queue_len(&queue), 3);
	for (int i = 0; i < 5; i++)
		sl_queue_wake_first(&queue);
	assert_int_equal(sl_queue_len(&queue), 0);
	turn();
	turn();
	assert_int_equal(n_order, 3);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(order[i], i);
}

static void who_was_woken_in_vain_is_next_again(void **state)
{
	assert_true(sl_queue_add(&queue, &waiter[0], 9));
	assert_true(sl_queue_add(&queue, &waiter[1], 9));
	sl_queue_wake_first(&queue);
	turn();
	sl_queue_add_first(&queue, &waiter[0]);
	sl_queue_wake_first(&queue);
	turn();
	assert_int_equal(woken[0], 2);
	assert_int_equal(woken[1], 0);
	assert_false(sl_queue_remove(&queue, &waiter[1]));
}

static void who_leaves_before_it_ran_says_so_and_never_runs(void **state)
{
	assert_true(sl_queue_add(&queue, &waiter[0], 9));
	assert_false(sl_queue_remove(&queue, &waiter[0]));
	assert_int_equal(sl_queue_len(&queue), 0);
	assert_true(sl_queue_add(&queue, &waiter[0], 9));
	sl_queue_wake_first(&queue);
	assert_true(sl_queue_remove(&queue, &waiter[0]));
	assert_false(sl_queue_remove(&queue, &waiter[0]));
	turn();
	assert_int_equal(woken[0], 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(waiters_are_woken_in_order_and_once, open_queue,
						close_queue),
		cmocka_unit_test_setup_teardown(who_was_woken_in_vain_is_next_again, open_queue,
						close_queue),
		cmocka_unit_test_setup_teardown(who_leaves_before_it_ran_says_so_and_never_runs,
						open_queue, close_queue),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
