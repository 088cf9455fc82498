/* SPDX-License-Identifier: BSD-2-Clause */
/* The packet engine as a whole, by its operations, on loopback: what only a test inside the process can
 * bring about. Needs root (BPF, a network and a mount namespace of its own).
 *
 *	client == lo == listener, upstream stream == lo == server
 *
 * One thread plays all parts. */

#include "unit.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/tcp.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>

#include "base/util.h"
#include "splice/engine.h"
#include "splice/packet_config.h"
#include "transport/socket.h"

#define WAIT_MS 5000

struct place {
	struct sl_loop *loop;
	struct sl_transport *transport;
	struct sl_engine *engine;
	struct sl_acceptor *acceptor;
	int client, listener, server;
	struct sl_pair pair;
	unsigned ended; /* calls of on_end */
};

static struct place place;

static void ignore_event(struct sl_stream *s, unsigned events)
{
}

static void accepted(struct sl_acceptor *a, struct sl_stream *s)
{
	place.pair.stream[SL_CLIENT] = s;
	s->on_event = ignore_event;
}

static void pair_ended(struct sl_pair *p, enum sl_pair_end why)
{
	place.ended++;
}

#define UNTIL(condition)                                                 \
	do {                                                             \
		uint64_t end = sl_clock_us() + WAIT_MS * 1000;           \
		while (!(condition)) {                                   \
			if (sl_clock_us() > end)                         \
				fail_msg("%s: not in time", #condition); \
			assert_true(sl_loop_turn(place.loop, 5) >= 0);   \
		}                                                        \
	} while (0)

static int tcp_socket(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	return fd;
}

static struct sl_addr local_of(int fd)
{
	struct sl_addr a = {0};
	socklen_t len = sizeof(a);

	assert_int_equal(getsockname(fd, &a.sa, &len), 0);
	return a;
}

static struct sl_addr loopback(void)
{
	return (struct sl_addr){
		.in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)}};
}

static void connect_client(void)
{
	const struct sl_listen_options o = {.addr = loopback(),
					    .backlog = 8,
					    .mss = SL_SPLICE_MSS,
					    .window_clamp = SL_SPLICE_WINDOW_CLAMP};
	struct sl_addr to;

	assert_int_equal(
		place.transport->ops->listen(place.transport, &o, accepted, NULL, &place.acceptor),
		0);
	to = place.acceptor->local;
	place.client = tcp_socket();
	assert_int_equal(connect(place.client, &to.sa, sl_addr_len(&to)), 0);
	UNTIL(place.pair.stream[SL_CLIENT]);
}

static void connect_upstream(void)
{
	struct sl_connect_options o = {0};
	struct sl_addr a = loopback();
	struct sl_stream *s;

	place.listener = tcp_socket();
	assert_int_equal(bind(place.listener, &a.sa, sl_addr_len(&a)), 0);
	assert_int_equal(listen(place.listener, 8), 0);
	o.addr = local_of(place.listener);
	assert_int_equal(place.engine->ops->prepare(place.engine, &place.pair, &o), 0);
	assert_int_equal(place.transport->ops->connect(place.transport, &o, &s), 0);
	s->on_event = ignore_event;
	place.pair.stream[SL_UPSTREAM] = s;
	place.server = accept(place.listener, NULL, NULL);
	assert_true(place.server >= 0);
}

/* Moves a byte through the sockets, as the copy engine would: the programs see packets of both peers. */
static void relay(int from, enum sl_side side, int to)
{
	struct sl_stream *in = place.pair.stream[side];
	struct sl_stream *out = place.pair.stream[sl_other_side(side)];
	struct iovec iov = {"x", 1};
	char byte;

	assert_int_equal(send(from, "x", 1, 0), 1);
	UNTIL(in->ops->read(in, &byte, 1) == 1);
	assert_int_equal(out->ops->write(out, &iov, 1), 1);
	assert_int_equal(recv(to, &byte, 1, 0), 1);
}

static void splice_pair(void)
{
	const char *why = "";
	int r;

	place.pair.on_end = pair_ended;
	UNTIL((r = place.engine->ops->join(place.engine, &place.pair, &why)) != -EAGAIN);
	if (r)
		fail_msg("not joined: %d, %s", r, why);
}

static void set_up(void)
{
	const struct sl_engine_options o = {.pairs = 16, .instances = 1};
	struct sl_engine_options options = o;

	memset(&place, 0, sizeof(place));
	assert_int_equal(sl_loop_new(&place.loop), 0);
	assert_int_equal(sl_socket_transport_new(place.loop, 16, &place.transport), 0);
	options.loop = place.loop;
	assert_int_equal(sl_packet_engine.create(&options, &place.engine), 0);
	connect_client();
	connect_upstream();
	relay(place.client, SL_CLIENT, place.server);
	relay(place.server, SL_UPSTREAM, place.client);
	splice_pair();
}

