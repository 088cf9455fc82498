/* SPDX-License-Identifier: BSD-2-Clause */
/* What the sockmap engine must know of a socket, and sets.
 *
 * The numbers are exact, whatever is lost on the wire: what was written is what is acknowledged and what
 * waits to be. (tcpi_bytes_sent is no help: it counts twice what the local queue dropped.) They come from
 * several system calls, so each is read until nothing changed in between. */

#include <errno.h>
#include <linux/bpf.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "splice/sockmap.h"

#define TRIES 8

static int read_info(int fd, struct tcp_info *ret)
{
	socklen_t len = sizeof(*ret);

	*ret = (struct tcp_info){0};
	return getsockopt(fd, IPPROTO_TCP, TCP_INFO, ret, &len) < 0 ? -errno : 0;
}

int sl_sockmap_written(int fd, uint64_t *ret)
{
	struct tcp_info before, after;
	int waiting, r = read_info(fd, &after);

	for (int i = 0; i < TRIES && !r; i++) {
		before = after;
		if (ioctl(fd, SIOCOUTQ, &waiting) < 0)
			return -errno;
		r = read_info(fd, &after);
		if (r || before.tcpi_bytes_acked != after.tcpi_bytes_acked)
			continue;
		*ret = after.tcpi_bytes_acked + (uint64_t)waiting;
		return 0;
	}
	return r ? r : -EAGAIN;
}

int sl_sockmap_waiting(int fd)
{
	int waiting;

	return ioctl(fd, SIOCOUTQ, &waiting) < 0 ? -errno : waiting;
}

int sl_sockmap_arrived(int fd, uint64_t *ret, bool *ret_closed)
{
	struct tcp_info info;
	int r = read_info(fd, &info);

	if (r)
		return r;
	*ret = info.tcpi_bytes_received;
	*ret_closed = info.tcpi_state == BPF_TCP_CLOSE;
	return 0;
}

int sl_sockmap_taken(int fd, uint64_t *ret)
{
	struct tcp_info before, after;
	int unread, r = read_info(fd, &after);

	for (int i = 0; i < TRIES && !r; i++) {
		before = after;
		if (ioctl(fd, SIOCINQ, &unread) < 0)
			return -errno;
		r = read_info(fd, &after);
		if (r || before.tcpi_bytes_received != after.tcpi_bytes_received)
			continue;
		if (after.tcpi_state != BPF_TCP_ESTABLISHED) /* FIN would count */
			return -ENOTCONN;
		*ret = after.tcpi_bytes_received - (uint64_t)unread;
		return 0;
	}
	return r ? r : -EAGAIN;
}

static int set(int fd, int option, int value)
{
	return setsockopt(fd, SOL_SOCKET, option, &value, sizeof(value)) < 0 ? -errno : 0;
}

int sl_sockmap_fix_buffers(int fd)
{
	int receive, r;
	socklen_t len = sizeof(receive);

	if (getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive, &len) < 0)
		return -errno;
	/* A window that was offered can't be taken back. */
	if (receive > SL_SOCKMAP_RECEIVE_BYTES)
		return -EFBIG;
	r = set(fd, SO_SNDBUF, SL_SOCKMAP_SEND_BYTES / 2); /* the kernel doubles it */
	return r ? r : set(fd, SO_BUF_LOCK, SOCK_SNDBUF_LOCK | SOCK_RCVBUF_LOCK);
}

void sl_sockmap_free_buffers(int fd)
{
	set(fd, SO_BUF_LOCK, 0);
}

void sl_sockmap_free_send_buffer(int fd)
{
	set(fd, SO_BUF_LOCK, SOCK_RCVBUF_LOCK);
}

/* Another way to have the program run does not exist that leaves the socket's position alone: recv(2) on
 * a socket with unread bytes would set it back. */
void sl_sockmap_kick(int fd)
{
	set(fd, SO_RCVLOWAT, 1);
}
