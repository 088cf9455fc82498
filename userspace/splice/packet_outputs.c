/* SPDX-License-Identifier: BSD-2-Clause */
/* How packets of a pair leave: decided once, from where the peers' packets arrive and what the routing
 * table says of the way back.
 *
 *	peer is ...                                 packets to it
 *	on this host, and the other one, too        are passed up the stack (lo)
 *	on this host alone, at 127.0.0.0/8 or ::1   go to lo, with the kernel's route on them
 *	where the route to it leads                 leave by the device that its own arrive on, to the
 *	                                            MAC that these come from
 *	somewhere else (asymmetric routing)         leave by the route's device, to the next hop that
 *	                                            the kernel finds for each packet
 *
 * The program that sends is the one on the device of the *other* peer; at XDP it can do the third
 * kind alone. */

#include <arpa/inet.h>
#include <errno.h>

#include "base/util.h"
#include "splice/packet_shared.h"

#define HEADERS_IP4 40 /* IP and TCP without options; options count as part of the MSS */
#define HEADERS_IP6 60

struct leg_ways {
	struct sl_way in, out;
	bool at_loopback_address;
};

static bool is_loopback_address(const struct sl_addr *a)
{
	if (a->family == AF_INET6)
		return IN6_IS_ADDR_LOOPBACK(&a->in6.sin6_addr);
	return ntohl(a->in.sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
}

static int look(const struct sl_leg *leg, struct leg_ways *ret, const char **ret_reason)
{
	struct sl_addr peer = sl_packet_get_peer(leg), local = sl_packet_get_local(leg);
	struct sl_devices *d = sl_packet_shared.devices;
	int r;

	if (!(leg->flags & SL_LEG_SEEN)) {
		*ret_reason = "no packet was seen yet";
		if (sl_devices_attach_all(d))
			*ret_reason = "packets of a peer come by a device that was not watched";
		return -EAGAIN;
	}
	ret->at_loopback_address = is_loopback_address(&peer);
	r = sl_devices_find(d, leg->ifindex, &ret->in, ret_reason);
	if (!r)
		r = sl_devices_reach(d, &peer, &local, &ret->out, ret_reason);
	return r ? -EOPNOTSUPP : 0;
}

static int refuse(const char **ret_reason, const char *reason)
{
	*ret_reason = reason;
	return -EOPNOTSUPP;
}

/* Packets to the peer of `to`, sent by the program on the device of `by`. */
static int choose(const struct leg_ways *to, const struct leg_ways *by, struct sl_control_leg *ret,
		  const char **ret_reason)
{
	bool xdp = by->in.hook != SL_HOOK_TC;

	ret->ifindex = to->out.ifindex;
	ret->output = SL_OUT_REDIRECT;
	if (to->out.loopback && by->out.loopback)
		ret->output = SL_OUT_UP;
	else if (to->out.loopback && !to->at_loopback_address)
		return refuse(
			ret_reason,
			"a peer on this host, but not at a loopback address, and a remote one");
	else if (to->out.loopback || to->in.ifindex != to->out.ifindex)
		ret->output = SL_OUT_NEIGH;
	if (!xdp)
		return 0;
	if (ret->output == SL_OUT_UP)
		return refuse(ret_reason, "both peers are on this host: XDP can't pass packets up");
	if (ret->output == SL_OUT_NEIGH)
		return refuse(ret_reason, "asymmetric routing or a peer on this host: not by XDP");
	if (to->out.ifindex == by->in.ifindex ? !to->out.returns_xdp : !to->out.takes_xdp)
		return refuse(ret_reason,
			      "a peer's device takes no frames from XDP: no support, or "
			      "a veth without GRO at its other end");
	return 0;
}

static bool fits(const struct sl_flow_pair *pair, uint32_t mss, const struct sl_way *way)
{
	sa_family_t family = sl_packet_get_peer(&pair->leg[0]).family;

	return mss + (family == AF_INET ? HEADERS_IP4 : HEADERS_IP6) <= way->mtu;
}

static int choose_both(const struct sl_flow_pair *pair, const uint16_t mss[2],
		       struct sl_control_leg leg[2], const char **ret_reason)
{
	struct leg_ways way[2];
	int r = 0;

	for (int i = 0; i < 2 && !r; i++)
		r = look(&pair->leg[i], &way[i], ret_reason);
	for (int i = 0; i < 2 && !r; i++) {
		r = choose(&way[i], &way[!i], &leg[i], ret_reason);
		if (!r && !fits(pair, mss[!i], &way[i].out))
			r = refuse(ret_reason, "the MTU of a peer's device is too small: lower "
					       "splice.mss");
	}
	return r;
}

int sl_packet_choose_outputs(uint32_t slot, const uint16_t mss[2], struct sl_control_leg leg[2],
			     const char **ret_reason)
{
	struct sl_flow_pair pair;
	int r;

	if (sl_packet_read(slot, &pair)) {
		*ret_reason = "its slot can't be read";
		return -EOPNOTSUPP;
	}
	pthread_mutex_lock(&sl_packet_shared.lock);
	r = choose_both(&pair, mss, leg, ret_reason);
	pthread_mutex_unlock(&sl_packet_shared.lock);
	return r;
}

int sl_packet_reach(const struct sl_addr *to, const struct sl_addr *from, struct sl_way *ret,
		    const char **ret_reason)
{
	int r;

	pthread_mutex_lock(&sl_packet_shared.lock);
	r = sl_devices_reach(sl_packet_shared.devices, to, from, ret, ret_reason);
	pthread_mutex_unlock(&sl_packet_shared.lock);
	return r;
}
