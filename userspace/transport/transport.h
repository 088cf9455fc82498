/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_TRANSPORT_TRANSPORT_H
#define SLUICE_TRANSPORT_TRANSPORT_H

/* A transport carries TCP streams to the control plane: the kernel's sockets (socket.c), DPDK with
 * a user-space stack, or a test fake. One instance per worker; everything happens in the thread of
 * its loop. No call blocks, and no call runs a callback before it returns: callbacks come from the
 * loop only.
 *
 * Readiness is edge-triggered: after SL_READABLE the owner reads until -EAGAIN, or remembers that
 * it did not; after -EAGAIN from write it waits for SL_WRITABLE. A new stream counts as neither
 * readable nor writable until its first event. */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "base/addr.h"
#include "base/loop.h"

struct sl_transport;
struct sl_stream;
struct sl_acceptor;

enum sl_stream_event {
	SL_CONNECTED = 1 << 0, /* connect() finished; error is 0 or its errno */
	SL_READABLE = 1 << 1,  /* bytes or end of input may be there */
	SL_WRITABLE = 1 << 2,
	SL_HANGUP = 1 << 3, /* the peer sent FIN (bytes may still be there to read), or RST */
	SL_ERROR = 1 << 4, /* the stream is broken; read() gives what had arrived, then the errno */
};

/* One end of a TCP connection. Owned by whoever accepted or connected it, until close(). */
struct sl_stream {
	const struct sl_transport_ops *ops;
	struct sl_transport *transport;
	/* The owner's callback; it may call close() on its own stream. */
	void (*on_event)(struct sl_stream *s, unsigned events);
	void *owner;
	struct sl_addr local; /* as far as known without asking; endpoint() tells for sure */
	struct sl_addr peer;
	int error; /* positive errno after a failed SL_CONNECTED */
	/* A hint, set by read(): it gave all there was, another read would give -EAGAIN, and
	 * SL_READABLE comes with more. False is always right. */
	bool drained;
	/* Set by the transport: urgent data came. read() passes it by, splice(2) stops there for good. */
	bool urgent;
	/* A hint, set by the owner: what is written may wait for what follows at once, such as FIN. */
	bool more;
	/* Set by the owner of an accepted stream before on_accept() returns: it wants no events. */
	bool deaf;
};

/* A listening point. Owned by the transport; ended by unlisten(). */
struct sl_acceptor {
	/* The callee owns the stream from now on; it sets on_event and owner before it returns. */
	void (*on_accept)(struct sl_acceptor *a, struct sl_stream *s);
	/* NULL, or asked before each: false leaves whoever comes next in the queue of the listening socket, and it
	 * is asked again after a moment. unlisten() doesn't ask. Set by the user. */
	bool (*may_accept)(const struct sl_acceptor *a);
	void *owner;
	struct sl_addr local; /* the port that was bound, when 0 was asked for */
	/* unlisten() leaves connections that wait to whoever else has the descriptor; else it accepts
	 * them first. Set by the user before unlisten(). */
	bool leave_queue;
	/* Set by on_accept(): it had no room, and whoever waits now would hear the same. Then few are
	 * accepted a turn, as those who are in come first. */
	bool full;
	/* As in the options; the user may change it, for who is accepted from then on. Where a descriptor
	 * listens it is the descriptor's, and is changed there. */
	unsigned keepalive_ms;
	struct sl_acceptor_stats {
		uint64_t accepted; /* streams handed to on_accept */
		uint64_t failed;   /* accept attempts that failed for lack of a resource */
		uint64_t paused; /* times that accepting paused because of that, or of may_accept */
	} stats;
};

struct sl_listen_options {
	struct sl_addr addr;
	int backlog;	       /* capped by the system */
	int mss;	       /* TCP_MAXSEG to announce at most, 0: the system's */
	int window_clamp;      /* TCP_WINDOW_CLAMP, bytes, 0: the system's */
	unsigned keepalive_ms; /* silence after which peers are asked if they are there; 0: never */
	int fast_open;	 /* TCP Fast Open: requests that may wait without a handshake; 0: off */
	bool reuse_port; /* one of several workers on the same address */
	bool adopt;	 /* fd listens already, as described above; borrowed */
	int fd;
};

