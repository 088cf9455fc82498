/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#ifndef SLUICE_FLOW_H
#define SLUICE_FLOW_H

/* The ABI of the packet engine's maps: what BPF programs, the control plane and bpftool share.
 *
 * A *pair* is two TCP connections joined by the proxy: leg 0 client - proxy, leg 1 proxy - server.
 * The *peer* of a leg is the client or the server, *local* is the proxy's end. A packet comes *from*
 * the peer of one leg and, once spliced, goes *to* the peer of the other.
 *
 * Numbers are in host byte order but for __be16 and __be32; addresses are bytes as on the wire, which
 * bpftool prints as such. Sequence numbers of a leg are those on the wire of that leg. Any change of
 * layout or meaning raises SL_LAYOUT_VERSION.
 *
 * Memory: a pair takes 240 bytes in `flows` and four places of 4 bytes in `buckets` (five to eight where
 * half the number of pairs is no power of two), all allocated when the maps are made. */

#include <linux/types.h>
#ifndef __bpf__
#include <linux/bpf.h>
#endif

#define SL_LAYOUT_MAGIC	  0x65636c73 /* "slce" */
#define SL_LAYOUT_VERSION 5

/* Enums of a field's size, so that bpftool prints names. */
#define SL_ENUM_BYTE __attribute__((packed))

enum SL_ENUM_BYTE sl_flow_state {
	SL_FLOW_FREE = 0,   /* the slot holds no pair; its packets, if any, are not ours */
	SL_FLOW_WATCH = 1,  /* the sockets carry it; packets pass, and are noted */
	SL_FLOW_ARMED = 2,  /* as WATCH, and the first moment of quiet makes it ACTIVE */
	SL_FLOW_ACTIVE = 3, /* packets are rewritten and sent on; the sockets are out of it */
	SL_FLOW_CLOSED = 4, /* as ACTIVE, but both FINs are acknowledged, or an RST went through */
	SL_FLOW_DEAD = 5,   /* packets pass to the stack; waiting for the control plane */
	SL_FLOW_STATES,
};

/* struct sl_leg.flags */
enum sl_leg_flag {
	SL_LEG_SEEN = 1 << 0,	    /* a packet was noted: end, ack, mac and ifindex are valid */
	SL_LEG_FIN = 1 << 1,	    /* the peer sent FIN; once ACTIVE exp is its end */
	SL_LEG_FIN_ACKED = 1 << 2,  /* the other peer acknowledged that FIN */
	SL_LEG_RST = 1 << 3,	    /* the peer sent RST */
	SL_LEG_TSVAL = 1 << 4,	    /* ts_last is valid */
	SL_LEG_UNSUMMED = 1 << 5,   /* XDP met a packet without a whole TCP checksum */
	SL_LEG_SACK = 1 << 8,	    /* negotiated on this leg: SACK */
	SL_LEG_TIMESTAMPS = 1 << 9, /* ... timestamps */
	SL_LEG_ECN = 1 << 10,	    /* ... ECN */
};

/* How packets leave towards the peer of a leg; struct sl_leg.output. Chosen by the control plane. */
enum SL_ENUM_BYTE sl_output {
	SL_OUT_REDIRECT = 0, /* bpf_redirect to ifindex, or XDP_TX where it is the same device */
	SL_OUT_PEER = 1,  /* tc: bpf_redirect_peer, into the namespace at the other end of a veth */
	SL_OUT_NEIGH = 2, /* tc: bpf_redirect_neigh, the kernel finds the next hop */
	SL_OUT_UP = 3,	  /* rewritten and passed up the stack: loopback */
	SL_OUTPUTS,
};

/* A flow: an IPv4 packet's addresses and ports as it arrives at the proxy. */
struct sl_flow_key {
	__u8 src[4];
	__u8 dst[4];
	__be16 sport;
	__be16 dport;
} __attribute__((aligned(4)));

/* The same of an IPv6 packet. */
struct sl_flow6_key {
	__u8 src[16];
	__u8 dst[16];
	__be16 sport;
	__be16 dport;
} __attribute__((aligned(4)));

