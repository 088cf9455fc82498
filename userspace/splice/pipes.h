/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_SPLICE_PIPES_H
#define SLUICE_SPLICE_PIPES_H

/* A pool of pipes for splice(2), of one thread. Pipes cost two descriptors and kernel memory, so they
 * are lent only while bytes flow, and their number is bounded. */

#include <stdint.h>

/* What one direction of a stalled pair may hold; two of them make the bound of 1 MiB a pair. */
#define SL_PIPE_BYTES (512 * 1024)

/* Free pipes that are kept for the next one who asks; more are closed. */
#define SL_PIPES_KEPT 16

struct sl_pipe {
	int in, out;   /* write end, read end */
	uint32_t held; /* bytes inside */
	struct sl_pipe *next;
};

struct sl_pipes {
	struct sl_pipe *free;
	uint32_t n_free; /* at most SL_PIPES_KEPT */
	uint32_t made, limit;
};

void sl_pipes_init(struct sl_pipes *p, uint32_t limit);
/* Every pipe has been put back. */
void sl_pipes_destroy(struct sl_pipes *p);
/* NULL when the limit is reached or descriptors are out: read and write then. */
struct sl_pipe *sl_pipes_get(struct sl_pipes *p);
/* A pipe that still holds bytes is closed, an empty one kept for reuse, within SL_PIPES_KEPT. Takes
 * NULL, returns NULL. */
struct sl_pipe *sl_pipes_put(struct sl_pipes *p, struct sl_pipe *pipe);

#endif
