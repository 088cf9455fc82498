/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_TESTS_FRAMES_H
#define SLUICE_TESTS_FRAMES_H

/* The oracle of packet tests: frames as what they mean, written out with complete checksums, and
 * what a splice does to that meaning. Shares no code with include/sluice but the structs of a pair. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <sluice/flow.h>

#define FRAME_MAX 2048
/* A buffer whose IP header lies on a multiple of 4, as drivers place it. */
#define FRAME_BUFFER(name)                              \
	_Alignas(4) uint8_t name##_room[FRAME_MAX + 2]; \
	uint8_t *name = name##_room + 2
#define FRAME_FIN 0x01
#define FRAME_SYN 0x02
#define FRAME_RST 0x04
#define FRAME_PSH 0x08
#define FRAME_ACK 0x10
#define FRAME_URG 0x20
#define FRAME_ECE 0x40
#define FRAME_CWR 0x80

struct frame_option {
	uint8_t kind; /* 0 ends, 1 is a NOP, others have len - 2 bytes of data */
	uint8_t len;
	uint8_t data[38];
};

struct frame {
	uint8_t to_mac[6], from_mac[6];
	int tags;
	uint16_t tci[2];
	bool service;		  /* the outer tag is 802.1ad */
	int version;		  /* 4 or 6 */
	uint8_t src[16], dst[16]; /* 4 or 16 bytes of them */
	uint8_t ttl, tos;
	int ip_options;	   /* bytes of NOPs in the IPv4 header, a multiple of 4 */
	uint16_t fragment; /* IPv4's flags and offset */
	uint16_t sport, dport;
	uint32_t seq, ack;
	uint8_t flags;
	uint16_t window;
	int options;
	struct frame_option option[16];
	int payload;  /* bytes of a pattern */
	int padding;  /* bytes behind the packet */
	bool partial; /* the TCP checksum is just the pseudo header's sum */
};

/* Writes f to out[FRAME_MAX]; returns its length. */
size_t frame_write(const struct frame *f, uint8_t *out);

/* f as it has to leave to the peer of the leg that is not `from`. */
struct frame frame_splice(const struct frame *f, const struct sl_flow_pair *pair, int from);

/* The Internet sum of n bytes and s, folded and not complemented. */
uint32_t frame_sum(const uint8_t *p, size_t n, uint32_t s);

struct frame_option frame_timestamps(uint32_t tsval, uint32_t tsecr);
/* At most 4 blocks, as in a TCP header. */
struct frame_option frame_sack(int blocks, const uint32_t *edges);
struct frame_option frame_nop(void);

/* An ACTIVE pair, version 4 or 6, with all options and different numbers everywhere. */
struct sl_flow_pair frame_pair(int version);
/* A data segment of 100 bytes from that pair's leg, with timestamps, in the middle of its window. */
struct frame frame_from(const struct sl_flow_pair *pair, int leg);

#endif
