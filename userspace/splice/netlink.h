/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_SPLICE_NETLINK_H
#define SLUICE_SPLICE_NETLINK_H

/* rtnetlink, as much of it as sluice needs: the way to an address, what a device is, that something of
 * this has changed; and addresses for a device of its own. Blocking calls to the kernel, which answers
 * at once. Functions return 0 or -errno. Only sl_netlink_add_*() needs a privilege, CAP_NET_ADMIN. */

#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"

/* A socket for questions. The caller closes it. */
int sl_netlink_open(int *ret_fd);
/* A non-blocking socket that becomes readable when links, addresses or routes change. */
int sl_netlink_watch(int *ret_fd);
/* Reads all of its messages. True if there was one, or if some were lost. */
bool sl_netlink_changed(int fd);

/* How a packet to an address leaves this host. */
struct sl_route {
	struct sl_addr source; /* port 0 */
	uint32_t ifindex;
	uint32_t mtu; /* of the route, where it has one of its own, else 0 */
};
/* `from` is the address that it leaves from, or NULL. -ENETUNREACH and others: there is no way. */
int sl_netlink_route(int fd, const struct sl_addr *to, const struct sl_addr *from,
		     struct sl_route *ret);

/* Gives a device an address of a network of so many bits, without asking whether somebody has it. */
int sl_netlink_add_address(int fd, uint32_t ifindex, const struct sl_addr *a, uint8_t bits);
/* A default route. -EEXIST: there is one. */
int sl_netlink_add_gateway(int fd, uint32_t ifindex, const struct sl_addr *gateway);

struct sl_link {
	uint32_t ifindex;
	char name[IF_NAMESIZE];
	char kind[16]; /* "veth", "vlan", ...; empty for hardware and lo */
	uint16_t type; /* ARPHRD_* */
	bool up, loopback;
	uint32_t mtu;
	uint32_t lower;	  /* ifindex below (VLAN) or at the other end (veth), 0 if none */
	uint8_t xdp_mode; /* XDP_ATTACHED_* */
};
/* -ENODEV: there is no such device. */
int sl_netlink_link(int fd, uint32_t ifindex, struct sl_link *ret);
/* Calls fn for every device of this network namespace, until it returns non-zero, which is returned. */
int sl_netlink_links(int fd, int (*fn)(void *context, const struct sl_link *l), void *context);

#endif
