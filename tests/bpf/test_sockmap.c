/* SPDX-License-Identifier: BSD-2-Clause */
/* The sockmap engine on real sockets over loopback: what it refuses, how it hands pairs back and takes
 * them again, and that stalled pairs stay within their bound. Needs root (BPF, a network namespace of
 * its own).
 *
 *	client ==lo== proxy ==lo== server; one thread plays all parts
 *
 * SLUICE_STALLED_PAIRS says how many pairs stall at once. */

#include "unit.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sock_diag.h>
#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "splice/sockmap.h"
#include "transport/socket.h"

#define SKIP	      77
#define PAIRS	      1024
#define STALLED_PAIRS 200
#define FAR_BUFFER    32768
#define QUIET_MS      100 /* nothing went in for so long: it is stalled */
#define WAIT_MS	      10000

static struct {
	struct sl_loop *loop;
	struct sl_transport *transport;
	struct sl_acceptor *acceptor;
	struct sl_buf_pool buffers;
	struct sl_engine *copy, *sockmap;
	struct sl_addr server;
	int listener;
	struct sl_stream *accepted;
	bool connected;
} proxy;

struct tunnel {
	int far[2]; /* client and server */
	int near[2];
	struct sl_pair pair;
	bool ended;
	uint64_t sent[2], got[2]; /* by the side they come from */
};

static void ignore_event(struct sl_stream *s, unsigned events)
{
}

static void note_connected(struct sl_stream *s, unsigned events)
{
	proxy.connected = true;
}

static void note_accepted(struct sl_acceptor *a, struct sl_stream *s)
{
	s->on_event = ignore_event;
	proxy.accepted = s;
}

static void pair_ended(struct sl_pair *p, enum sl_pair_end why)
{
	struct tunnel *t = p->owner;

	t->ended = true;
}

