/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_PROXY_CONTROL_H
#define SLUICE_PROXY_CONTROL_H

/* The control thread's face to the world: the admin socket (JSON, one request and one answer per
 * line, mode 0600) and the metrics address (HTTP: /metrics, /healthz, /readyz). It knows the proxy
 * only through sl_control_source, so both are tested without one.
 *
 * Requests: {"command": "stats"}; answers: {"ok": true, "stats": {...}} (the payload stands under the
 * command's name) or {"ok": false, "error": "..."}. Request lines are at most 64 KiB; clients are few
 * (16) and have 5 s for each request and for taking each answer. */

#include <jansson.h>
#include <stdbool.h>

#include "base/loop.h"
#include "proxy/config/config.h"
#include "proxy/flows.h"
#include "proxy/inherited.h"
#include "proxy/names/resolve.h"
#include "proxy/server_info.h"
#include "proxy/observe/scopes.h"
#include "proxy/observe/stats.h"

/* Called in the control thread; each may take milliseconds (workers are asked), not more. */
struct sl_control_source {
	void *owner;
	struct sl_inherited *inherited; /* where sockets may be found that listen already; NULL */
	/* Sums of all workers. */
	void (*stats)(void *owner, struct sl_stats *ret);
	void (*resolver_stats)(void *owner, struct sl_resolver_stats *ret);
	/* One entry per worker: stats alone, for per-worker figures. i < workers(). */
	uint32_t (*workers)(void *owner);
	int (*worker_stats)(void *owner, uint32_t i, struct sl_stats *ret_stats,
			    struct sl_loop_stats *ret_loop);
	/* Sums of all workers; *ret is zeroed. */
	void (*scopes)(void *owner, struct sl_scopes *ret);
	/* Lines that the access log has, and attempts to write that failed. */
	void (*log)(void *owner, uint64_t *ret_written, uint64_t *ret_failed);
	/* Calls each for every pair, at most max; returns how many there are, or -errno. */
	int (*flows)(void *owner, uint32_t max,
		     void (*each)(void *arg, const struct sl_flow_info *f), void *arg);
	/* Workers that stand still, whose pairs are missing above; and how often one did. */
	uint32_t (*stuck)(void *owner, uint64_t *ret_stalls);
	/* Engine name, availability and reason, by index; false at the end. */
	bool (*engine)(void *owner, uint32_t i, const char **ret_name,
		       struct sl_engine_report *ret_report, struct sl_engine_totals *ret_totals);
	/* What engines count beside their totals. */
	void (*figures)(void (*each)(void *arg, const struct sl_figure *f), void *arg);
	bool (*ready)(void *owner); /* /readyz: some listener is in service */
	uint64_t (*uptime_ms)(void *owner);
	/* Starts the drain; with now, stops at once. bound_ms: NULL as configured (or as it is already),
	 * 0 without bound. */
	void (*drain)(void *owner, bool now, const uint64_t *bound_ms);
	/* The same of one listener. 0; 1: it is drained already; -errno and why not. */
	int (*drain_listener)(void *owner, const char *listener, const uint64_t *bound_ms,
			      struct sl_config_error *ret_error);
	int (*enable_listener)(void *owner, const char *listener,
			       struct sl_config_error *ret_error);
	/* listener NULL: of the whole process. -ENOENT: there is none of that name. */
	int (*drain_progress)(void *owner, const char *listener, struct sl_drain_progress *ret);
	void (*reopen_logs)(void *owner);
	/* Reads the configuration again and puts it to use. 0, or -errno and why it was refused. */
	int (*reload)(void *owner, struct sl_config_error *ret_error);
	/* Starts another process that is to take over. 0, or -errno and why it could not even start. */
	int (*upgrade)(void *owner, struct sl_config_error *ret_error);
	void (*configuration)(void *owner, struct sl_configuration_info *ret);
	/* Calls each for every server of every upstream. */
	void (*servers)(void *owner, void (*each)(void *arg, const struct sl_server_info *s),
			void *arg);
	/* Calls each for every listener. */
	void (*listeners)(void *owner, void (*each)(void *arg, const struct sl_listener_info *l),
			  void *arg);
	/* Calls each for every upstream. */
	void (*pools)(void *owner, void (*each)(void *arg, const struct sl_pool_info *p),
		      void *arg);
	/* Takes a server out of service, or puts it in again. -ENOENT: there is none of that name. */
	int (*drain_server)(void *owner, const char *upstream, const char *server, bool drained);
};

struct sl_control;

/* Opens both. A stale socket file (nobody listens) is replaced; a live one is -EADDRINUSE, a file of
 * another kind -EEXIST. The socket's directory is created (0755) if its parent exists. metrics with
 * AF_UNSPEC: none. *source is copied. */
int sl_control_open(struct sl_loop *loop, const char *admin_path, const struct sl_addr *metrics,
		    const struct sl_control_source *source, struct sl_control **ret);
/* Where the metrics are served (the port that was bound, when 0 was asked for); AF_UNSPEC: nowhere. */
struct sl_addr sl_control_metrics_addr(const struct sl_control *c);
/* The descriptors that listen: how many, at most two. */
size_t sl_control_fds(const struct sl_control *c, int ret[2]);
/* Another process has them, too: the socket file is its. */
void sl_control_hand_over(struct sl_control *c);
/* Removes the socket file, if it is still this one. Takes NULL. */
void sl_control_close(struct sl_control *c);

#endif
