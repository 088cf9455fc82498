/* SPDX-License-Identifier: BSD-2-Clause */
/* The packet engine's functional test.
 *
 * Leg 0 is 192.0.2.1:1000 (client) to 192.0.2.2:3128, leg 1 is 198.51.100.1:443 (server) to
 * 198.51.100.2:61000. The proxy has read up to 1000 and 7000, and written up to 5000 and 9000. So a
 * byte 1000 of the client is byte 9000 to the server. */

#include "splice/selftest.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/tcp.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <bpf/bpf.h>
#include <linux/bpf.h>

#include "base/util.h"
#include "splice/libbpf_words.h"
#include "splice/loader.h"
#include "splice/pins.h"

#define SLOTS	   4
#define GENERATION 1
#define PAYLOAD	   10
#define DEVICE	   1 /* lo: nothing is sent in a test run */

struct segment {
	struct ethhdr eth;
	struct iphdr ip;
	struct tcphdr tcp;
	uint8_t payload[PAYLOAD];
} __attribute__((packed, aligned(2)));

struct stream {
	const char *peer, *local;
	uint16_t peer_port, local_port;
	uint32_t read, written; /* by the proxy */
};
static const struct stream streams[2] = {
	{"192.0.2.1", "192.0.2.2", 1000, 3128, 1000, 5000},
	{"198.51.100.1", "198.51.100.2", 443, 61000, 7000, 9000},
};

static uint32_t sum(const void *data, size_t len, uint32_t start)
{
	const uint8_t *byte = data;

	for (size_t i = 0; i < len; i++)
		start += i & 1 ? byte[i] : (uint32_t)byte[i] << 8;
	return start;
}

static uint16_t fold(uint32_t s)
{
	while (s >> 16)
		s = (s & 0xffff) + (s >> 16);
	return (uint16_t)~s;
}

/* 0 if the field is right; else, while it is 0, what it has to be. */
static uint16_t tcp_check(const struct segment *s)
{
	size_t len = ntohs(s->ip.tot_len) - sizeof(s->ip);

	return fold(sum(&s->tcp, len, sum(&s->ip.saddr, 8, IPPROTO_TCP + (uint32_t)len)));
}

static uint16_t ip_check(const struct segment *s)
{
	return fold(sum(&s->ip, sizeof(s->ip), 0));
}

/* What the peer of a stream sends next. */
static struct segment make_segment(const struct stream *from, size_t payload)
{
	struct segment s = {
		.eth = {.h_dest = {2}, .h_source = {4}, .h_proto = htons(ETH_P_IP)},
		.ip = {.version = 4, .ihl = 5, .ttl = 64, .protocol = IPPROTO_TCP},
		.tcp = {.doff = 5, .ack = 1, .window = htons(1000)},
	};

	s.ip.tot_len = htons((uint16_t)(sizeof(s.ip) + sizeof(s.tcp) + payload));
	s.ip.saddr = inet_addr(from->peer);
	s.ip.daddr = inet_addr(from->local);
	s.ip.check = htons(ip_check(&s));
	s.tcp.source = htons(from->peer_port);
	s.tcp.dest = htons(from->local_port);
	s.tcp.seq = htonl(from->read);
	s.tcp.ack_seq = htonl(from->written);
	s.tcp.check = htons(tcp_check(&s));
	return s;
}

static int run(int program, struct segment *s)
{
	size_t len = sizeof(s->eth) + ntohs(s->ip.tot_len);
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = s, .data_out = s,
		    .data_size_in = (uint32_t)len, .data_size_out = sizeof(*s), .repeat = 1);

	return bpf_prog_test_run_opts(program, &opts) ? -errno : 0;
}

/* --- the pair --- */

static void put(uint8_t out[16], const char *address)
{
	out[10] = out[11] = 0xff;
	inet_pton(AF_INET, address, out + 12);
}

static struct sl_control make_call(enum sl_control_op op)
{
	struct sl_control c = {.generation = GENERATION, .op = op};

	for (int i = 0; i < 2; i++) {
		put(c.leg[i].peer, streams[i].peer);
		put(c.leg[i].local, streams[i].local);
		c.leg[i].peer_port = htons(streams[i].peer_port);
		c.leg[i].local_port = htons(streams[i].local_port);
		c.leg[i].exp = streams[i].read;
		c.leg[i].wseq = streams[i].written;
		c.leg[i].output = SL_OUT_REDIRECT;
		c.leg[i].ifindex = DEVICE;
	}
	return c;
}

