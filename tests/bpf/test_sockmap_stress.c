/* SPDX-License-Identifier: BSD-2-Clause */
/* Random tunnels between the copy engine and the sockmap engine: they are joined, parted and joined again
 * at random moments, busy or not, while their ends do what ends do. Not a byte may be lost, changed or
 * stuck. Needs root (BPF, a network namespace of its own).
 *
 *	clients ==lo== proxy (this thread) ==lo== servers; clients and servers are another thread's
 *
 * SLUICE_STRESS_TUNNELS says how many, SLUICE_STRESS_SEED which, SLUICE_STRESS_BYTES how long a stream may
 * be. Streams are up to 2 MB by default, and in every tunnel the moments of change are random. */

#include "unit.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "base/slab.h"
#include "ends.h"
#include "splice/engine.h"
#include "transport/socket.h"

#define SKIP	      77
#define TUNNELS	      1500
#define AT_ONCE	      64
#define BYTES_MAX     2000000
#define BUFFERS	      1024
#define CHANGE_MAX_MS 40

static struct {
	struct sl_loop *loop;
	struct sl_transport *transport;
	struct sl_acceptor *acceptor;
	struct sl_buf_pool buffers;
	struct sl_engine *copy, *sockmap;
	struct sl_addr server;
	uint64_t random;
	unsigned active, joined, rejoined, refused, busy;
} proxy;

/* A pair and what is to become of it. */
struct tunnel {
	struct sl_pair pair;
	struct sl_timer change;
	struct sl_task free;
};

static uint64_t below(uint64_t n)
{
	proxy.random ^= proxy.random << 13;
	proxy.random ^= proxy.random >> 7;
	proxy.random ^= proxy.random << 17;
	return (proxy.random >> 11) % n;
}

static void free_tunnel(struct sl_task *t)
{
	free(sl_container_of(t, struct tunnel, free));
}

static void end_tunnel(struct tunnel *t)
{
	sl_loop_disarm(proxy.loop, &t->change);
	proxy.sockmap->ops->forget(proxy.sockmap, &t->pair);
	sl_loop_defer(proxy.loop, &t->free);
	proxy.active--;
}

static void pair_ended(struct sl_pair *p, enum sl_pair_end why)
{
	assert_int_not_equal(why, SL_PAIR_FAILED);
	end_tunnel(p->owner);
}

static void plan_change(struct tunnel *t)
{
	if (below(4))
		sl_loop_arm(proxy.loop, &t->change, below(CHANGE_MAX_MS));
}

static void join_copy(struct tunnel *t)
{
	const char *unused;

	assert_int_equal(proxy.copy->ops->join(proxy.copy, &t->pair, &unused), 0);
}

static void join_sockmap(struct tunnel *t)
{
	const char *why = NULL;
	bool again = t->pair.member;
	int r = proxy.sockmap->ops->join(proxy.sockmap, &t->pair, &why);

	if (!r) {
		proxy.joined += !again;
		proxy.rejoined += again;
		return;
	}
	assert_non_null(why);
	proxy.refused++;
	join_copy(t);
}

static void change(struct sl_timer *timer)
{
	struct tunnel *t = sl_container_of(timer, struct tunnel, change);
	struct sl_engine *before = t->pair.engine;

	if (before->ops->part(&t->pair))
		proxy.busy++;
	else if (before == proxy.copy)
		join_sockmap(t);
	else
		join_copy(t);
	plan_change(t);
}

static void connected(struct sl_stream *s, unsigned events)
{
	struct tunnel *t = s->owner;

	if (s->error) { /* a server may reset before we look */
		assert_int_equal(s->error, ECONNRESET);
		for (int side = 0; side < 2; side++)
			t->pair.stream[side]->ops->close(t->pair.stream[side], SL_CLOSE_RESET);
		end_tunnel(t);
		return;
	}
	if (below(3)) {
		join_copy(t);
		plan_change(t);
	} else {
		join_sockmap(t);
	}
}

static void ignore_event(struct sl_stream *s, unsigned events)
{
}

static void accepted(struct sl_acceptor *a, struct sl_stream *client)
{
	const struct sl_connect_options o = {.addr = proxy.server};
	struct tunnel *t = calloc(1, sizeof(*t));

	assert_non_null(t);
	sl_timer_init(&t->change, change);
	sl_task_init(&t->free, free_tunnel);
	client->on_event = ignore_event;
	t->pair.stream[SL_CLIENT] = client;
	t->pair.on_end = pair_ended;
	t->pair.owner = t;
	assert_int_equal(
		proxy.transport->ops->connect(proxy.transport, &o, &t->pair.stream[SL_UPSTREAM]),
		0);
	t->pair.stream[SL_UPSTREAM]->on_event = connected;
	t->pair.stream[SL_UPSTREAM]->owner = t;
	proxy.active++;
}

