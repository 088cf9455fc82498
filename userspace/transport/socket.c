/* SPDX-License-Identifier: BSD-2-Clause */
/* Kernel TCP. Every stream is registered once, edge-triggered for both directions, so that a stream's
 * life costs one epoll_ctl(2) call. Accepting is level-triggered and budgeted: a flood of new
 * connections can't keep established ones waiting, and what the budget leaves is there at the next
 * turn. When a resource is missing (EMFILE, ENFILE, ENOBUFS, ENOMEM, or the stream limit), accepting
 * pauses for a moment: connections wait in the backlog instead of waking us in vain. So it does while the
 * user wants no more. Who is accepted only to be refused is not registered.
 *
 * It does not retry, time out or buffer: that is its user's. */

#include "transport/socket.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/slab.h"
#include "base/util.h"

#define ACCEPT_BUDGET	64
#define REFUSAL_BUDGET	8 /* of them */
#define STATE_SYN_SENT	2 /* of a connection; <linux/tcp.h> has no names for them */
#define STATE_CLOSE	7
#define ACCEPT_PAUSE_MS 50
#define FULL_PAUSE_MS	1 /* for a place in a limit, which another worker may make free */
#define WIDEST_WINDOW	(65535 << 14)
#define QUEUE_MAX	4096 /* connections that may wait for a listener that ends */
#define WATCH_ALWAYS	(EPOLLRDHUP | EPOLLET)
#define WATCH_READABLE	(EPOLLIN | EPOLLPRI)

struct socket_transport {
	struct sl_transport base;
	struct sl_slab streams;
};

struct socket_stream {
	struct sl_stream base;
	struct sl_io io;
	bool connecting;
	bool finished;	  /* FIN sent */
	bool local_known; /* base.local was bound, or the kernel told it */
	/* A short read may not be the last: FIN is behind the data, and no event will tell of it
	 * again; or there was urgent data, which cuts reads short. */
	bool never_drained;
	bool duplicated; /* the connection has another descriptor, or had one */
	struct sl_task release;
};

struct socket_acceptor {
	struct sl_acceptor base;
	struct socket_transport *transport;
	struct sl_io io;
	struct sl_timer resume;
	bool borrowed; /* the descriptor is somebody else's */
};

static const struct sl_transport_ops socket_ops;

static struct socket_transport *to_transport(struct sl_transport *t)
{
	return sl_container_of(t, struct socket_transport, base);
}

static struct socket_stream *to_stream(struct sl_stream *s)
{
	return sl_container_of(s, struct socket_stream, base);
}

size_t sl_socket_stream_bytes(void)
{
	return sizeof(struct socket_stream);
}

int sl_socket_transport_new(struct sl_loop *loop, uint32_t streams, struct sl_transport **ret)
{
	struct socket_transport *t = calloc(1, sizeof(*t));

	if (!t)
		return -ENOMEM;
	t->base = (struct sl_transport){.ops = &socket_ops, .loop = loop};
	sl_slab_init(&t->streams, "streams", sizeof(struct socket_stream), streams);
	*ret = &t->base;
	return 0;
}

static void socket_destroy(struct sl_transport *transport)
{
	if (!transport)
		return;
	sl_slab_destroy(&to_transport(transport)->streams);
	free(transport);
}

/* --- streams --- */

static void connect_event(struct socket_stream *s, unsigned ready)
{
	socklen_t len = sizeof(s->base.error);

	s->connecting = false;
	if ((ready & SL_HANGUP) &&
	    getsockopt(s->io.fd, SOL_SOCKET, SO_ERROR, &s->base.error, &len) < 0)
		s->base.error = errno;
	s->base.on_event(&s->base, SL_CONNECTED | (s->base.error ? SL_ERROR : ready));
}

static unsigned readiness(uint32_t events)
{
	unsigned ready = 0;

	if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		ready |= SL_READABLE;
	if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
		ready |= SL_WRITABLE;
	if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		ready |= SL_HANGUP;
	if (events & EPOLLERR)
		ready |= SL_ERROR; /* SO_ERROR stays unread: read(2) reports it behind the data */
	return ready;
}