static void tear_down(void)
{
	close(place.client);
	close(place.server);
	close(place.listener);
	place.transport->ops->unlisten(place.acceptor);
	assert_true(sl_loop_turn(place.loop, 0) >= 0);
	place.engine->ops->destroy(place.engine);
	place.transport->ops->destroy(place.transport);
	sl_loop_free(place.loop);
}

/* What the counter of a family says; sum over its labels. */
struct sought {
	const char *name, *value;
	uint64_t n;
};

static void add_figure(void *arg, const struct sl_figure *f)
{
	struct sought *s = arg;

	if (!strcmp(f->name, s->name) && (!s->value || !strcmp(f->value, s->value)))
		s->n += f->n;
}

static uint64_t figure(const char *name, const char *value)
{
	struct sought s = {.name = name, .value = value};

	sl_packet_figures(add_figure, &s);
	return s.n;
}

static void assert_reset(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	char byte;

	assert_int_equal(poll(&p, 1, WAIT_MS), 1);
	assert_int_equal(recv(fd, &byte, 1, 0), -1);
	assert_int_equal(errno, ECONNRESET);
}

static void exchange(void)
{
	char word[5];

	assert_int_equal(send(place.client, "hello", 5, 0), 5);
	assert_int_equal(recv(place.server, word, 5, MSG_WAITALL), 5);
	assert_int_equal(send(place.server, word, 5, 0), 5);
	assert_int_equal(recv(place.client, word, 5, MSG_WAITALL), 5);
	assert_memory_equal(word, "hello", 5);
}

/* Bytes that a socket holds after the flip would be lost: as if they had come before the slot was
 * watched, they are put into its queue by repair. Spliced bytes have made the socket's numbers old. */
static void bytes_in_a_socket_during_the_grace_reset_both_ends(void **state)
{
	struct sl_endpoint e;
	int queue = TCP_RECV_QUEUE;
	struct sl_stream *s;

	set_up();
	s = place.pair.stream[SL_CLIENT];
	assert_non_null(s);
	assert_int_equal(s->ops->endpoint(s, &e), 0);
	exchange();
	assert_int_equal(setsockopt(e.fd, IPPROTO_TCP, TCP_REPAIR_QUEUE, &queue, sizeof(queue)), 0);
	assert_int_equal(send(e.fd, "lost", 4, 0), 4);
	UNTIL(place.ended);
	assert_int_equal(place.pair.end, SL_PAIR_FAILED);
	assert_reset(place.client);
	assert_reset(place.server);
	assert_int_equal(figure("packet_events_total", "failed"), 1);
	assert_int_equal(figure("packet_resets_total", NULL), 1);
	assert_int_equal(figure("packet_slots", "active"), 0);
	assert_int_equal(figure("packet_slots", "closed"), 0);
	tear_down();
}

static void without_them_the_sockets_go_and_the_pair_stays(void **state)
{
	set_up();
	UNTIL(!place.pair.stream[SL_CLIENT] && !place.pair.stream[SL_UPSTREAM]);
	exchange();
	assert_int_equal(place.ended, 0);
	assert_int_equal(figure("packet_slots", "active"), 1);
	place.engine->ops->count(&place.pair);
	assert_int_equal(place.pair.from[SL_CLIENT].bytes, 5);
	place.engine->ops->abort(&place.pair);
	assert_reset(place.client);
	assert_reset(place.server);
	tear_down();
}

/* False: not permitted. */
static bool enter_namespaces(void)
{
	struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP};
	_sl_close_ int fd = -1;

	if (unshare(CLONE_NEWNET | CLONE_NEWNS) < 0 ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("bpf", "/sys/fs/bpf", "bpf", 0, NULL) < 0)
		return false;
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	return fd >= 0 && !ioctl(fd, SIOCSIFFLAGS, &lo);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bytes_in_a_socket_during_the_grace_reset_both_ends),
		cmocka_unit_test(without_them_the_sockets_go_and_the_pair_stays),
	};
	struct sl_engine_report report;

	if (!enter_namespaces()) {
		printf("1..0 # SKIP no network namespace can be made here\n");
		return 77;
	}
	sl_packet_engine.probe(&report);
	if (!report.available) {
		printf("1..0 # SKIP the engine is not available: %s\n", report.reason);
		return 77;
	}
	return cmocka_run_group_tests_name("engine", tests, NULL, NULL);
}
