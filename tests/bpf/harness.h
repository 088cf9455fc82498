/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_TESTS_BPF_HARNESS_H
#define SLUICE_TESTS_BPF_HARNESS_H

/* What the packet engine's tests run on: its programs in a folder of their own, by BPF_PROG_TEST_RUN
 * (harness.c), or the steps of the lcore (tests/dpdk/harness.c), which has one hook under both numbers. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "frames.h"
#include "splice/loader.h"
#include "splice/pins.h"

#define HARNESS_SKIP  77
#define HARNESS_SLOTS 8

enum outcome {
	PASSED,
	DROPPED,
	SENT,
};

struct hook {
	const char *name;
	const char *program;		 /* its pin */
	int passed[2], dropped, sent[2]; /* verdicts that mean so */
};
extern const struct hook hooks[2]; /* tc, XDP */

struct harness {
	char folder[64];
	struct sl_pins pins;
	int program[2]; /* by hook; -1: no program of the kernel */
};

/* 0; or -errno, with a reason on stdout, where BPF can't be used here. */
int harness_open(struct harness *h, uint32_t slots);
void harness_close(struct harness *h);

/* Makes control calls by the program that kernels before 6.6 need. */
int harness_use_control_frame(struct harness *h);

/* Runs a program on a frame of len bytes, FRAME_MAX of room; it is changed in place. */
enum outcome harness_run(struct harness *h, int hook, uint8_t *frame, size_t len);

struct sl_flow_pair harness_pair(struct harness *h, uint32_t id);
/* Makes slot id hold this pair, with both flows. */
void harness_install(struct harness *h, uint32_t id, const struct sl_flow_pair *pair);
/* Takes all room for the flow of this leg, and none of the other's; until harness_clear(). */
void harness_fill(struct harness *h, const struct sl_flow_pair *pair, int leg);
void harness_clear(struct harness *h);
uint64_t harness_count(struct harness *h, enum sl_reason reason);
/* Takes the next event out of the ring buffer; false: there is none. */
bool harness_event(struct harness *h, struct sl_event *ret);
/* Makes a control call; other than 0: it could not be made. */
int harness_call(struct harness *h, struct sl_control *c);
/* Control call for slot id with the addresses and numbers of `pair`; returns c.ret. */
int harness_control(struct harness *h, enum sl_control_op op, uint32_t id,
		    const struct sl_flow_pair *pair, uint8_t flags, struct sl_control *ret);

#endif
