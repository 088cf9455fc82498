/* SPDX-License-Identifier: BSD-2-Clause */
/* One socket of a tunnel: writes what its plan allows, and compares every byte that arrives with what
 * the other end has sent at that position. */

#include "load.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PIECE	     65536
#define SLOW_BYTES   6000
#define SLOW_WAIT_US 3000
#define FIRST_FLIGHT 10 /* segments */

static uint64_t word(uint64_t stream, uint64_t index)
{
	uint64_t z = stream + index * 0x9e3779b97f4a7c15;

	z = (z ^ (z >> 32)) * 0xd6e8feb86659fd93;
	return z ^ (z >> 29);
}

void stream_fill(uint64_t stream, uint64_t at, uint8_t *buf, size_t n)
{
	uint64_t w = word(stream, at / 8);

	for (size_t i = 0; i < n;) {
		if (at % 8 == 0 && n - i >= 8) {
			w = word(stream, at / 8);
			memcpy(buf + i, &w, 8);
			i += 8;
			at += 8;
			continue;
		}
		if (at % 8 == 0)
			w = word(stream, at / 8);
		buf[i++] = (uint8_t)(w >> (at % 8 * 8));
		at++;
	}
}

static bool is_reset(int error)
{
	return error == ECONNRESET || error == EPIPE;
}

const char *end_write(struct end *e)
{
	static uint8_t buf[PIECE];

	while (e->sent < e->may_send && !e->reset) {
		uint64_t left = e->may_send - e->sent;
		size_t n = left < PIECE ? (size_t)left : PIECE;
		ssize_t done;

		stream_fill(e->stream, e->sent, buf, n);
		done = send(e->fd, buf, n, MSG_NOSIGNAL);
		if (done < 0 && errno == EAGAIN)
			return NULL;
		if (done < 0 && is_reset(errno))
			e->reset = true;
		else if (done < 0)
			return strerror(errno);
		else
			e->sent += (uint64_t)done;
	}
	return NULL;
}

static const char *compare(struct end *e, uint64_t from, const uint8_t *got, size_t n)
{
	static uint8_t wanted[PIECE];

	stream_fill(from, e->received, wanted, n);
	if (memcmp(got, wanted, n))
		return "wrong bytes";
	e->received += n;
	return NULL;
}

const char *end_read(struct end *e, uint64_t from, uint64_t now_us)
{
	static uint8_t buf[PIECE];
	const char *bad = NULL;

	while (!bad && !e->fin_received && !e->reset) {
		ssize_t n;

		if (e->slow && now_us < e->slow_next_us)
			return NULL;
		n = recv(e->fd, buf, e->slow ? SLOW_BYTES : PIECE, 0);
		if (n < 0 && errno == EAGAIN)
			return NULL;
		if (n < 0 && is_reset(errno))
			e->reset = true;
		else if (n < 0)
			bad = strerror(errno);
		else if (!n)
			e->fin_received = true;
		else
			bad = compare(e, from, buf, (size_t)n);
		e->slow_next_us = now_us + SLOW_WAIT_US;
	}
	return bad;
}

/* struct tcp_info as far as it is needed; glibc's is shorter. */
struct windows {
	uint32_t before[4];
	uint32_t tcpi_snd_mss;
	uint32_t between[34];
	uint32_t tcpi_data_segs_out;
	uint32_t behind[17];
	uint32_t tcpi_snd_wnd, tcpi_rcv_wnd;
};

bool end_windows(const struct end *e, uint32_t *ret_own, uint32_t *ret_flight)
{
	struct windows w;
	socklen_t len = sizeof(w);
	uint64_t most;

	if (getsockopt(e->fd, IPPROTO_TCP, TCP_INFO, &w, &len) < 0 || len < sizeof(w))
		return false;
	most = (FIRST_FLIGHT + (uint64_t)w.tcpi_data_segs_out) * w.tcpi_snd_mss;
	*ret_own = w.tcpi_rcv_wnd;
	*ret_flight = most < w.tcpi_snd_wnd ? (uint32_t)most : w.tcpi_snd_wnd;
	return true;
}

void end_finish(struct end *e)
{
	if (!e->fin_sent && e->fd >= 0)
		shutdown(e->fd, SHUT_WR);
	e->fin_sent = true;
}

void end_close(struct end *e)
{
	struct tcp_info info = {0};
	socklen_t len = sizeof(info);

	if (e->fd < 0)
		return;
	getsockopt(e->fd, IPPROTO_TCP, TCP_INFO, &info, &len);
	e->retransmitted = info.tcpi_total_retrans;
	close(e->fd);
	e->fd = -1;
}

void end_reset(struct end *e)
{
	struct linger none = {.l_onoff = 1};

	if (e->fd >= 0)
		setsockopt(e->fd, SOL_SOCKET, SO_LINGER, &none, sizeof(none));
	end_close(e);
}
