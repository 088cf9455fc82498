/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_TESTS_FAKE_TRANSPORT_H
#define SLUICE_TESTS_FAKE_TRANSPORT_H

/* A transport in memory: the second implementation of transport/transport.h, for unit tests. Streams
 * come in pairs with a bounded window each way; a connect() reaches an acceptor of the same
 * transport. The same calls give the same events in the same order: only connect delays use time.
 *
 * The test holds the far end of what it tests: an ordinary sl_stream, accepted or from fake_pair().
 * At least as strict as the kernel: SL_WRITABLE comes after -EAGAIN only, bytes to a stream that was
 * closed bring a reset, and destroy() aborts the program if a stream or acceptor is left. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "transport/transport.h"

struct fake_options {
	size_t window;	      /* bytes that may wait in each direction, 0: 16 KiB */
	bool split_events;    /* one callback per event bit, instead of all at once */
	bool spurious_events; /* every callback claims readable and writable, too */
};

/* o may be NULL. 0 or -ENOMEM. */
int fake_transport_new(struct sl_loop *loop, const struct fake_options *o,
		       struct sl_transport **ret);

/* What connect() to addr meets instead of its acceptor (or of ECONNREFUSED without one). */
struct fake_connect_rule {
	struct sl_addr addr;
	uint32_t delay_ms; /* until it succeeds or fails */
	int error;	   /* positive errno in SL_CONNECTED, 0: accepted */
	int at_once;	   /* positive errno that connect() itself returns */
	bool silent;	   /* no answer, ever */
};

/* The newest rule for an address counts. At most FAKE_RULES. */
#define FAKE_RULES 64
void fake_on_connect(struct sl_transport *t, const struct fake_connect_rule *rule);

/* Every call of connect() that was not refused at once, oldest first. */
struct fake_attempt {
	struct sl_addr addr, source;
	uint64_t at_ms;
	bool closed;
	enum sl_close_how how;
};

/* The first FAKE_ATTEMPTS are kept. */
#define FAKE_ATTEMPTS 64
size_t fake_attempts(const struct sl_transport *t);
const struct fake_attempt *fake_attempt(const struct sl_transport *t, size_t i);

/* Faults of one stream, from the next call on. */
struct fake_faults {
	size_t read_max, write_max;  /* most bytes of one call, 0: no limit */
	bool eagain_every_second;    /* every second read and write; the event follows */
	int read_error, write_error; /* positive errno that the call returns */
};
void fake_set_faults(struct sl_stream *s, const struct fake_faults *f);

/* Two ends that are connected already. 0 or -ENOMEM. */
int fake_pair(struct sl_transport *t, struct sl_stream **ret_a, struct sl_stream **ret_b);
/* The other end; NULL if there is none (any more). */
struct sl_stream *fake_peer(struct sl_stream *s);
/* How the stream's other end was closed. -1 as long as it wasn't. */
int fake_peer_closed(struct sl_stream *s);
/* Bytes that wait to be read from s. */
size_t fake_unread(struct sl_stream *s);
/* Streams that nobody has closed. */
size_t fake_open_streams(const struct sl_transport *t);

#endif