static void stream_event(struct sl_io *io, uint32_t events)
{
	struct socket_stream *s = sl_container_of(io, struct socket_stream, io);

	s->base.urgent |= !!(events & EPOLLPRI);
	s->never_drained |= !!(events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR | EPOLLPRI));
	if (!s->connecting)
		s->base.on_event(&s->base, readiness(events));
	else if (events & (EPOLLOUT | EPOLLERR | EPOLLHUP))
		connect_event(s, readiness(events));
}

static void release_stream(struct sl_task *task)
{
	struct socket_stream *s = sl_container_of(task, struct socket_stream, release);

	sl_slab_put(&to_transport(s->base.transport)->streams, s);
}

static void ignore_event(struct sl_stream *s, unsigned events)
{
}

/* Wraps fd, which it owns from now on, even on failure. It has no events yet. */
static int wrap(struct socket_transport *t, int fd, struct socket_stream **ret)
{
	struct socket_stream *s = sl_slab_get(&t->streams);

	if (!s) {
		sl_close(fd);
		return -ENOBUFS;
	}
	s->base.ops = &socket_ops;
	s->base.transport = &t->base;
	s->base.on_event = ignore_event;
	s->io = (struct sl_io){.fd = fd, .on_event = stream_event};
	sl_task_init(&s->release, release_stream);
	*ret = s;
	return 0;
}

static int register_stream(struct socket_stream *s)
{
	return sl_loop_add(s->base.transport->loop, &s->io,
			   WATCH_ALWAYS | WATCH_READABLE | EPOLLOUT);
}

/* Wraps fd as above, with events. */
static int new_stream(struct socket_transport *t, int fd, struct socket_stream **ret)
{
	struct socket_stream *s;
	int r = wrap(t, fd, &s);

	if (r < 0)
		return r;
	r = register_stream(s);
	if (r < 0) {
		sl_close(fd);
		sl_slab_put(&t->streams, s);
		return r;
	}
	*ret = s;
	return 0;
}

static int bind_source(int fd, const struct sl_addr *source)
{
	int one = 1;

	if (source->family == AF_UNSPEC)
		return 0;
	if (sl_addr_port(source) && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0)
		return -errno;
	if (!sl_addr_port(source) &&
	    setsockopt(fd, SOL_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one)) < 0)
		return -errno;
	return bind(fd, &source->sa, sl_addr_len(source)) < 0 ? -errno : 0;
}

static int set_options(int fd, int mss, int window_clamp)
{
	int one = 1;

	if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) < 0)
		return -errno;
	if (mss && setsockopt(fd, IPPROTO_TCP, TCP_MAXSEG, &mss, sizeof(mss)) < 0)
		return -errno;
	if (window_clamp &&
	    setsockopt(fd, IPPROTO_TCP, TCP_WINDOW_CLAMP, &window_clamp, sizeof(window_clamp)) < 0)
		return -errno;
	return 0;
}

#define KEEPALIVE_PROBES 3

/* A peer that is gone is noticed after twice that time. */
static int set_keepalive(int fd, unsigned after_ms)
{
	const int on = after_ms > 0, count = KEEPALIVE_PROBES;
	const int idle_s = sl_max((int)(after_ms / 1000), 1);
	const int interval_s = sl_max(idle_s / KEEPALIVE_PROBES, 1);

	if (setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on)) < 0)
		return -errno;
	if (setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(idle_s)) < 0 ||
	    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval_s, sizeof(interval_s)) < 0 ||
	    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof(count)) < 0)
		return -errno;
	return 0;
}

/* A kernel without it connects as ever. */
static void allow_fast_open(int fd)
{
	int on = 1;

	setsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, &on, sizeof(on));
}

static int socket_connect(struct sl_transport *transport, const struct sl_connect_options *o,
			  struct sl_stream **ret)
{
	struct socket_stream *s;
	_sl_close_ int fd = -1;
	int r;

