/* SPDX-License-Identifier: BSD-2-Clause */
/* proxy/lease: races about room, each forced. What other workers do between two steps of a lease is done here
 * by hooks in place of the functions that are called there (the linker's --wrap). And how connections end. */

#include "conn_fixture.h"

#define LEASES 4

struct one {
	struct sl_lease lease;
	struct sl_lease_done done;
	bool is_done;
};

static struct fixture *f;
static struct sl_upstream *u;
static struct one one[LEASES];
/* Run once, and forgotten. NULL: nothing happens. */
static void (*before_queueing)(void);
static void (*after_choosing)(struct sl_server *chosen);

void __real_sl_queue_add_first(struct sl_queue *q, struct sl_waiter *w);
void __wrap_sl_queue_add_first(struct sl_queue *q, struct sl_waiter *w);
size_t __real_sl_balancer_choose(struct sl_balancer *b, const struct sl_candidate *c, size_t n,
				 uint64_t hash);
size_t __wrap_sl_balancer_choose(struct sl_balancer *b, const struct sl_candidate *c, size_t n,
				 uint64_t hash);

void __wrap_sl_queue_add_first(struct sl_queue *q, struct sl_waiter *w)
{
	void (*hook)(void) = SL_TAKE_PTR(before_queueing);

	if (hook)
		hook();
	__real_sl_queue_add_first(q, w);
}

size_t __wrap_sl_balancer_choose(struct sl_balancer *b, const struct sl_candidate *c, size_t n,
				 uint64_t hash)
{
	void (*hook)(struct sl_server *) = SL_TAKE_PTR(after_choosing);
	size_t i = __real_sl_balancer_choose(b, c, n, hash);

	if (hook)
		hook(&u->server[c[i].server]);
	return i;
}

static void on_done(struct sl_lease *l, const struct sl_lease_done *done)
{
	struct one *o = sl_container_of(l, struct one, lease);

	assert_false(o->is_done);
	o->done = *done;
	o->is_done = true;
}

static int open_upstream(void **state)
{
	static const struct setup setup = {
		.listener = "mode: http, upstream: app",
		.more = "upstreams: [{name: app, servers: [\"10.0.0.1:80\", \"10.0.0.2:80\"], "
			"pool: {max: 2, idle: 2, requests: 2, queue: 4, queue_timeout: 60s}}]",
	};
	struct fake_connect_rule never = {.silent = true};

	f = fixture_open(&setup);
	u = f->generation->upstream[0];
	sl_addr_parse(SL_SLICE("10.0.0.2:80"), &never.addr);
	fake_on_connect(f->w->transport, &never);
	memset(one, 0, sizeof(one));
	before_queueing = NULL;
	after_choosing = NULL;
	return 0;
}

static int close_upstream(void **state)
{
	fixture_close(f);
	return 0;
}

/* As many as a server may have, or as are missing until then, in use by somebody else. */
static void fill(struct sl_server *s)
{
	while (sl_server_has_room(s))
		assert_true(sl_server_hold(s));
}

static void empty(struct sl_server *s)
{
	while (s->leased)
		sl_server_release(s);
}

static void ask(struct one *o, bool fresh)
{
	const struct sl_lease_options options = {.worker = f->w, .upstream = u, .fresh = fresh};

	*o = (struct one){0};
	o->is_done = sl_lease_start(&o->lease, &options, on_done, &o->done);
}

static void give_back(struct one *o, bool idle)
{
	if (!idle && o->done.stream)
		o->done.stream->ops->close(o->done.stream, SL_CLOSE_GRACEFUL);
	sl_lease_end(&o->lease, idle ? o->done.stream : NULL, SL_OUTCOME_GOOD);
}

static void connected(struct one *o)
{
	UNTIL(f, o->is_done);
	assert_int_equal(o->done.result, SL_LEASE_OK);
}

/* A server that came back with room for many got one of those who waited; the next one went on when that one's
 * request was over. */
static void all_who_wait_go_on_when_there_is_room_for_all(void **state)
{
	sl_server_set_drained(&u->server[0], true, sl_loop_now_ms(f->w->loop));
	fill(&u->server[1]);
	ask(&one[0], false);
	ask(&one[1], false);
	UNTIL(f, sl_queue_len(&u->queue) == 2);
	sl_server_set_drained(&u->server[0], false, sl_loop_now_ms(f->w->loop));
	connected(&one[0]);
	connected(&one[1]);
	give_back(&one[0], false);
	give_back(&one[1], false);
	empty(&u->server[1]);
}

static void first_server_gets_room(void)
{
	assert_int_equal(sl_queue_len(&u->queue), 0); /* nobody is there to be woken */
	sl_server_release(&u->server[0]);
}

/* A waiter that was woken in vain is in no list until it is back in the queue. Whoever made room meanwhile
 * woke nobody, and it waited until its patience ended. */
