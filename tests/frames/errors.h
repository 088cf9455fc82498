/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_TESTS_ERRORS_H
#define SLUICE_TESTS_ERRORS_H

/* ICMP errors as what they mean, written out with complete checksums. */

#include "frames.h"

struct frame_error {
	struct frame outer; /* link, version, addresses, TTL, TOS; nothing of TCP */
	uint8_t type, code;
	uint32_t rest;	     /* of the ICMP header: the MTU */
	struct frame quoted; /* its IP header and the first 8 bytes of TCP */
	struct frame tail;   /* where the bytes behind these come from */
	int quote;	     /* bytes of quoted TCP */
};

/* Writes e to out[FRAME_MAX]; returns its length. */
size_t frame_error_write(const struct frame_error *e, uint8_t *out);

/* A router on leg `leg` of the pair says that a packet, sent on to that leg's peer, is too big. */
struct frame_error frame_error_from(const struct sl_flow_pair *pair, int leg);

/* The same error as it has to leave to the other leg's peer. */
struct frame_error frame_error_splice(const struct frame_error *in, const struct sl_flow_pair *pair,
				      int leg);

#endif