	fd = socket(o->addr.family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	r = set_options(fd, o->mss, o->window_clamp);
	if (!r)
		r = bind_source(fd, &o->source);
	if (!r && o->keepalive_ms)
		r = set_keepalive(fd, o->keepalive_ms);
	if (r < 0)
		return r;
	if (o->fast_open)
		allow_fast_open(fd);
	if (connect(fd, &o->addr.sa, sl_addr_len(&o->addr)) < 0 && errno != EINPROGRESS)
		return -errno;
	r = new_stream(to_transport(transport), SL_TAKE_FD(fd), &s);
	if (r < 0)
		return r;
	s->connecting = true;
	s->local_known = o->source.family != AF_UNSPEC && sl_addr_port(&o->source);
	s->base.peer = o->addr;
	s->base.local = o->source;
	*ret = &s->base;
	return 0;
}

static ssize_t socket_read(struct sl_stream *s, void *buf, size_t len)
{
	struct socket_stream *socket = to_stream(s);
	ssize_t n = recv(socket->io.fd, buf, len, 0);

	s->drained = n > 0 && (size_t)n < len && !socket->never_drained;
	return n < 0 ? -errno : n;
}

static ssize_t socket_write(struct sl_stream *s, const struct iovec *iov, int n_iov)
{
	struct msghdr msg = {.msg_iov = (struct iovec *)iov, .msg_iovlen = (size_t)n_iov};
	int fd = to_stream(s)->io.fd, flags = MSG_NOSIGNAL | (s->more ? MSG_MORE : 0);
	ssize_t n = n_iov == 1 ? send(fd, iov->iov_base, iov->iov_len, flags)
			       : sendmsg(fd, &msg, flags);

	if (n < 0) /* in progress: the SYN took nothing, the handshake comes first */
		return errno == EINPROGRESS ? -EAGAIN : -errno;
	return n;
}

static int socket_finish(struct sl_stream *stream)
{
	struct socket_stream *s = to_stream(stream);

	if (s->finished)
		return 0;
	s->finished = true;
	return shutdown(s->io.fd, SHUT_WR) < 0 ? -errno : 0;
}

static int socket_watch(struct sl_stream *s, unsigned events)
{
	return sl_loop_mod(s->transport->loop, &to_stream(s)->io,
			   WATCH_ALWAYS | (events & SL_READABLE ? WATCH_READABLE : 0) |
				   (events & SL_WRITABLE ? EPOLLOUT : 0));
}

static void socket_close(struct sl_stream *stream, enum sl_close_how how)
{
	struct socket_stream *s = to_stream(stream);
	struct linger abortive = {.l_onoff = 1, .l_linger = 0};
	int on = 1;

	if (how == SL_CLOSE_RESET)
		setsockopt(s->io.fd, SOL_SOCKET, SO_LINGER, &abortive, sizeof(abortive));
	else if (how == SL_CLOSE_SILENT)
		setsockopt(s->io.fd, IPPROTO_TCP, TCP_REPAIR, &on, sizeof(on));
	if (s->duplicated)
		sl_loop_del(stream->transport->loop, &s->io);
	else
		sl_loop_forget(stream->transport->loop, &s->io);
	s->io.fd = sl_close(s->io.fd);
	stream->on_event = ignore_event;
	sl_loop_defer(stream->transport->loop, &s->release);
}

static int learn_local(struct socket_stream *s)
{
	socklen_t len = sizeof(s->base.local);

	if (s->local_known)
		return 0;
	if (getsockname(s->io.fd, &s->base.local.sa, &len) < 0)
		return -errno;
	s->local_known = true;
	return 0;
}

static int socket_endpoint(struct sl_stream *s, struct sl_endpoint *ret)
{
	struct sl_endpoint e = {.fd = to_stream(s)->io.fd, .peer = s->peer, .tcp_known = true};
	struct tcp_info info;
	socklen_t len = sizeof(info);
	int r = learn_local(to_stream(s));

	if (r)
		return r;
	e.local = s->local;
	if (getsockopt(e.fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0)
		return -errno;
	if (info.tcpi_state == STATE_CLOSE || info.tcpi_state == STATE_SYN_SENT)
		return -ENOTCONN;
	e.sack = info.tcpi_options & TCPI_OPT_SACK;
	e.timestamps = info.tcpi_options & TCPI_OPT_TIMESTAMPS;
	e.ecn = info.tcpi_options & TCPI_OPT_ECN;
	e.snd_wscale = info.tcpi_snd_wscale;
	e.rcv_wscale = info.tcpi_rcv_wscale;
	e.mss = (uint16_t)info.tcpi_snd_mss;
	e.announced_mss = (uint16_t)info.tcpi_advmss;
	/* Behind a closed window bytes wait that were not sent even once. */
	e.unacked = info.tcpi_unacked || info.tcpi_notsent_bytes;
	e.segments = info.tcpi_data_segs_in;
	*ret = e;
	return 0;
}

/* Two descriptors of one connection, until the husk's is closed. */
static int socket_move(struct sl_stream *stream, struct sl_transport *to, struct sl_stream **ret)
{
	int fd = fcntl(to_stream(stream)->io.fd, F_DUPFD_CLOEXEC, 0);
	struct socket_stream *s;
	int r;

	if (fd < 0)
		return -errno;
	r = new_stream(to_transport(to), fd, &s);
	if (r < 0)
		return r;
	s->base.local = stream->local;
	s->base.peer = stream->peer;
	s->duplicated = to_stream(stream)->duplicated = true;
	*ret = &s->base;
	return 0;
}

/* --- accepting --- */

static bool lacks_resource(int error)
{
	return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

static bool may_accept(const struct socket_acceptor *a)
{
	return !a->base.may_accept || a->base.may_accept(&a->base);
}

static void pause_accepting(struct socket_acceptor *a, uint64_t ms)
{
	a->base.stats.paused++;
	sl_loop_mod(a->transport->base.loop, &a->io, 0);
	sl_loop_arm(a->transport->base.loop, &a->resume, ms);
}

static void resume_accepting(struct sl_timer *t)
{
	struct socket_acceptor *a = sl_container_of(t, struct socket_acceptor, resume);

	if (may_accept(a))
		sl_loop_mod(a->transport->base.loop, &a->io, EPOLLIN);
	else
		sl_loop_arm(a->transport->base.loop, &a->resume, FULL_PAUSE_MS);
}

/* To its owner. -ENOBUFS: there was no room for its events, which the owner was told as an error. */
static int hand_over(struct socket_acceptor *a, struct socket_stream *s)
{
	a->base.stats.accepted++;
	a->base.on_accept(&a->base, &s->base);
	if (s->base.deaf || s->io.fd < 0 || !register_stream(s))
		return 0;
	s->base.on_event(&s->base, SL_READABLE | SL_WRITABLE | SL_HANGUP | SL_ERROR);
	return -ENOBUFS;
}

/* One connection. 0, -EAGAIN when none waits, -ENOBUFS when accepting must pause; errors of the
 * connection itself (it was reset in the queue) are 0: the next one may be fine. */
static int accept_one(struct socket_acceptor *a)
{
	struct sl_addr peer = {0};
	socklen_t len = sizeof(peer);
	struct socket_stream *s;
	int fd;

	if (a->transport->streams.used >= a->transport->streams.limit)
		return -ENOBUFS;
	fd = accept4(a->io.fd, &peer.sa, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd < 0) {
		if (errno == EAGAIN)
			return -EAGAIN;
		return lacks_resource(errno) ? -ENOBUFS : 0;
	}
	if (wrap(a->transport, fd, &s) < 0)
		return -ENOBUFS;
	s->base.peer = peer;
	s->base.local = a->base.local;
	return hand_over(a, s);
}

static void accept_event(struct sl_io *io, uint32_t events)
{
	struct socket_acceptor *a = sl_container_of(io, struct socket_acceptor, io);
	int r = 0, refused = 0;

	for (int i = 0; i < ACCEPT_BUDGET && refused < REFUSAL_BUDGET && !r; i++) {
		if (!may_accept(a)) {
			if (!i) /* else it isn't known whether one waits */
				pause_accepting(a, FULL_PAUSE_MS);
			return;
		}
		a->base.full = false;
		r = accept_one(a);
		refused += a->base.full;
	}
	if (r == -ENOBUFS) {
		a->base.stats.failed++;
		pause_accepting(a, ACCEPT_PAUSE_MS);
	}
}

/* Accepted sockets inherit them. A clamp can't be taken away again: the widest window is none. */
static int change_listener(const struct sl_listen_options *o, int *ret)
{
	int clamp = o->window_clamp ? o->window_clamp : WIDEST_WINDOW;

	if (setsockopt(o->fd, IPPROTO_TCP, TCP_MAXSEG, &o->mss, sizeof(o->mss)) < 0 ||
	    setsockopt(o->fd, IPPROTO_TCP, TCP_WINDOW_CLAMP, &clamp, sizeof(clamp)) < 0 ||
	    setsockopt(o->fd, IPPROTO_TCP, TCP_FASTOPEN, &o->fast_open, sizeof(o->fast_open)) < 0)
		return -errno;
	*ret = o->fd;
	return set_keepalive(o->fd, o->keepalive_ms);
}

int sl_socket_listen(const struct sl_listen_options *o, int *ret)
{
	_sl_close_ int fd = -1;
	int one = 1, r;

	if (o->adopt)
		return change_listener(o, ret);
	fd = socket(o->addr.family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0)
		return -errno;
	if (o->reuse_port && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)) < 0)
		return -errno;
	if (o->addr.family == AF_INET6 &&
	    setsockopt(fd, SOL_IPV6, IPV6_V6ONLY, &one, sizeof(one)) < 0)
		return -errno;
	r = set_options(fd, o->mss, o->window_clamp); /* accepted sockets inherit them */
	if (!r && o->keepalive_ms)
		r = set_keepalive(fd, o->keepalive_ms);
	if (r < 0)
		return r;
	if (o->fast_open &&
	    setsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN, &o->fast_open, sizeof(o->fast_open)) < 0)
		return -errno;
	if (bind(fd, &o->addr.sa, sl_addr_len(&o->addr)) < 0 || listen(fd, o->backlog) < 0)
		return -errno;
	*ret = SL_TAKE_FD(fd);
	return 0;
}

