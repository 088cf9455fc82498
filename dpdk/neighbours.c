/* SPDX-License-Identifier: BSD-2-Clause */
/* See neighbours.h. Sets of a few entries, chosen by a hash with a secret: strangers on the wire can fill a
 * set, and then hosts in it are asked for as if the table were not there. */

#include "dpdk/neighbours.h"

#include <netinet/icmp6.h>
#include <rte_arp.h>
#include <rte_byteorder.h>
#include <rte_ether.h>
#include <rte_ip.h>
#include <rte_jhash.h>
#include <string.h>
#include <sys/random.h>

#define SETS	   512
#define WAYS	   8
#define ASK_AFTER  30000 /* ms since it was heard of */
#define KNOWN_FOR  90000
#define ASK_EVERY  1000
#define OPTION_MAC 8 /* bytes of a link address as an option of neighbour discovery */

struct neighbour {
	struct sl_neighbour_at at;
	uint8_t mac[ETH_ALEN];
	bool used;
	uint32_t heard_ms, asked_ms;
};

static struct neighbour table[SETS][WAYS];
static uint32_t secret;

static struct neighbour *set_of(const struct sl_neighbour_at *at)
{
	if (!secret && getrandom(&secret, sizeof(secret), 0) != sizeof(secret))
		secret = 1;
	return table[rte_jhash(at, sizeof(*at), secret | 1) % SETS];
}

static struct neighbour *find(const struct sl_neighbour_at *at)
{
	struct neighbour *set = set_of(at);

	for (unsigned i = 0; i < WAYS; i++)
		if (set[i].used && !memcmp(&set[i].at, at, sizeof(*at)))
			return &set[i];
	return NULL;
}

/* The place of the one that was heard of longest ago. */
static struct neighbour *oldest(const struct sl_neighbour_at *at, uint32_t now_ms)
{
	struct neighbour *set = set_of(at), *n = set;

	for (unsigned i = 0; i < WAYS; i++) {
		if (!set[i].used)
			return &set[i];
		if (now_ms - set[i].heard_ms > now_ms - n->heard_ms)
			n = &set[i];
	}
	return n;
}

void sl_neighbour_heard(const struct sl_neighbour_at *at, const uint8_t mac[ETH_ALEN], bool learn,
			uint32_t now_ms)
{
	struct neighbour *n = find(at);

	if (!n && !learn)
		return;
	if (!n)
		n = oldest(at, now_ms);
	*n = (struct neighbour){.at = *at, .used = true, .heard_ms = now_ms, .asked_ms = now_ms};
	memcpy(n->mac, mac, ETH_ALEN);
}

enum sl_neighbour sl_neighbour_find(const struct sl_neighbour_at *at, uint32_t now_ms,
				    uint8_t ret_mac[ETH_ALEN])
{
	struct neighbour *n = find(at);

	if (!n || now_ms - n->heard_ms > KNOWN_FOR)
		return SL_NEIGHBOUR_UNKNOWN;
	memcpy(ret_mac, n->mac, ETH_ALEN);
	if (now_ms - n->heard_ms < ASK_AFTER || now_ms - n->asked_ms < ASK_EVERY)
		return SL_NEIGHBOUR_KNOWN;
	n->asked_ms = now_ms;
	return SL_NEIGHBOUR_OLD;
}

void sl_neighbours_forget_all(void)
{
	memset(table, 0, sizeof(table));
}

/* --- what frames say --- */

static void map(uint8_t to[16], const void *ip4)
{
	memset(to, 0, 10);
	memset(to + 10, 0xff, 2);
	memcpy(to + 12, ip4, 4);
}

static bool read_arp(const uint8_t *packet, size_t len, struct sl_neighbour_word *ret)
{
	const struct rte_arp_hdr *a = (const void *)packet;

	if (len < sizeof(*a) || a->arp_hardware != RTE_BE16(RTE_ARP_HRD_ETHER) ||
	    a->arp_protocol != RTE_BE16(RTE_ETHER_TYPE_IPV4) || a->arp_hlen != ETH_ALEN ||
	    a->arp_plen != 4)
		return false;
	map(ret->address, &a->arp_data.arp_sip);
	map(ret->target, &a->arp_data.arp_tip);
	memcpy(ret->mac, &a->arp_data.arp_sha, ETH_ALEN);
	return true;
}

/* The link address in the first option of that kind. */
static bool read_option(const uint8_t *option, size_t len, uint8_t kind, uint8_t ret[ETH_ALEN])
{
	while (len >= OPTION_MAC && option[1] && option[1] * 8u <= len) {
		if (option[0] == kind && option[1] == 1) {
			memcpy(ret, option + 2, ETH_ALEN);
			return true;
		}
		len -= option[1] * 8u;
		option += option[1] * 8u;
	}
	return false;
}

static bool is_whole(const struct rte_ipv6_hdr *ip)
{
	uint32_t sum = rte_raw_cksum(ip + 1, rte_be_to_cpu_16(ip->payload_len)) +
		       (uint32_t)rte_ipv6_phdr_cksum(ip, 0);

	return (sum >> 16) + (sum & UINT16_MAX) == UINT16_MAX;
}

/* Whether an advertisement counts: it was asked for, or says that it replaces what was known, as one does
 * when an address has moved. */
static bool is_meant(uint32_t flags)
{
	return flags & (ND_NA_FLAG_SOLICITED | ND_NA_FLAG_OVERRIDE);
}

/* A solicitation tells of its sender, an advertisement of its target. */
static bool read_nd(const uint8_t *packet, size_t len, struct sl_neighbour_word *ret)
{
	const struct rte_ipv6_hdr *ip = (const void *)packet;
	const struct nd_neighbor_solicit *nd = (const void *)(ip + 1);
	const size_t head = sizeof(*ip) + sizeof(*nd);
	bool solicits;

	if (len < head || ip->proto != IPPROTO_ICMPV6 || ip->hop_limits != 255 ||
	    rte_be_to_cpu_16(ip->payload_len) < sizeof(*nd) ||
	    rte_be_to_cpu_16(ip->payload_len) > len - sizeof(*ip))
		return false;
	solicits = nd->nd_ns_type == ND_NEIGHBOR_SOLICIT;
	if (!solicits && (nd->nd_ns_type != ND_NEIGHBOR_ADVERT || !is_meant(nd->nd_ns_reserved)))
		return false;
	if (!is_whole(ip))
		return false;
	memcpy(ret->address, solicits ? ip->src_addr : nd->nd_ns_target.s6_addr, 16);
	memcpy(ret->target, solicits ? nd->nd_ns_target.s6_addr : ip->dst_addr, 16);
	return read_option(packet + head, rte_be_to_cpu_16(ip->payload_len) - sizeof(*nd),
			   solicits ? ND_OPT_SOURCE_LINKADDR : ND_OPT_TARGET_LINKADDR, ret->mac);
}

bool sl_neighbour_read(const uint8_t *frame, size_t len, struct sl_neighbour_word *ret)
{
	uint16_t type;
	bool said;

	if (len < RTE_ETHER_HDR_LEN)
		return false;
	type = (uint16_t)(frame[12] << 8 | frame[13]);
	frame += RTE_ETHER_HDR_LEN;
	len -= RTE_ETHER_HDR_LEN;
	said = type == RTE_ETHER_TYPE_ARP    ? read_arp(frame, len, ret)
	       : type == RTE_ETHER_TYPE_IPV6 ? read_nd(frame, len, ret)
					     : false;
	return said && rte_is_valid_assigned_ether_addr((const void *)ret->mac);
}
