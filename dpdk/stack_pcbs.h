/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_DPDK_STACK_PCBS_H
#define SLUICE_DPDK_STACK_PCBS_H

/* lwIP's connections (pcbs), kept so that many of them cost no more than few. lwIP has one list of
 * active pcbs and one of those in TIME_WAIT; here each is as many lists as there are buckets, and the
 * two that lwIP sees are swapped in before it looks: by tcp_input() for a segment, by
 * sl_pcbs_select() before any call of lwIP's that may put a pcb on a list or take it off. */

#include <lwip/ip_addr.h>
#include <lwip/tcp.h>
#include <stdbool.h>
#include <stdint.h>

/* 0 or -errno. */
int sl_pcbs_init(void);
/* Drops every connection without a packet. */
void sl_pcbs_drop_all(void);

/* Makes the lists current that pcb is on, or will be on: its addresses and ports are set. Timers look
 * at it from now on until it is quiet again. */
void sl_pcbs_select(const struct tcp_pcb *pcb);
/* The same by addresses. True if there is a connection like that. */
bool sl_pcbs_find(const ip_addr_t *local, uint16_t local_port, const ip_addr_t *remote,
		  uint16_t remote_port);
/* The connection, which is not in TIME_WAIT, if it is on the current lists; NULL: it is not. */
struct tcp_pcb *sl_pcbs_current(const ip_addr_t *local, uint16_t local_port,
				const ip_addr_t *remote, uint16_t remote_port);
/* A peer that is silent that long is asked if it is there; 0: never. Who does not answer is given up
 * (ERR_ABRT) after twice that time, or 4 s. */
void sl_pcbs_keep_alive(struct tcp_pcb *pcb, unsigned after_ms);
/* A listening pcb that is about to be closed: handshakes under way are given up. */
void sl_pcbs_forget_listener(const struct tcp_pcb_listen *l);
/* Takes an established pcb off without a packet and frees it. */
void sl_pcbs_drop(struct tcp_pcb *pcb);

/* Called when lwIP frees a pcb, for whatever reason: nobody may use it any more. */
void sl_pcbs_on_free(void (*gone)(struct tcp_pcb *pcb));

#define SL_PCBS_TICK_MS 25
/* Runs a part of the timers; call it every SL_PCBS_TICK_MS while there are connections. */
void sl_pcbs_tick(void);
/* Connections in any state but LISTEN. */
uint32_t sl_pcbs_count(void);

#endif
