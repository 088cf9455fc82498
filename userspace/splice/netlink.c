/* SPDX-License-Identifier: BSD-2-Clause */
/* Requests to rtnetlink, each with one answer (or, for all links, a dump).
 *
 * Invariant: a message's attributes are read only within the length that it claims, and that within
 * what was received. Nobody but the kernel is listened to: sockets are connected to port 0. */

#include "splice/netlink.h"

#include <errno.h>
#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/util.h"

#define ANSWER_MAX 32768 /* what the kernel sends at once in a dump */

/* A request: header, body, and room for attributes. */
struct request {
	struct nlmsghdr head;
	union {
		struct rtmsg route;
		struct ifinfomsg link;
		struct ifaddrmsg address;
	};
	char attributes[64];
};

static int connect_to_kernel(int fd)
{
	const struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};

	return connect(fd, (const struct sockaddr *)&kernel, sizeof(kernel)) < 0 ? -errno : 0;
}

static int open_socket(int flags, uint32_t groups, int *ret_fd)
{
	struct sockaddr_nl own = {.nl_family = AF_NETLINK, .nl_groups = groups};
	_sl_close_ int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | flags, NETLINK_ROUTE);
	int r;

	if (fd < 0 || bind(fd, (struct sockaddr *)&own, sizeof(own)) < 0)
		return -errno;
	r = connect_to_kernel(fd);
	if (!r)
		*ret_fd = SL_TAKE_FD(fd);
	return r;
}

int sl_netlink_open(int *ret_fd)
{
	return open_socket(0, 0, ret_fd);
}

int sl_netlink_watch(int *ret_fd)
{
	return open_socket(SOCK_NONBLOCK,
			   RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR |
				   RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE,
			   ret_fd);
}

bool sl_netlink_changed(int fd)
{
	char buffer[ANSWER_MAX];
	bool changed = false;

	for (;;) {
		if (recv(fd, buffer, sizeof(buffer), MSG_DONTWAIT) < 0 && errno != ENOBUFS)
			return changed;
		changed = true;
	}
}

static void add_attribute(struct request *q, unsigned short type, const void *data, size_t len)
{
	struct rtattr *a = (void *)((char *)q + NLMSG_ALIGN(q->head.nlmsg_len));

	a->rta_type = type;
	a->rta_len = (unsigned short)RTA_LENGTH(len);
	memcpy(RTA_DATA(a), data, len);
	q->head.nlmsg_len = NLMSG_ALIGN(q->head.nlmsg_len) + RTA_ALIGN(a->rta_len);
}

static struct request new_request(unsigned short type, unsigned short flags, size_t body)
{
	static uint32_t sequence;

	return (struct request){
		.head = {.nlmsg_len = (uint32_t)NLMSG_LENGTH(body),
			 .nlmsg_type = type,
			 .nlmsg_flags = NLM_F_REQUEST | flags,
			 .nlmsg_seq = __atomic_add_fetch(&sequence, 1, __ATOMIC_RELAXED)}};
}

static const void *address_of(const struct sl_addr *a, size_t *ret_len)
{
	*ret_len = a->family == AF_INET6 ? 16 : 4;
	return a->family == AF_INET6 ? (const void *)&a->in6.sin6_addr
				     : (const void *)&a->in.sin_addr;
}

/* What the caller wants to see of one answer; returns non-zero to stop. */
typedef int (*answer_fn)(void *context, const struct nlmsghdr *h);

/* The answers in one buffer. 1: there are more to come; 0: that was all; or what fn returned. */
static int read_answers(const char *buffer, ssize_t n, uint32_t sequence, answer_fn fn,
			void *context)
{
	const struct nlmsghdr *h = (const void *)buffer;
	size_t left = (size_t)n;

	for (; NLMSG_OK(h, left); h = NLMSG_NEXT(h, left)) {
		int r;

		if (h->nlmsg_seq != sequence)
			continue;
		if (h->nlmsg_type == NLMSG_DONE)
			return 0;
		if (h->nlmsg_type == NLMSG_ERROR)
			return ((const struct nlmsgerr *)NLMSG_DATA(h))->error;
		r = fn(context, h);
		if (r || !(h->nlmsg_flags & NLM_F_MULTI))
			return r;
	}
	return 1;
}