static void small_buffers(int fd)
{
	const int small = FAR_BUFFER, one = 1;

	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

static void open_tunnel(struct tunnel *t)
{
	const struct sl_connect_options o = {.addr = proxy.server};
	struct sl_endpoint e;

	*t = (struct tunnel){.pair = {.on_end = pair_ended, .owner = t}};
	proxy.accepted = NULL;
	proxy.connected = false;
	t->far[SL_CLIENT] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	small_buffers(t->far[SL_CLIENT]);
	assert_int_equal(connect(t->far[SL_CLIENT], &proxy.acceptor->local.sa,
				 sl_addr_len(&proxy.acceptor->local)),
			 0);
	while (!proxy.accepted)
		sl_loop_turn(proxy.loop, 100);
	t->pair.stream[SL_CLIENT] = proxy.accepted;
	assert_int_equal(
		proxy.transport->ops->connect(proxy.transport, &o, &t->pair.stream[SL_UPSTREAM]),
		0);
	t->pair.stream[SL_UPSTREAM]->on_event = note_connected;
	t->far[SL_UPSTREAM] = accept4(proxy.listener, NULL, NULL, SOCK_CLOEXEC);
	small_buffers(t->far[SL_UPSTREAM]);
	while (!proxy.connected)
		sl_loop_turn(proxy.loop, 100);
	for (int side = 0; side < 2; side++) {
		t->pair.stream[side]->ops->endpoint(t->pair.stream[side], &e);
		t->near[side] = e.fd;
	}
}

static void close_tunnel(struct tunnel *t)
{
	if (t->pair.engine)
		t->pair.engine->ops->abort(&t->pair);
	for (int side = 0; side < 2; side++) {
		if (t->pair.stream[side])
			t->pair.stream[side]->ops->close(t->pair.stream[side], SL_CLOSE_RESET);
		close(t->far[side]);
	}
	proxy.sockmap->ops->forget(proxy.sockmap, &t->pair);
}

static void join(struct sl_engine *e, struct tunnel *t)
{
	const char *why = NULL;

	if (e->ops->join(e, &t->pair, &why))
		fail_msg("join: %s", why);
}

static void expect_refusal(struct tunnel *t, int error, const char *reason)
{
	const char *why = NULL;

	assert_int_equal(proxy.sockmap->ops->join(proxy.sockmap, &t->pair, &why), error);
	assert_string_equal(why, reason);
}

/* --- traffic --- */

static uint8_t byte_at(int side, uint64_t at)
{
	return (uint8_t)((at >> 3) * 0x9e3779b9u >> 16) ^ (uint8_t)(at + (uint64_t)side);
}

static void send_bytes(struct tunnel *t, int side, size_t n)
{
	uint8_t piece[16384];
	ssize_t done;

	for (size_t i = 0; i < n; i++)
		piece[i] = byte_at(side, t->sent[side] + i);
	done = send(t->far[side], piece, n, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (done > 0)
		t->sent[side] += (uint64_t)done;
}

static void receive_bytes(struct tunnel *t, int side)
{
	uint8_t piece[16384];
	ssize_t n = recv(t->far[!side], piece, sizeof(piece), MSG_DONTWAIT);

	for (ssize_t i = 0; i < n; i++, t->got[side]++)
		if (piece[i] != byte_at(side, t->got[side]))
			fail_msg("byte %llu is wrong", (unsigned long long)t->got[side]);
}

/* All that was sent arrives, however slowly. */
static void expect_all(struct tunnel *t)
{
	uint64_t end = 0, got, before = UINT64_MAX;

	while (t->got[0] < t->sent[0] || t->got[1] < t->sent[1]) {
		got = t->got[0] + t->got[1];
		if (got != before)
			end = sl_clock_us() + WAIT_MS * 1000;
		before = got;
		if (sl_clock_us() > end)
			fail_msg("stuck: %llu of %llu and %llu of %llu bytes arrived",
				 (unsigned long long)t->got[0], (unsigned long long)t->sent[0],
				 (unsigned long long)t->got[1], (unsigned long long)t->sent[1]);
		sl_loop_turn(proxy.loop, 1);
		receive_bytes(t, 0);
		receive_bytes(t, 1);
	}
}

static void chat(struct tunnel *t)
{
	for (int i = 0; i < 20; i++) {
		send_bytes(t, i & 1, 1 + (size_t)i * 37);
		expect_all(t);
	}
}

/* --- memory --- */

static uint32_t memory_of(int fd)
{
	uint32_t m[SK_MEMINFO_VARS] = {0};
	socklen_t len = sizeof(m);

	assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_MEMINFO, m, &len), 0);
	return m[SK_MEMINFO_RMEM_ALLOC] + m[SK_MEMINFO_WMEM_QUEUED] + m[SK_MEMINFO_FWD_ALLOC] +
	       m[SK_MEMINFO_BACKLOG];
}

static uint32_t memory_of_pair(const struct tunnel *t)
{
	return memory_of(t->near[0]) + memory_of(t->near[1]);
}

/* Bytes of a direction that left the far sender's socket and did not get into the far receiver's: this
 * sees what the kernel has in queues of its own. */
static uint64_t held(const struct tunnel *t, int side)
{
	int unsent, unread;

	assert_int_equal(ioctl(t->far[side], SIOCOUTQ, &unsent), 0);
	assert_int_equal(ioctl(t->far[!side], SIOCINQ, &unread), 0);
	return t->sent[side] - t->got[side] - (uint64_t)unsent - (uint64_t)unread;
}

static long free_kb(void)
{
	FILE *f = fopen("/proc/meminfo", "re");
	char line[128];
	long kb = 0;

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "MemAvailable: %ld", &kb) == 1)
			break;
	if (f)
		fclose(f);
	return kb;
}

/* Everybody sends pieces both ways, or one way, and nobody reads, until nothing goes in any more. */
static void stall(struct tunnel *t, unsigned n, int sides, size_t piece)
{
	uint64_t progress = sl_clock_us(), sent, last = 0;

	while (sl_clock_us() - progress < QUIET_MS * 1000) {
		sent = 0;
		for (unsigned i = 0; i < n; i++)
			for (int side = 0; side < sides; side++) {
				if (!t[i].ended)
					send_bytes(&t[i], side, piece);
				sent += t[i].sent[side];
			}
		sl_loop_turn(proxy.loop, 0);
		if (sent != last)
			progress = sl_clock_us();
		last = sent;
	}
}

