/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_SPLICE_PACKET_STATE_H
#define SLUICE_SPLICE_PACKET_STATE_H

/* Reads the TCP state of a pair's sockets, for whoever splices packets: by BPF programs, or in DPDK's loop. */

#include <stdbool.h>
#include <stdint.h>

#include "splice/engine.h"

#include <sluice/flow.h>

/* The sockets of a pair in repair mode: if this process dies, they say nothing to their peers. */
struct sl_packet_sockets {
	int fd[2];	 /* -1: not looked at */
	uint16_t mss[2]; /* what the peer was told */
};

/* Has both sockets send the ACKs that they delay, then reads their state into ret_leg, if the pair is
 * quiet. 0; -EAGAIN: it is busy; -EOPNOTSUPP: it can't be spliced. *ret_reason is static. Sockets that are
 * in *ret are in repair mode, whatever is returned. */
int sl_packet_sample(const struct sl_pair *p, struct sl_packet_sockets *ret,
		     struct sl_control_leg ret_leg[2], const char **ret_reason);
/* They leave repair mode. */
void sl_packet_resume(const struct sl_packet_sockets *s);
/* Whether bytes wait in the socket's receive queue. */
bool sl_packet_has_unread(int fd);

#endif
