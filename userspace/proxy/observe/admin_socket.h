/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_PROXY_ADMIN_SOCKET_H
#define SLUICE_PROXY_ADMIN_SOCKET_H

/* The admin socket's place in the file system: made with mode 0600 from its first moment, replaced
 * when stale, removed when it is still ours. */

#include <sys/types.h>

/* Which file it was, so that another process's socket at the same path is left alone. */
struct sl_admin_socket {
	char path[108];
	dev_t dev;
	ino_t ino;
};

/* A listening, non-blocking descriptor. 0 or -errno: -ENAMETOOLONG, -EADDRINUSE (somebody listens
 * there), -EEXIST (a file that is no socket), -EBUSY (others keep starting there). */
int sl_admin_socket_listen(const char *path, struct sl_admin_socket *ret, int *ret_fd);
/* Of a descriptor that listens there already. 0 or -errno. */
int sl_admin_socket_adopt(const char *path, struct sl_admin_socket *ret);
void sl_admin_socket_remove(const struct sl_admin_socket *s);

#endif
