/* SPDX-License-Identifier: BSD-2-Clause */
/* Reads the TCP state of established sockets, and judges whether their pair can be spliced now. */

#include <errno.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "base/util.h"
#include "splice/packet_state.h"
#include "splice/reasons.h"

#define TIMESTAMP_OPTION 12 /* bytes of each segment */
#define FIRST_FLIGHT	 10 /* segments that a peer sends before one is acknowledged (RFC 6928) */

/* What is asked of a socket beside what ARM must know. */
struct state {
	int fd;
	uint32_t unread;   /* bytes in the receive queue */
	uint16_t mss;	   /* what the peer was told */
	uint16_t most_in;  /* largest payload that the peer may send */
	uint16_t most_out; /* largest that it takes */
	uint32_t segments; /* with data that the peer has sent */
	uint32_t promised; /* bytes that the peer may send: what the socket last said */
	uint32_t room;	   /* bytes that the peer has room for: what it last said */
};

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

static void resume(int fd)
{
	int one = 1;

	set(fd, TCP_REPAIR, TCP_REPAIR_OFF_NO_WP);
	/* Leaving repair mode has cleared it, and other sockets share the port. */
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
}

/* Of a socket in repair mode. */
static int read_windows(int fd, struct state *s)
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
static int read_sequences(int fd, struct state *s, struct sl_control_leg *l)
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
		resume(fd);
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

/* 0, -EAGAIN if the peer has not acknowledged all, or -errno if the stream is broken or has no socket.
 * Afterwards the socket is in repair mode. */
static int sample(struct sl_stream *stream, struct state *ret, struct sl_control_leg *ret_leg)
{
	struct state s = {0};
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
	s.segments = e.segments;
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

void sl_packet_resume(const struct sl_packet_sockets *s)
{
	for (int i = 0; i < 2; i++)
		if (s->fd[i] >= 0)
			resume(s->fd[i]);
}

/* --- the pair --- */

/* Bytes that a peer can send before the first of them is acknowledged. Its congestion window grows by a
 * segment at most for each that was. */
static uint64_t flight(const struct state *from)
{
	uint64_t most = ((uint64_t)FIRST_FLIGHT + from->segments) * from->most_in;

	return sl_min(most, (uint64_t)from->promised);
}

/* After the flip a peer goes on believing the window of the proxy's socket, until the other's first
 * ACK. What the other has no room for comes again: it drops the whole super-packet (Linux 6.18), and
 * where nothing follows, the peer waits for its RTO. */
static bool has_room(const struct state *to, const struct state *from)
{
	return to->room >= flight(from);
}

static int judge(const struct state s[2], const char **ret_reason)
{
	*ret_reason = "busy: bytes wait to be read";
	if (s[0].unread || s[1].unread)
		return -EAGAIN;
	*ret_reason = "a peer has less room than the other was promised";
	if (!has_room(&s[0], &s[1]) || !has_room(&s[1], &s[0]))
		return -EAGAIN;
	*ret_reason = "a peer may send larger segments than the other takes";
	if (s[0].most_in > s[1].most_out || s[1].most_in > s[0].most_out)
		return -EOPNOTSUPP;
	return 0;
}

int sl_packet_sample(const struct sl_pair *p, struct sl_packet_sockets *ret,
		     struct sl_control_leg ret_leg[2], const char **ret_reason)
{
	struct state s[2];

	ret->fd[0] = ret->fd[1] = -1;
	*ret_reason = sl_refusal_text(SL_REFUSE_ENDED);
	if (p->input_ended[SL_CLIENT] || p->input_ended[SL_UPSTREAM])
		return -EOPNOTSUPP;
	*ret_reason = "busy: bytes wait to be written";
	if (p->pending[SL_CLIENT] || p->pending[SL_UPSTREAM])
		return -EAGAIN;
	for (int i = 0; i < 2; i++) {
		int r = sample(p->stream[i], &s[i], &ret_leg[i]);

		if (r) {
			*ret_reason = r == -EAGAIN ? "busy: bytes are not acknowledged"
						   : "the state of a socket can't be read";
			return r == -EAGAIN ? r : -EOPNOTSUPP;
		}
		ret->fd[i] = s[i].fd;
		ret->mss[i] = s[i].mss;
	}
	return judge(s, ret_reason);
}
