/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_PROXY_SERVER_HEALTH_H
#define SLUICE_PROXY_SERVER_HEALTH_H

/* Whether a server is asked: what checks say (health.h), how requests went, and what the operator
 * wants. Servers that fail are ejected for a growing time, at most half of an upstream's at once. */

#include <stdbool.h>
#include <stdint.h>

struct sl_server;

enum sl_server_state {
	SL_SERVER_UP,
	SL_SERVER_EJECTED, /* requests failed: asked when all others fail, too */
	SL_SERVER_DOWN,	   /* checks failed */
	SL_SERVER_DRAINED, /* the operator said so */
	SL_SERVER_REMOVED, /* its name has no such address any more */
};
/* "up", "ejected", "down", "drained", "removed"; static. */
const char *sl_server_state_name(enum sl_server_state s);

/* Of each server. Written by workers and the control thread, atomically and relaxed. */
struct sl_server_health {
	bool down, drained;
	const char *why; /* of the latest failure or check; static */
	uint64_t ejected_until_ms;
	uint64_t up_since_ms; /* 0: from the start */
	uint32_t ejections;   /* without a long time between them */
	uint32_t failed_in_a_row;
	uint64_t window_ms; /* begin of the window of the ratio */
	uint32_t window_requests, window_failures;
	uint64_t requests, failures, ejected_total;
};

enum sl_server_state sl_server_state(const struct sl_server *s, uint64_t now_ms);
/* For balancing: 100 times the configured one, less while it starts slowly; > 0. */
uint32_t sl_server_weight(const struct sl_server *s, uint64_t now_ms);

void sl_server_succeeded(struct sl_server *s);
/* why: static. */
void sl_server_failed(struct sl_server *s, uint64_t now_ms, const char *why);
/* A check's verdict. */
void sl_server_set_down(struct sl_server *s, bool down, uint64_t now_ms, const char *why);
/* The operator's. */
void sl_server_set_drained(struct sl_server *s, bool drained, uint64_t now_ms);

#endif
