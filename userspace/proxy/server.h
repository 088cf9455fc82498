/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_PROXY_SERVER_H
#define SLUICE_PROXY_SERVER_H

/* The process: workers, the control thread (the caller's), signals, start and end. */

#include "proxy/config/config.h"
#include "splice/engine.h"
#include "transport/transport.h"

/* What the proxy is made of here: the implementations behind the two interfaces. */
struct sl_server_parts {
	int (*transport_new)(struct sl_loop *loop, uint32_t streams, struct sl_transport **ret);
	const char *program; /* path of this program, and its arguments: for an upgrade */
	char *const *arguments;
	/* A listening descriptor of that transport (see doors.h). NULL: it has none. */
	int (*listen)(const struct sl_listen_options *o, int *ret);
	/* Another process is to have what can have one owner only: first in each worker's thread with its
	 * loop, when it has given up its pairs, then with NULL. NULL: there is nothing of the kind. */
	void (*hand_over)(struct sl_loop *loop);
	/* Everything is loaded and open, and the workers are about to start: drops privileges. */
	int (*confine)(const struct sl_config *c);
	size_t stream_bytes; /* memory of one stream of that transport */
	bool one_transport;  /* there can be one, which is the only worker's */
	const struct sl_engine_ops *const
		*engines; /* NULL-terminated; the first takes everything */
	/* Tells what engines count beside their totals. */
	void (*figures)(void (*each)(void *arg, const struct sl_figure *f), void *arg);
};

/* Runs until TERM, QUIT or INT. Takes over the signals of the calling thread and must be called before
 * any other thread is started. 0 after an orderly end, or -errno; the cause has been logged. */
int sl_server_run(struct sl_config *config, const struct sl_server_parts *parts);

#endif
