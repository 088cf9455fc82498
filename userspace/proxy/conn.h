/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_PROXY_CONN_H
#define SLUICE_PROXY_CONN_H

/* A client connection (struct sl_conn) and the request it is busy with (struct sl_exchange). An idle
 * connection has no exchange and no buffer.
 *
 * conn.c       the state machine: accept, heads, timeouts, the end
 * begin.c      a parsed request until its upstream is there: refusals, credentials, pool, dial
 * reverse.c    the same for listeners with routes: a route, a lease on a connection of its upstream
 * preface.c    what comes before: PROXY headers, ClientHellos
 * passthrough.c  connections that pass as they are
 * exchange.c   a request and its response between client and upstream
 * retry.c      whether a failed request may be sent again
 * exchange_time.c  the clock of an exchange
 * record.c     what is counted and logged of it
 * reply.c      responses that sluice makes itself
 * tunnel.c     CONNECT and 101: pairs, handed to an engine */

#include <stdbool.h>
#include <stdint.h>

#include "proxy/access/auth.h"
#include "proxy/client_hello.h"
#include "proxy/dial.h"
#include "proxy/upstream/lease.h"
#include "proxy/message.h"
#include "proxy/worker.h"

enum sl_conn_state {
	SL_CONN_PREFACE,  /* what comes before anything else is being read */
	SL_CONN_IDLE,	  /* no byte of a request yet; holds nothing */
	SL_CONN_HEAD,	  /* part of a request head is in `in` */
	SL_CONN_AUTH,	  /* credentials are being checked */
	SL_CONN_DIAL,	  /* the upstream is being connected */
	SL_CONN_EXCHANGE, /* request and response are flowing */
	SL_CONN_REPLY,	  /* sluice's own response is being written */
	SL_CONN_OPENING,  /* the answer before a tunnel (200 or 101) is being written */
	SL_CONN_TUNNEL,	  /* an engine has both streams */
	SL_CONN_LINGER,	  /* FIN sent; input is discarded, so that no RST eats the response */
	SL_CONN_CLOSED,
};

/* What is kept of a server's name for the log; longer ones are cut. */
#define SL_SERVER_LABEL_MAX 64

struct sl_exchange;

/* What a PROXY header said beside the client's address. */
struct sl_told {
	struct sl_addr destination;
	uint16_t len;
	char tlvs[];
};

struct sl_conn {
	struct sl_worker *worker;
	struct sl_listener *listener;
	struct sl_stream *client; /* NULL in SL_CONN_TUNNEL (the pair has it) and when closed */
	struct sl_exchange *x;	  /* from the first complete (or refused) head to its end */
	struct sl_buf *in, *out;  /* from and to the client */
	struct sl_list node;	  /* in the worker's all_conns */
	struct sl_timer timer;
	struct sl_task release;
	struct sl_task run;
	uint64_t id;
	uint64_t head_us;     /* when the head's first byte was seen (or accept) */
	size_t scanned;	      /* of the head in `in` */
	uint32_t linger_left; /* bytes still discarded in SL_CONN_LINGER */
	struct sl_addr source;
	struct sl_told *told; /* by a PROXY header; NULL: nothing */
	enum sl_conn_state state;
	bool readable, writable;
	bool input_ended;
	bool proxied;	/* begins with a PROXY header */
	bool first;	/* no request was read yet */
	bool admitted;	/* counted by the limits */
	bool by_source; /* by its source, too */
	bool closing;	/* ends after this exchange */
};

