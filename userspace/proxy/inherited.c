/* SPDX-License-Identifier: BSD-2-Clause */
/* Inherited descriptors. Only those are handed out that listen, and stream bytes: whatever else comes
 * is left alone, and closed in the end. */

#include "proxy/inherited.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/util.h"

#define FIRST	3
#define MOST	65536
#define UPGRADE "SLUICE_UPGRADE"

/* 0: it is not set. -EINVAL: not a number up to most. */
static int read_number(const char *name, long most, long *ret)
{
	const char *text = getenv(name);
	char *end;
	long n;

	*ret = 0;
	if (!text)
		return 0;
	errno = 0;
	n = strtol(text, &end, 10);
	if (errno || end == text || *end || n < 0 || n > most)
		return -EINVAL;
	*ret = n;
	return 0;
}

static int take_over(long n, struct sl_inherited *i)
{
	i->fd = calloc((size_t)n + 1, sizeof(*i->fd));
	if (!i->fd)
		return -ENOMEM;
	for (long k = 0; k < n; k++) {
		int fd = FIRST + (int)k;

		if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
			return -EINVAL;
		fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
		i->fd[i->n++] = fd;
	}
	return 0;
}

int sl_inherited_read(struct sl_inherited *ret)
{
	struct sl_inherited i = {.upgrade = -1};
	long pid, n, upgrade;
	int r = 0;

	if (read_number("LISTEN_PID", INT32_MAX, &pid) || read_number("LISTEN_FDS", MOST, &n) ||
	    read_number(UPGRADE, MOST + FIRST, &upgrade))
		r = -EINVAL;
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_FDNAMES");
	unsetenv(UPGRADE);
	if (!r && upgrade) {
		i.upgrade = (int)upgrade;
		r = fcntl(i.upgrade, F_SETFD, FD_CLOEXEC) < 0 ? -EINVAL : 0;
	}
	if (!r && (upgrade || pid == getpid()))
		r = take_over(n, &i);
	if (r < 0) {
		free(i.fd);
		return r;
	}
	*ret = i;
	return 0;
}

static bool listens(int fd)
{
	int on = 0, type = 0;
	socklen_t len = sizeof(on);

	return !getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &on, &len) && on &&
	       !getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) && type == SOCK_STREAM;
}

int sl_inherited_take(struct sl_inherited *i, const struct sl_addr *addr)
{
	for (size_t k = 0; i && k < i->n; k++) {
		struct sl_addr a = {.family = AF_UNSPEC};
		socklen_t len = sizeof(a);

		if (i->fd[k] < 0 || getsockname(i->fd[k], &a.sa, &len) < 0 ||
		    (a.family != AF_INET && a.family != AF_INET6) || !sl_addr_eq(&a, addr) ||
		    !listens(i->fd[k]))
			continue;
		return SL_TAKE_FD(i->fd[k]);
	}
	return -1;
}

int sl_inherited_take_path(struct sl_inherited *i, const char *path)
{
	for (size_t k = 0; i && k < i->n; k++) {
		struct sockaddr_un un = {.sun_family = AF_UNSPEC};
		socklen_t len = sizeof(un);

		if (i->fd[k] < 0 || getsockname(i->fd[k], (struct sockaddr *)&un, &len) < 0 ||
		    un.sun_family != AF_UNIX || strncmp(un.sun_path, path, sizeof(un.sun_path)) ||
		    !listens(i->fd[k]))
			continue;
		return SL_TAKE_FD(i->fd[k]);
	}
	return -1;
}

size_t sl_inherited_close(struct sl_inherited *i)
{
	size_t n = 0;

	for (size_t k = 0; k < i->n; k++) {
		n += i->fd[k] >= 0;
		sl_close(i->fd[k]);
	}
	free(SL_TAKE_PTR(i->fd));
	i->n = 0;
	i->upgrade = sl_close(i->upgrade);
	return n;
}
