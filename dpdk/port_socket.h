/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_DPDK_PORT_SOCKET_H
#define SLUICE_DPDK_PORT_SOCKET_H

/* The socket behind a port on a kernel's device: to sleep on, and what it counts that its driver does not
 * tell. One thread starts and ends ports and asks for counts. */

#include "dpdk/port.h"

/* The packet or XDP socket that was opened last for a port; -1: none. Borrowed. */
int sl_port_socket_find(const struct sl_port_config *c);
/* All are unknown again. */
void sl_port_socket_forget(void);

/* Adds to *missed and *refused what the kernel dropped because nobody fetched it, and what it was given
 * and did not send. */
void sl_port_socket_count(const struct sl_port_config *c, int fd, uint64_t *missed,
			  uint64_t *refused);

#endif
