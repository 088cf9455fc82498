/* SPDX-License-Identifier: BSD-2-Clause */
/* See stack_hops.h. lwIP's own tables (ten entries of each family) stay in use for who is not known yet:
 * it asks, and keeps the packet meanwhile. The answer is heard here, too.
 *
 * ip6_route is lwIP's name: the dynamic linker finds ours first, for lwIP's calls as well. A gateway of
 * the configuration goes before the routers that lwIP has heard of. */

#include "dpdk/stack_hops.h"

#include <dlfcn.h>
#include <errno.h>
#include <lwip/etharp.h>
#include <lwip/ethip6.h>
#include <lwip/nd6.h>
#include <netif/ethernet.h>
#include <string.h>

#include "base/loop.h"
#include "dpdk/neighbours.h"
#include "dpdk/stack_options.h"
#include "dpdk/stack_private.h"

static struct netif *(*real_route6)(const ip6_addr_t *from, const ip6_addr_t *to);

static uint32_t now_ms(void)
{
	return (uint32_t)(sl_clock_us() / 1000);
}

/* is_ip6: an IPv6 address, or a mapped one. */
static struct sl_neighbour_at place(const struct sl_port *p, const void *address, bool is_ip6)
{
	struct sl_neighbour_at at = {.port = sl_port_index(p)};

	if (is_ip6) {
		memcpy(at.address, address, 16);
	} else {
		memset(at.address + 10, 0xff, 2);
		memcpy(at.address + 12, address, 4);
	}
	return at;
}

/* --- where to --- */

static bool is_on_wire4(const struct sl_port *p, uint32_t address)
{
	const struct sl_port_config *c = sl_port_config(p);

	for (size_t i = 0; i < c->n_addr; i++) {
		const uint8_t bits = c->addr[i].bits;

		if (c->addr[i].addr.family == AF_INET && bits &&
		    !((address ^ c->addr[i].addr.in.sin_addr.s_addr) &
		      lwip_htonl(UINT32_MAX << (32 - bits))))
			return true;
	}
	return false;
}

static bool is_on_wire6(const struct sl_port *p, const void *address)
{
	const struct sl_port_config *c = sl_port_config(p);

	if (IN6_IS_ADDR_LINKLOCAL(address))
		return true;
	for (size_t i = 0; i < c->n_addr; i++)
		if (c->addr[i].addr.family == AF_INET6 &&
		    !memcmp(&c->addr[i].addr.in6.sin6_addr, address, 8))
			return true;
	return false;
}

static bool has_gateway6(const struct sl_port *p)
{
	return sl_port_config(p)->gateway6.family == AF_INET6;
}

static ip4_addr_t hop4(struct netif *n, const ip4_addr_t *to)
{
	return is_on_wire4(n->state, to->addr) ? *to : *netif_ip4_gw(n);
}

static ip6_addr_t hop6(struct netif *n, const ip6_addr_t *to)
{
	const struct sl_port *p = n->state;
	ip_addr_t gateway;

	if (is_on_wire6(p, to->addr) || !has_gateway6(p))
		return *to;
	sl_stack_to_ip(&sl_port_config(p)->gateway6, &gateway);
	ip6_addr_assign_zone(ip_2_ip6(&gateway), IP6_UNICAST, n);
	return *ip_2_ip6(&gateway);
}

struct netif *ip6_route(const ip6_addr_t *from, const ip6_addr_t *to)
{
	bool is_near = ip6_addr_ismulticast(to) || ip6_addr_islinklocal(to);

	for (unsigned i = 0; i < sl_ports_count() && !is_near; i++)
		is_near = is_on_wire6(sl_port_get(i), to->addr);
	for (unsigned i = 0; i < sl_ports_count() && !is_near; i++)
		if (has_gateway6(sl_port_get(i)))
			return sl_stack_interface(sl_port_get(i));
	return real_route6(from, to);
}

int sl_hops_init(void)
{
	sl_neighbours_forget_all();
	real_route6 = (struct netif * (*)(const ip6_addr_t *, const ip6_addr_t *))
		dlsym(RTLD_NEXT, "ip6_route");
	return real_route6 ? 0 : -ENOSYS;
}

/* --- who is there --- */

static struct sl_addr unmap(const uint8_t address[16])
{
	struct sl_addr a = {.family = AF_INET6};

