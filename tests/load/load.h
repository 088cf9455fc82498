/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_TESTS_LOAD_H
#define SLUICE_TESTS_LOAD_H

/* A load generator that holds both ends of every tunnel: the client's, which sends CONNECT to the
 * proxy, and the server's, which the proxy then connects to. So it knows at each moment what must
 * arrive where, byte by byte, and how it must end.
 *
 * plan.c draws what a tunnel does, tunnel.c does it, end.c is one socket of it, main.c runs many. */

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ROUNDS_MAX 6
#define QUIET_MS   200 /* a pause that counts as a quiet moment */

enum side {
	CLIENT,
	SERVER,
};

/* Who sends first in a round; the other begins when all has arrived. */
enum turn {
	TURN_CLIENT,
	TURN_SERVER,
	TURN_BOTH,
};

/* How CONNECT is sent. */
enum head {
	HEAD_WHOLE,
	HEAD_SPLIT, /* in pieces, apart in time */
	HEAD_EARLY, /* with the first bytes for the server right behind */
	HEADS,
};

enum ending {
	END_FIN_CLIENT, /* the client finishes first, the server answers with FIN */
	END_FIN_SERVER,
	END_FIN_BOTH,	 /* at once */
	END_HALF_CLIENT, /* the client finishes, the server sends on for a while */
	END_HALF_SERVER,
	END_CLOSE_SERVER, /* the server closes right behind its last byte */
	END_RST_CLIENT,	  /* after all has arrived */
	END_RST_SERVER,
	END_CUT_CLIENT, /* reset in the middle of the last round */
	END_CUT_SERVER,
	ENDINGS,
};
const char *ending_name(enum ending e);

struct round {
	uint32_t bytes[2]; /* that each side sends */
	enum turn turn;
	uint32_t pause_ms; /* of silence when all has arrived */
};

/* What a tunnel does. */
struct plan {
	struct round round[ROUNDS_MAX];
	uint32_t rounds;
	enum head head;
	enum ending ending;
	uint32_t tail; /* bytes that follow a half-close */
	uint32_t cut;  /* bytes that must have arrived in the last round before a cut */
	uint32_t receive_buffer[2], send_buffer[2]; /* bytes; 0: the system's */
	bool slow[2];				    /* reads little by little */
	bool keepalive;
};

/* What plans are drawn from. */
struct mix {
	uint32_t bytes_max; /* of a side in a round */
	bool resets;	    /* tunnels that end by RST, too */
	bool plain;	    /* no small buffers, no slow readers */
	bool quiet;	    /* every tunnel has a quiet moment */
};

struct random {
	uint64_t state;
};
uint64_t random_next(struct random *r);
/* Below n. */
uint32_t random_below(struct random *r, uint32_t n);

/* Whether it ends by RST. */
bool plan_resets(const struct plan *p);
void plan_draw(struct plan *ret, const struct mix *mix, struct random *r);

/* --- one socket --- */

struct end {
	int fd;
	uint64_t stream; /* key of what it sends; what it must receive is the other end's */
	uint64_t sent, received;
	uint64_t may_send;     /* up to here */
	uint64_t slow_next_us; /* a slow reader reads again */
	bool slow;
	bool fin_sent, fin_received, reset; /* reset: an error that says so was seen */
	uint32_t retransmitted;		    /* segments, once closed */
};

/* Byte `at` and on of a stream. */
void stream_fill(uint64_t stream, uint64_t at, uint8_t *buf, size_t n);
/* NULL, or how it went wrong: bytes differ, or errno's text. */
const char *end_write(struct end *e);
const char *end_read(struct end *e, uint64_t from, uint64_t now_us);
/* Bytes that it has said it takes, and that it can send at once: no more than it was promised, and than
 * its congestion window can have become. False if the kernel doesn't tell (before Linux 6.2). */
bool end_windows(const struct end *e, uint32_t *ret_own, uint32_t *ret_flight);
void end_finish(struct end *e);
void end_reset(struct end *e);
void end_close(struct end *e);

/* --- one tunnel --- */

enum state {
	STATE_HEAD, /* CONNECT is being sent, or answered, or the server has not been reached */
	STATE_ROUND,
	STATE_PAUSE,
	STATE_ENDING, /* the first end has finished or reset */
	STATE_TAIL,   /* half-closed, the rest is under way */
	STATE_OVER,
};
const char *state_name(enum state s);

struct environment {
	int epoll;
	int ns[2]; /* descriptors of the namespaces of client and server */
	struct sockaddr_storage proxy, server;
	struct mix mix;
	uint64_t seed;
	uint32_t patience_ms; /* for one step of a tunnel */
	uint32_t first_port;  /* servers listen from there on, a port for each slot; 0: anywhere */
};

struct tunnel {
	const struct environment *env;
	struct plan plan;
	enum state state;
	uint32_t number;
	uint32_t slot; /* among those that run at once */
	uint32_t round;
	int listener;
	struct end end[2];
	uint64_t goal[2]; /* bytes that each side will have sent after this round */
	uint16_t port[2]; /* the client's, the one that the server listens on */
	uint64_t wake_us; /* 0: none. Next piece of the head, end of a pause */
	uint64_t look_us; /* next slow read */
	uint64_t late_us; /* too long without a step */
	uint64_t ask_us;  /* an RST is overdue: the end that waits for it asks */
	uint32_t asked;	  /* how often */
	uint64_t progress;
	uint64_t began_us;
	char head[256];
	uint32_t head_len, head_sent;
	bool answered, had_quiet;
	bool had_room;	     /* in a quiet moment, as the packet engine asks for it */
	const char *failure; /* static; NULL: all is well */
};

/* Opens both ends; number and slot are set. 0 or -errno. */
int tunnel_start(struct tunnel *t, const struct environment *env, uint64_t now_us);
bool tunnel_is_due(const struct tunnel *t, uint64_t now_us);
/* Something happened to a descriptor, or it is due. */
void tunnel_step(struct tunnel *t, uint64_t now_us);
/* Closes what is open. */
void tunnel_close(struct tunnel *t);

#endif