/* Why and when an exchange made progress last. */
struct sl_exchange {
	struct sl_conn *conn;
	struct sl_dial *dial;
	struct sl_auth_check auth;
	const struct sl_route_config *route;	 /* NULL: the client chose where to go */
	const struct sl_route_config *throttled; /* whose limits count it; NULL: none */
	struct sl_lease lease;			 /* with a route: what x->upstream comes from */
	uint64_t key_hash;			 /* for balance: maglev */
	enum sl_outcome outcome;		 /* what the lease ends with */
	struct sl_stream *upstream;
	struct sl_addr upstream_addr;
	bool up_readable, up_writable, up_hangup;
	bool up_broken;	       /* a write failed: the end of input proves nothing */
	bool passthrough;      /* not HTTP: a tunnel from its first byte on */
	bool reused;	       /* the upstream connection came from the pool */
	bool stale;	       /* a pooled one was closed already: a new one only */
	uint8_t retries;       /* of the tries that are allowed */
	uint8_t interims;      /* 1xx responses so far: bounded */
	bool request_stopped;  /* the upstream takes no more; its response may still come */
	bool body_started;     /* a byte of the request body went upstream: no retry */
	bool response_started; /* a byte of the response head was read */
	bool response_head;    /* the final head was written to conn->out */
	bool upstream_ended;   /* EOF from upstream */
	bool upstream_keep;    /* the upstream connection may go to the pool */
	bool upstream_marked;  /* it may have taken this client's identity: never */

	struct sl_request request; /* slices in it are dead once the head is consumed */
	struct sl_buf *head;	   /* for the upstream; kept whole until the response begins */
	uint32_t head_sent;
	struct sl_buf *up_out; /* request body, encoded */
	struct sl_buf *up_in;  /* from the upstream */
	size_t up_scanned;
	struct sl_mover to_upstream, to_client;

	/* Times on the loop's clock, which is read once a turn: each is early by what the turn had
	 * taken by then, so that the parts never add up to more than the whole. */
	uint64_t dial_us, sent_us;
	/* Durations. Of several tries, queue and connect are sums. */
	uint64_t queue_us, connect_us, first_byte_us;
	uint64_t progress_ms;
	uint64_t moved, moved_at_window, window_ms;
	uint64_t bytes_in, bytes_out;
	uint16_t status;
	const char *reason; /* static: why it ended, for the log */

	/* The tunnel that the exchange became. */
	struct sl_pair pair;
	struct sl_list flow; /* in the worker's tunnels */
	struct sl_policy_state policy;
	const char *engine; /* who carries it, or carried it last; static */
	uint64_t tunnel_us;
	uint64_t spliced_us; /* when an engine beyond the floor took it; 0: none did */
	uint64_t quiet_since_ms;
	uint64_t counted[2]; /* bytes by side that are in the statistics already */
	uint64_t messages;   /* of both sides, at the last look: the tunnel's pulse */
	uint64_t early[2];   /* of those to come, what was counted as read before the tunnel */
	char server[SL_SERVER_LABEL_MAX]; /* asked last: its slot may be another's by the end */
	bool locals_known;
	struct sl_addr local[2]; /* our ends: the streams may go before the tunnel does */

	/* Copies of strings that outlive the head, in one allocation. */
	char *text;
	struct sl_slice method, target, host, user_agent, referer;
	uint16_t port;
	struct sl_trace trace;
};

static inline const struct sl_generation *sl_conn_generation(const struct sl_conn *c)
{
	return c->listener->era->generation;
}

/* That of its latest request, or of the tunnel that it became. */
static inline const struct sl_config *sl_conn_config(const struct sl_conn *c)
{
	return sl_conn_generation(c)->config;
}

/* Of a route's reference. */
static inline struct sl_upstream *sl_conn_upstream(const struct sl_conn *c,
						   const struct sl_upstream_ref *ref)
{
	return sl_conn_generation(c)->upstream[ref->index];
}

/* Before that: false if whoever comes next has to wait for a place. */
bool sl_conn_may_accept(const struct sl_acceptor *a);
/* Accepts: the acceptor's callback. */
void sl_conn_accept(struct sl_acceptor *a, struct sl_stream *s);
/* Ends the connection whatever it does; open upstreams are reset, too. */
void sl_conn_abort(struct sl_conn *c, const char *reason);
/* Closes after what is going on now; at once if nothing is. */
void sl_conn_drain(struct sl_conn *c);

