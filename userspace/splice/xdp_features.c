/* SPDX-License-Identifier: BSD-2-Clause */
/* The generic netlink family "netdev": two questions, the family's number and the device's features.
 * A device is looked at rarely, so nothing is kept between calls. */

#include "splice/xdp_features.h"

#include <errno.h>
#include <linux/genetlink.h>
#include <linux/netlink.h>
#include <string.h>
#include <sys/socket.h>

#include "base/util.h"

/* linux/netdev.h, Linux 6.3. */
#define NETDEV_FAMILY	   "netdev"
#define NETDEV_VERSION	   1
#define NETDEV_DEV_GET	   1
#define NETDEV_DEV_IFINDEX 1
#define NETDEV_DEV_XDP	   3

struct message {
	struct nlmsghdr head;
	struct genlmsghdr command;
	char attributes[8192];
};

static void add(struct message *m, unsigned short type, const void *data, size_t len)
{
	struct nlattr *a = (void *)((char *)m + NLMSG_ALIGN(m->head.nlmsg_len));

	a->nla_type = type;
	a->nla_len = (unsigned short)(NLA_HDRLEN + len);
	memcpy((char *)a + NLA_HDRLEN, data, len);
	m->head.nlmsg_len = NLMSG_ALIGN(m->head.nlmsg_len) + NLA_ALIGN(a->nla_len);
}

/* Asks; *m is the answer then. */
static int ask(int fd, struct message *m)
{
	ssize_t n;

	if (send(fd, m, m->head.nlmsg_len, 0) < 0)
		return -errno;
	n = recv(fd, m, sizeof(*m), 0);
	if (n < 0)
		return -errno;
	if (!NLMSG_OK(&m->head, (size_t)n) || n < (ssize_t)NLMSG_LENGTH(sizeof(m->command)))
		return -EPROTO;
	if (m->head.nlmsg_type == NLMSG_ERROR)
		return ((struct nlmsgerr *)NLMSG_DATA(&m->head))->error;
	return 0;
}

/* An attribute's value of at most `size` bytes, into *ret. */
static int find(const struct message *m, unsigned short type, void *ret, size_t size)
{
	size_t left = m->head.nlmsg_len - NLMSG_LENGTH(sizeof(m->command));
	const char *at = m->attributes;

	while (left >= NLA_HDRLEN) {
		const struct nlattr *a = (const void *)at;
		size_t step = NLA_ALIGN(a->nla_len);

		if (a->nla_len < NLA_HDRLEN || a->nla_len > left)
			return -EPROTO;
		if ((a->nla_type & NLA_TYPE_MASK) == type) {
			memcpy(ret, at + NLA_HDRLEN, sl_min(size, (size_t)a->nla_len - NLA_HDRLEN));
			return 0;
		}
		if (step > left)
			break;
		at += step;
		left -= step;
	}
	return -ENOENT;
}

static struct message new_message(uint16_t family, uint8_t command, uint8_t version)
{
	return (struct message){.head = {.nlmsg_len = NLMSG_LENGTH(sizeof(struct genlmsghdr)),
					 .nlmsg_type = family,
					 .nlmsg_flags = NLM_F_REQUEST},
				.command = {.cmd = command, .version = version}};
}

static int find_family(int fd, uint16_t *ret)
{
	struct message m = new_message(GENL_ID_CTRL, CTRL_CMD_GETFAMILY, 1);
	int r;

	add(&m, CTRL_ATTR_FAMILY_NAME, NETDEV_FAMILY, sizeof(NETDEV_FAMILY));
	r = ask(fd, &m);
	if (!r)
		r = find(&m, CTRL_ATTR_FAMILY_ID, ret, sizeof(*ret));
	return r == -ENOENT ? -EOPNOTSUPP : r;
}

int sl_xdp_features(uint32_t ifindex, uint32_t *ret)
{
	_sl_close_ int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_GENERIC);
	struct message m;
	uint64_t features;
	uint16_t family;
	int r;

	if (fd < 0)
		return -errno;
	r = find_family(fd, &family);
	if (r)
		return r;
	m = new_message(family, NETDEV_DEV_GET, NETDEV_VERSION);
	add(&m, NETDEV_DEV_IFINDEX, &ifindex, sizeof(ifindex));
	r = ask(fd, &m);
	if (!r)
		r = find(&m, NETDEV_DEV_XDP, &features, sizeof(features));
	if (!r)
		*ret = (uint32_t)features;
	return r;
}
