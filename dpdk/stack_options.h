/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_DPDK_STACK_OPTIONS_H
#define SLUICE_DPDK_STACK_OPTIONS_H

/* What lwIP as Debian builds it does not negotiate: selective acknowledgements, and a window scale above
 * 1. Both are added where its packets leave, so that the peers of a spliced pair have them end to end.
 *
 * While lwIP has the connection, both sides need more than that. Peers get reports of what lwIP holds out
 * of order: one that counts on them takes no repeated acknowledgement for a loss. And what peers report
 * makes lwIP send again: one that reports sends few acknowledgements, and lwIP counts them. */

#include <lwip/pbuf.h>
#include <lwip/tcp.h>
#include <stdbool.h>

/* Of pcb->flags, above those of lwIP. */
#define SL_PCB_SACK   0x2000 /* the peer permits selective acknowledgements */
#define SL_PCB_WSCALE 0x4000 /* it was offered SL_TCP_WSCALE */

/* A packet that leaves: p, or a new one instead, which the caller frees, or NULL: no memory. Whom it
 * belongs to is on the current lists (stack_pcbs.h). */
struct pbuf *sl_options_amend(struct pbuf *p);

/* A segment that lwIP is about to treat, its connection being on the current lists. */
void sl_options_note(const struct pbuf *segment, const ip_addr_t *local, const ip_addr_t *remote);
/* The segment was treated: its connection, on the current lists, learns what the segment acknowledged
 * beyond the acknowledgement. */
void sl_options_credit(const ip_addr_t *local, uint16_t local_port, const ip_addr_t *remote,
		       uint16_t remote_port);
/* The connection of the SYN that was noted last has begun. */
void sl_options_begun(struct tcp_pcb *pcb);
/* It is established, by a SYN of our own: windows are scaled as that said. */
void sl_options_established(struct tcp_pcb *pcb);

#endif