/* --- the tests --- */

static void a_pair_goes_from_engine_to_engine_and_back(void **state)
{
	struct tunnel t;

	open_tunnel(&t);
	join(proxy.copy, &t);
	chat(&t);
	for (int i = 0; i < 5; i++) {
		assert_int_equal(proxy.copy->ops->part(&t.pair), 0);
		join(proxy.sockmap, &t);
		chat(&t);
		while (proxy.sockmap->ops->part(&t.pair))
			sl_loop_turn(proxy.loop, 1);
		assert_int_equal(t.pair.from[0].bytes, t.sent[0]);
		assert_int_equal(t.pair.from[1].bytes, t.sent[1]);
		join(proxy.copy, &t);
		chat(&t);
	}
	close_tunnel(&t);
}

static void a_pair_whose_peer_has_finished_is_refused(void **state)
{
	struct tunnel t;

	open_tunnel(&t);
	shutdown(t.far[SL_UPSTREAM], SHUT_WR);
	for (int i = 0; i < 10; i++)
		sl_loop_turn(proxy.loop, 1);
	expect_refusal(&t, -EOPNOTSUPP, "the state of a socket can't be read");
	t.pair.input_ended[SL_UPSTREAM] = true;
	expect_refusal(&t, -EOPNOTSUPP, "a peer has finished already");
	close_tunnel(&t);
}

static void a_socket_with_a_large_buffer_is_refused(void **state)
{
	const int large = SL_SOCKMAP_RECEIVE_BYTES; /* the kernel doubles it */
	struct tunnel t;

	open_tunnel(&t);
	setsockopt(t.near[SL_CLIENT], SOL_SOCKET, SO_RCVBUFFORCE, &large, sizeof(large));
	expect_refusal(&t, -EOPNOTSUPP, "bulk: a receive buffer has grown");
	join(proxy.copy, &t);
	chat(&t);
	close_tunnel(&t);
}

static void a_full_engine_refuses(void **state)
{
	const struct sl_engine_options o = {
		.loop = proxy.loop, .buffers = &proxy.buffers, .pairs = 1};
	struct sl_engine *all = proxy.sockmap, *small;
	struct tunnel a, b;

	assert_int_equal(sl_sockmap_engine.create(&o, &small), 0);
	proxy.sockmap = small;
	open_tunnel(&a);
	open_tunnel(&b);
	join(small, &a);
	expect_refusal(&b, -ENOSPC, "as many pairs as memory allows");
	chat(&a);
	close_tunnel(&a);
	join(small, &b);
	chat(&b);
	close_tunnel(&b);
	sl_loop_turn(proxy.loop, 0);
	small->ops->destroy(small);
	proxy.sockmap = all;
}

static void hundreds_of_stalled_pairs_stay_within_their_bound(void **state)
{
	const char *asked = getenv("SLUICE_STALLED_PAIRS");
	unsigned n = asked ? (unsigned)atoi(asked) : STALLED_PAIRS;
	struct tunnel *t = calloc(n, sizeof(*t));
	uint32_t most = 0;
	uint64_t all = 0, far = 0;
	long before, after;

	for (unsigned i = 0; i < n; i++) {
		open_tunnel(&t[i]);
		join(proxy.sockmap, &t[i]);
		chat(&t[i]);
	}
	before = free_kb();
	stall(t, n, 2, 16384);
	after = free_kb();
	for (unsigned i = 0; i < n; i++) {
		uint32_t m = memory_of_pair(&t[i]);

		assert_false(t[i].ended);
		assert_true(held(&t[i], 0) + held(&t[i], 1) <= SL_SOCKMAP_PAIR_BYTES);
		most = m > most ? m : most;
		all += m;
		far += memory_of(t[i].far[0]) + memory_of(t[i].far[1]);
	}
	printf("# %u pairs stalled both ways: %u KiB at most, %llu KiB on average (and %llu KiB of "
	       "the "
	       "far ends); the host has %ld KiB a pair less\n",
	       n, most >> 10, (unsigned long long)(all / n) >> 10,
	       (unsigned long long)(far / n) >> 10, (before - after) / (long)n);
	assert_true(most <= SL_SOCKMAP_PAIR_BYTES);
	for (unsigned i = 0; i < n; i++) {
		expect_all(&t[i]);
		close_tunnel(&t[i]);
	}
	sl_loop_turn(proxy.loop, 0);
	free(t);
}

