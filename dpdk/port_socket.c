/* SPDX-License-Identifier: BSD-2-Clause */
/* The sockets of net_af_packet and net_af_xdp. DPDK does not tell their descriptors: they are looked for
 * among those of the process. */

#include "dpdk/port_socket.h"

#include <linux/if_packet.h>
#include <linux/if_xdp.h>
#include <sys/socket.h>

#include "dpdk/eal.h"

#define DESCRIPTORS_LOOKED_AT 4096

static struct known {
	int fd;		  /* 0: none */
	uint64_t dropped; /* by a packet socket, which forgets what it has told */
} known[SL_PORTS_MAX];

static struct known *find(int fd)
{
	for (size_t i = 0; i < SL_PORTS_MAX; i++)
		if (known[i].fd == fd)
			return &known[i];
	return NULL;
}

int sl_port_socket_find(const struct sl_port_config *c)
{
	const int wanted = sl_eal_is_xdp(c) ? AF_XDP : AF_PACKET;
	struct known *k = find(0);
	int domain;

	if (sl_eal_is_pci(c->device) || !k)
		return -1;
	for (int fd = 3; fd < DESCRIPTORS_LOOKED_AT; fd++) {
		socklen_t len = sizeof(domain);

		if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) || domain != wanted ||
		    find(fd))
			continue;
		*k = (struct known){.fd = fd};
		return fd;
	}
	return -1;
}

void sl_port_socket_forget(void)
{
	for (size_t i = 0; i < SL_PORTS_MAX; i++)
		known[i] = (struct known){0};
}

static void count_xdp(int fd, uint64_t *missed, uint64_t *refused)
{
	struct xdp_statistics s = {0};
	socklen_t len = sizeof(s);

	if (getsockopt(fd, SOL_XDP, XDP_STATISTICS, &s, &len))
		return;
	/* rx_dropped is told by the driver. */
	*missed += s.rx_ring_full;
	*refused += s.tx_invalid_descs;
}

static void count_packet(int fd, uint64_t *missed)
{
	struct tpacket_stats s = {0};
	socklen_t len = sizeof(s);
	struct known *k = find(fd);

	if (!k || getsockopt(fd, SOL_PACKET, PACKET_STATISTICS, &s, &len))
		return;
	k->dropped += s.tp_drops;
	*missed += k->dropped;
}

void sl_port_socket_count(const struct sl_port_config *c, int fd, uint64_t *missed,
			  uint64_t *refused)
{
	if (fd < 0)
		return;
	if (sl_eal_is_xdp(c))
		count_xdp(fd, missed, refused);
	else
		count_packet(fd, missed);
}
