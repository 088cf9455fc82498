/* SPDX-License-Identifier: BSD-2-Clause */
/* A pair of real connections over loopback, spliced at tc, its sockets gone: bytes arrive whole and in
 * order, and nothing is retransmitted or reset. Needs root (BPF, a network namespace of its own).
 *
 *	client == lo == proxy's listener, proxy's upstream socket == lo == server
 *
 * One thread plays all parts. */

#include "unit.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/tcp.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "harness.h"

#define SLOT	  1
#define BULK	  (1 << 20)
#define GRACE_MS  20
#define RTO_MS	  200 /* Linux' least */
#define DELACK_MS 40  /* what it delays an ACK by in a conversation */
#define PAIRS	  200 /* handovers, unless SLUICE_HANDOVERS says else */

static struct harness h;

/* A connection's ends: what the proxy holds and what it talks to. */
struct live {
	int client, accepted; /* leg 0 */
	int upstream, server; /* leg 1 */
	struct sl_flow_pair pair;
};

union address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

static void set(int fd, int level, int option, int value)
{
	assert_int_equal(setsockopt(fd, level, option, &value, sizeof(value)), 0);
}

static int tcp_socket(int family)
{
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	set(fd, IPPROTO_TCP, TCP_MAXSEG, 1400);
	set(fd, IPPROTO_TCP, TCP_WINDOW_CLAMP, 65535 << 7);
	return fd;
}

static int listener(int family, union address *ret)
{
	int fd = tcp_socket(family);
	socklen_t len = sizeof(*ret);

	memset(ret, 0, sizeof(*ret));
	ret->any.sa_family = family;
	if (family == AF_INET)
		ret->v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	else
		ret->v6.sin6_addr = in6addr_loopback;
	assert_int_equal(bind(fd, &ret->any, len), 0);
	assert_int_equal(listen(fd, 8), 0);
	assert_int_equal(getsockname(fd, &ret->any, &len), 0);
	return fd;
}

static __be16 put_address(const union address *a, uint8_t out[16])
{
	static const uint8_t mapped[12] = {[10] = 0xff, 0xff};

	if (a->any.sa_family == AF_INET6) {
		memcpy(out, &a->v6.sin6_addr, 16);
		return a->v6.sin6_port;
	}
	memcpy(out, mapped, sizeof(mapped));
	memcpy(out + 12, &a->v4.sin_addr, 4);
	return a->v4.sin_port;
}

static void describe_leg(struct sl_leg *l, const union address *peer, const union address *local)
{
	l->peer_port = put_address(peer, l->peer);
	l->local_port = put_address(local, l->local);
	l->output = SL_OUT_UP;
}

/* Both connections, watched from before the second one's SYN. */
static void establish(int family, struct live *ret)
{
	union address proxy, server, client, source;
	int listening[2] = {listener(family, &proxy), listener(family, &server)};
	socklen_t len = sizeof(client);
	int one = 1;

	memset(ret, 0, sizeof(*ret));
	ret->client = tcp_socket(family);
	assert_int_equal(connect(ret->client, &proxy.any, sizeof(proxy)), 0);
	ret->accepted = accept(listening[0], &client.any, &len);
	ret->upstream = tcp_socket(family);
	source = proxy;
	if (family == AF_INET)
		source.v4.sin_port = htons(20001);
	else
		source.v6.sin6_port = htons(20001);
	setsockopt(ret->upstream, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	assert_int_equal(bind(ret->upstream, &source.any, sizeof(source)), 0);
	describe_leg(&ret->pair.leg[0], &client, &proxy);
	describe_leg(&ret->pair.leg[1], &server, &source);
	ret->pair.generation = 1;
	assert_int_equal(harness_control(&h, SL_CONTROL_WATCH, SLOT, &ret->pair, 0, NULL), 0);
	assert_int_equal(connect(ret->upstream, &server.any, sizeof(server)), 0);
	ret->server = accept(listening[1], NULL, NULL);
	assert_true(ret->server >= 0 && ret->accepted >= 0);
	close(listening[0]);
	close(listening[1]);
}

/* Sends a word from one end, relays it, and reads it at the other. */
static void relay_word(int from, int in, int out, int to)
{
	char word[5];

	assert_int_equal(send(from, "hello", 5, 0), 5);
	assert_int_equal(recv(in, word, 5, MSG_WAITALL), 5);
	assert_int_equal(send(out, word, 5, 0), 5);
	assert_int_equal(recv(to, word, 5, MSG_WAITALL), 5);
}

/* The same across a spliced pair. */
static void relay_directly(int from, int to)
{
	char word[5];

	assert_int_equal(send(from, "hello", 5, 0), 5);
	assert_int_equal(recv(to, word, 5, MSG_WAITALL), 5);
}

static uint32_t queue_seq(int fd, int queue)
{
	uint32_t seq;
	socklen_t len = sizeof(seq);

	set(fd, IPPROTO_TCP, TCP_REPAIR_QUEUE, queue);
	assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_QUEUE_SEQ, &seq, &len), 0);
	return seq;
}

