/* SPDX-License-Identifier: BSD-2-Clause */
/* Frames in, frames out: the transport on a port that reads one file and writes another (net_pcap). Each
 * row is a frame that arrives, and what leaves because of it, in words. */

#include "unit.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/loop.h"
#include "dpdk/stack.h"
#include "dpdk/transport.h"
#include "frames.h"

#define LISTENS	 3128
#define ROWS_MAX 64

static const uint8_t peer_mac[6] = {2, 0, 0, 0, 0, 9};
static const uint8_t port_mac[6] = {2, 'p', 'c', 'a', 'p', 0}; /* as net_pcap has it */

struct row {
	const char *what;
	const char *out; /* NULL: nothing */
	uint8_t frame[FRAME_MAX];
	size_t len;
};

static struct row rows[ROWS_MAX];
static unsigned n_rows;

static struct row *add(const char *what, const char *out, const void *frame, size_t len)
{
	struct row *r = &rows[n_rows++];

	assert_true(n_rows <= ROWS_MAX);
	r->what = what;
	r->out = out;
	r->len = len;
	memcpy(r->frame, frame, len);
	return r;
}

/* --- what arrives --- */

static void put16(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static void put_sum(uint8_t *at, const uint8_t *from, size_t len, uint32_t start)
{
	put16(at, 0);
	put16(at, ~frame_sum(from, len, start) & 0xffff);
}

static void ether(uint8_t *f, uint16_t type)
{
	memcpy(f, port_mac, 6);
	memcpy(f + 6, peer_mac, 6);
	put16(f + 12, type);
}

static void add_arp(const char *what, const char *out, const char *target)
{
	uint8_t f[60] = {0};

	ether(f, 0x0806);
	memset(f, 0xff, 6);
	memcpy(f + 14, (uint8_t[]){0, 1, 8, 0, 6, 4, 0, 1}, 8);
	memcpy(f + 22, peer_mac, 6);
	inet_pton(AF_INET, "10.0.0.2", f + 28);
	inet_pton(AF_INET, target, f + 38);
	add(what, out, f, sizeof(f));
}

static struct row *add_echo(const char *what, const char *out, const char *target)
{
	uint8_t f[60] = {0};
	uint8_t *ip = f + 14;

	ether(f, 0x0800);
	memcpy(ip, (uint8_t[]){0x45, 0, 0, 44, 0, 1, 0, 0, 64, 1}, 10);
	inet_pton(AF_INET, "10.0.0.2", ip + 12);
	inet_pton(AF_INET, target, ip + 16);
	put_sum(ip + 10, ip, 20, 0);
	ip[20] = 8;
	memcpy(ip + 24, "\0\7\0\1abcdefghijklmnop", 20);
	put_sum(ip + 22, ip + 20, 24, 0);
	return add(what, out, f, sizeof(f));
}

static struct frame tcp(int version, uint16_t sport, uint16_t dport, uint8_t flags)
{
	struct frame f = {.version = version,
			  .ttl = 64,
			  .sport = sport,
			  .dport = dport,
			  .seq = 1000,
			  .ack = flags & FRAME_ACK ? 5000 : 0,
			  .flags = flags,
			  .window = 8192};

	memcpy(f.to_mac, port_mac, 6);
	memcpy(f.from_mac, peer_mac, 6);
	inet_pton(version == 4 ? AF_INET : AF_INET6, version == 4 ? "10.0.0.2" : "fd00::2", f.src);
	inet_pton(version == 4 ? AF_INET : AF_INET6, version == 4 ? "10.0.0.1" : "fd00::1", f.dst);
	return f;
}

static struct row *add_tcp(const char *what, const char *out, const struct frame *f)
{
	FRAME_BUFFER(buffer);

	return add(what, out, buffer, frame_write(f, buffer));
}

static struct row *add_syn(const char *what, const char *out, uint16_t sport, uint16_t dport)
{
	struct frame f = tcp(4, sport, dport, FRAME_SYN);

	return add_tcp(what, out, &f);
}

/* Options of a SYN: 3 a window scale, 4 selective acknowledgements, 7 both and a timestamp. */
static void add_offer(const char *what, const char *out, uint16_t sport, int which)
{
	struct frame f = tcp(4, sport, LISTENS, FRAME_SYN);

	if (which != 4)
		f.option[f.options++] = (struct frame_option){.kind = 3, .len = 3, .data = {10}};
	if (which != 3)
		f.option[f.options++] = (struct frame_option){.kind = 4, .len = 2};
	if (which == 7)
		f.option[f.options++] = frame_timestamps(1, 0);
	add_tcp(what, out, &f);
}

/* The SYN at the row becomes two fragments: its header with an option, and 16 bytes. */
static void add_fragments(const char *out, uint16_t sport)
{
	struct frame f = tcp(4, sport, LISTENS, FRAME_SYN);
	struct row *first, *second;
	uint8_t *ip;

	f.options = 1;
	f.option[0] = (struct frame_option){.kind = 2, .len = 4, .data = {5, 0xb4}};
	f.payload = 16;
	first = add_tcp("the first of two fragments", NULL, &f);
	ip = first->frame + 14;
	second = add("the second of two fragments", out, first->frame, first->len);
	first->len = 14 + 20 + 24;
	put16(ip + 2, 20 + 24);
	put16(ip + 6, 0x2000);
	put_sum(ip + 10, ip, 20, 0);
	ip = second->frame + 14;
	memmove(ip + 20, ip + 20 + 24, 16);
	second->len = 14 + 20 + 16;
	put16(ip + 2, 20 + 16);
	put16(ip + 6, 3);
	put_sum(ip + 10, ip, 20, 0);
}

static void add_cut(void)
{
	static const size_t cuts[] = {1, 13, 14, 20, 33, 34, 40, 53};

	for (size_t i = 0; i < SL_ARRAY_SIZE(cuts); i++)
		add_syn("a frame that is cut off", NULL, 2000, LISTENS)->len = cuts[i];
}

static void add_solicitation(const char *out)
{
	uint8_t f[86] = {0};
	uint8_t *ip = f + 14, *icmp = ip + 40;

	ether(f, 0x86dd);
	memcpy(f, (uint8_t[]){0x33, 0x33, 0xff, 0, 0, 1}, 6);
	ip[0] = 0x60;
	put16(ip + 4, 32);
	ip[6] = 58;
	ip[7] = 255;
	inet_pton(AF_INET6, "fd00::2", ip + 8);
	inet_pton(AF_INET6, "ff02::1:ff00:1", ip + 24);
	icmp[0] = 135;
	inet_pton(AF_INET6, "fd00::1", icmp + 8);
	icmp[24] = 1;
	icmp[25] = 1;
	memcpy(icmp + 26, peer_mac, 6);
	put_sum(icmp + 2, icmp, 32, frame_sum(ip + 8, 32, 58 + 32));
	add("a neighbour solicitation", out, f, sizeof(f));
}

static void add_addresses_and_echo(void)
{
	add_arp("an ARP request for us", "arp reply", "10.0.0.1");
	add_arp("an ARP request for another", NULL, "10.0.0.77");
	add_echo("an echo request", "echo reply", "10.0.0.1");
	add_echo("an echo request for another", NULL, "10.0.0.77");
	add_echo("an echo request with a bad checksum", NULL, "10.0.0.1")->frame[36] ^= 1;
	add_echo("an echo request with a bad header checksum", NULL, "10.0.0.1")->frame[24] ^= 1;
}

static void add_segments(void)
{
	struct frame f;

	add_syn("a SYN", "SYN ACK 3128>1001 acks 1001", 1001, LISTENS);
	add_syn("another SYN", "SYN ACK 3128>1002 acks 1001", 1002, LISTENS);
	add_offer("a SYN that offers all", "SYN ACK 3128>1301 acks 1001 scale 7 sack", 1301, 7);
	add_offer("a SYN that scales", "SYN ACK 3128>1302 acks 1001 scale 7", 1302, 3);
	add_offer("a SYN that permits", "SYN ACK 3128>1303 acks 1001 sack", 1303, 4);
	add_syn("a third SYN", "SYN ACK 3128>1003 acks 1001", 1003, LISTENS);
	add_syn("a SYN to a closed port", "RST ACK 7>1004 acks 1001", 1004, 7);
	add_syn("a SYN with a bad checksum", NULL, 1005, LISTENS)->frame[50] ^= 1;
	f = tcp(4, 1006, 7, FRAME_ACK);
	add_tcp("an ACK to a closed port", "RST ACK 7>1006 acks 1000", &f);
	f = tcp(4, 1007, 7, FRAME_RST);
	add_tcp("an RST to a closed port", NULL, &f);
	f = tcp(4, 1008, LISTENS, FRAME_ACK);
	add_tcp("an ACK to a listening port", "RST ACK 3128>1008 acks 1000", &f);
	f = tcp(4, 1009, LISTENS, FRAME_SYN);
	f.to_mac[5] ^= 1;
	add_tcp("a SYN to another card", NULL, &f);
	f = tcp(4, 1010, LISTENS, FRAME_SYN);
	memcpy(f.src, f.dst, 4);
	add_tcp("a SYN that claims to come from us", NULL, &f);
	f = tcp(4, 1011, LISTENS, FRAME_SYN);
	f.tags = 1;
	f.tci[0] = 5;
	add_tcp("a SYN of a VLAN", NULL, &f);
	put16(add_syn("a packet that is longer than its frame", NULL, 1012, LISTENS)->frame + 16,
	      1400);
}

static void add_ipv6(void)
{
	struct frame f = tcp(6, 1101, LISTENS, FRAME_SYN);

	add_solicitation("neighbour advertisement");
	add_tcp("a SYN over IPv6", "SYN ACK 3128>1101 acks 1001", &f);
	f = tcp(6, 1102, 7, FRAME_SYN);
	add_tcp("a SYN over IPv6 to a closed port", "RST ACK 7>1102 acks 1001", &f);
	f = tcp(6, 1103, LISTENS, FRAME_SYN);
	f.dst[15] = 77;
	add_tcp("a SYN over IPv6 to another", NULL, &f);
}

/* --- what leaves --- */

static uint32_t get32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void describe_options(const uint8_t *tcp, char *text, size_t room)
{
	const uint8_t *end = tcp + (tcp[12] >> 4) * 4;

	for (const uint8_t *o = tcp + 20; o < end && *o; o += *o == 1 ? 1 : o[1]) {
		size_t used = strlen(text);

		if (*o == 3)
			snprintf(text + used, room - used, " scale %u", o[2]);
		else if (*o == 4)
			snprintf(text + used, room - used, " sack");
	}
}

/* False: the stack says so by itself (its own address, multicast groups, routers). */
static bool describe(const uint8_t *f, size_t len, char *text, size_t room, uint32_t *iss)
{
	bool six = f[12] == 0x86;
	const uint8_t *l4 = f + 14 + (six ? 40 : 20);
	uint8_t protocol = six ? f[20] : f[23];

	*text = 0;
	if (f[12] == 8 && f[13] == 6) {
		snprintf(text, room, "arp %s", f[21] == 2 ? "reply" : "request");
		return f[21] == 2 && !memcmp(f, peer_mac, 6);
	}
	if (protocol == 1 || (six && protocol == 58)) {
		snprintf(text, room, "%s", six ? "neighbour advertisement" : "echo reply");
		return l4[0] == (six ? 136 : 0) && !memcmp(f, peer_mac, 6);
	}
	if (protocol != 6)
		return false;
	snprintf(text, room, "%s%sACK %u>%u acks %u", l4[13] & FRAME_SYN ? "SYN " : "",
		 l4[13] & FRAME_RST ? "RST " : "", l4[0] << 8 | l4[1], l4[2] << 8 | l4[3],
		 get32(l4 + 8));
	describe_options(l4, text, room);
	*iss = get32(l4 + 4);
	return true;
}

static void write_capture(const char *path)
{
	const uint32_t head[6] = {0xa1b2c3d4, 2 | 4 << 16, 0, 0, 65535, 1};
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	fwrite(head, sizeof(head), 1, f);
	for (unsigned i = 0; i < n_rows; i++) {
		uint32_t record[4] = {0, i, (uint32_t)rows[i].len, (uint32_t)rows[i].len};

		fwrite(record, sizeof(record), 1, f);
		fwrite(rows[i].frame, rows[i].len, 1, f);
	}
	assert_int_equal(fclose(f), 0);
}

static void accepted(struct sl_acceptor *a, struct sl_stream *s)
{
	fail_msg("nobody completed a handshake");
}

static struct sl_transport *start(struct sl_loop *l, const char *in, const char *out)
{
	static char device[256];
	static struct sl_dpdk_config c = {.n_ports = 1, .memory_mb = 64, .file_prefix = "golden"};
	struct sl_port_config *p = &c.port[0];
	struct sl_transport *t;

	snprintf(device, sizeof(device), "net_pcap0,rx_pcap=%s,tx_pcap=%s", in, out);
	p->device = device;
	p->n_addr = 2;
	assert_int_equal(sl_addr_parse_host(SL_SLICE("10.0.0.1"), 0, &p->addr[0].addr), 0);
	assert_int_equal(sl_addr_parse_host(SL_SLICE("fd00::1"), 0, &p->addr[1].addr), 0);
	p->addr[0].bits = 24;
	p->addr[1].bits = 64;
	sl_dpdk_configure(&c);
	assert_int_equal(sl_dpdk_transport_new(l, 16, &t), 0);
	return t;
}

static void check_output(const char *path)
{
	uint8_t record[16], f[FRAME_MAX];
	char text[64], last[64] = "";
	uint32_t iss[ROWS_MAX] = {0}, spread = 0;
	unsigned at = 0, n_iss = 0;
	FILE *file = fopen(path, "r");

	assert_non_null(file);
	assert_int_equal(fseek(file, 24, SEEK_SET), 0);
	while (fread(record, sizeof(record), 1, file) == 1) {
		size_t len = record[8] | (size_t)record[9] << 8;

		assert_true(len <= sizeof(f) && fread(f, len, 1, file) == 1);
		if (!describe(f, len, text, sizeof(text), &iss[n_iss]) || !strcmp(text, last))
			continue;
		for (; at < n_rows && !rows[at].out; at++)
			;
		if (at == n_rows)
			fail_msg("nothing more should leave, but: %s", text);
		if (strcmp(text, rows[at].out))
			fail_msg("after %s: %s, not: %s", rows[at].what, text, rows[at].out);
		n_iss += !strncmp(text, "SYN", 3);
		snprintf(last, sizeof(last), "%s", text);
		at++;
	}
	fclose(file);
	for (; at < n_rows; at++)
		if (rows[at].out)
			fail_msg("after %s: nothing, not: %s", rows[at].what, rows[at].out);
	/* lwIP's own come from a counter, the same for all. */
	for (unsigned i = 1; i < n_iss; i++)
		spread |= (iss[i] - iss[0]) >> 16 ^ (iss[i] - iss[0]) >> 31;
	assert_true(n_iss >= 4 && spread);
}

static void every_frame_has_its_answer(void **state)
{
	struct sl_listen_options four = {.addr.family = AF_INET}, six = {.addr.family = AF_INET6};
	char in[] = "/tmp/sluice-golden-in-XXXXXX", out[] = "/tmp/sluice-golden-out-XXXXXX";
	struct sl_acceptor *a[2];
	struct sl_transport *t, *second;
	struct sl_stack_stats stats = {0};
	struct sl_loop *l;

	close(mkstemp(in));
	close(mkstemp(out));
	add_addresses_and_echo();
	add_segments();
	add_fragments("SYN ACK 3128>1201 acks 1001", 1201);
	add_cut();
	add_ipv6();
	write_capture(in);
	assert_int_equal(sl_loop_new(&l), 0);
	t = start(l, in, out);
	assert_int_equal(sl_dpdk_transport_new(l, 16, &second), -EBUSY);
	sl_addr_set_port(&four.addr, LISTENS);
	sl_addr_set_port(&six.addr, LISTENS);
	assert_int_equal(t->ops->listen(t, &four, accepted, NULL, &a[0]), 0);
	assert_int_equal(t->ops->listen(t, &six, accepted, NULL, &a[1]), 0);
	assert_int_equal(t->ops->listen(t, &six, accepted, NULL, &a[1]), -EADDRINUSE);
	for (int i = 0; i < 1000 && stats.frames < n_rows; i++) {
		assert_int_equal(sl_loop_turn(l, 1), 0);
		sl_stack_stats(&stats);
	}
	assert_int_equal(stats.frames, n_rows);
	assert_int_equal(sl_loop_turn(l, 1), 0); /* what was queued leaves before it waits */
	check_output(out);
	t->ops->unlisten(a[0]);
	t->ops->unlisten(a[1]);
	t->ops->destroy(t);
	sl_loop_free(l);
	unlink(in);
	unlink(out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(every_frame_has_its_answer)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