/* --- between the files of the connection --- */

/* The client's callback in every state but SL_CONN_TUNNEL. */
void sl_conn_client_event(struct sl_stream *s, unsigned events);
/* Runs the state machine soon; safe from any callback. */
void sl_conn_schedule(struct sl_conn *c);
/* Counts that the connection, or its request, is refused. */
static inline void sl_conn_count_refused(struct sl_conn *c, enum sl_refused r)
{
	sl_count_refused(&c->worker->stats, c->listener->stats, r);
}

void sl_conn_set_state(struct sl_conn *c, enum sl_conn_state s);
/* Milliseconds from now to the state's timeout. */
void sl_conn_arm(struct sl_conn *c, uint64_t delay_ms);
/* Reads what fits into c->in (taking a buffer). > 0, 0 for nothing now or end of input
 * (c->input_ended), or -errno: the connection is broken, or -ENOBUFS. */
ssize_t sl_conn_read(struct sl_conn *c);
/* Writes c->out. 1: all written, buffer returned; 0: blocked; -errno: broken. */
int sl_conn_flush(struct sl_conn *c);
/* The exchange is over: logs it, frees it, and goes on with the connection or closes it. */
void sl_conn_finish_exchange(struct sl_conn *c);
/* Counts the connection as that source's from now on. False if a limit forbids it: it was refused. */
bool sl_conn_set_source(struct sl_conn *c, const struct sl_addr *source);
/* Ends with these bytes and FIN. */
void sl_conn_dismiss(struct sl_conn *c, struct sl_slice text);
/* Ends without another byte to the client; how tells what the client sees. */
void sl_conn_close(struct sl_conn *c, enum sl_close_how how);

/* A new exchange for the connection, or NULL when there is no room. */
struct sl_exchange *sl_exchange_new(struct sl_conn *c);
/* Frees it, with upstream connection and buffers. Writes the log record. Takes NULL. */
void sl_exchange_free(struct sl_exchange *x);
/* Starts on a parsed head (worker->head) that is still in c->in. */
void sl_exchange_begin(struct sl_conn *c);
/* The upstream connection is there (x->upstream): start. */
void sl_exchange_start(struct sl_conn *c);
/* Moves what can be moved. */
void sl_exchange_run(struct sl_conn *c);
/* Bytes moved in either direction, on either side: the body's clock starts anew. */
void sl_exchange_progress(struct sl_exchange *x, size_t bytes);
/* The search for an upstream connection is over, or given up: what it took, by queue and connecting.
 * Returns the latter. */
uint64_t sl_exchange_searched(struct sl_exchange *x);
/* The timeout of SL_CONN_EXCHANGE fired. */
void sl_exchange_timeout(struct sl_conn *c);
/* The exchange failed: answered with status if nothing was sent yet, else the client is cut off. */
void sl_exchange_fail(struct sl_conn *c, unsigned status, const char *reason);
/* Connects the upstream (state SL_CONN_DIAL), not by a connection of the pool if this is a retry. */
void sl_exchange_connect(struct sl_conn *c);
/* It is connected: start. */
void sl_exchange_connected(struct sl_conn *c, struct sl_stream *s, unsigned events);
/* Closes the upstream connection, if there is one, and ends the lease. */
void sl_exchange_drop_upstream(struct sl_exchange *x, enum sl_close_how how);
/* Gives it to the pool. */
void sl_exchange_keep_upstream(struct sl_exchange *x);
/* Answers for sluice, on a request that is still in place or whose upstream can't be had. */
void sl_exchange_refuse(struct sl_conn *c, unsigned status, const char *extra, const char *reason);
/* Bytes of the request's head that the upstream has not taken yet. */
static inline uint32_t sl_exchange_head_left(const struct sl_exchange *x)
{
	return x->head ? sl_buf_len(x->head) - x->head_sent : 0;
}