/* A window of 64 KiB full of them would take more than a MiB. */
static void tiny_messages_to_a_stalled_reader_are_kept_within_the_bound(void **state)
{
	struct tunnel t;

	for (size_t size = 8; size <= 64; size *= 2) {
		uint32_t memory;

		open_tunnel(&t);
		join(proxy.sockmap, &t);
		stall(&t, 1, 1, size);
		memory = memory_of_pair(&t);
		printf("# messages of %zu bytes: %llu sent, %u KiB\n", size,
		       (unsigned long long)(t.sent[0] / size), memory >> 10);
		assert_false(t.ended);
		assert_true(memory <= SL_SOCKMAP_PAIR_BYTES);
		expect_all(&t);
		chat(&t);
		close_tunnel(&t);
	}
}

/* They may end the pair, but not take more. */
static void single_bytes_to_a_stalled_reader_stay_within_the_bound(void **state)
{
	struct tunnel t;

	open_tunnel(&t);
	join(proxy.sockmap, &t);
	stall(&t, 1, 1, 1);
	printf("# single bytes: %llu sent, %s\n", (unsigned long long)t.sent[0],
	       t.ended ? sl_pair_end_name(t.pair.end) : "the pair waits");
	if (t.ended) {
		assert_int_equal(t.pair.end, SL_PAIR_FAILED);
	} else {
		assert_true(memory_of_pair(&t) <= 2 * SL_SOCKMAP_PAIR_BYTES);
		expect_all(&t);
	}
	close_tunnel(&t);
}

static struct sl_sockmap_half *client_half(struct tunnel *t)
{
	return &((struct sl_sockmap_member *)t->pair.member)->half[SL_CLIENT];
}

/* Bytes are to be relayed behind others that seem to be on their way for ever. */
static void lose_before_passed_bytes(struct tunnel *t)
{
	client_half(t)->flow->redirected++;
	client_half(t)->flow->mode = SL_SOCKMAP_PASS;
	send_bytes(t, SL_CLIENT, 100);
}

static void lose_before_the_end(struct tunnel *t)
{
	client_half(t)->taken--;
	shutdown(t->far[SL_CLIENT], SHUT_WR);
}

/* A kernel that loses bytes looks like this: what the counters say never reaches the socket. The engine
 * must find out, end the pair and take no more. */
static void lost_bytes_end_the_pair_and_disable_the_engine(void **state)
{
	static void (*const lose[])(struct tunnel *) = {lose_before_passed_bytes,
							lose_before_the_end};

	for (size_t i = 0; i < 2; i++) {
		uint64_t end = sl_clock_us() + 3 * WAIT_MS * 1000ull;
		struct tunnel t;

		open_tunnel(&t);
		join(proxy.sockmap, &t);
		chat(&t);
		assert_null(sl_engine_broken(proxy.sockmap));
		lose[i](&t);
		while (!t.ended && sl_clock_us() < end)
			sl_loop_turn(proxy.loop, 20);
		assert_true(t.ended);
		assert_int_equal(t.pair.end, SL_PAIR_FAILED);
		assert_non_null(sl_engine_broken(proxy.sockmap));
		sl_engine_break(proxy.sockmap, NULL);
		close_tunnel(&t);
	}
}