/* Both peers are seen by the tc program, then the pair is quiet. */
static int hand_over(const struct sl_pins *pins, int program)
{
	struct sl_control watch = make_call(SL_CONTROL_WATCH), arm = make_call(SL_CONTROL_ARM);
	int r = sl_pins_control(pins, &watch);

	if (!r)
		r = watch.ret;
	for (int i = 0; i < 2 && !r; i++) {
		struct segment s = make_segment(&streams[i], 0);

		r = run(program, &s);
	}
	if (!r)
		r = sl_pins_control(pins, &arm);
	if (r)
		return r;
	return arm.ret ? arm.ret : arm.ret_state == SL_FLOW_ACTIVE ? 0 : -EPROTO;
}

static int rewrites(int program)
{
	struct segment s = make_segment(&streams[0], PAYLOAD);
	int r = run(program, &s);

	if (r)
		return r;
	if (s.ip.saddr != inet_addr(streams[1].local) || s.ip.daddr != inet_addr(streams[1].peer) ||
	    s.tcp.source != htons(streams[1].local_port) ||
	    s.tcp.dest != htons(streams[1].peer_port) || s.tcp.seq != htonl(streams[1].written) ||
	    s.tcp.ack_seq != htonl(streams[1].read))
		return -EPROTO;
	return ip_check(&s) || tcp_check(&s) ? -EPROTO : 0;
}

static void try_programs(const char *folder, struct sl_selftest *t)
{
	_sl_close_ int tc = sl_pin_open(folder, "splice_tc");
	_sl_close_ int xdp = sl_pin_open(folder, "splice_xdp");
	struct sl_pins pins;

	t->control = sl_pins_open(folder, &pins);
	if (t->control)
		return;
	t->control_tc = !pins.control_is_call;
	t->control = hand_over(&pins, tc);
	sl_pins_close(&pins);
	if (t->control)
		return;
	t->tc = rewrites(tc);
	t->xdp = rewrites(xdp);
}

/* --- the place --- */

static int set_up(const char *device)
{
	_sl_close_ int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq request = {.ifr_flags = IFF_UP};

	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", device);
	return fd < 0 || ioctl(fd, SIOCSIFFLAGS, &request) ? -errno : 0;
}

static int isolate(void)
{
	if (unshare(CLONE_NEWNET | CLONE_NEWNS) ||
	    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("bpf", "/sys/fs/bpf", "bpf", 0, NULL))
		return -errno;
	return set_up("lo");
}

static void try_all(struct sl_selftest *t)
{
	char folder[64];
	const char *how;

	t->isolated = isolate();
	snprintf(folder, sizeof(folder), "%s-probe-%d", SL_LOADER_FOLDER, getpid());
	t->load = sl_loader_load(folder, SLOTS);
	if (!t->load)
		t->load = sl_loader_load_xdp(folder);
	if (t->load && sl_libbpf_refusal())
		snprintf(t->refusal, sizeof(t->refusal), "%s", sl_libbpf_refusal());
	if (!t->load)
		try_programs(folder, t);
	if (!t->load && !t->isolated) {
		t->attach = sl_loader_attach(folder, "lo", SL_HOOK_TC, &how);
		if (!t->attach)
			snprintf(t->how, sizeof(t->how), "%s", how);
	}
	sl_loader_unload(folder);
}

static const struct sl_selftest untried = {-ECANCELED, -ECANCELED, -ECANCELED, false, -ECANCELED,
					   -ECANCELED, -ECANCELED, "",	       ""};

void sl_selftest_run(struct sl_selftest *ret)
{
	struct sl_selftest t = untried;
	int ends[2];
	pid_t child;

	*ret = untried;
	if (pipe(ends))
		return;
	child = fork();
	if (!child) {
		try_all(&t);
		_exit(write(ends[1], &t, sizeof(t)) != sizeof(t));
	}
	ends[1] = sl_close(ends[1]);
	if (child > 0 && read(ends[0], &t, sizeof(t)) == sizeof(t))
		*ret = t;
	sl_close(ends[0]);
	if (child > 0)
		waitpid(child, NULL, 0);
}