static uint32_t clock_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void sample(int fd, struct sl_leg *l, uint32_t *ret_ts_offset)
{
	struct tcp_info info;
	socklen_t len = sizeof(info);
	uint32_t ts;

	assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len), 0);
	len = sizeof(ts);
	assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_TIMESTAMP, &ts, &len), 0);
	*ret_ts_offset = ts - clock_ms();
	set(fd, IPPROTO_TCP, TCP_REPAIR, TCP_REPAIR_ON);
	l->exp = queue_seq(fd, TCP_RECV_QUEUE);
	l->wseq = queue_seq(fd, TCP_SEND_QUEUE);
	set(fd, IPPROTO_TCP, TCP_REPAIR, TCP_REPAIR_OFF_NO_WP);
	l->peer_wscale = info.tcpi_snd_wscale;
	l->local_wscale = info.tcpi_rcv_wscale;
	l->flags = (info.tcpi_options & TCPI_OPT_SACK ? SL_LEG_SACK : 0) |
		   (info.tcpi_options & TCPI_OPT_TIMESTAMPS ? SL_LEG_TIMESTAMPS : 0) |
		   (info.tcpi_options & TCPI_OPT_ECN ? SL_LEG_ECN : 0);
}

static void close_silently(int *fd)
{
	set(*fd, IPPROTO_TCP, TCP_REPAIR, TCP_REPAIR_ON);
	*fd = sl_close(*fd);
}

static void arm(struct live *l)
{
	int *sockets[2] = {&l->accepted, &l->upstream};
	struct sl_control c = {.pair = SLOT, .generation = 1, .op = SL_CONTROL_ARM};

	for (int i = 0; i < 2; i++) {
		struct sl_leg *leg = &l->pair.leg[i];

		set(*sockets[i], IPPROTO_TCP, TCP_QUICKACK, 1);
		sample(*sockets[i], leg, &c.leg[i].ts_offset);
		c.leg[i].exp = leg->exp;
		c.leg[i].wseq = leg->wseq;
		c.leg[i].options = leg->flags;
		c.leg[i].peer_wscale = leg->peer_wscale;
		c.leg[i].local_wscale = leg->local_wscale;
		c.leg[i].output = SL_OUT_UP;
	}
	assert_int_equal(sl_pins_control(&h.pins, &c), 0);
	assert_int_equal(c.ret, 0);
	assert_int_equal(c.ret_state, SL_FLOW_ACTIVE);
}

static void let_go(struct live *l)
{
	close_silently(&l->accepted);
	close_silently(&l->upstream);
}

static void hand_over(struct live *l)
{
	arm(l);
	poll(NULL, 0, GRACE_MS);
	let_go(l);
}

static uint8_t byte_at(size_t at)
{
	return at * 31 + (at >> 8);
}

/* Moves BULK bytes, checked by position. */
static void move_bulk(int from, int to)
{
	static uint8_t bytes[BULK];
	uint8_t buffer[65536];
	size_t sent = 0, got = 0;

	for (size_t i = 0; i < BULK; i++)
		bytes[i] = byte_at(i);
	while (got < BULK) {
		struct pollfd p[2] = {{.fd = to, .events = POLLIN},
				      {.fd = sent < BULK ? from : -1, .events = POLLOUT}};
		ssize_t n;

		assert_true(poll(p, 2, 5000) > 0);
		n = sent < BULK ? send(from, bytes + sent, BULK - sent, MSG_DONTWAIT) : 0;
		sent += n > 0 ? n : 0;
		n = recv(to, buffer, sizeof(buffer), MSG_DONTWAIT);
		if (n < 0)
			assert_int_equal(errno, EAGAIN);
		for (ssize_t i = 0; i < n; i++)
			assert_int_equal(buffer[i], byte_at(got + i));
		got += n > 0 ? n : 0;
	}
}

