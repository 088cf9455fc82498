/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_PROXY_NOTIFY_H
#define SLUICE_PROXY_NOTIFY_H

/* Telling the service manager, in the protocol of sd_notify(3): datagrams to the socket that NOTIFY_SOCKET
 * names. It is these few lines instead of libsystemd, which would bring a dozen libraries into a
 * process that has privileges. Without the variable nothing happens. */

#include <stdint.h>

/* state: "READY=1", lines separated by newlines. fd: sent along, -1: none. Errors don't matter. */
void sl_notify(const char *state, int fd);
/* How often WATCHDOG=1 is expected (half of WATCHDOG_USEC), or 0: never. */
uint64_t sl_notify_watchdog_ms(void);

#endif
