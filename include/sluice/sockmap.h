/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#ifndef SLUICE_SOCKMAP_H
#define SLUICE_SOCKMAP_H

/* The ABI of the sockmap engine's maps: what the verdict program, the engine and bpftool share.
 *
 * A pair takes two neighbouring slots: its client's socket the even one, its upstream's the odd one. A
 * slot is an index into `sl_sockets` (the sockets) and `sl_flows` (what is known of the bytes that
 * arrive at that socket). Numbers are in host byte order. */

#include <linux/types.h>

/* struct sl_sockmap_flow.mode, written by the engine. */
enum sl_sockmap_mode {
	SL_SOCKMAP_REDIRECT = 0, /* bytes go to the peer's socket where it has room */
	SL_SOCKMAP_PASS = 1,	 /* all bytes go to user space */
};

/* Value of `sl_flows`, an array that user space maps. Every field has one writer. Order of bytes: as long
 * as passed and relayed differ, the program passes; before it writes the first passed byte, user space
 * waits until all redirected ones have reached the peer's socket. */
struct sl_sockmap_flow {
	/* The program's: it runs under the socket's lock, so never twice at once for a flow. */
	__u64 redirected; /* bytes to the peer's socket */
	__u64 passed;	  /* bytes to user space */
	__u64 messages;	  /* buffers redirected */
	__u64 held;	  /* buffers passed because the peer's socket had no room */
	__u32 base;	  /* the peer's write_seq minus redirected, when nothing was on its way */
	__u8 rebase;	  /* base is to be taken anew */
	__u8 overflow;	  /* bytes were dropped to keep a bound: the pair has failed */
	__u8 heavy;	  /* what waits to be read takes much memory */
	__u8 reserved_program;
	__u64 lost_events; /* the ring buffer was full */
	__u64 reserved_program2[2];
	/* The engine's. */
	__u64 relayed; /* of the passed bytes: written to the peer's socket */
	__u64 cookie;  /* of the socket; 0: the slot is free */
	__u32 mode;    /* enum sl_sockmap_mode */
	__u32 reserved_engine[11];
};

/* Record of the ring buffer `sl_passes`: the flow was in step (passed == relayed) and is not any more, or
 * it has become heavy or overflown. */
struct sl_sockmap_event {
	__u32 slot;
	__u32 cookie; /* low half: an event may be about a socket that was in the slot before */
};

#define SL_SOCKMAP_SIZE(type, bytes) _Static_assert(sizeof(type) == (bytes), "ABI of " #type)
SL_SOCKMAP_SIZE(struct sl_sockmap_flow, 128);
SL_SOCKMAP_SIZE(struct sl_sockmap_event, 8);
_Static_assert(__builtin_offsetof(struct sl_sockmap_flow, lost_events) == 40, "no hole before it");
_Static_assert(__builtin_offsetof(struct sl_sockmap_flow, relayed) == 64,
	       "a cache line per writer");

#endif