static uint32_t retransmissions(int fd)
{
	struct tcp_info info;
	socklen_t len = sizeof(info);

	assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len), 0);
	return info.tcpi_total_retrans;
}

/* On a machine that is called slow an RTO may pass while nothing is wrong. */
static bool is_slow(void)
{
	return getenv("SLUICE_PATIENCE");
}

static void assert_no_retransmission(int fd)
{
	if (!is_slow())
		assert_int_equal(retransmissions(fd), 0);
}

/* The peer's FIN arrives as end of input. */
static void finish(int from, int to)
{
	struct pollfd p = {.fd = to, .events = POLLIN};
	char byte;

	assert_int_equal(shutdown(from, SHUT_WR), 0);
	assert_int_equal(poll(&p, 1, 5000), 1);
	assert_int_equal(recv(to, &byte, 1, 0), 0);
}

static void wait_for_closed(void)
{
	for (int i = 0; i < 500; i++) {
		if (harness_pair(&h, SLOT).state == SL_FLOW_CLOSED)
			return;
		poll(NULL, 0, 10);
	}
	fail_msg("the pair does not close");
}

static void live(int family)
{
	struct live l;

	establish(family, &l);
	relay_word(l.client, l.accepted, l.upstream, l.server);
	relay_word(l.server, l.upstream, l.accepted, l.client);
	hand_over(&l);
	move_bulk(l.client, l.server);
	move_bulk(l.server, l.client);
	assert_no_retransmission(l.client);
	assert_no_retransmission(l.server);
	finish(l.client, l.server);
	move_bulk(l.server, l.client); /* half closed */
	finish(l.server, l.client);
	wait_for_closed();
	assert_int_equal(harness_pair(&h, SLOT).leg[1].bytes, 2 * BULK);
	close(l.client);
	close(l.server);
	harness_control(&h, SL_CONTROL_RELEASE, SLOT, &l.pair, 0, NULL);
}

static void a_spliced_pair_carries_ipv4_without_its_sockets(void **state)
{
	live(AF_INET);
}

static void a_spliced_pair_carries_ipv6_without_its_sockets(void **state)
{
	live(AF_INET6);
}

/* The sockets delay ACKs as in a conversation. The prototypes showed retransmissions after a flip that
 * nobody could explain: nothing in the flip's condition waits for the proxy's own ACK, and a silent
 * close discards one that is delayed, so the peer repeats its last bytes after its RTO. Hence the
 * TCP_QUICKACK in hand_over(); without it the client retransmits once here. */
static void a_delayed_ack_is_not_lost_with_its_socket(void **state)
{
	struct live l;

	establish(AF_INET, &l);
	for (int i = 0; i < 20; i++) {
		set(l.accepted, IPPROTO_TCP, TCP_QUICKACK, 0);
		relay_word(l.client, l.accepted, l.upstream, l.server);
		relay_word(l.server, l.upstream, l.accepted, l.client);
	}
	set(l.accepted, IPPROTO_TCP, TCP_QUICKACK, 0);
	relay_word(l.client, l.accepted, l.upstream, l.server);
	set(l.server, IPPROTO_TCP, TCP_QUICKACK, 1);
	hand_over(&l);
	poll(NULL, 0, 2 * RTO_MS); /* a retransmission takes that long to show */
	assert_no_retransmission(l.client);
	move_bulk(l.client, l.server);
	close(l.client);
	close(l.server);
	harness_control(&h, SL_CONTROL_RELEASE, SLOT, &l.pair, 0, NULL);
}

/* A counter of this network namespace, as nstat shows it. */
static long counter(const char *file, const char *group, const char *name)
{
	_sl_free_ char *names = NULL, *values = NULL;
	FILE *f = fopen(file, "re");
	size_t a = 0, b = 0;
	long found = -1;

	while (f && found < 0 && getline(&names, &a, f) > 0 && getline(&values, &b, f) > 0) {
		char *end_n, *end_v, *v = strtok_r(values, " ", &end_v);
		char *n = strtok_r(names, " ", &end_n);

		if (!n || strcmp(n, group))
			continue;
		while (n && v && strcmp(n, name)) {
			n = strtok_r(NULL, " \n", &end_n);
			v = strtok_r(NULL, " \n", &end_v);
		}
		found = n && v ? atol(v) : 0; /* an older kernel doesn't count this */
	}
	if (f)
		fclose(f);
	assert_true(found >= 0);
	return found;
}

