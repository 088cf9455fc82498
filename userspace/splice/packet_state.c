/* SPDX-License-Identifier: BSD-2-Clause */
/* Reads the TCP state of an established socket. */

#include <errno.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "splice/packet.h"

#define TIMESTAMP_OPTION 12 /* bytes of each segment */

static int set(int fd, int option, int value)
{
	return setsockopt(fd, IPPROTO_TCP, option, &value, sizeof(value)) < 0 ? -errno : 0;
}

static int get(int fd, int option, uint32_t *ret)
{
	socklen_t len = sizeof(*ret);

	return getsockopt(fd, IPPROTO_TCP, option, ret, &len) < 0 ? -errno : 0;
}

static int queue_seq(int fd, int queue, uint32_t *ret)
{
	int r = set(fd, TCP_REPAIR_QUEUE, queue);

	return r ? r : get(fd, TCP_QUEUE_SEQ, ret);
}

static int unread(int fd, uint32_t *ret)
{
	int n;

	if (ioctl(fd, SIOCINQ, &n) < 0)
		return -errno;
	*ret = (uint32_t)n;
	return 0;
}

bool sl_packet_has_unread(int fd)
{
	uint32_t n = 0;

	return unread(fd, &n) || n;
}

void sl_packet_resume(int fd)
{
	int one = 1;

	set(fd, TCP_REPAIR, TCP_REPAIR_OFF_NO_WP);
	/* Leaving repair mode has cleared it, and other sockets share the port. */
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
}

/* Of a socket in repair mode. */
static int read_windows(int fd, struct sl_packet_socket *s)
{
	struct tcp_repair_window w;
	socklen_t len = sizeof(w);

	if (getsockopt(fd, IPPROTO_TCP, TCP_REPAIR_WINDOW, &w, &len) < 0)
		return -errno;
	s->promised = w.rcv_wnd;
	s->room = w.snd_wnd;
	return 0;
}

/* The kernel tells rcv_nxt. What came in after it was read shows as unread, so that the number is too
 * small then and never too large. */
static int read_sequences(int fd, struct sl_packet_socket *s, struct sl_control_leg *l)
{
	int r = set(fd, TCP_REPAIR, TCP_REPAIR_ON);

	if (r)
		return r;
	r = queue_seq(fd, TCP_RECV_QUEUE, &l->exp);
	if (!r)
		r = unread(fd, &s->unread);
	if (!r)
		r = queue_seq(fd, TCP_SEND_QUEUE, &l->wseq);
	if (!r)
		r = read_windows(fd, s);
	l->exp -= s->unread;
	if (r)
		sl_packet_resume(fd);
	return r;
}

static int read_clock(int fd, struct sl_control_leg *l)
{
	uint32_t ts;
	int r = get(fd, TCP_TIMESTAMP, &ts);

	if (!r)
		l->ts_offset = ts - (uint32_t)(sl_clock_us() / 1000);
	return r;
}

int sl_packet_sample(struct sl_stream *stream, struct sl_packet_socket *ret,
		     struct sl_control_leg *ret_leg)
{
	struct sl_packet_socket s = {0};
	struct sl_control_leg l = {0};
	struct sl_endpoint e;
	uint16_t options;
	int r = stream->ops->endpoint(stream, &e);

	if (r)
		return r;
	if (e.fd < 0 || !e.tcp_known)
		return -EOPNOTSUPP;
	if (e.unacked)
		return -EAGAIN;
	r = set(e.fd, TCP_QUICKACK, 1);
	if (!r)
		r = read_clock(e.fd, &l);
	if (!r)
		r = read_sequences(e.fd, &s, &l);
	if (r)
		return r;
	options = e.timestamps ? TIMESTAMP_OPTION : 0;
	s.fd = e.fd;
	s.most_in = e.announced_mss - options;
	s.most_out = e.mss;
	s.mss = e.announced_mss;
	l.options = (e.sack ? SL_LEG_SACK : 0) | (e.timestamps ? SL_LEG_TIMESTAMPS : 0) |
		    (e.ecn ? SL_LEG_ECN : 0);
	l.mss = e.mss;
	l.peer_wscale = e.snd_wscale;
	l.local_wscale = e.rcv_wscale;
	*ret = s;
	*ret_leg = l;
	return 0;
}
