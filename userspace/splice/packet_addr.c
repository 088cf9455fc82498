/* SPDX-License-Identifier: BSD-2-Clause */
/* Addresses as the pairs hold them: IPv4 is written as an IPv4-mapped IPv6 address. */

#include <string.h>

#include "splice/packet.h"

/* A link-local address means something on its device alone. */
static struct sl_addr get(const uint8_t in[16], __be16 port, uint32_t ifindex)
{
	struct sl_addr a = {.in6 = {.sin6_family = AF_INET6, .sin6_port = port}};

	memcpy(&a.in6.sin6_addr, in, 16);
	if (IN6_IS_ADDR_LINKLOCAL(&a.in6.sin6_addr))
		a.in6.sin6_scope_id = ifindex;
	sl_addr_unmap(&a);
	return a;
}

void sl_packet_set_peer(struct sl_control_leg *l, const struct sl_addr *a)
{
	l->peer_port = sl_addr_map(a, l->peer);
}

void sl_packet_set_local(struct sl_control_leg *l, const struct sl_addr *a)
{
	l->local_port = sl_addr_map(a, l->local);
}

struct sl_addr sl_packet_get_peer(const struct sl_leg *l)
{
	return get(l->peer, l->peer_port, l->ifindex);
}

struct sl_addr sl_packet_get_local(const struct sl_leg *l)
{
	return get(l->local, l->local_port, l->ifindex);
}