static long anomalies(void)
{
	return counter("/proc/thread-self/net/snmp", "Tcp:", "RetransSegs") +
	       counter("/proc/thread-self/net/netstat", "TcpExt:", "PAWSEstab") +
	       counter("/proc/thread-self/net/netstat", "TcpExt:", "PAWSOldAck") +
	       counter("/proc/thread-self/net/netstat", "TcpExt:", "TCPChallengeACK");
}

static void reset(int *fd)
{
	struct linger now = {.l_onoff = 1};

	setsockopt(*fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	*fd = sl_close(*fd);
}

/* Bytes that cross at the very moment at which the old sockets are still there: the first spliced
 * segments, with a clock that is ahead, against whatever these may say. */
static void talk_in_the_grace(struct live *l)
{
	arm(l);
	for (int i = 0; i < 4; i++) {
		relay_directly(l->client, l->server);
		relay_directly(l->server, l->client);
		poll(NULL, 0, GRACE_MS / 4);
	}
	let_go(l);
	relay_directly(l->client, l->server);
}

/* A handover on a clean link causes no retransmission, no PAWS drop and no challenge ACK: also where the
 * conversation ended with an ACK that the proxy's socket delays, and would send in the grace, with a
 * clock that is older than that of what has been spliced by then. */
static void handovers_leave_no_trace_in_the_endpoints(void **state)
{
	const char *size = getenv("SLUICE_HANDOVERS");
	int pairs = size ? atoi(size) : PAIRS;
	long before = anomalies();

	if (is_slow())
		skip(); /* it is about moments of milliseconds */
	for (int i = 0; i < pairs; i++) {
		struct live l;

		establish(i % 4 < 2 ? AF_INET : AF_INET6, &l);
		relay_word(l.client, l.accepted, l.upstream, l.server);
		relay_word(l.server, l.upstream, l.accepted, l.client);
		set(l.accepted, IPPROTO_TCP, TCP_QUICKACK, i % 2);
		relay_word(l.client, l.accepted, l.upstream, l.server);
		set(l.server, IPPROTO_TCP, TCP_QUICKACK, 1);
		if (i % 2 == 0)
			poll(NULL, 0, DELACK_MS - GRACE_MS / 2);
		talk_in_the_grace(&l);
		reset(&l.client);
		reset(&l.server);
		harness_control(&h, SL_CONTROL_RELEASE, SLOT, &l.pair, 0, NULL);
	}
	poll(NULL, 0, 2 * RTO_MS);
	assert_int_equal(anomalies() - before, 0);
}

static void no_packet_was_dropped_or_failed(void **state)
{
	static const enum sl_reason bad[] = {SL_DROP_WINDOW,  SL_DROP_ACK, SL_DROP_OPTIONS,
					     SL_DROP_REWRITE, SL_DROP_TTL, SL_FAILED};

	for (size_t i = 0; i < SL_ARRAY_SIZE(bad); i++)
		if (harness_count(&h, bad[i]))
			fail_msg("%s: %s", sl_reason_name(bad[i]), sl_reason_text(bad[i]));
	assert_true(harness_count(&h, SL_SENT_UP) > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_spliced_pair_carries_ipv4_without_its_sockets),
		cmocka_unit_test(a_spliced_pair_carries_ipv6_without_its_sockets),
		cmocka_unit_test(a_delayed_ack_is_not_lost_with_its_socket),
		cmocka_unit_test(handovers_leave_no_trace_in_the_endpoints),
		cmocka_unit_test(no_packet_was_dropped_or_failed),
	};
	const char *how;
	int failed;

	/* Without tail loss probes: they fire 8 ms after the last segment, and a receiver that this one
	 * thread doesn't let read delays its ACK for 40. Pairs that were never spliced show the same
	 * retransmissions then. */
	if (unshare(CLONE_NEWNET) ||
	    system("ip link set lo up && sysctl -qw net.ipv4.tcp_early_retrans=0")) {
		printf("1..0 # SKIP no network namespace can be made here\n");
		return HARNESS_SKIP;
	}
	if (harness_open(&h, HARNESS_SLOTS))
		return HARNESS_SKIP;
	if (sl_loader_attach(h.folder, "lo", SL_HOOK_TC, &how)) {
		harness_close(&h);
		return 1;
	}
	failed = cmocka_run_group_tests_name("live", tests, NULL, NULL);
	harness_close(&h);
	return failed;
}