/* Whose packets a flow has. Valid if the pair's generation is the same. */
struct sl_flow {
	__u32 pair; /* index into `flows` */
	__u16 generation;
	__u8 leg; /* 0: from the client, 1: from the server */
	__u8 reserved;
};

#define SL_BUCKET_ENTRIES 8
#define SL_PAIRS_MAX	  (1u << 22) /* what an entry of `buckets` can name */

/* Value of `buckets`, an array: which pairs' flows there are (index.h). */
struct sl_bucket {
	__u32 entry[SL_BUCKET_ENTRIES];
};

/* The only value of `secret`: random numbers that place the entries. */
struct sl_index_secret {
	__u64 number[10];
	__u32 mask; /* buckets - 1 */
	__u32 reserved;
};

/* One leg of a pair; what it says of a stream is about the bytes that come *from* its peer. Addresses
 * and ports lie as in a packet to the peer; IPv4 is written as an IPv4-mapped IPv6 address. */
struct sl_leg {
	__u8 local[16];
	__u8 peer[16];
	__be16 local_port;
	__be16 peer_port;
	__u32 ifindex; /* where packets to the peer leave: where its own arrive, unless ARM says else */
	__u16 flags; /* enum sl_leg_flag */
	__u8 peer_mac[6];
	__u8 local_mac[6];
	__u16 mss;     /* largest segment the peer takes, bytes; 0: unknown */
	__be16 tag[2]; /* TCI of the VLAN tags, the outer one first */
	__u32 end;     /* highest sequence number after a segment that arrived from the peer */
	__u32 ack;     /* highest acknowledgement number that arrived */
	__u32 edge;    /* ACTIVE: highest right window edge this peer offered (ack + window) */
	__u32 seq_add; /* ACTIVE: added to the peer's sequence numbers */
	__u32 ts_add;  /* ACTIVE: added to the peer's TSval; ARMED: TSval of the proxy's socket
			    * minus CLOCK_MONOTONIC, ms */
	__u32 ts_last; /* highest TSval that arrived before the flip, peer's ticks */
	__u32 wseq;    /* the proxy's next sequence number to this peer (write_seq) */
	__u64 packets; /* spliced from the peer; a super-packet counts as one */
	__u64 bytes;   /* TCP payload of those, retransmissions included */
	__u32 exp; /* ARMED: the proxy has read and relayed up to here (the socket's copied_seq);
		    * ACTIVE, SL_LEG_FIN: sequence number after the peer's FIN */
	__u8 peer_wscale;      /* the window scale that the peer announced */
	__u8 local_wscale;     /* the one that the proxy announced to it */
	enum sl_output output; /* how packets reach this peer */
	__u8 tagging;	       /* number of VLAN tags, | SL_TAG_SERVICE if the outer is 802.1ad */
};
#define SL_TAG_SERVICE 0x10

/* struct sl_flow_pair.flags */
enum sl_pair_flag {
	SL_PAIR_LINGER = 1 << 0,  /* flip although the proxy's own bytes are not all acknowledged */
	SL_PAIR_DRAINED = 1 << 1, /* after the flip: now they are; the sockets can go */
	SL_PAIR_TIMESTAMPS = 1 << 2, /* both legs have timestamps: translate them */
};

/* Value of `flows`, an array. */
struct sl_flow_pair {
#ifdef __bpf__
	struct bpf_spin_lock lock; /* all but the counters and maxima of ACTIVE: those race, see
				    * docs/engines.md */
#else
	__u32 lock; /* struct bpf_spin_lock: no business of user space */
#endif
	enum sl_flow_state state;
	__u8 flags; /* enum sl_pair_flag */
	__u16 generation;
	__u32 flip_ms;	   /* CLOCK_MONOTONIC of the flip, ms, low 32 bits */
	__u32 address_sum; /* ACTIVE: what a checksum changes by when a packet from leg 0 gets
			    * the addresses of one to leg 1; from leg 1 its complement */
	struct sl_leg leg[2];
};

