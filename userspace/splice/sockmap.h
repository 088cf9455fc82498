/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_SPLICE_SOCKMAP_H
#define SLUICE_SPLICE_SOCKMAP_H

/* The parts of the sockmap engine (sockmap.c), not for others: sockmap_maps.c is the kernel's side,
 * sockmap_socket.c reads and sets sockets, sockmap_join.c puts pairs in, sockmap_relay.c carries what the
 * kernel passes, and FIN, sockmap_spill.c relieves it, sockmap_test.c is the self-test. */

#include <stdbool.h>
#include <stdint.h>

#include <sluice/sockmap.h>

#include "base/loop.h"
#include "base/slab.h"
#include "splice/engine.h"

struct ring_buffer;
struct sockmap;

/* What a pair may take of the kernel's memory: a send and a receive buffer for each side. */
#define SL_SOCKMAP_SEND_BYTES	 (192 * 1024)
#define SL_SOCKMAP_RECEIVE_BYTES (256 * 1024)
#define SL_SOCKMAP_PAIR_BYTES	 (1024 * 1024)

/* --- sockmap_maps.c --- */

/* The program and its maps; each instance of the engine has its own. */
struct sl_sockmap_maps {
	struct sockmap *skeleton;
	struct ring_buffer *ring;
	struct sl_sockmap_flow *flow; /* by slot, mapped */
	uint32_t pairs;
	int sockets, slots; /* borrowed from the skeleton */
};

/* 0 or -errno, with a static reason. on_event is called by ring_buffer__consume(). */
int sl_sockmap_maps_open(uint32_t pairs, int (*on_event)(void *context, void *data, size_t len),
			 void *context, struct sl_sockmap_maps *ret, const char **ret_reason);
/* Takes a zeroed object. */
void sl_sockmap_maps_close(struct sl_sockmap_maps *m);
/* Takes a socket into a free slot's flow, which is in step, all but the first `passed` bytes. The program
 * does not run for it yet. */
int sl_sockmap_maps_prepare(struct sl_sockmap_maps *m, uint32_t slot, int fd, uint64_t passed);
/* From now on the program runs for the socket's bytes. */
int sl_sockmap_maps_insert(struct sl_sockmap_maps *m, uint32_t slot, int fd);
/* The slot is free again. A socket that is still open would lose what the kernel holds for it. */
void sl_sockmap_maps_remove(struct sl_sockmap_maps *m, uint32_t slot);

/* --- sockmap_socket.c --- */

/* Bytes that were written to the socket since it was connected, up to a constant: by user space and by
 * the kernel for it. -EAGAIN: they changed all the time. */
int sl_sockmap_written(int fd, uint64_t *ret);
/* Bytes that arrived at the socket since it was connected; and FIN as one. */
int sl_sockmap_arrived(int fd, uint64_t *ret, bool *ret_closed);
/* Of these, how many user space has read. For a socket that is in no map yet. As sl_sockmap_written(). */
int sl_sockmap_taken(int fd, uint64_t *ret);
/* Bytes that the socket still has to send, or to have acknowledged; or -errno. */
int sl_sockmap_waiting(int fd);
/* Gives it buffers of fixed size; -EFBIG: it has a larger one already. */
int sl_sockmap_fix_buffers(int fd);
/* The kernel may size them again. */
void sl_sockmap_free_buffers(int fd);
/* The send buffer alone. */
void sl_sockmap_free_send_buffer(int fd);
/* Runs the program for what arrived before it was inserted. */
void sl_sockmap_kick(int fd);

/* --- objects --- */

struct sl_sockmap_engine {
	struct sl_engine base;
	struct sl_sockmap_maps maps;
	struct sl_slab members;
	struct sl_sockmap_member **member; /* by pair */
	uint32_t *free;			   /* stack of pairs */
	uint32_t n_free;
	uint32_t room; /* pairs that are told of as this instance's */
	struct sl_io io;
	struct sl_engine_totals totals;
};

/* Bytes of a stalled direction that would take too much of the kernel's memory. */
struct sl_sockmap_spill {
	char *data; /* NULL: there are none */
	uint32_t start, end;
	int window_clamp; /* of the socket, before */
};

