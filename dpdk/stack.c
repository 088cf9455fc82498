/* SPDX-License-Identifier: BSD-2-Clause */
/* Interfaces of lwIP over the ports, and the frames between the two.
 *
 * lwIP as Debian builds it forwards packets between interfaces, and ends the process when it sends one
 * to itself. So only frames for us get to it (broadcast ARP, and IPv6 multicast), and none that claims
 * to come from us. */

#include "dpdk/stack.h"

#include <errno.h>
#include <lwip/etharp.h>
#include <lwip/ethip6.h>
#include <lwip/init.h>
#include <lwip/nd6.h>
#include <lwip/netif.h>
#include <lwip/priv/nd6_priv.h>
#include <lwip/timeouts.h>
#include <netif/ethernet.h>
#include <rte_mbuf.h>
#include <string.h>

#include "base/util.h"
#include "dpdk/stack_hops.h"
#include "dpdk/stack_private.h"

/* Beside each frame: lwIP's view of it. */
struct view {
	struct pbuf_custom pbuf;
	struct rte_mbuf *frame;
};

_Static_assert(sizeof(struct view) <= SL_PORT_PRIVATE, "a frame has too little room beside it");

struct sl_stack_stats sl_stack_counters;
static struct netif interfaces[SL_PORTS_MAX];
static bool initialised;

void sl_stack_stats(struct sl_stack_stats *ret)
{
	*ret = sl_stack_counters;
}

/* --- addresses --- */

void sl_stack_to_ip(const struct sl_addr *a, ip_addr_t *ret)
{
	memset(ret, 0, sizeof(*ret));
	if (a->family == AF_INET6) {
		IP_SET_TYPE_VAL(*ret, IPADDR_TYPE_V6);
		memcpy(ip_2_ip6(ret)->addr, &a->in6.sin6_addr, sizeof(a->in6.sin6_addr));
	} else {
		IP_SET_TYPE_VAL(*ret, IPADDR_TYPE_V4);
		ip_2_ip4(ret)->addr = a->in.sin_addr.s_addr;
	}
}

void sl_stack_from_ip(const ip_addr_t *ip, uint16_t port, struct sl_addr *ret)
{
	*ret = (struct sl_addr){.family = IP_IS_V6(ip) ? AF_INET6 : AF_INET};
	if (IP_IS_V6(ip))
		memcpy(&ret->in6.sin6_addr, ip_2_ip6(ip)->addr, sizeof(ret->in6.sin6_addr));
	else
		ret->in.sin_addr.s_addr = ip_2_ip4(ip)->addr;
	sl_addr_set_port(ret, port);
}

static bool is_own4(uint32_t address)
{
	for (unsigned i = 0; i < sl_ports_count(); i++)
		if (address && netif_ip4_addr(&interfaces[i])->addr == address)
			return true;
	return false;
}

static bool is_own6(const void *address)
{
	for (unsigned i = 0; i < sl_ports_count(); i++)
		for (unsigned k = 0; k < LWIP_IPV6_NUM_ADDRESSES; k++)
			if (!ip6_addr_isinvalid(netif_ip6_addr_state(&interfaces[i], k)) &&
			    !memcmp(netif_ip6_addr(&interfaces[i], k)->addr, address, 16))
				return true;
	return false;
}

struct netif *sl_stack_interface(const struct sl_port *p)
{
	return &interfaces[sl_port_index(p)];
}

bool sl_stack_is_own(const struct sl_addr *a)
{
	return a->family == AF_INET6 ? is_own6(&a->in6.sin6_addr) : is_own4(a->in.sin_addr.s_addr);
}

/* --- out --- */

static err_t send_frame(struct netif *n, struct pbuf *p)
{
	struct rte_mbuf *frame = sl_port_frame();
	char *data = frame ? rte_pktmbuf_append(frame, p->tot_len) : NULL;

	if (!data) {
		rte_pktmbuf_free(frame);
		sl_stack_counters.no_memory++;
		return ERR_MEM;
	}
	pbuf_copy_partial(p, data, p->tot_len, 0);
	sl_port_send(n->state, &frame, 1);
	return ERR_OK;
}