/* What became of a packet, or what happened to a pair. The values are stable. */
#define SL_REASONS(X)                                                                     \
	X(PASS_WATCHED, "passed, noted for a pair that its sockets carry")                \
	X(PASS_LINGER, "passed, an ACK that the lingering socket waits for")              \
	X(PASS_STALE, "passed, its pair is gone")                                         \
	X(PASS_REUSED, "passed, a new SYN on a closed pair")                              \
	X(SENT, "rewritten and redirected")                                               \
	X(SENT_PEER, "rewritten and redirected into the peer's namespace")                \
	X(SENT_NEIGH, "rewritten and redirected to the next hop the kernel found")        \
	X(SENT_UP, "rewritten and passed up")                                             \
	X(DROP_WINDOW, "dropped, its segment is outside the receiver's window")           \
	X(DROP_ACK, "dropped, it acknowledges what was never sent")                       \
	X(DROP_TTL, "dropped, TTL or hop limit exceeded")                                 \
	X(DROP_OPTIONS, "dropped, malformed or signed TCP options")                       \
	X(DROP_REWRITE, "dropped, the kernel refused to change the packet")               \
	X(FLIP_PACKET, "pairs spliced by a packet")                                       \
	X(FLIP_ARM, "pairs spliced by the arm call")                                      \
	X(WAIT_INPUT, "armed pair kept: bytes are on their way to the proxy")             \
	X(WAIT_ACK, "armed pair kept: bytes of the proxy are not acknowledged")           \
	X(WINDOW_CLAMPED, "window fields clamped to 65535")                               \
	X(WINDOW_RAISED, "window fields raised from a rounded 0 to 1")                    \
	X(OPTIONS_SLOW, "packets with an unusual order of TCP options")                   \
	X(RST_INEXACT, "RSTs in the window but not at its edge, sent on; the pair stays") \
	X(CLOSED_FIN, "pairs closed by FIN")                                              \
	X(CLOSED_RST, "pairs closed by RST")                                              \
	X(FAILED, "spliced pairs given up; both ends are reset")                          \
	X(EVENTS_LOST, "events that found the ring buffer full")                          \
	X(PASS_TAGS, "passed, its VLAN tags are not its leg's: for the device above")     \
	X(MOVED, "peers whose packets came by another router or device")                  \
	X(ICMP, "ICMP errors about spliced packets, translated and sent on")              \
	X(DROP_ICMP, "dropped, an ICMP error about what is not in flight")

enum sl_reason {
#define X(name, text) SL_##name,
	SL_REASONS(X)
#undef X
		SL_REASON_COUNT,
};

struct sl_counter {
	__u64 packets; /* or pairs, or events */
	__u64 bytes;   /* TCP payload of those packets */
};

/* The only value of `counters`, per CPU. Names, so that bpftool prints them; programs take it for an
 * array of SL_REASON_COUNT. */
struct sl_counters {
#define X(name, text) struct sl_counter name;
	SL_REASONS(X)
#undef X
};

enum sl_event_type {
	SL_EVENT_FLIPPED = 1, /* now ACTIVE: close the sockets silently after a grace */
	SL_EVENT_DRAINED = 2, /* a lingering pair: the sockets are not needed any more */
	SL_EVENT_CLOSED = 3,  /* FIN both ways */
	SL_EVENT_RESET = 4,   /* by the peer of `leg` */
	SL_EVENT_DEAD = 5,    /* a new SYN on a closed pair: release the slot */
	SL_EVENT_FAILED = 6,  /* given up: reset what is left */
};

/* Records of the ring buffer `events`. A lost one is counted; every state can be read from `flows`. */
struct sl_event {
	__u32 pair;
	__u16 generation;
	__u8 type; /* enum sl_event_type */
	__u8 leg;  /* the packet that caused it came from there */
};

/* What the control program does, under the pair's lock. */
enum sl_control_op {
	SL_CONTROL_WATCH = 1,  /* sets the pair up (addresses of both legs), adds both flows */
	SL_CONTROL_ARM = 2,    /* WATCH or ARMED: takes exp, wseq, options; flips if it is quiet */
	SL_CONTROL_DISARM = 3, /* ARMED: back to WATCH */
	SL_CONTROL_KILL = 4,   /* any state: DEAD; packets go to the stack, which resets */
	SL_CONTROL_FAIL = 5,   /* as KILL, for a check that failed after the flip: counted, event */
	SL_CONTROL_RELEASE = 6, /* removes both flows, if they are still this pair's: FREE */
};

