/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_PROXY_SERVER_STATE_H
#define SLUICE_PROXY_SERVER_STATE_H

/* What the files of the process share; nobody else includes it.
 *
 * server.c          start, run, end
 * server_control.c  what the admin socket and the metrics address ask for
 * server_start.c    a configuration put to use: generations, listeners, logs, checks
 * server_fixed.c    what can't change while it runs
 * server_reload.c   another configuration, checked and put to use
 * server_upgrade.c  another process takes over, or this one did from another
 * server_watchdog.c  workers that stand still, and what the service manager is told
 * server_drain.c    the end of the process, in good order
 * server_listeners.c  listeners that are taken out of service
 * server_signals.c  signals */

#include "base/loop.h"
#include "proxy/doors.h"
#include "proxy/generation.h"
#include "proxy/observe/control.h"
#include "proxy/server.h"
#include "proxy/upstream/discovery.h"
#include "proxy/upstream/health.h"
#include "proxy/worker.h"

#define SL_WORKERS_MAX 256

/* To the process that is to take over. */
struct sl_upgrade {
	pid_t pid; /* 0: there is none */
	struct sl_io io;
	struct sl_timer patience;
	bool engine_given; /* it has the packet engine */
};

/* A listener that an operator took out of service. */
struct sl_drained {
	char name[65];
	uint32_t place;	   /* in the limits */
	bool closed;	   /* its address is */
	uint64_t close_ms; /* when that is to be, or it is shut before */
	bool shut;	   /* takes no new handshakes */
	uint64_t until_ms; /* when what is left is reset; 0: never, or it was */
	uint64_t reset;	   /* connections that were */
};

struct sl_daemon {
	const struct sl_config *config; /* the newest generation's */
	struct sl_generation *generation;
	struct sl_shared shared;
	struct sl_upstreams *upstreams;
	struct sl_access_log *access_log; /* NULL: none */
	struct sl_doors doors;
	struct sl_inherited inherited;
	struct sl_upgrade upgrade;
	const struct sl_server_parts *parts;
	struct sl_loop *loop;
	struct sl_control *control;
	struct sl_health *health;
	struct sl_discovery *discovery;
	struct sl_io signals;
	struct sl_worker *worker[SL_WORKERS_MAX];
	uint32_t n_workers;
	struct sl_engine_report report[SL_ENGINES_MAX]; /* by engine, as found at the start */
	uint32_t n_generations;				/* that somebody uses */
	uint64_t reloads_refused, upgrades_failed;
	uint32_t first_head, first_pool; /* limits.head and pool.idle that memory was made for */
	bool engines_of_auto;		 /* those that `splice: auto` may use were loaded */
	struct sl_timer drain_check, watchdog;
	bool stuck[SL_WORKERS_MAX];
	uint32_t n_stuck;
	uint64_t stalls;      /* times that a worker got stuck */
	uint64_t watchdog_ms; /* how often the service manager is told; 0: never */
	uint64_t looked_ms, notified_ms;
	uint64_t started_ms;
	uint64_t drain_until_ms; /* 0: without bound */
	uint64_t drain_bound_ms;
	uint64_t drain_close_ms; /* when the listeners close, if they are to */
	uint64_t drain_reset;	 /* connections that were left at the end */
	uint64_t drain_kept;	 /* beside them, spliced pairs */
	uint64_t followed_ms;	 /* when somebody asked how the drain goes; 0: never */
	struct sl_drained *drained;
	size_t n_drained;
	struct sl_timer drained_timer;
	bool drain_over, drain_told; /* the process stays for the last word about it only */
	bool closing_listeners;	     /* they close when the delay has passed */
	bool draining;
	bool retired; /* another process serves: the service manager is its business */
};

/* The first generation. 0 or -errno; the cause is logged. */
int sl_server_first_generation(struct sl_daemon *s, struct sl_config *config);
/* A generation that is the daemon's, counted and freed when nobody uses it. 0 or -errno. */
int sl_server_new_generation(struct sl_daemon *s, struct sl_config *config,
			     struct sl_generation **ret, struct sl_config_error *ret_error);
/* Opens what a configuration listens on. 0, or -errno: the doors are as before. */
int sl_server_open_doors(struct sl_daemon *s, const struct sl_config *c,
			 struct sl_config_error *ret_error);
/* Closes what it doesn't listen on. NULL: everything. */
void sl_server_close_doors(struct sl_daemon *s, const struct sl_config *c);
/* Opens the first configuration's doors and makes the workers listen. 0 or -errno; the cause is logged. */
int sl_server_listen(struct sl_daemon *s);
/* An era for that worker with its descriptors. NULL: no memory. */
struct sl_era *sl_server_new_era(struct sl_daemon *s, struct sl_generation *g, uint32_t worker);
/* NULL in *ret: none is configured. */
int sl_server_open_log(const struct sl_daemon *s, const struct sl_config *c,
		       struct sl_access_log **ret, struct sl_config_error *ret_error);
