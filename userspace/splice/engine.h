/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_SPLICE_ENGINE_H
#define SLUICE_SPLICE_ENGINE_H

/* An engine carries the bytes of established pairs. The copy engine (copy.c) is the floor that takes
 * everything; others take what they can and refuse the rest with a reason.
 *
 * One instance per worker. All calls and callbacks happen in the worker's thread. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/list.h"
#include "transport/transport.h"

/* What both sockets of a pair must announce if it may be spliced at packet level: segments that fit
 * through either leg, and a window that survives its translation. */
#define SL_SPLICE_MSS	       1400
#define SL_SPLICE_WINDOW_CLAMP (65535 << 7)

enum sl_side {
	SL_CLIENT = 0,
	SL_UPSTREAM = 1,
};

static inline enum sl_side sl_other_side(enum sl_side s)
{
	return s == SL_CLIENT ? SL_UPSTREAM : SL_CLIENT;
}

/* How a pair ended. Names for logs by sl_pair_end_name(). */
enum sl_pair_end {
	SL_PAIR_OPEN,		/* it hasn't */
	SL_PAIR_FINISHED,	/* FIN both ways, everything delivered */
	SL_PAIR_CLIENT_RESET,	/* the client reset it; the upstream was reset, too */
	SL_PAIR_UPSTREAM_RESET, /* and the other way round */
	SL_PAIR_PARTED,		/* sl_engine_ops.part: the owner has the streams back */
	SL_PAIR_FAILED,		/* resources; both sides were reset */
	SL_PAIR_END_COUNT,
};
const char *sl_pair_end_name(enum sl_pair_end e);

/* What one direction has carried: bytes that came from a side and were handed to the other. */
struct sl_pair_count {
	uint64_t bytes;
	uint64_t messages; /* reads, or packets: whatever the engine moves at once */
};

struct sl_engine;

/* Two streams joined by the proxy. Lives inside its owner's object. The owner fills stream, pending
 * (or NULL), on_end and owner, then joins it; from then on streams and pending belong to the engine
 * until on_end. */
struct sl_pair {
	struct sl_stream *stream[2]; /* by enum sl_side; NULL once the engine has closed it */
	struct sl_buf *pending[2];   /* read from that side, not yet written to the other */
	struct sl_engine *engine;    /* who carries it now; NULL before and after */
	void *carried;		     /* the engine's own object */
	void *prepared;		     /* the object of the engine that prepared for it, or NULL */
	void *member; /* the sockmap engine's object, once its sockets are in the map */
	struct sl_pair_count from[2]; /* brought up to date by sl_engine_ops.count */
	uint64_t
		by_hand; /* the same: bytes that user space moved for an engine meant to do without */
	/* When user space passed on the first byte from the upstream, by the loop's clock; 0: it did not. */
	uint64_t answered_us;
	bool input_ended[2]; /* set before join if that side's FIN was read already */
	/* Set before the first join, which clears it: nothing waits to be read from that side, and
	 * SL_READABLE will tell. */
	bool drained[2];
	bool plain_io; /* read(2) and write(2) only: splice(2) misses what a sockmap holds */
	enum sl_pair_end end;
	/* The pair has ended: both streams are closed, engine is NULL. Not called for part(). */
	void (*on_end)(struct sl_pair *p, enum sl_pair_end why);
	void *owner;
};

/* Totals of one engine instance; single writer, others read relaxed. */
struct sl_engine_totals {
	uint64_t joined;
	uint64_t refused;
	uint64_t parted;
	uint64_t active;
	uint64_t bytes[2]; /* by the side they came from */
};

/* What a probe found. */
struct sl_engine_report {
	bool available;
	char reason[160]; /* what is missing, or what was tested; one line */
};

/* A pair that an earlier process left, and that goes on without sockets. By enum sl_side. */
struct sl_left_pair {
	const char *engine; /* its name; static */
	struct sl_addr peer[2], local[2];
	struct sl_pair_count from[2]; /* since it left its sockets */
	uint64_t age_ms;	      /* the same */
};

