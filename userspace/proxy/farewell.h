/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_PROXY_FAREWELL_H
#define SLUICE_PROXY_FAREWELL_H

/* Connections that were accepted only to be told to go: the last words, FIN, and some time in which the
 * client may read them. Neither a connection object nor events. One thread's. */

#include <stdint.h>

#include "base/loop.h"
#include "base/slice.h"
#include "transport/transport.h"

#define SL_FAREWELLS_MAX 512

struct sl_farewells {
	struct sl_loop *loop;
	struct sl_timer timer;
	uint32_t stay_ms;
	uint32_t first, n; /* a ring, the oldest first */
	struct sl_farewell {
		struct sl_stream *stream;
		uint64_t until_ms;
	} ring[SL_FAREWELLS_MAX];
};

void sl_farewells_init(struct sl_farewells *f, struct sl_loop *loop);
/* Says text and takes the stream, which was accepted just now. Of SL_FAREWELLS_MAX the oldest one goes
 * early. */
void sl_farewell(struct sl_farewells *f, struct sl_stream *s, struct sl_slice text);
/* Ends all at once. */
void sl_farewells_end(struct sl_farewells *f);

#endif
