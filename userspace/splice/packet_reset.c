/* SPDX-License-Identifier: BSD-2-Clause */
/* Tells the peers of a pair without sockets that it is over.
 *
 * For each leg a socket in repair mode takes the place that the proxy's had, with the sequence numbers
 * that the pair has seen, and is closed with a reset: the RST carries what the peer expects next, so
 * that it is believed (RFC 5961, 3.2). Where the peer has moved on meanwhile it answers with a challenge
 * ACK, and the stack, which has no socket for it, answers that with an RST that is right. Raw sockets
 * would need one more capability (CAP_NET_RAW).
 *
 * The pair must be DEAD or released, so that the answers reach the stack. */

#include <errno.h>
#include <linux/tcp.h>
#include <string.h>
#include <sys/socket.h>

#include "base/util.h"
#include "splice/packet_shared.h"

static int set(int fd, int option, int value)
{
	return setsockopt(fd, IPPROTO_TCP, option, &value, sizeof(value)) < 0 ? -errno : 0;
}

static int set_sequence(int fd, int queue, uint32_t seq)
{
	int r = set(fd, TCP_REPAIR_QUEUE, queue);

	return r ? r : set(fd, TCP_QUEUE_SEQ, (int)seq);
}

static int become_established(int fd, const struct sl_leg *leg)
{
	struct sl_addr local = sl_packet_get_local(leg), peer = sl_packet_get_peer(leg);
	int r = set(fd, TCP_REPAIR, TCP_REPAIR_ON);

	if (!r && bind(fd, &local.sa, sl_addr_len(&local)) < 0)
		r = -errno;
	if (!r)
		r = set_sequence(fd, TCP_SEND_QUEUE, leg->ack);
	if (!r)
		r = set_sequence(fd, TCP_RECV_QUEUE, leg->end);
	if (!r && connect(fd, &peer.sa, sl_addr_len(&peer)) < 0)
		r = -errno;
	return r ? r : set(fd, TCP_REPAIR, TCP_REPAIR_OFF_NO_WP);
}

static int reset_peer(const struct sl_leg *leg)
{
	const struct linger abortive = {.l_onoff = 1, .l_linger = 0};
	_sl_close_ int fd = -1;
	int r;

	fd = socket(sl_packet_get_peer(leg).family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	r = become_established(fd, leg);
	if (!r && setsockopt(fd, SOL_SOCKET, SO_LINGER, &abortive, sizeof(abortive)) < 0)
		r = -errno;
	return r;
}

int sl_packet_reset_peers(const struct sl_flow_pair *pair)
{
	int r = 0;

	__atomic_add_fetch(&sl_packet_shared.resets, 1, __ATOMIC_RELAXED);
	for (int i = 0; i < 2; i++) {
		const struct sl_leg *leg = &pair->leg[i];
		int one = leg->flags & SL_LEG_SEEN ? reset_peer(leg) : -ENOTCONN;

		r = r ? r : one;
	}
	return r;
}