/* Per leg: WATCH reads the addresses, ARM all others. */
struct sl_control_leg {
	__u8 local[16];
	__u8 peer[16];
	__be16 local_port;
	__be16 peer_port;
	__u32 exp; /* as in struct sl_leg */
	__u32 wseq;
	__u32 ts_offset;
	__u16 options; /* SL_LEG_SACK, SL_LEG_TIMESTAMPS, SL_LEG_ECN */
	__u16 mss;
	__u8 peer_wscale;
	__u8 local_wscale;
	__u8 output;
	__u8 reserved;
	__u32 ifindex; /* where packets to the peer leave; 0: where its own arrive */
};

/* Why ARM refuses a pair for good; struct sl_control.ret_refusal. */
#define SL_REFUSALS(X)                                                  \
	X(NONE, "")                                                     \
	X(FAMILIES, "IPv4 and IPv6 legs: the copy engine carries them") \
	X(TIMESTAMPS, "only one leg negotiated TCP timestamps")         \
	X(TAGS, "the legs differ in number or kind of VLAN tags")       \
	X(ENDED, "a peer has finished or reset already")                \
	X(OUTPUT, "the hook can't send in the way that was chosen")     \
	X(UNSUMMED,                                                     \
	  "a peer leaves TCP checksums to its device, which XDP meets unfinished: tx off there")

enum sl_refusal {
#define X(name, text) SL_REFUSE_##name,
	SL_REFUSALS(X)
#undef X
		SL_REFUSAL_COUNT,
};

/* Argument of the control program. */
struct sl_control {
	__u32 pair;
	__u16 generation;
	__u8 op;    /* enum sl_control_op */
	__u8 flags; /* ARM: SL_PAIR_LINGER or 0 */
	struct sl_control_leg leg[2];
	__s32 ret;	  /* 0; -ESTALE: not this generation; -EBUSY: not in this state; -EEXIST: a
			   * flow is another live pair's; -ENOSPC: `buckets` are full; -ENOENT: no
			   * such slot; -EOPNOTSUPP: see ret_refusal */
	__u8 ret_state;	  /* after the call */
	__u8 ret_flags;	  /* enum sl_pair_flag, after the call */
	__u8 ret_flipped; /* ARM: this very call made it ACTIVE */
	__u8 ret_refusal; /* enum sl_refusal */
};

/* The only element of `layout`: what the pinned maps look like. */
struct sl_layout {
	__u32 magic;
	__u32 version;
	__u32 pair_size; /* bytes */
	__u32 pairs;	 /* slots */
};

#define SL_ABI_SIZE(type, bytes) _Static_assert(sizeof(type) == (bytes), "ABI of " #type)
SL_ABI_SIZE(struct sl_flow_key, 12);
SL_ABI_SIZE(struct sl_flow6_key, 36);
SL_ABI_SIZE(struct sl_flow, 8);
SL_ABI_SIZE(struct sl_bucket, 32);
SL_ABI_SIZE(struct sl_index_secret, 88);
SL_ABI_SIZE(struct sl_leg, 112);
SL_ABI_SIZE(struct sl_flow_pair, 240);
SL_ABI_SIZE(struct sl_counter, 16);
SL_ABI_SIZE(struct sl_counters, SL_REASON_COUNT * sizeof(struct sl_counter));
SL_ABI_SIZE(struct sl_event, 8);
SL_ABI_SIZE(struct sl_control_leg, 60);
SL_ABI_SIZE(struct sl_control, 136);
SL_ABI_SIZE(struct sl_layout, 16);
_Static_assert(__builtin_offsetof(struct sl_leg, peer_mac) % 4 == 2, "as in a packet");
_Static_assert(__builtin_offsetof(struct sl_leg, packets) == 88, "no hole before the counters");
_Static_assert(__builtin_offsetof(struct sl_flow_pair, leg) == 16, "no hole before the legs");

#endif
