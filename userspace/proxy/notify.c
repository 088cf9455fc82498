/* SPDX-License-Identifier: BSD-2-Clause */
/* sd_notify(3)'s protocol: one datagram a message, descriptors as SCM_RIGHTS. It never blocks. */

#include "proxy/notify.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/util.h"

/* The address's length, or 0: there is none. */
static socklen_t find_socket(struct sockaddr_un *un)
{
	const char *path = getenv("NOTIFY_SOCKET");
	size_t len = path ? strlen(path) : 0;

	*un = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (len < 2 || len >= sizeof(un->sun_path) || (*path != '/' && *path != '@'))
		return 0;
	memcpy(un->sun_path, path, len);
	if (*path == '@')
		un->sun_path[0] = '\0';
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
}

void sl_notify(const char *state, int fd)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {0};
	struct iovec iov = {(void *)state, strlen(state)};
	struct sockaddr_un un;
	struct msghdr m = {
		.msg_name = &un, .msg_namelen = find_socket(&un), .msg_iov = &iov, .msg_iovlen = 1};
	_sl_close_ int s = -1;

	if (!m.msg_namelen)
		return;
	s = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd >= 0) {
		m.msg_control = control;
		m.msg_controllen = sizeof(control);
		*CMSG_FIRSTHDR(&m) = (struct cmsghdr){.cmsg_level = SOL_SOCKET,
						      .cmsg_type = SCM_RIGHTS,
						      .cmsg_len = CMSG_LEN(sizeof(int))};
		memcpy(CMSG_DATA(CMSG_FIRSTHDR(&m)), &fd, sizeof(fd));
	}
	if (s >= 0)
		sendmsg(s, &m, MSG_NOSIGNAL);
}

uint64_t sl_notify_watchdog_ms(void)
{
	const char *us = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");

	if (!us || (pid && strtol(pid, NULL, 10) != getpid()))
		return 0;
	return sl_max(strtoull(us, NULL, 10) / 2000, 1ull);
}