/* A sample of a metric that one engine alone has. */
struct sl_figure {
	const char *name; /* without "sluice_"; those of a name are told one after the other */
	const char *type; /* "counter" or "gauge" */
	const char *help;
	const char *label, *value; /* or NULL */
	uint64_t n;
};

/* How full a table is that has room for so many pairs. */
struct sl_map_fill {
	const char *map; /* what it is called in metrics */
	uint64_t used, limit;
};

struct sl_engine_options {
	struct sl_loop *loop;
	struct sl_buf_pool *buffers;
	uint32_t pairs;	    /* most pairs at once */
	uint32_t index;	    /* of this instance, */
	uint32_t instances; /* of so many */
	/* Called in create() for each pair that was left. The owner's pair, with on_end and owner set:
	 * the engine carries it when create() returns. NULL: it is left alone. May be NULL itself. */
	struct sl_pair *(*adopt)(void *owner, const struct sl_left_pair *left);
	void *owner;
};

struct sl_engine_ops {
	const char *name;
	/* For conversations: "auto" gives it a pair only while that pays (policy.c), and it can
	 * always part, sooner or later. */
	bool for_talk;
	/* prepare() has a price, and join() refuses who wasn't prepared. "auto" avoids it where it was in
	 * vain before. */
	bool prepares;

	/* Tries out, by doing, whether the engine works on this host. Leaves nothing
	 * behind but what create() would. */
	void (*probe)(struct sl_engine_report *ret);
	/* 0 or -errno. *o is copied. */
	int (*create)(const struct sl_engine_options *o, struct sl_engine **ret);
	/* Every pair has ended or been parted before. Takes NULL. */
	void (*destroy)(struct sl_engine *e);

	/* Called before the upstream of a future pair connects (once for each address that is tried,
	 * several may be under way), so that an engine that must see the handshake can choose the
	 * source port and watch. p->stream[SL_CLIENT] is set. May change *o. 0, or -errno: then the
	 * pair is not this engine's, and connects all the same. */
	int (*prepare)(struct sl_engine *e, struct sl_pair *p, struct sl_connect_options *o);
	/* Whatever was prepared for the pair is not needed (any more): it could not be connected,
	 * has ended without this engine, or never will be joined. Idempotent; also for pairs that
	 * were never prepared. */
	void (*forget)(struct sl_engine *e, struct sl_pair *p);

	/* Takes over. 0, or with nothing changed: -EOPNOTSUPP (this pair never; *ret_reason says
	 * why, static), -EAGAIN (not now: bytes are pending), -ENOSPC (the engine is full). */
	int (*join)(struct sl_engine *e, struct sl_pair *p, const char **ret_reason);
	/* Gives streams back to the owner, with what was read and not yet written in pending.
	 * 0, -EAGAIN (bytes in flight: try again) or -EOPNOTSUPP (no way back: let it run). */
	int (*part)(struct sl_pair *p);
	/* Ends the pair now, resetting both sides; on_end is not called. */
	void (*abort)(struct sl_pair *p);

	/* Brings p->from up to date. */
	void (*count)(struct sl_pair *p);
	void (*totals)(const struct sl_engine *e, struct sl_engine_totals *ret);
};

/* First member of every engine. */
struct sl_engine {
	const struct sl_engine_ops *ops;
	struct sl_engine_options options;
	/* Static: what failed at run time. The engine gets no more pairs then. NULL: nothing. Written
	 * in the worker's thread, read by others. */
	const char *broken;
};

static inline void sl_engine_break(struct sl_engine *e, const char *reason)
{
	__atomic_store_n(&e->broken, reason, __ATOMIC_RELAXED);
}

static inline const char *sl_engine_broken(const struct sl_engine *e)
{
	return __atomic_load_n(&e->broken, __ATOMIC_RELAXED);
}

/* Tells what all engines and the policy count beside totals. From any thread; the figure is valid in the
 * call. */
void sl_engine_figures(void (*each)(void *arg, const struct sl_figure *f), void *arg);

extern const struct sl_engine_ops sl_copy_engine;
extern const struct sl_engine_ops sl_packet_engine;
extern const struct sl_engine_ops sl_sockmap_engine;

#endif
