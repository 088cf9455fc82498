/* SPDX-License-Identifier: BSD-2-Clause */
/* The test name server: one question a message, answers written byte by byte as RFC 1035 section 4
 * draws them. No recursion, no compression but of the question's name. */

#include "fake_dns.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/addr.h"
#include "base/util.h"

#define MESSAGE_MAX 60000
#define UDP_MAX	    512
#define TYPE_A	    1
#define TYPE_CNAME  5
#define TYPE_AAAA   28
#define FLAG_TC	    0x0200

struct fake_dns {
	struct sl_loop *loop;
	const struct fake_dns_record *records;
	size_t n_records;
	struct sl_io udp, tcp;
	struct sl_list clients, replies;
	char address[SL_ADDR_STR_MAX];
	char last_name[256];
	unsigned asked, asked_tcp, seed;
};

struct client {
	struct sl_io io;
	struct sl_list node;
	struct fake_dns *dns;
	size_t len;
	unsigned char buf[1024];
};

/* A UDP answer that waits for its time. */
struct reply {
	struct sl_timer timer;
	struct sl_list node;
	struct fake_dns *dns;
	struct sl_addr to;
	size_t len;
	unsigned char data[UDP_MAX];
};

struct message {
	unsigned char data[MESSAGE_MAX];
	size_t len;
};

struct asked {
	char name[256];
	unsigned type;
	size_t end; /* of the question in its message */
};

static void put16(struct message *m, unsigned v)
{
	m->data[m->len++] = (unsigned char)(v >> 8);
	m->data[m->len++] = (unsigned char)v;
}

static void put_name(struct message *m, const char *name)
{
	while (*name) {
		size_t label = strcspn(name, ".");

		m->data[m->len++] = (unsigned char)label;
		memcpy(m->data + m->len, name, label);
		m->len += label;
		name += label + (name[label] == '.');
	}
	m->data[m->len++] = 0;
}

/* owner NULL: the question's name. */
static void put_record(struct message *m, const char *owner, unsigned type, uint32_t ttl_s)
{
	if (owner)
		put_name(m, owner);
	else
		put16(m, 0xc00c);
	put16(m, type);
	put16(m, 1);
	put16(m, ttl_s >> 16);
	put16(m, ttl_s & 0xffff);
}

static void put_addr(struct message *m, const struct fake_dns_record *r, const struct sl_addr *a)
{
	size_t len = a->family == AF_INET ? 4 : 16;

	put_record(m, r->cname, a->family == AF_INET ? TYPE_A : TYPE_AAAA, r->ttl_s);
	put16(m, (unsigned)len);
	memcpy(m->data + m->len,
	       len == 4 ? (const void *)&a->in.sin_addr : (const void *)&a->in6.sin6_addr, len);
	m->len += len;
}

static unsigned put_answers(struct message *m, const struct fake_dns_record *r, int family)
{
	struct sl_addr a;
	unsigned n = 0;

	if (r->cname) {
		size_t at;

		put_record(m, NULL, TYPE_CNAME, r->cname_ttl_s);
		at = m->len;
		put16(m, 0);
		put_name(m, r->cname);
		m->data[at] = (unsigned char)((m->len - at - 2) >> 8);
		m->data[at + 1] = (unsigned char)(m->len - at - 2);
		n++;
	}
	for (size_t i = 0; i < SL_ARRAY_SIZE(r->addr) && r->addr[i]; i++) {
		if (sl_addr_parse_host(sl_slice_str(r->addr[i]), 0, &a) || a.family != family)
			continue;
		put_addr(m, r, &a);
		n++;
	}
	for (unsigned i = 0; i < r->many && family == AF_INET; i++, n++) {
		a = (struct sl_addr){
			.in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x0a000000 + i)}};
		put_addr(m, r, &a);
	}
	return n;
}

static int parse_question(const unsigned char *p, size_t len, struct asked *ret)
{
	size_t i = 12, out = 0;

	while (i < len && p[i]) {
		size_t label = p[i++];

		if (label > 63 || i + label >= len || out + label + 2 > sizeof(ret->name))
			return -EINVAL;
		for (size_t k = 0; k < label; k++)
			ret->name[out++] = (char)tolower(p[i + k]);
		ret->name[out++] = '.';
		i += label;
	}
	if (i + 5 > len || !out)
		return -EINVAL;
	ret->name[out - 1] = '\0';
	ret->type = (unsigned)p[i + 1] << 8 | p[i + 2];
	ret->end = i + 5;
	return 0;
}

