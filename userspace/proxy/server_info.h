/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_PROXY_SERVER_INFO_H
#define SLUICE_PROXY_SERVER_INFO_H

/* A server of an upstream as operators see it. */

#include <stdbool.h>
#include <stdint.h>

struct sl_server_info {
	const char *upstream, *server, *state; /* all texts: until the control thread's next turn */
	const char *found_as;		       /* host and port in DNS; NULL: not found by name */
	const char *why;		       /* of the latest failure or check; NULL: none yet */
	uint64_t back_in_ms;		       /* when ejected; else 0 */
	uint32_t weight, leased, idle;
	bool up, backup;
	uint64_t requests, failures, ejections;
};

#endif