/* The direction away from one side. */
struct sl_sockmap_half {
	struct sl_sockmap_flow *flow;
	int fd;		 /* of the side */
	uint64_t taken;	 /* bytes that user space has read from the side, ever */
	uint64_t given;	 /* bytes that user space has written to the side, ever, up to a constant */
	uint64_t origin; /* bytes of the direction before the kernel took part */
	uint64_t counted; /* flow->messages that are counted */
	struct sl_sockmap_spill spill;
	bool ended;	    /* the side sent FIN */
	bool passed_on;	    /* and the other side has been told */
	bool settled;	    /* all redirected bytes are written: user space may write */
	bool blocked;	    /* the other side takes no more: wait for an event */
	uint64_t missed_ms; /* since when redirected bytes are missing; 0: they are not */
	uint64_t missed_at; /* bytes written then */
};

/* A pair whose sockets are in the map. Stays until they are closed, even if the pair is parted. */
struct sl_sockmap_member {
	struct sl_sockmap_engine *engine;
	struct sl_pair *pair; /* NULL while it is not carried */
	uint32_t index;	      /* of the pair: slots 2 index and 2 index + 1 */
	bool broken;	      /* only one socket could be inserted: never to be carried */
	struct sl_sockmap_half half[2];
	struct sl_task more;
	struct sl_timer retry;
	uint32_t retry_ms;
	struct sl_pair *left; /* parted, with receive buffers that are still fixed */
	struct sl_timer loosen;
	uint64_t bytes_left, messages_left; /* that it had moved then, or at the last look */
};

/* --- sockmap_join.c --- */

/* Most pairs that all instances may have: what they take of the kernel's memory is bounded. */
uint32_t sl_sockmap_pairs_max(void);
/* An instance has room for so many pairs; negative: not any more. */
void sl_sockmap_add_room(int pairs);
/* The maps of all instances together; 0 of 0 if there are none. From any thread. */
void sl_sockmap_fill(struct sl_map_fill *ret);
/* Puts the pair's sockets in the map, or lets the kernel redirect again. The pair has a member then; it
 * may have one on failure, too. As sl_engine_ops.join(). */
int sl_sockmap_enter(struct sl_sockmap_engine *e, struct sl_pair *p, const char **ret_reason);
/* The kernel passes everything from now on; 0, or -EAGAIN as long as it still has something. The receive
 * buffers stay fixed: the kernel takes what was redirected for bytes that were read at once, and would
 * enlarge them to megabytes. */
int sl_sockmap_leave(struct sl_sockmap_member *m);
/* Its sockets are closed. */
void sl_sockmap_free_member(struct sl_sockmap_member *m);

/* --- sockmap_relay.c --- */

enum sl_sockmap_outcome {
	SL_SOCKMAP_IDLE,	 /* the kernel does it all */
	SL_SOCKMAP_WAITING,	 /* for an event */
	SL_SOCKMAP_LATER,	 /* for something that brings no event */
	SL_SOCKMAP_BUSY,	 /* there is more to do */
	SL_SOCKMAP_SOURCE_RESET, /* the side is broken */
	SL_SOCKMAP_TARGET_RESET, /* the other one is */
	SL_SOCKMAP_OVERFLOW,	 /* the kernel dropped bytes to keep its bound */
	SL_SOCKMAP_LOST,	 /* the kernel has lost bytes, or made some up */
};

/* Relays passed bytes and FIN of one direction. */
enum sl_sockmap_outcome sl_sockmap_relay(struct sl_sockmap_member *m, enum sl_side from);
/* All that arrived from there is relayed, and the kernel has nothing of it. 0, -EAGAIN, -EBADMSG: what is
 * missing will not come any more; or -errno. */
int sl_sockmap_settle(struct sl_sockmap_member *m, enum sl_side from);
bool sl_sockmap_in_step(const struct sl_sockmap_half *h);

/* --- sockmap_spill.c --- */

/* Reads what the kernel holds of a direction that can't be written, into a buffer that is made for it, and
 * closes the socket's window as far as possible. Nothing happens if there is no memory. */
void sl_sockmap_spill(struct sl_sockmap_half *h, struct sl_stream *s);
/* n bytes were written. */
void sl_sockmap_spill_consume(struct sl_sockmap_half *h, uint32_t n);
/* Forgets all; the window may open again. */
void sl_sockmap_spill_free(struct sl_sockmap_half *h);

/* --- sockmap_test.c --- */

/* Tries the engine out on sockets of its own over loopback. *ret tells. */
void sl_sockmap_test(struct sl_engine_report *ret);

#endif