/* Health checks and discovery of s->generation. 0 or -errno. */
int sl_server_start_checks(struct sl_daemon *s);
void sl_server_stop_checks(struct sl_daemon *s);
/* Every worker has seen what an upstream is now. */
void sl_server_upstream_changed(void *owner, struct sl_upstream *u);

/* Notes what the process is made for. */
void sl_server_note_fixed(struct sl_daemon *s, const struct sl_config *c);
/* Whether a configuration can follow the running one. -EINVAL: something is different that can't change
 * while it runs, *ret_error names it. */
int sl_server_check_fixed(const struct sl_daemon *s, const struct sl_config *c,
			  struct sl_config_error *ret_error);
/* Reads the file again and puts it to use. 0, or -errno: nothing has changed, *ret_error says why. */
int sl_server_reload(struct sl_daemon *s, struct sl_config_error *ret_error);

/* Starts this program anew, to which everything is handed over once it is ready. 0, or -errno: it could not
 * start, *ret_error says why. */
int sl_server_upgrade(struct sl_daemon *s, struct sl_config_error *ret_error);
/* Ends an upgrade that is on its way. */
void sl_server_end_upgrade(struct sl_daemon *s);
/* In the process that takes over: waits until the other one has let go of the packet engine; tells it that
 * this one serves. Nothing happens if there is no other. 0, or -errno: the other one goes on. */
int sl_server_take_engine(struct sl_daemon *s);
int sl_server_tell_serving(struct sl_daemon *s);

/* Looks after the workers from now on. */
void sl_server_start_watchdog(struct sl_daemon *s);
/* The service manager learns that sluice serves, and gets the listening sockets to keep. */
void sl_server_tell_ready(struct sl_daemon *s);
/* It forgets those that the configuration doesn't listen on. */
void sl_server_tell_closed(struct sl_daemon *s, const struct sl_config *c);
#define SL_SHUT_MS \
	200 /* from the last SYN that is taken to the close: for the handshakes under way */

/* Whether a configuration (NULL: none) has a listener there that is in service. */
bool sl_server_listens_on(const struct sl_daemon *s, const struct sl_config *c,
			  const struct sl_addr *addr);

/* Opens the admin socket and the metrics address. 0 or -errno; the cause is logged. */
int sl_server_open_control(struct sl_daemon *s);
/* Blocks the signals of this thread and takes them as events. 0 or -errno. */
int sl_server_take_signals(struct sl_daemon *s);
/* Stops listening and ends the loop when the last connection is gone, or after bound_ms (0: without
 * bound). at_once: without a delay that is configured, listeners close now, whoever is in a handshake. */
void sl_server_drain(struct sl_daemon *s, uint64_t bound_ms, bool at_once);
/* Asked once it is over, the process ends soon. */
void sl_server_drain_progress(struct sl_daemon *s, struct sl_drain_progress *ret);

/* Takes a listener out of service. bound_ms: NULL as configured, 0 without bound. 0; 1: it was already, and
 * has another bound if one is given; or -errno and why. */
int sl_server_drain_listener(struct sl_daemon *s, const char *name, const uint64_t *bound_ms,
			     struct sl_config_error *ret_error);
/* Puts it in again. 0; -errno and why: it is out as before. */
int sl_server_enable_listener(struct sl_daemon *s, const char *name,
			      struct sl_config_error *ret_error);
/* Out of service; takes no handshakes any more; has closed its address: in this order. */
bool sl_server_is_drained(const struct sl_daemon *s, const char *name);
bool sl_server_is_shut(const struct sl_daemon *s, const char *name);
bool sl_server_is_closed(const struct sl_daemon *s, const char *name);
/* Those that the configuration does not have any more. */
void sl_server_forget_drained(struct sl_daemon *s);
/* What tells the process of an upgrade which are out of service, servers too, to be freed; NULL: no memory,
 * or too many. */
char *sl_server_drained_variable(const struct sl_daemon *s);
/* In that process. 0 or -ENOMEM. */
int sl_server_take_drained(struct sl_daemon *s);
/* Sums over the workers; load->place is given. */
void sl_server_listener_load(struct sl_daemon *s, struct sl_listener_load *load);
const char *sl_server_listener_state(const struct sl_daemon *s, const char *name, uint32_t place);
/* -ENOENT: there is no such listener. */
int sl_server_listener_progress(struct sl_daemon *s, const char *name,
				struct sl_drain_progress *ret);
void sl_server_reopen_logs(struct sl_daemon *s);

#endif