	memcpy(&a.in6.sin6_addr, address, 16);
	sl_addr_unmap(&a);
	return a;
}

void sl_hops_hear(const struct sl_port *p, const uint8_t *frame, uint32_t len)
{
	struct sl_neighbour_word w;
	struct sl_neighbour_at at;
	struct sl_addr from, target;

	if (!sl_neighbour_read(frame, len, &w))
		return;
	from = unmap(w.address);
	target = unmap(w.target);
	if (from.family == AF_INET6 ? !is_on_wire6(p, &from.in6.sin6_addr)
				    : !is_on_wire4(p, from.in.sin_addr.s_addr))
		return;
	at = place(p, w.address, true);
	sl_neighbour_heard(&at, w.mac, sl_stack_is_own(&target), now_ms());
}

/* Unless it is not known. Who has not been heard of for a while is asked. */
static bool find4(struct netif *n, const ip4_addr_t *hop, struct eth_addr *ret)
{
	struct sl_neighbour_at at = place(n->state, &hop->addr, false);
	enum sl_neighbour found = sl_neighbour_find(&at, now_ms(), ret->addr);

	if (found == SL_NEIGHBOUR_OLD)
		etharp_request(n, hop);
	return found != SL_NEIGHBOUR_UNKNOWN;
}

/* One that is old is left to lwIP, which asks whom it does not know: its answer brings it up to date. */
static bool find6(struct netif *n, const ip6_addr_t *hop, struct eth_addr *ret)
{
	struct sl_neighbour_at at = place(n->state, hop->addr, true);
	enum sl_neighbour found = sl_neighbour_find(&at, now_ms(), ret->addr);
	const uint8_t *mac;

	if (found == SL_NEIGHBOUR_OLD)
		nd6_get_next_hop_addr_or_queue(n, NULL, hop, &mac);
	return found != SL_NEIGHBOUR_UNKNOWN;
}

int sl_hops_find(struct netif *n, const ip_addr_t *peer, uint8_t ret_mac[ETH_ALEN])
{
	const uint8_t *mac = NULL;
	struct eth_addr known, *found;
	const ip4_addr_t *address;
	ip4_addr_t to4;
	ip6_addr_t to6;

	if (IP_IS_V6(peer)) {
		to6 = hop6(n, ip_2_ip6(peer));
		if (find6(n, &to6, &known))
			mac = known.addr;
		else if (nd6_get_next_hop_addr_or_queue(n, NULL, &to6, &mac) != ERR_OK)
			mac = NULL;
	} else {
		to4 = hop4(n, ip_2_ip4(peer));
		if (find4(n, &to4, &known))
			mac = known.addr;
		else if (etharp_find_addr(n, &to4, &found, &address) >= 0)
			mac = found->addr;
	}
	if (!mac)
		return -EAGAIN;
	memcpy(ret_mac, mac, ETH_ALEN);
	return 0;
}

/* --- out --- */

err_t sl_hops_output4(struct netif *n, struct pbuf *p, const ip4_addr_t *to)
{
	const struct eth_addr *own = (const struct eth_addr *)n->hwaddr;
	struct pbuf *packet = sl_options_amend(p);
	ip4_addr_t hop = hop4(n, to);
	struct eth_addr mac;
	err_t e;

	if (!packet)
		return ERR_MEM;
	if (ip4_addr_isbroadcast(to, n) || ip4_addr_ismulticast(to) || !find4(n, &hop, &mac))
		e = etharp_output(n, packet, to);
	else
		e = ethernet_output(n, packet, own, &mac, ETHTYPE_IP);
	if (packet != p)
		pbuf_free(packet);
	return e;
}

err_t sl_hops_output6(struct netif *n, struct pbuf *p, const ip6_addr_t *to)
{
	const struct eth_addr *own = (const struct eth_addr *)n->hwaddr;
	struct pbuf *packet = sl_options_amend(p);
	struct eth_addr mac;
	ip6_addr_t hop;
	err_t e;

	if (!packet)
		return ERR_MEM;
	hop = ip6_addr_ismulticast(to) ? *to : hop6(n, to);
	if (ip6_addr_ismulticast(to) || !find6(n, &hop, &mac))
		e = ethip6_output(n, packet, &hop);
	else
		e = ethernet_output(n, packet, own, &mac, ETHTYPE_IPV6);
	if (packet != p)
		pbuf_free(packet);
	return e;
}
