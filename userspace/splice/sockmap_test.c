/* SPDX-License-Identifier: BSD-2-Clause */
/* The sockmap engine's self-test. Sockmaps were broken in several kernels, stable ones among them, each in
 * a way of its own, so the engine is tried out where it will run: on two connections over loopback, with
 * the engine's own code between them. What it does not show is what only load or time bring out. */

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/util.h"
#include "splice/sockmap.h"

#define STEP_MS	      1000 /* no step may take longer */
#define EARLY_BYTES   5000
#define BULK_BYTES    (1 << 20)
#define STALLED_MS    20 /* without a byte */
#define SMALL_BUFFER  (32 * 1024)
#define ROUNDS	      101
#define ROUNDS_MIN    11 /* on a slow host */
#define ROUND_BYTES   64
#define ROUND_LATE_US 1000 /* more than copied: something waits for the clock */

/* The proxy's end of a connection. */
struct plug {
	struct sl_stream stream;
	struct sl_transport transport;
	struct sl_io io;
};

struct rig {
	struct sl_loop *loop;
	struct sl_buf_pool buffers;
	struct sl_engine *engine;
	struct plug plug[2];
	int far[2]; /* the other ends: a client and a server */
	struct sl_pair pair;
	uint64_t sent[2], received[2];
	uint64_t deadline_us;
	bool corrupt;
};

/* --- streams over plain sockets --- */

static struct plug *to_plug(struct sl_stream *s)
{
	return sl_container_of(s, struct plug, stream);
}

static void plug_event(struct sl_io *io, uint32_t events)
{
	struct sl_stream *s = &sl_container_of(io, struct plug, io)->stream;
	unsigned ready = 0;

	if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		ready |= SL_READABLE;
	if (events & EPOLLOUT)
		ready |= SL_WRITABLE;
	if (events & (EPOLLRDHUP | EPOLLHUP))
		ready |= SL_HANGUP;
	if (events & EPOLLERR)
		ready |= SL_ERROR;
	s->on_event(s, ready);
}

static ssize_t plug_read(struct sl_stream *s, void *buf, size_t len)
{
	ssize_t n = recv(to_plug(s)->io.fd, buf, len, MSG_DONTWAIT);

	return n < 0 ? -errno : n;
}

static ssize_t plug_write(struct sl_stream *s, const struct iovec *iov, int n)
{
	ssize_t done =
		send(to_plug(s)->io.fd, iov->iov_base, iov->iov_len, MSG_DONTWAIT | MSG_NOSIGNAL);

	return done < 0 ? -errno : done;
}

static int plug_finish(struct sl_stream *s)
{
	return shutdown(to_plug(s)->io.fd, SHUT_WR) < 0 ? -errno : 0;
}

static int plug_watch(struct sl_stream *s, unsigned events)
{
	return sl_loop_mod(s->transport->loop, &to_plug(s)->io,
			   EPOLLRDHUP | EPOLLET | (events & SL_READABLE ? EPOLLIN : 0) |
				   (events & SL_WRITABLE ? EPOLLOUT : 0));
}

static void plug_close(struct sl_stream *s, enum sl_close_how how)
{
	struct plug *plug = to_plug(s);

	sl_loop_del(s->transport->loop, &plug->io);
	plug->io.fd = sl_close(plug->io.fd);
}

static int plug_endpoint(struct sl_stream *s, struct sl_endpoint *ret)
{
	*ret = (struct sl_endpoint){.fd = to_plug(s)->io.fd};
	return 0;
}

static const struct sl_transport_ops plug_ops = {
	.name = "self-test",
	.read = plug_read,
	.write = plug_write,
	.finish = plug_finish,
	.watch = plug_watch,
	.close = plug_close,
	.endpoint = plug_endpoint,
};

/* --- the rig --- */

static int make_listener(struct sockaddr_in *ret)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t len = sizeof(a);
	_sl_close_ int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&a, len) < 0 || listen(fd, 2) < 0 ||
	    getsockname(fd, (struct sockaddr *)&a, &len) < 0)
		return -errno;
	*ret = a;
	return SL_TAKE_FD(fd);
}

/* Small buffers at the far ends, so that what a stalled pair takes is what the engine holds. */
static int connect_far(const struct sockaddr_in *a)
{
	_sl_close_ int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	const int small = SMALL_BUFFER, one = 1;

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)) < 0 ||
	    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) < 0 ||
	    connect(fd, (const struct sockaddr *)a, sizeof(*a)) < 0)
		return -errno;
	return SL_TAKE_FD(fd);
}

