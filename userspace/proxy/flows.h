/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_PROXY_FLOWS_H
#define SLUICE_PROXY_FLOWS_H

/* What `sluice flows` shows of a pair: a plain value, copied in the worker and sent across. */

#include <stdint.h>

#include "base/addr.h"
#include "splice/engine.h"

struct sl_flow_info {
	uint64_t id; /* unique while the process lives */
	uint64_t age_ms;
	struct sl_addr client, client_local;	 /* the client's 4-tuple */
	struct sl_addr upstream, upstream_local; /* AF_UNSPEC while connecting */
	struct sl_pair_count from[2];
	const char *engine;   /* static */
	const char *reason;   /* static: why this engine */
	const char *listener; /* lives as long as the configuration */
	uint32_t worker;
	char target[264]; /* host:port as asked for, cut if longer */
};

#endif