static void room_made_while_a_waiter_goes_back_wakes_it(void **state)
{
	fill(&u->server[0]);
	fill(&u->server[1]);
	ask(&one[0], false);
	assert_int_equal(sl_queue_len(&u->queue), 1);
	before_queueing = first_server_gets_room;
	sl_server_release(&u->server[0]); /* wakes it, but somebody else is faster */
	fill(&u->server[0]);
	connected(&one[0]);
	assert_null(before_queueing); /* it did go back */
	give_back(&one[0], false);
	empty(&u->server[0]);
	empty(&u->server[1]);
}

/* Room that a waiter may not have must not wake it again and again. */
static void room_of_a_drained_server_wakes_nobody(void **state)
{
	fill(&u->server[0]);
	sl_server_set_drained(&u->server[1], true, sl_loop_now_ms(f->w->loop));
	ask(&one[0], false);
	sl_upstream_wake(u);
	fixture_turns(f, 1);
	assert_int_equal(sl_queue_len(&u->queue), 1);
	assert_false(one[0].lease.waiter.woken);
	sl_lease_end(&one[0].lease, NULL, SL_OUTCOME_UNKNOWN);
	empty(&u->server[0]);
}

static void second_server_is_left(struct sl_server *chosen)
{
	fill(&u->server[0]);
	assert_ptr_equal(chosen, &u->server[0]);
	empty(&u->server[1]);
}

/* A server that was full in the moment it was asked meant that all were. */
static void room_that_is_taken_while_it_is_asked_for_leads_to_another_server(void **state)
{
	fill(&u->server[1]);
	after_choosing = second_server_is_left;
	ask(&one[0], false);
	assert_null(after_choosing);
	assert_false(one[0].is_done);
	assert_int_equal(f->w->stats.upstream_waits_total, 0);
	assert_ptr_equal(one[0].lease.server, &u->server[1]);
	sl_lease_end(&one[0].lease, NULL, SL_OUTCOME_UNKNOWN);
	empty(&u->server[0]);
}

/* --- ends --- */

static void expect_closed(enum sl_pool_end why, uint64_t n)
{
	uint64_t all = 0, open = 0;

	UNTIL(f, u->closed[why] == n);
	for (int i = 0; i < SL_POOL_ENDS; i++)
		all += u->closed[i];
	for (size_t i = 0; i < sl_upstream_len(u); i++)
		open += u->server[i].opened - u->server[i].leased - u->server[i].idle;
	assert_int_equal(open, all);
}

static void lease_one(struct one *o, bool fresh)
{
	ask(o, fresh);
	connected(o);
}

static void every_end_of_a_connection_is_counted_once(void **state)
{
	sl_server_set_drained(&u->server[1], true, sl_loop_now_ms(f->w->loop));
	lease_one(&one[0], false);
	give_back(&one[0], false);
	expect_closed(SL_POOL_END_SPENT, 1);
	for (int i = 0; i < 2; i++) {
		lease_one(&one[0], false);
		give_back(&one[0], true);
	}
	expect_closed(SL_POOL_END_WORN, 1);
	for (int i = 0; i < 2; i++)
		lease_one(&one[i], false);
	for (int i = 0; i < 2; i++)
		give_back(&one[i], true);
	assert_int_equal(u->server[0].idle, 2);
	lease_one(&one[0], true);
	expect_closed(SL_POOL_END_ROOM, 1);
	far_close(&f->origin[3], SL_CLOSE_GRACEFUL);
	far_close(&f->origin[2], SL_CLOSE_GRACEFUL);
	expect_closed(SL_POOL_END_SERVER, 1);
	give_back(&one[0], true);
	lease_one(&one[0], true);
	sl_upstream_retire(u, true);
	sl_worker_follow(f->w, u);
	expect_closed(SL_POOL_END_REMOVED, 1);
	give_back(&one[0], true);
	expect_closed(SL_POOL_END_REMOVED, 2);
}

/* A server that can't be connected has no connection that could end, whatever was closed for it. */
static void a_connection_that_never_was_does_not_end(void **state)
{
	sl_server_set_drained(&u->server[0], true, sl_loop_now_ms(f->w->loop));
	ask(&one[0], false);
	assert_ptr_equal(one[0].lease.server, &u->server[1]);
	sl_lease_end(&one[0].lease, NULL, SL_OUTCOME_UNKNOWN);
	expect_closed(SL_POOL_END_SPENT, 0);
}

int main(void)
{
#define WITH_UPSTREAM(test) cmocka_unit_test_setup_teardown(test, open_upstream, close_upstream)
	const struct CMUnitTest tests[] = {
		WITH_UPSTREAM(all_who_wait_go_on_when_there_is_room_for_all),
		WITH_UPSTREAM(room_made_while_a_waiter_goes_back_wakes_it),
		WITH_UPSTREAM(room_of_a_drained_server_wakes_nobody),
		WITH_UPSTREAM(room_that_is_taken_while_it_is_asked_for_leads_to_another_server),
		WITH_UPSTREAM(every_end_of_a_connection_is_counted_once),
		WITH_UPSTREAM(a_connection_that_never_was_does_not_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