static int ask(int fd, const struct request *q, answer_fn fn, void *context)
{
	char buffer[ANSWER_MAX] __attribute__((aligned(NLMSG_ALIGNTO)));
	int r = 1;

	if (send(fd, q, q->head.nlmsg_len, 0) < 0)
		return -errno;
	while (r == 1) {
		ssize_t n = recv(fd, buffer, sizeof(buffer), 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EPROTO;
		r = read_answers(buffer, n, q->head.nlmsg_seq, fn, context);
	}
	return r;
}

static uint32_t get32(const struct rtattr *a)
{
	uint32_t v = 0;

	memcpy(&v, RTA_DATA(a), sl_min(RTA_PAYLOAD(a), sizeof(v)));
	return v;
}

/* --- routes --- */

static void read_source(const struct rtattr *a, uint8_t family, struct sl_addr *ret)
{
	void *to = family == AF_INET6 ? (void *)&ret->in6.sin6_addr : (void *)&ret->in.sin_addr;
	size_t len = family == AF_INET6 ? 16 : 4;

	if (RTA_PAYLOAD(a) != len)
		return;
	ret->family = family;
	memcpy(to, RTA_DATA(a), len);
}

static uint32_t read_route_mtu(const struct rtattr *metrics)
{
	const struct rtattr *a = RTA_DATA(metrics);
	size_t left = RTA_PAYLOAD(metrics);

	for (; RTA_OK(a, left); a = RTA_NEXT(a, left))
		if (a->rta_type == RTAX_MTU)
			return get32(a);
	return 0;
}

static int read_route(void *context, const struct nlmsghdr *h)
{
	struct sl_route *ret = context, route = {0};
	const struct rtmsg *m = NLMSG_DATA(h);
	const struct rtattr *a = RTM_RTA(m);
	size_t left = RTM_PAYLOAD(h);

	if (h->nlmsg_type != RTM_NEWROUTE)
		return -EPROTO;
	if (m->rtm_type != RTN_UNICAST && m->rtm_type != RTN_LOCAL)
		return -ENETUNREACH;
	for (; RTA_OK(a, left); a = RTA_NEXT(a, left)) {
		if (a->rta_type == RTA_OIF)
			route.ifindex = get32(a);
		else if (a->rta_type == RTA_PREFSRC)
			read_source(a, m->rtm_family, &route.source);
		else if (a->rta_type == RTA_METRICS)
			route.mtu = read_route_mtu(a);
	}
	*ret = route;
	return route.ifindex ? 0 : -ENETUNREACH;
}

int sl_netlink_route(int fd, const struct sl_addr *to, const struct sl_addr *from,
		     struct sl_route *ret)
{
	struct request q = new_request(RTM_GETROUTE, 0, sizeof(q.route));
	size_t len;
	const void *address = address_of(to, &len);

	q.route.rtm_family = (unsigned char)to->family;
	q.route.rtm_dst_len = (unsigned char)(8 * len);
	add_attribute(&q, RTA_DST, address, len);
	if (to->family == AF_INET6 && to->in6.sin6_scope_id)
		add_attribute(&q, RTA_OIF, &to->in6.sin6_scope_id, sizeof(uint32_t));
	if (from) {
		q.route.rtm_src_len = q.route.rtm_dst_len;
		address = address_of(from, &len);
		add_attribute(&q, RTA_SRC, address, len);
	}
	return ask(fd, &q, read_route, ret);
}

/* --- what is set --- */

/* An acknowledgement is an error of 0, which ends the answers. */
static int expect_no_answer(void *context, const struct nlmsghdr *h)
{
	return -EPROTO;
}

int sl_netlink_add_address(int fd, uint32_t ifindex, const struct sl_addr *a, uint8_t bits)
{
	struct request q =
		new_request(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK, sizeof(q.address));
	size_t len;
	const void *address = address_of(a, &len);

	q.address.ifa_family = (unsigned char)a->family;
	q.address.ifa_prefixlen = bits;
	q.address.ifa_flags = a->family == AF_INET6 ? IFA_F_NODAD : 0;
	q.address.ifa_index = ifindex;
	add_attribute(&q, IFA_LOCAL, address, len);
	add_attribute(&q, IFA_ADDRESS, address, len);
	return ask(fd, &q, expect_no_answer, NULL);
}

int sl_netlink_add_gateway(int fd, uint32_t ifindex, const struct sl_addr *gateway)
{
	struct request q =
		new_request(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK, sizeof(q.route));
	size_t len;
	const void *address = address_of(gateway, &len);

	q.route.rtm_family = (unsigned char)gateway->family;
	q.route.rtm_table = RT_TABLE_MAIN;
	q.route.rtm_protocol = RTPROT_STATIC;
	q.route.rtm_type = RTN_UNICAST;
	add_attribute(&q, RTA_GATEWAY, address, len);
	add_attribute(&q, RTA_OIF, &ifindex, sizeof(ifindex));
	return ask(fd, &q, expect_no_answer, NULL);
}

/* --- links --- */

static void read_text(const struct rtattr *a, char *ret, size_t size)
{
	size_t len = sl_min(RTA_PAYLOAD(a), size - 1);

	memcpy(ret, RTA_DATA(a), len);
	ret[len] = '\0';
}

static void read_nested(const struct rtattr *outer, struct sl_link *l)
{
	const struct rtattr *a = RTA_DATA(outer);
	size_t left = RTA_PAYLOAD(outer);
	bool xdp = outer->rta_type == IFLA_XDP;

	for (; RTA_OK(a, left); a = RTA_NEXT(a, left)) {
		if (xdp && a->rta_type == IFLA_XDP_ATTACHED && RTA_PAYLOAD(a) >= 1)
			l->xdp_mode = *(const uint8_t *)RTA_DATA(a);
		else if (!xdp && a->rta_type == IFLA_INFO_KIND)
			read_text(a, l->kind, sizeof(l->kind));
	}
}

static void read_link_attribute(const struct rtattr *a, struct sl_link *l)
{
	switch (a->rta_type & NLA_TYPE_MASK) {
	case IFLA_IFNAME:
		read_text(a, l->name, sizeof(l->name));
		break;
	case IFLA_MTU:
		l->mtu = get32(a);
		break;
	case IFLA_LINK:
		l->lower = get32(a);
		break;
	case IFLA_LINKINFO:
	case IFLA_XDP:
		read_nested(a, l);
		break;
	}
}

static int read_link(const struct nlmsghdr *h, struct sl_link *ret)
{
	const struct ifinfomsg *m = NLMSG_DATA(h);
	struct sl_link l = {.ifindex = (uint32_t)m->ifi_index,
			    .type = m->ifi_type,
			    .up = m->ifi_flags & IFF_UP,
			    .loopback = m->ifi_flags & IFF_LOOPBACK};
	const struct rtattr *a = IFLA_RTA(m);
	size_t left = IFLA_PAYLOAD(h);

	if (h->nlmsg_type != RTM_NEWLINK)
		return -EPROTO;
	for (; RTA_OK(a, left); a = RTA_NEXT(a, left))
		read_link_attribute(a, &l);
	*ret = l;
	return 0;
}

static int read_one_link(void *context, const struct nlmsghdr *h)
{
	return read_link(h, context);
}

int sl_netlink_link(int fd, uint32_t ifindex, struct sl_link *ret)
{
	struct request q = new_request(RTM_GETLINK, 0, sizeof(q.link));

	q.link.ifi_index = (int)ifindex;
	return ask(fd, &q, read_one_link, ret);
}

struct each_link {
	int (*fn)(void *context, const struct sl_link *l);
	void *context;
	int r; /* what fn returned; the dump is read to its end all the same */
};

static int read_each_link(void *context, const struct nlmsghdr *h)
{
	struct each_link *each = context;
	struct sl_link l;

	if (!each->r)
		each->r = read_link(h, &l);
	if (!each->r)
		each->r = each->fn(each->context, &l);
	return 0;
}

int sl_netlink_links(int fd, int (*fn)(void *context, const struct sl_link *l), void *context)
{
	struct request q = new_request(RTM_GETLINK, NLM_F_DUMP, sizeof(q.link));
	struct each_link each = {.fn = fn, .context = context};
	int r;

	q.link.ifi_family = AF_UNSPEC;
	r = ask(fd, &q, read_each_link, &each);
	return r ? r : each.r;
}
