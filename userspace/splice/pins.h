/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_SPLICE_PINS_H
#define SLUICE_SPLICE_PINS_H

/* What the loader (loader.h) pinned: the maps and the control program, opened for use. Nothing here
 * logs; functions return 0 or -errno. */

#include <stdbool.h>
#include <stdint.h>

#include <sluice/flow.h>

#include "splice/reasons.h"

#define SL_PIN_PATH_MAX 256

/* Descriptors of what is pinned; all -1 or all open. */
struct sl_pins {
	int flows, buckets, secret, counters, events;
	int control;
	bool control_is_call; /* a "syscall" program, else one that takes the struct as a frame */
	uint32_t slots;	      /* of pairs */
};

/* Opens all of a folder. -ENOENT: nothing is pinned there; -EPROTO: maps of another layout are. */
int sl_pins_open(const char *folder, struct sl_pins *ret);
void sl_pins_close(struct sl_pins *p);

/* Path of a pin. -ENAMETOOLONG. */
int sl_pin_path(char path[SL_PIN_PATH_MAX], const char *folder, const char *name);
/* A descriptor of one pin, or -errno. */
int sl_pin_open(const char *folder, const char *name);
/* Pins it; a pin that is there stays. */
int sl_pin_put(int fd, const char *folder, const char *name);
/* 0 and the layout, or as sl_pins_open(). One of a load that died in the middle counts as absent. */
int sl_pin_layout(const char *folder, struct sl_layout *ret);

/* Runs the control program. 0, with the answer in c->ret, or -errno of the call itself. */
int sl_pins_control(const struct sl_pins *p, struct sl_control *c);

/* All counters, summed over the CPUs, by enum sl_reason. */
int sl_pins_counters(const struct sl_pins *p, struct sl_counter ret[SL_REASON_COUNT]);

/* What the kernel accounts for the maps that are open, bytes. */
uint64_t sl_pins_memory(const struct sl_pins *p);

struct sl_pins_status {
	uint64_t memory_bytes; /* of all maps, as the kernel accounts them */
	uint32_t slots;
	uint32_t pairs[SL_FLOW_STATES]; /* by state */
};
int sl_pins_status(const char *folder, struct sl_pins_status *ret);

const char *sl_flow_state_name(enum sl_flow_state s); /* "active" */

#endif
