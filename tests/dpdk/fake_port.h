/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_TESTS_DPDK_FAKE_PORT_H
#define SLUICE_TESTS_DPDK_FAKE_PORT_H

/* DPDK without hardware and privileges, and one port (dpdk/port.h) that keeps what is sent. Whatever can't
 * be in a test ends it. */

#include <stddef.h>
#include <stdint.h>

struct rte_mbuf;

void fake_port_start(void);
/* Fails if a frame was leaked. */
void fake_port_stop(void);
/* A frame that has arrived at the port. */
struct rte_mbuf *fake_port_arrival(const uint8_t *bytes, size_t len);
/* The oldest frame that was sent and not taken yet; the caller's. NULL: none. */
struct rte_mbuf *fake_port_take(void);

#endif