static void a_stalled_direction_does_not_hold_up_the_other(void **state)
{
	struct tunnel t;

	open_tunnel(&t);
	join(proxy.sockmap, &t);
	stall(&t, 1, 1, 16384);
	for (int i = 0; i < 50; i++) {
		uint64_t end = sl_clock_us() + WAIT_MS * 1000;

		send_bytes(&t, SL_UPSTREAM, 1000);
		while (t.got[SL_UPSTREAM] < t.sent[SL_UPSTREAM]) {
			assert_true(sl_clock_us() < end);
			sl_loop_turn(proxy.loop, 1);
			receive_bytes(&t, SL_UPSTREAM);
		}
	}
	expect_all(&t);
	close_tunnel(&t);
}

/* --- set-up --- */

static int set_up(void **state)
{
	struct sl_listen_options listen_options = {.backlog = 512};
	struct sl_engine_options o = {.buffers = &proxy.buffers, .pairs = PAIRS};
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t len = sizeof(a);

	assert_int_equal(sl_addr_parse(sl_slice_str("127.0.0.1:0"), &listen_options.addr), 0);
	assert_int_equal(sl_loop_new(&proxy.loop), 0);
	o.loop = proxy.loop;
	sl_buf_pool_init(&proxy.buffers, 16384, 2 * PAIRS);
	assert_int_equal(sl_socket_transport_new(proxy.loop, 2 * PAIRS, &proxy.transport), 0);
	assert_int_equal(sl_copy_engine.create(&o, &proxy.copy), 0);
	assert_int_equal(sl_sockmap_engine.create(&o, &proxy.sockmap), 0);
	assert_int_equal(proxy.transport->ops->listen(proxy.transport, &listen_options,
						      note_accepted, NULL, &proxy.acceptor),
			 0);
	proxy.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(proxy.listener, (struct sockaddr *)&a, len), 0);
	assert_int_equal(listen(proxy.listener, 512), 0);
	assert_int_equal(getsockname(proxy.listener, &proxy.server.sa, &len), 0);
	return 0;
}

static int tear_down(void **state)
{
	sl_loop_turn(proxy.loop, 0);
	proxy.transport->ops->unlisten(proxy.acceptor);
	proxy.copy->ops->destroy(proxy.copy);
	proxy.sockmap->ops->destroy(proxy.sockmap);
	sl_loop_turn(proxy.loop, 0);
	proxy.transport->ops->destroy(proxy.transport);
	assert_int_equal(proxy.buffers.slab.used, 0);
	sl_buf_pool_destroy(&proxy.buffers);
	sl_loop_free(proxy.loop);
	close(proxy.listener);
	return 0;
}

static bool raise_descriptor_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return false;
	limit.rlim_cur = limit.rlim_max;
	return !setrlimit(RLIMIT_NOFILE, &limit);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_pair_goes_from_engine_to_engine_and_back),
		cmocka_unit_test(a_pair_whose_peer_has_finished_is_refused),
		cmocka_unit_test(a_socket_with_a_large_buffer_is_refused),
		cmocka_unit_test(a_full_engine_refuses),
		cmocka_unit_test(a_stalled_direction_does_not_hold_up_the_other),
		cmocka_unit_test(hundreds_of_stalled_pairs_stay_within_their_bound),
		cmocka_unit_test(tiny_messages_to_a_stalled_reader_are_kept_within_the_bound),
		cmocka_unit_test(single_bytes_to_a_stalled_reader_stay_within_the_bound),
		cmocka_unit_test(lost_bytes_end_the_pair_and_disable_the_engine),
	};
	struct sl_engine_report report;

	if (unshare(CLONE_NEWNET) || system("ip link set lo up") || !raise_descriptor_limit()) {
		printf("1..0 # SKIP no network namespace can be made here\n");
		return SKIP;
	}
	sl_sockmap_engine.probe(&report);
	if (!report.available) {
		printf("1..0 # SKIP %s\n", report.reason);
		return SKIP;
	}
	return cmocka_run_group_tests_name("sockmap", tests, set_up, tear_down);
}
