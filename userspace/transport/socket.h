/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_TRANSPORT_SOCKET_H
#define SLUICE_TRANSPORT_SOCKET_H

/* The transport over the kernel's TCP sockets. */

#include "transport/transport.h"

/* streams: most streams alive at once. 0 or -ENOMEM. */
int sl_socket_transport_new(struct sl_loop *loop, uint32_t streams, struct sl_transport **ret);
/* A descriptor that listens, for a transport to adopt; or, with o->adopt, the same changes of a socket that
 * does already: *ret is o->fd. 0, or -errno of socket, bind, listen or an option. */
int sl_socket_listen(const struct sl_listen_options *o, int *ret);
/* Bytes of memory that one stream takes here (the kernel's socket not counted). */
size_t sl_socket_stream_bytes(void);

#endif