static void free_acceptor(struct socket_acceptor *a)
{
	sl_loop_del(a->transport->base.loop, &a->io);
	sl_loop_disarm(a->transport->base.loop, &a->resume);
	if (!a->borrowed)
		sl_close(a->io.fd);
	free(a);
}

static int socket_listen(struct sl_transport *transport, const struct sl_listen_options *o,
			 void (*on_accept)(struct sl_acceptor *a, struct sl_stream *s), void *owner,
			 struct sl_acceptor **ret)
{
	struct socket_acceptor *a = calloc(1, sizeof(*a));
	socklen_t len = sizeof(a->base.local);
	int r;

	if (!a)
		return -ENOMEM;
	a->base.on_accept = on_accept;
	a->base.owner = owner;
	a->transport = to_transport(transport);
	a->io = (struct sl_io){.fd = -1, .on_event = accept_event};
	sl_timer_init(&a->resume, resume_accepting);
	a->borrowed = o->adopt;
	a->io.fd = o->adopt ? o->fd : -1;
	r = o->adopt ? 0 : sl_socket_listen(o, &a->io.fd);
	if (!r && getsockname(a->io.fd, &a->base.local.sa, &len) < 0)
		r = -errno;
	if (!r)
		r = sl_loop_add(transport->loop, &a->io, EPOLLIN);
	if (r < 0) {
		free_acceptor(a);
		return r;
	}
	*ret = &a->base;
	return 0;
}

static void socket_unlisten(struct sl_acceptor *acceptor)
{
	struct socket_acceptor *a = sl_container_of(acceptor, struct socket_acceptor, base);

	if (!acceptor)
		return;
	for (int i = 0; i < QUEUE_MAX && !acceptor->leave_queue; i++)
		if (accept_one(a) < 0)
			break;
	free_acceptor(a);
}

static const struct sl_transport_ops socket_ops = {
	.name = "socket",
	.listen = socket_listen,
	.unlisten = socket_unlisten,
	.connect = socket_connect,
	.read = socket_read,
	.write = socket_write,
	.finish = socket_finish,
	.watch = socket_watch,
	.close = socket_close,
	.endpoint = socket_endpoint,
	.move = socket_move,
	.destroy = socket_destroy,
};
