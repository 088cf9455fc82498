/* SPDX-License-Identifier: BSD-2-Clause */
/* Listening on a path. Between finding a stale socket and taking its place the directory is locked, so
 * that two processes that start at once can't remove each other's socket. */

#include "proxy/observe/admin_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/util.h"

#define BACKLOG	     32
#define LOCK_TRIES   50
#define LOCK_WAIT_MS 20

_Static_assert(sizeof(((struct sl_admin_socket *)NULL)->path) ==
		       sizeof(((struct sockaddr_un *)NULL)->sun_path),
	       "a path is what fits into an address");

/* A bounded wait: whoever may open the directory may lock it, and shall not keep us from the error. */
static int lock_directory(int fd)
{
	for (int i = 0; i < LOCK_TRIES; i++) {
		if (!flock(fd, LOCK_EX | LOCK_NB))
			return 0;
		if (errno != EWOULDBLOCK && errno != EINTR)
			return -errno;
		poll(NULL, 0, LOCK_WAIT_MS);
	}
	return -EBUSY;
}

/* A locked descriptor of the path's directory, which is made if need be; or -errno. */
static int enter_directory(const char *path)
{
	char copy[sizeof(((struct sockaddr_un *)NULL)->sun_path)];
	_sl_close_ int fd = -1;
	const char *dir;
	int r;

	memcpy(copy, path, strlen(path) + 1);
	dir = dirname(copy);
	if (mkdir(dir, 0755) < 0 && errno != EEXIST)
		return -errno;
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	r = lock_directory(fd);
	return r < 0 ? r : SL_TAKE_FD(fd);
}

/* Removes a socket at which nobody listens. 0 if the path is free now. */
static int remove_stale(const struct sockaddr_un *un)
{
	_sl_close_ int fd = -1;
	struct stat st;

	if (lstat(un->sun_path, &st) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode))
		return -EEXIST;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	/* -EAGAIN is a full backlog: somebody lives there. */
	if (!connect(fd, (const struct sockaddr *)un, sizeof(*un)) || errno == EAGAIN)
		return -EADDRINUSE;
	if (errno != ECONNREFUSED)
		return -errno;
	return unlink(un->sun_path) < 0 && errno != ENOENT ? -errno : 0;
}

/* On Linux bind() gives the file the mode of the unbound socket, less the umask: so there is no moment
 * with a wider one, and no need to change the umask under other threads. */
static int bind_and_listen(const struct sockaddr_un *un)
{
	_sl_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0 || fchmod(fd, 0600) < 0 ||
	    bind(fd, (const struct sockaddr *)un, sizeof(*un)) < 0 || listen(fd, BACKLOG) < 0)
		return -errno;
	return SL_TAKE_FD(fd);
}

int sl_admin_socket_adopt(const char *path, struct sl_admin_socket *ret)
{
	struct stat st = {0};

	if (strlen(path) >= sizeof(ret->path))
		return -ENAMETOOLONG;
	lstat(path, &st);
	*ret = (struct sl_admin_socket){.dev = st.st_dev, .ino = st.st_ino};
	memcpy(ret->path, path, strlen(path) + 1);
	return 0;
}

int sl_admin_socket_listen(const char *path, struct sl_admin_socket *ret, int *ret_fd)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	_sl_close_ int dir = -1;
	int r;

	if (!*path || strlen(path) >= sizeof(un.sun_path))
		return *path ? -ENAMETOOLONG : -EINVAL;
	memcpy(un.sun_path, path, strlen(path) + 1);
	dir = enter_directory(path);
	if (dir < 0)
		return dir;
	r = remove_stale(&un);
	if (r < 0)
		return r;
	r = bind_and_listen(&un);
	if (r < 0)
		return r;
	*ret_fd = r;
	sl_admin_socket_adopt(path, ret);
	return 0;
}

void sl_admin_socket_remove(const struct sl_admin_socket *s)
{
	struct stat st;

	if (!lstat(s->path, &st) && st.st_dev == s->dev && st.st_ino == s->ino)
		unlink(s->path);
}