static int plug_in(struct rig *rig, int listener, int side)
{
	struct plug *plug = &rig->plug[side];
	const int one = 1;

	plug->io = (struct sl_io){.fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC),
				  .on_event = plug_event};
	if (plug->io.fd < 0)
		return -errno;
	setsockopt(plug->io.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	plug->transport = (struct sl_transport){.ops = &plug_ops, .loop = rig->loop};
	plug->stream = (struct sl_stream){.ops = &plug_ops, .transport = &plug->transport};
	rig->pair.stream[side] = &plug->stream;
	return sl_loop_add(rig->loop, &plug->io, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
}

static int connect_all(struct rig *rig)
{
	struct sockaddr_in a;
	_sl_close_ int listener = make_listener(&a);
	int r = listener < 0 ? listener : 0;

	for (int side = 0; side < 2 && !r; side++) {
		rig->far[side] = connect_far(&a);
		r = rig->far[side] < 0 ? rig->far[side] : plug_in(rig, listener, side);
	}
	return r;
}

static void ignore_end(struct sl_pair *p, enum sl_pair_end why)
{
}

static int set_up(struct rig *rig, const struct sl_engine_ops *ops)
{
	struct sl_engine_options o = {.buffers = &rig->buffers, .pairs = 1};
	int r;

	*rig = (struct rig){.far = {-1, -1}, .plug = {{.io.fd = -1}, {.io.fd = -1}}};
	rig->pair.on_end = ignore_end;
	sl_buf_pool_init(&rig->buffers, 16384, 4);
	r = sl_loop_new(&rig->loop);
	o.loop = rig->loop;
	if (!r)
		r = ops->create(&o, &rig->engine);
	return r ? r : connect_all(rig);
}

static void tear_down(struct rig *rig)
{
	if (rig->pair.engine)
		rig->engine->ops->abort(&rig->pair);
	for (int side = 0; side < 2; side++) {
		if (rig->plug[side].io.fd >= 0)
			plug_close(&rig->plug[side].stream, SL_CLOSE_RESET);
		sl_close(rig->far[side]);
	}
	if (rig->engine) {
		rig->engine->ops->forget(rig->engine, &rig->pair);
		rig->engine->ops->destroy(rig->engine);
	}
	sl_loop_free(rig->loop);
	sl_buf_pool_destroy(&rig->buffers);
}

/* --- traffic --- */

static uint8_t byte_at(int side, uint64_t at)
{
	return (uint8_t)((at + 1) * 2654435761u >> 24) ^ (uint8_t)(side + 1);
}

/* As much as goes in, n at most. */
static void send_some(struct rig *rig, int side, uint64_t n)
{
	uint8_t piece[16384];
	ssize_t done;

	n = sl_min(n, (uint64_t)sizeof(piece));
	for (uint64_t i = 0; i < n; i++)
		piece[i] = byte_at(side, rig->sent[side] + i);
	done = send(rig->far[side], piece, n, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (done > 0)
		rig->sent[side] += (uint64_t)done;
}

/* What came from a side, at the other. False: nothing did, for now. */
static bool receive_some(struct rig *rig, int side)
{
	uint8_t piece[16384];
	ssize_t n = recv(rig->far[!side], piece, sizeof(piece), MSG_DONTWAIT);

	for (ssize_t i = 0; i < n; i++)
		rig->corrupt |= piece[i] != byte_at(side, rig->received[side] + (uint64_t)i);
	if (n > 0)
		rig->received[side] += (uint64_t)n;
	return n > 0;
}

static void start_step(struct rig *rig)
{
	rig->deadline_us = sl_clock_us() + STEP_MS * 1000;
}

static bool in_time(const struct rig *rig)
{
	return sl_clock_us() < rig->deadline_us;
}

static void turn(struct rig *rig, int side)
{
	struct pollfd p = {.fd = rig->far[!side], .events = POLLIN};

	sl_loop_turn(rig->loop, 0);
	poll(&p, 1, 1);
}

/* All that was sent from a side arrives, and it is what was sent. */
static bool arrives(struct rig *rig, int side)
{
	while (rig->received[side] < rig->sent[side] && in_time(rig))
		if (!receive_some(rig, side))
			turn(rig, side);
	return rig->received[side] == rig->sent[side] && !rig->corrupt;
}

static bool end_arrives(struct rig *rig, int side)
{
	char byte;

	while (in_time(rig)) {
		ssize_t n = recv(rig->far[!side], &byte, 1, MSG_DONTWAIT);

		if (n >= 0 || errno != EAGAIN)
			return n == 0;
		turn(rig, side);
	}
	return false;
}

/* --- the steps; each returns NULL, or what is wrong --- */

static const char *try_early_bytes(struct rig *rig)
{
	const char *reason = NULL;

	start_step(rig);
	for (int side = 0; side < 2; side++)
		send_some(rig, side, EARLY_BYTES);
	if (rig->engine->ops->join(rig->engine, &rig->pair, &reason))
		return reason;
	return arrives(rig, 0) && arrives(rig, 1) ? NULL : "self-test: early bytes get lost";
}

static const char *try_bulk(struct rig *rig)
{
	for (int side = 0; side < 2; side++) {
		uint64_t end = rig->sent[side] + BULK_BYTES;

		start_step(rig);
		while (rig->sent[side] < end && in_time(rig)) {
			send_some(rig, side, end - rig->sent[side]);
			if (!receive_some(rig, side))
				turn(rig, side);
		}
		if (rig->sent[side] < end || !arrives(rig, side))
			return "self-test: bytes are lost, stuck or changed";
	}
	return NULL;
}

static const char *try_slow_reader(struct rig *rig)
{
	uint64_t before = rig->sent[0], progress_us = sl_clock_us(), last = before;

	start_step(rig);
	while (sl_clock_us() - progress_us < STALLED_MS * 1000 && in_time(rig)) {
		send_some(rig, 0, UINT64_MAX);
		if (rig->sent[0] != last)
			progress_us = sl_clock_us();
		last = rig->sent[0];
		sl_loop_turn(rig->loop, 1);
		if (rig->sent[0] - before > SL_SOCKMAP_PAIR_BYTES)
			return "self-test: a slow reader is not waited for";
	}
	return arrives(rig, 0) ? NULL : "self-test: bytes for a slow reader are lost or stuck";
}

static const char *try_half_close(struct rig *rig)
{
	start_step(rig);
	send_some(rig, 0, EARLY_BYTES);
	shutdown(rig->far[0], SHUT_WR);
	if (!arrives(rig, 0) || !end_arrives(rig, 0))
		return "self-test: FIN is lost, or overtakes bytes";
	send_some(rig, 1, EARLY_BYTES);
	if (!arrives(rig, 1))
		return "self-test: a half-closed connection is stuck";
	shutdown(rig->far[1], SHUT_WR);
	if (!end_arrives(rig, 1) || rig->pair.end != SL_PAIR_FINISHED)
		return "self-test: the pair does not end";
	return NULL;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static bool goes_round(struct rig *rig)
{
	start_step(rig);
	for (int side = 0; side < 2; side++) {
		send_some(rig, side, ROUND_BYTES);
		if (!arrives(rig, side))
			return false;
	}
	return true;
}

/* The median of as many round trips as there is time for; UINT64_MAX if one fails. */
static uint64_t round_trip_us(struct rig *rig)
{
	uint64_t took[ROUNDS], begin = sl_clock_us();
	size_t n = 0;

	while (n < ROUNDS && (n < ROUNDS_MIN || sl_clock_us() - begin < STEP_MS * 1000)) {
		uint64_t start = sl_clock_us();

		if (!goes_round(rig))
			return UINT64_MAX;
		took[n++] = sl_clock_us() - start;
	}
	qsort(took, n, sizeof(took[0]), compare);
	return took[n / 2];
}

static uint64_t copied_round_trip_us(void)
{
	struct rig rig;
	const char *unused;
	uint64_t us = UINT64_MAX;

	if (!set_up(&rig, &sl_copy_engine) &&
	    !rig.engine->ops->join(rig.engine, &rig.pair, &unused))
		us = round_trip_us(&rig);
	tear_down(&rig);
	return us;
}

static const char *run(struct rig *rig, uint64_t *ret_us, uint64_t *ret_copied_us)
{
	const char *wrong = try_early_bytes(rig);

	if (!wrong)
		wrong = try_bulk(rig);
	if (!wrong)
		wrong = try_slow_reader(rig);
	if (wrong)
		return wrong;
	*ret_us = round_trip_us(rig);
	*ret_copied_us = copied_round_trip_us();
	if (*ret_us == UINT64_MAX)
		return "self-test: a round trip fails";
	if (*ret_copied_us == UINT64_MAX)
		return "self-test: a copied round trip fails";
	if (*ret_us > *ret_copied_us + sl_max(*ret_copied_us, (uint64_t)ROUND_LATE_US))
		return "self-test: a round trip takes a millisecond longer than by copying, and "
		       "twice as long";
	return try_half_close(rig);
}

/* Why the engine can't even be made. */
static const char *refusal(struct rig *rig, int r)
{
	struct sl_sockmap_maps maps = {0};
	const char *reason = "self-test: there is no loopback here";

	if (!rig->engine && sl_sockmap_maps_open(1, NULL, NULL, &maps, &reason))
		return reason;
	sl_sockmap_maps_close(&maps);
	return reason;
}

void sl_sockmap_test(struct sl_engine_report *ret)
{
	struct sl_engine_report report = {0};
	uint64_t us = 0, copied_us = 0;
	const char *wrong;
	struct rig rig;
	int r = set_up(&rig, &sl_sockmap_engine);

	wrong = r ? refusal(&rig, r) : run(&rig, &us, &copied_us);
	tear_down(&rig);
	report.available = !wrong;
	if (wrong)
		snprintf(report.reason, sizeof(report.reason), "%s", wrong);
	else
		snprintf(report.reason, sizeof(report.reason),
			 "self-test: order, bound and ends hold; a round trip takes %u us, copied "
			 "%u us",
			 (unsigned)us, (unsigned)copied_us);
	*ret = report;
}
