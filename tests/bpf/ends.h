/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_TESTS_BPF_ENDS_H
#define SLUICE_TESTS_BPF_ENDS_H

/* The far ends of tunnels, played by one thread: clients and servers that send streams which prove their
 * own content by position, in random sizes and rhythms, and check what they get. Every stream begins with
 * a header (how long it is, and its seed), so that a server needs to know nothing else. */

#include <stdbool.h>
#include <stdint.h>

/* How tunnels are to behave. */
struct ends_plan {
	uint16_t proxy_port; /* where clients connect to */
	int listener;	     /* where servers accept */
	unsigned tunnels;    /* in all */
	unsigned at_once;
	uint32_t bytes_max; /* of one stream */
	uint64_t seed;
};

struct ends_result {
	unsigned complete; /* streams that arrived whole, and ended */
	unsigned cut;	   /* right as far as they came: the tunnel was reset */
	unsigned planned_resets;
	unsigned truncated;  /* FIN came too early */
	unsigned corrupt;    /* a byte is not what it should be at its position */
	unsigned stuck;	     /* when nobody made progress any more */
	unsigned reset;	     /* though nobody had reset it */
	unsigned unanswered; /* connections that failed */
	uint64_t bytes;
	char first[200]; /* what the first failure was */
};

/* Runs all tunnels. Blocks. */
void ends_run(const struct ends_plan *plan, struct ends_result *ret);

#endif