static void open_proxy(uint64_t seed)
{
	struct sl_engine_options o = {.buffers = &proxy.buffers, .pairs = 4 * AT_ONCE};
	struct sl_listen_options listen = {.backlog = 512};

	assert_int_equal(sl_addr_parse(sl_slice_str("127.0.0.1:0"), &listen.addr), 0);
	proxy.random = seed | 1;
	assert_int_equal(sl_loop_new(&proxy.loop), 0);
	sl_buf_pool_init(&proxy.buffers, 16384, BUFFERS);
	assert_int_equal(sl_socket_transport_new(proxy.loop, 8 * AT_ONCE, &proxy.transport), 0);
	o.loop = proxy.loop;
	assert_int_equal(sl_copy_engine.create(&o, &proxy.copy), 0);
	assert_int_equal(sl_sockmap_engine.create(&o, &proxy.sockmap), 0);
	assert_int_equal(proxy.transport->ops->listen(proxy.transport, &listen, accepted, NULL,
						      &proxy.acceptor),
			 0);
}

static void close_proxy(void)
{
	sl_loop_turn(proxy.loop, 0);
	assert_int_equal(proxy.active, 0);
	proxy.transport->ops->unlisten(proxy.acceptor);
	proxy.copy->ops->destroy(proxy.copy);
	proxy.sockmap->ops->destroy(proxy.sockmap);
	sl_loop_turn(proxy.loop, 0);
	proxy.transport->ops->destroy(proxy.transport);
	assert_int_equal(proxy.buffers.slab.used, 0);
	sl_buf_pool_destroy(&proxy.buffers);
	sl_loop_free(proxy.loop);
}

static int server_listener(void)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t len = sizeof(a);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&a, len), 0);
	assert_int_equal(listen(fd, 512), 0);
	assert_int_equal(getsockname(fd, &proxy.server.sa, &len), 0);
	return fd;
}

struct ends_thread {
	struct ends_plan plan;
	struct ends_result result;
	bool done;
};

static void *run_ends(void *argument)
{
	struct ends_thread *t = argument;

	ends_run(&t->plan, &t->result);
	__atomic_store_n(&t->done, true, __ATOMIC_RELEASE);
	return NULL;
}

static uint64_t from_environment(const char *name, uint64_t otherwise)
{
	const char *value = getenv(name);

	return value ? strtoull(value, NULL, 0) : otherwise;
}

static void not_a_byte_is_lost_while_engines_change(void **state)
{
	uint64_t seed = from_environment("SLUICE_STRESS_SEED", 20240607) * 0x9e3779b97f4a7c15ull;
	struct ends_thread t = {
		.plan = {.tunnels = (unsigned)from_environment("SLUICE_STRESS_TUNNELS", TUNNELS),
			 .at_once = AT_ONCE,
			 .bytes_max = (uint32_t)from_environment("SLUICE_STRESS_BYTES", BYTES_MAX),
			 .seed = seed}};
	struct ends_result *r = &t.result;
	pthread_t thread;

	t.plan.listener = server_listener();
	open_proxy(~seed);
	t.plan.proxy_port = sl_addr_port(&proxy.acceptor->local);
	assert_int_equal(pthread_create(&thread, NULL, run_ends, &t), 0);
	while (!__atomic_load_n(&t.done, __ATOMIC_ACQUIRE) || proxy.active)
		sl_loop_turn(proxy.loop, 20);
	pthread_join(thread, NULL);
	close_proxy();
	close(t.plan.listener);
	printf("# %u tunnels, %llu MB: complete %u cut %u; joined %u rejoined %u refused %u busy "
	       "%u\n",
	       t.plan.tunnels, (unsigned long long)r->bytes / 1000000, r->complete, r->cut,
	       proxy.joined, proxy.rejoined, proxy.refused, proxy.busy);
	if (r->first[0] || r->cut > 2 * r->planned_resets)
		printf("# %s\n", r->first);
	assert_int_equal(r->truncated, 0);
	assert_int_equal(r->corrupt, 0);
	assert_int_equal(r->stuck, 0);
	assert_int_equal(r->reset, 0);
	assert_int_equal(r->unanswered, 0);
	assert_true(r->cut <= 2 * r->planned_resets);
	assert_true(proxy.joined > t.plan.tunnels / 4);
}

static int lo_up(void)
{
	struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	int r = ioctl(fd, SIOCSIFFLAGS, &request);

	close(fd);
	return r;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(not_a_byte_is_lost_while_engines_change),
	};
	struct sl_engine_report report;

	if (unshare(CLONE_NEWNET) || lo_up()) {
		printf("1..0 # SKIP needs a network namespace\n");
		return SKIP;
	}
	sl_sockmap_engine.probe(&report);
	if (!report.available) {
		printf("1..0 # SKIP %s\n", report.reason);
		return SKIP;
	}
	return cmocka_run_group_tests_name("sockmap-stress", tests, NULL, NULL);
}