/* The upstream has taken the whole request. */
static inline bool sl_exchange_request_sent(const struct sl_exchange *x)
{
	return x->to_upstream.complete && !x->up_out && x->sent_us;
}

/* A request to the route's upstream earns its share. */
void sl_retry_earn(struct sl_conn *c);
/* Idempotent, and without a body. */
bool sl_exchange_is_repeatable(const struct sl_exchange *x);
/* Sends the request again if it may be. False: nothing happened. */
bool sl_exchange_retry(struct sl_conn *c, enum sl_retry_on why);
/* The same for a response with that status, which was not forwarded. */
bool sl_exchange_retry_status(struct sl_conn *c, unsigned status);
/* Whether something has to be read, or decided, before a request. */
bool sl_preface_begin(struct sl_conn *c);
void sl_preface_run(struct sl_conn *c);
/* Tells the server whose connection it is, if it is to be told. False if the server didn't take it. */
bool sl_preface_send(struct sl_conn *c, const struct sl_upstream_config *u, struct sl_stream *s);

/* Finds the upstream for the name (or none) and connects it. */
void sl_passthrough_begin(struct sl_conn *c, struct sl_slice name);
void sl_passthrough_refuse_hello(struct sl_conn *c, enum sl_hello_result r);

/* True if it is, or may become, a tunnel: its upstream connection is a new one, known to the engines. */
static inline bool sl_exchange_may_tunnel(const struct sl_exchange *x)
{
	return x->passthrough || x->request.method == SL_METHOD_CONNECT || x->request.upgrade;
}

/* Counts the request by the limits of its listener and route. False if it was refused. */
bool sl_exchange_throttle(struct sl_conn *c);

/* Of a listener with routes: takes the Host for the authority where the target has none. */
void sl_reverse_address(struct sl_conn *c);
/* Finds x->route. False if the request was refused. */
bool sl_reverse_route(struct sl_conn *c);
#define SL_REQUEST_ID_LEN 32
/* Adds to *f what the route and the listener change. request_id is room for one that is made. */
void sl_reverse_rewrite(struct sl_conn *c, struct sl_forwarding *f,
			char request_id[SL_REQUEST_ID_LEN]);
/* Leases a connection of the route's upstream. */
void sl_reverse_connect(struct sl_conn *c);

/* Statistics and access log of a finished exchange. */
void sl_exchange_record(struct sl_exchange *x);
/* CLOCK_REALTIME. */
uint64_t sl_wall_us(void);

/* Puts sluice's own response into c->out and goes to SL_CONN_REPLY; x may be NULL. extra: whole field
 * lines, or NULL. text: body, or NULL for the status's reason. */
void sl_reply(struct sl_conn *c, unsigned status, const char *extra, const char *text);
const char *sl_status_reason(unsigned status);
/* Answers for the proxy itself (origin form, OPTIONS or TRACE with Max-Forwards: 0). */
void sl_reply_own_resource(struct sl_conn *c);
/* Bytes for a client that is refused before anything was read. */
struct sl_slice sl_reply_refusal(void);

/* The upstream of a CONNECT is there, or a 101 was written: hand the streams to an engine once
 * c->out is empty. */
void sl_tunnel_open(struct sl_conn *c);
/* Before an attempt to connect a CONNECT's upstream: engines may prepare. */
void sl_tunnel_prepare(struct sl_conn *c, struct sl_connect_options *o);
/* The tunnel's timer: silence, statistics. */
void sl_tunnel_tick(struct sl_conn *c);
/* How often a tunnel is looked at, by its timeout. */
uint64_t sl_tunnel_tick_ms(uint32_t timeout_ms);
/* Of a pair that goes on without this process. */
void sl_tunnel_leave(struct sl_conn *c);
void sl_tunnel_abort(struct sl_conn *c, const char *reason);
void sl_tunnel_info(struct sl_exchange *x, struct sl_flow_info *ret);

#endif