/* NULL: no such name. A record of another family stands for "no data". */
static const struct fake_dns_record *find_record(const struct fake_dns *d, const char *name,
						 int family)
{
	static const struct fake_dns_record no_data = {.how = FAKE_DNS_ANSWER};
	const struct fake_dns_record *any = NULL, *found = NULL;

	for (size_t i = 0; i < d->n_records; i++) {
		const struct fake_dns_record *r = &d->records[i];
		bool fits = r->family == AF_UNSPEC || r->family == family;

		if (!strcmp(r->name, name)) {
			if (fits)
				return r;
			found = &no_data;
		} else if (!strcmp(r->name, "*") && fits) {
			any = r;
		}
	}
	return found ? found : any;
}

static void mangle(struct fake_dns *d, struct message *m)
{
	for (int n = 1 + rand_r(&d->seed) % 4; n; n--)
		m->data[(size_t)rand_r(&d->seed) % m->len] = (unsigned char)rand_r(&d->seed);
	if (!(rand_r(&d->seed) % 4))
		m->len = (size_t)rand_r(&d->seed) % m->len;
}

/* The answer to the question of len bytes at p; false: none. */
static bool answer(struct fake_dns *d, const unsigned char *p, size_t len, bool udp,
		   struct message *m, uint32_t *ret_delay_ms)
{
	const struct fake_dns_record *r;
	unsigned flags = 0x8180, n;
	struct asked q;
	int family;

	if (len < 12 || len > UDP_MAX || parse_question(p, len, &q))
		return false;
	d->asked++;
	d->asked_tcp += !udp;
	strcpy(d->last_name, q.name);
	family = q.type == TYPE_AAAA ? AF_INET6 : AF_INET;
	r = find_record(d, q.name, family);
	*ret_delay_ms = r ? r->delay_ms : 0;
	memcpy(m->data, p, q.end);
	m->len = q.end;
	if (!r || r->how == FAKE_DNS_NXDOMAIN)
		flags |= 3;
	else if (r->how == FAKE_DNS_SERVFAIL)
		flags |= 2;
	else if (r->how == FAKE_DNS_SILENT)
		return false;
	n = flags & 0xf ? 0 : put_answers(m, r, family);
	if (udp && (m->len > UDP_MAX || (r && r->how == FAKE_DNS_TRUNCATED))) {
		flags |= FLAG_TC;
		m->len = q.end;
		n = 0;
	}
	m->data[2] = (unsigned char)(flags >> 8);
	m->data[3] = (unsigned char)flags;
	m->data[6] = (unsigned char)(n >> 8);
	m->data[7] = (unsigned char)n;
	memset(m->data + 8, 0, 4);
	if (r && r->how == FAKE_DNS_MANGLED)
		mangle(d, m);
	return true;
}

static void send_reply(struct reply *r)
{
	if (sendto(r->dns->udp.fd, r->data, r->len, 0, &r->to.sa, sl_addr_len(&r->to)) < 0)
		perror("fake dns: sendto"); /* the asker may have closed its socket */
	sl_list_del(&r->node);
	free(r);
}

static void reply_due(struct sl_timer *t)
{
	send_reply(sl_container_of(t, struct reply, timer));
}

static void udp_event(struct sl_io *io, uint32_t events)
{
	struct fake_dns *d = sl_container_of(io, struct fake_dns, udp);
	struct message *m = malloc(sizeof(*m));
	unsigned char buf[UDP_MAX];
	struct sl_addr from = {0};
	socklen_t from_len = sizeof(from);
	uint32_t delay_ms;
	ssize_t len = recvfrom(io->fd, buf, sizeof(buf), MSG_DONTWAIT, &from.sa, &from_len);

	if (len > 0 && answer(d, buf, (size_t)len, true, m, &delay_ms)) {
		struct reply *r = calloc(1, sizeof(*r));

		r->dns = d;
		r->to = from;
		r->len = m->len;
		memcpy(r->data, m->data, m->len);
		sl_timer_init(&r->timer, reply_due);
		sl_list_add_tail(&d->replies, &r->node);
		if (delay_ms)
			sl_loop_arm(d->loop, &r->timer, delay_ms);
		else
			send_reply(r);
	}
	free(m);
}

static void client_free(struct client *c)
{
	sl_loop_del(c->dns->loop, &c->io);
	sl_list_del(&c->node);
	close(c->io.fd);
	free(c);
}