/* --- in --- */

/* Whether lwIP may see an IPv4 packet of that length. */
static bool takes4(const uint8_t *ip, uint32_t len)
{
	uint32_t from, to;

	if (len < 20) {
		sl_stack_counters.malformed++;
		return false;
	}
	memcpy(&from, ip + 12, 4);
	memcpy(&to, ip + 16, 4);
	if (is_own4(from)) {
		sl_stack_counters.malformed++;
		return false;
	}
	if (is_own4(to))
		return true;
	sl_stack_counters.not_ours++;
	return false;
}

static bool takes6(const uint8_t *ip, uint32_t len)
{
	if (len < 40 || is_own6(ip + 8)) {
		sl_stack_counters.malformed++;
		return false;
	}
	if (ip[24] == 0xff || is_own6(ip + 24))
		return true;
	sl_stack_counters.not_ours++;
	return false;
}

static bool takes(const struct sl_port *p, const uint8_t *data, uint32_t len)
{
	uint16_t type;

	if (len <= ETH_HLEN || !memcmp(data + ETH_ALEN, sl_port_mac(p), ETH_ALEN)) {
		sl_stack_counters.malformed++;
		return false;
	}
	/* The port may see all frames on its wire, and lwIP does not look. */
	if (!(data[0] & 1) && memcmp(data, sl_port_mac(p), ETH_ALEN)) {
		sl_stack_counters.not_ours++;
		return false;
	}
	type = (uint16_t)(data[12] << 8 | data[13]);
	if (type == ETHTYPE_ARP || type == ETHTYPE_IPV6)
		sl_hops_hear(p, data, len);
	if (type == ETHTYPE_ARP)
		return true;
	if (type == ETHTYPE_IP)
		return takes4(data + ETH_HLEN, len - ETH_HLEN);
	if (type == ETHTYPE_IPV6)
		return takes6(data + ETH_HLEN, len - ETH_HLEN);
	sl_stack_counters.not_ours++;
	return false;
}

static void release_view(struct pbuf *p)
{
	rte_pktmbuf_free(sl_container_of(p, struct view, pbuf.pbuf)->frame);
}

/* The frame itself, or a copy of it where frames are scarce: readers may be slow. Takes the frame. */
static struct pbuf *wrap(struct rte_mbuf *frame)
{
	struct view *v = rte_mbuf_to_priv(frame);
	struct pbuf *p;

	if (!sl_port_frames_are_scarce()) {
		v->frame = frame;
		v->pbuf.custom_free_function = release_view;
		return pbuf_alloced_custom(PBUF_RAW, frame->data_len, PBUF_REF, &v->pbuf,
					   rte_pktmbuf_mtod(frame, void *), frame->data_len);
	}
	p = pbuf_alloc(PBUF_RAW, frame->data_len, PBUF_RAM);
	if (p)
		pbuf_take(p, rte_pktmbuf_mtod(frame, void *), frame->data_len);
	rte_pktmbuf_free(frame);
	return p;
}

void sl_stack_input(struct sl_port *port, struct rte_mbuf *frame)
{
	struct netif *n = &interfaces[sl_port_index(port)];
	struct pbuf *p;

	sl_stack_counters.frames++;
	if (frame->nb_segs > 1 ||
	    !takes(port, rte_pktmbuf_mtod(frame, const uint8_t *), frame->data_len)) {
		rte_pktmbuf_free(frame);
		return;
	}
	p = wrap(frame);
	if (!p)
		sl_stack_counters.no_memory++;
	else if (n->input(p, n) != ERR_OK)
		pbuf_free(p);
}

void sl_stack_tick(void)
{
	sys_check_timeouts();
}

