/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_PROXY_SERVER_STATE_H
#define SLUICE_PROXY_SERVER_STATE_H

/* What the files of the process share; nobody else includes it.
 *
 * server.c          start, run, end
 * server_control.c  what the admin socket and the metrics address ask for
 * server_signals.c  signals, and the drain that some of them begin */

#include "base/loop.h"
#include "proxy/access/own.h"
#include "proxy/observe/control.h"
#include "proxy/server.h"
#include "proxy/upstream/discovery.h"
#include "proxy/upstream/health.h"
#include "proxy/worker.h"

#define SL_WORKERS_MAX 256

struct sl_daemon {
	const struct sl_config *config;
	struct sl_shared shared;
	const struct sl_server_parts *parts;
	struct sl_loop *loop;
	struct sl_control *control;
	struct sl_health *health;
	struct sl_discovery *discovery;
	struct sl_io signals;
	struct sl_worker *worker[SL_WORKERS_MAX];
	uint32_t n_workers;
	struct sl_engine_report report[SL_ENGINES_MAX]; /* by engine, as found at the start */
	struct sl_own own;
	char pseudonym[64];
	struct sl_timer drain_check;
	uint64_t started_ms;
	uint64_t drain_until_ms; /* 0: without bound */
	bool draining;
};

/* Opens the admin socket and the metrics address. 0 or -errno; the cause is logged. */
int sl_server_open_control(struct sl_daemon *s);
/* Blocks the signals of this thread and takes them as events. 0 or -errno. */
int sl_server_take_signals(struct sl_daemon *s);
/* Stops listening and ends the loop when the last connection is gone, or after bound_ms (0: without
 * bound). */
void sl_server_drain(struct sl_daemon *s, uint64_t bound_ms);
void sl_server_reopen_logs(struct sl_daemon *s);

#endif
