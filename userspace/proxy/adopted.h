/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_PROXY_ADOPTED_H
#define SLUICE_PROXY_ADOPTED_H

/* Tunnels that an earlier process left to an engine, and that belong to this one's workers now: listed,
 * counted, ended by silence, waited for by a drain. They have no client connection, and so take no
 * place in limits.connections: what bounds them is the engine (splice.pairs). */

#include "proxy/worker.h"

/* sl_engine_options.adopt; the owner is the worker. */
struct sl_pair *sl_adopted_new(void *worker, const struct sl_left_pair *left);
/* All of them: left to the engine again, to go on without this process. */
void sl_adopted_end_all(struct sl_worker *w);
/* Calls each for at most max. How many. */
uint32_t sl_adopted_flows(struct sl_worker *w, uint32_t max,
			  void (*each)(void *arg, const struct sl_flow_info *f), void *arg);
size_t sl_adopted_size(void);

#endif