/* --- routes --- */

static struct netif *route_to(const ip_addr_t *peer)
{
	static const ip_addr_t any = {0};

	return ip_route(&any, peer);
}

int sl_stack_next_hop(const struct sl_addr *peer, struct sl_port **ret_port,
		      uint8_t ret_mac[ETH_ALEN])
{
	struct netif *n;
	ip_addr_t ip;
	int r;

	sl_stack_to_ip(peer, &ip);
	n = route_to(&ip);
	if (!n)
		return -ENETUNREACH;
	r = sl_hops_find(n, &ip, ret_mac);
	if (!r)
		*ret_port = n->state;
	return r;
}

/* --- start and end --- */

static err_t init_interface(struct netif *n)
{
	struct sl_port *p = n->state;

	n->name[0] = 'd';
	n->name[1] = 'p';
	n->output = sl_hops_output4;
	n->output_ip6 = sl_hops_output6;
	n->linkoutput = send_frame;
	n->mtu = sl_port_mtu(p);
	n->hwaddr_len = ETH_ALEN;
	memcpy(n->hwaddr, sl_port_mac(p), ETH_ALEN);
	n->flags = NETIF_FLAG_BROADCAST | NETIF_FLAG_ETHARP | NETIF_FLAG_ETHERNET |
		   NETIF_FLAG_LINK_UP | NETIF_FLAG_MLD6;
	return ERR_OK;
}

static uint32_t mask_of(uint8_t bits)
{
	return bits ? htonl(UINT32_MAX << (32 - bits)) : 0;
}

static int add_interface(struct netif *n, struct sl_port *p)
{
	const struct sl_port_config *c = sl_port_config(p);
	ip4_addr_t address = {0}, mask = {0}, gateway = {0};

	for (size_t i = 0; i < c->n_addr; i++)
		if (c->addr[i].addr.family == AF_INET) {
			address.addr = c->addr[i].addr.in.sin_addr.s_addr;
			mask.addr = mask_of(c->addr[i].bits);
		}
	if (c->gateway4.family == AF_INET)
		gateway.addr = c->gateway4.in.sin_addr.s_addr;
	if (!netif_add(n, &address, &mask, &gateway, p, init_interface, ethernet_input))
		return -ENOMEM;
	if (gateway.addr)
		netif_set_default(n);
	return 0;
}

/* They are the operator's choice: no duplicate detection delays them. */
static int add_addresses6(struct netif *n, const struct sl_port_config *c)
{
	ip_addr_t ip;
	s8_t index;

	netif_create_ip6_linklocal_address(n, 1);
	netif_ip6_addr_set_state(n, 0, IP6_ADDR_PREFERRED);
	for (size_t i = 0; i < c->n_addr; i++) {
		if (c->addr[i].addr.family != AF_INET6)
			continue;
		sl_stack_to_ip(&c->addr[i].addr, &ip);
		if (netif_add_ip6_address(n, ip_2_ip6(&ip), &index) != ERR_OK)
			return -ENOSPC;
		netif_ip6_addr_set_state(n, index, IP6_ADDR_PREFERRED);
	}
	return 0;
}

int sl_stack_start(void)
{
	int r = 0;

	r = sl_hops_init();
	if (!initialised)
		lwip_init();
	initialised = true;
	for (unsigned i = 0; i < sl_ports_count() && !r; i++) {
		struct netif *n = &interfaces[i];
		struct sl_port *p = sl_port_get(i);

		memset(n, 0, sizeof(*n));
		r = add_interface(n, p);
		if (r)
			return r;
		netif_set_up(n);
		r = add_addresses6(n, sl_port_config(p));
	}
	return r;
}

void sl_stack_stop(void)
{
	for (unsigned i = 0; i < SL_PORTS_MAX; i++)
		if (interfaces[i].state) {
			netif_remove(&interfaces[i]);
			interfaces[i].state = NULL;
		}
}