struct sl_connect_options {
	struct sl_addr addr;
	struct sl_addr source; /* AF_UNSPEC: any. A port other than 0 is bound exactly. */
	int mss;	       /* as above */
	int window_clamp;      /* as above */
	unsigned keepalive_ms; /* as above */
	/* TCP Fast Open: where the peer allowed it before, the stream is connected at once, and what
	 * is written first goes with the SYN. The network may deliver that twice, and what is wrong
	 * with the peer is told by read() only. */
	bool fast_open;
};

enum sl_close_how {
	SL_CLOSE_GRACEFUL, /* unsent bytes and FIN still go out; unread input may turn it into RST */
	SL_CLOSE_RESET,	   /* RST now */
	SL_CLOSE_SILENT,   /* nothing goes out: a packet engine carries the connection on */
};

/* What engines need to know. Fields that a transport can't tell are 0, with tcp_known false. */
struct sl_endpoint {
	int fd; /* -1: this stream has no descriptor. Borrowed. */
	struct sl_addr local, peer;
	bool tcp_known;
	bool sack, timestamps, ecn;
	uint8_t snd_wscale, rcv_wscale;
	uint16_t mss;		/* largest segment that may be sent */
	uint16_t announced_mss; /* to the peer */
	bool unacked;		/* the peer has not acknowledged all that was sent */
	uint32_t segments;	/* with data that came in */
};

struct sl_transport_ops {
	const char *name;

	/* Starts listening. 0, or -errno of socket, bind, listen. */
	int (*listen)(struct sl_transport *t, const struct sl_listen_options *o,
		      void (*on_accept)(struct sl_acceptor *a, struct sl_stream *s), void *owner,
		      struct sl_acceptor **ret);
	/* Stops listening and frees the acceptor; on_accept may be called before that. Takes NULL. */
	void (*unlisten)(struct sl_acceptor *a);

	/* Starts connecting; SL_CONNECTED follows unless the stream is closed before. The caller
	 * owns *ret and sets on_event. -errno if it could not even start. */
	int (*connect)(struct sl_transport *t, const struct sl_connect_options *o,
		       struct sl_stream **ret);

	/* Bytes read (> 0), 0 at end of input, -EAGAIN, or -errno (stream broken). */
	ssize_t (*read)(struct sl_stream *s, void *buf, size_t len);
	/* Bytes written, -EAGAIN if none could be, or -errno. Never raises SIGPIPE. */
	ssize_t (*write)(struct sl_stream *s, const struct iovec *iov, int n);
	/* Sends FIN after what was written. Idempotent. 0 or -errno. */
	int (*finish)(struct sl_stream *s);
	/* Which of SL_READABLE and SL_WRITABLE the owner wants to be told from now on, in the beginning
	 * both; hangups and errors always are. What holds at this moment is told (again). 0 or -errno. */
	int (*watch)(struct sl_stream *s, unsigned events);
	/* Ends the stream and frees it (after the current batch of events). No callback follows. */
	void (*close)(struct sl_stream *s, enum sl_close_how how);

	/* 0, or -errno if the stream is broken. Costs system calls: not per event. */
	int (*endpoint)(struct sl_stream *s, struct sl_endpoint *ret);

	/* Makes of the connection a stream of `to`, a transport of the same kind, whose thread calls
	 * this while nobody else uses s. The caller owns *ret; s is a husk from now on, which its
	 * own thread must close() soon, and of which events may still tell. 0, -EOPNOTSUPP or
	 * -errno: s is as before. */
	int (*move)(struct sl_stream *s, struct sl_transport *to, struct sl_stream **ret);

	/* Frees the transport; every stream and acceptor is gone before. Takes NULL. */
	void (*destroy)(struct sl_transport *t);
};

/* First member of every transport. */
struct sl_transport {
	const struct sl_transport_ops *ops;
	struct sl_loop *loop;
};

#endif