/* Answers every whole question in the buffer. Answers fit into the socket's. */
static void answer_client(struct client *c)
{
	struct message *m = malloc(sizeof(*m));
	size_t want;

	while (c->len >= 2 && c->len >= (want = 2 + ((size_t)c->buf[0] << 8 | c->buf[1]))) {
		uint32_t delay_ms;

		if (answer(c->dns, c->buf + 2, want - 2, false, m, &delay_ms)) {
			unsigned char len[2] = {(unsigned char)(m->len >> 8),
						(unsigned char)m->len};

			if (send(c->io.fd, len, 2, MSG_NOSIGNAL) != 2 ||
			    send(c->io.fd, m->data, m->len, MSG_NOSIGNAL) != (ssize_t)m->len)
				perror("fake dns: send");
		}
		memmove(c->buf, c->buf + want, c->len - want);
		c->len -= want;
	}
	free(m);
}

static void client_event(struct sl_io *io, uint32_t events)
{
	struct client *c = sl_container_of(io, struct client, io);
	ssize_t n = recv(io->fd, c->buf + c->len, sizeof(c->buf) - c->len, MSG_DONTWAIT);

	if (n <= 0) {
		client_free(c);
		return;
	}
	c->len += (size_t)n;
	answer_client(c);
}

static void tcp_event(struct sl_io *io, uint32_t events)
{
	struct fake_dns *d = sl_container_of(io, struct fake_dns, tcp);
	int fd = accept4(io->fd, NULL, NULL, SOCK_CLOEXEC);
	struct client *c;

	if (fd < 0)
		return;
	c = calloc(1, sizeof(*c));
	c->dns = d;
	c->io = (struct sl_io){.fd = fd, .on_event = client_event};
	sl_list_add_tail(&d->clients, &c->node);
	sl_loop_add(d->loop, &c->io, EPOLLIN);
}

static int open_socket(int type, struct sl_addr *addr)
{
	_sl_close_ int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
	socklen_t len = sizeof(*addr);

	if (fd < 0 || bind(fd, &addr->sa, sl_addr_len(addr)) < 0 ||
	    getsockname(fd, &addr->sa, &len) < 0)
		return -errno;
	if (type == SOCK_STREAM && listen(fd, 16) < 0)
		return -errno;
	return SL_TAKE_FD(fd);
}

/* The same port for both; the one that UDP got may be taken for TCP. */
static int open_sockets(struct fake_dns *d)
{
	for (int attempt = 0; attempt < 20; attempt++) {
		struct sl_addr addr;

		sl_addr_parse_host(SL_SLICE("127.0.0.1"), 0, &addr);
		d->udp.fd = open_socket(SOCK_DGRAM, &addr);
		if (d->udp.fd < 0)
			return d->udp.fd;
		d->tcp.fd = open_socket(SOCK_STREAM, &addr);
		if (d->tcp.fd >= 0) {
			sl_addr_format(&addr, d->address);
			return 0;
		}
		d->udp.fd = sl_close(d->udp.fd);
	}
	return -EADDRINUSE;
}

int fake_dns_new(struct sl_loop *loop, const struct fake_dns_record *records, size_t n,
		 struct fake_dns **ret)
{
	struct fake_dns *d = calloc(1, sizeof(*d));
	int r;

	if (!d)
		return -ENOMEM;
	d->loop = loop;
	d->records = records;
	d->n_records = n;
	d->seed = 1;
	sl_list_init(&d->clients);
	sl_list_init(&d->replies);
	d->udp.on_event = udp_event;
	d->tcp.on_event = tcp_event;
	r = open_sockets(d);
	if (r < 0) {
		free(d);
		return r;
	}
	sl_loop_add(loop, &d->udp, EPOLLIN);
	sl_loop_add(loop, &d->tcp, EPOLLIN);
	*ret = d;
	return 0;
}

void fake_dns_free(struct fake_dns *d)
{
	while (!sl_list_empty(&d->clients))
		client_free(sl_list_entry(d->clients.next, struct client, node));
	while (!sl_list_empty(&d->replies)) {
		struct reply *r = sl_list_entry(d->replies.next, struct reply, node);

		sl_loop_disarm(d->loop, &r->timer);
		sl_list_del(&r->node);
		free(r);
	}
	sl_loop_del(d->loop, &d->udp);
	sl_loop_del(d->loop, &d->tcp);
	close(d->udp.fd);
	close(d->tcp.fd);
	free(d);
}

char *fake_dns_address(struct fake_dns *d)
{
	return d->address;
}

unsigned fake_dns_asked(const struct fake_dns *d)
{
	return d->asked;
}

unsigned fake_dns_asked_tcp(const struct fake_dns *d)
{
	return d->asked_tcp;
}

const char *fake_dns_last_name(const struct fake_dns *d)
{
	return d->last_name;
}
