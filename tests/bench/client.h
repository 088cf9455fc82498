/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_TESTS_BENCH_CLIENT_H
#define SLUICE_TESTS_BENCH_CLIENT_H

/* The load generator: a plan, and threads that each drive a part of the connections. */

#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "measure.h"

enum load {
	LOAD_BULK,    /* one direction, from the origin, as fast as it goes */
	LOAD_RTT,     /* a message and its echo, over and over, on each connection */
	LOAD_TUNNELS, /* a connection, one message and its echo, the end; over and over */
	LOAD_HTTP,    /* requests on connections that are kept */
	LOAD_HOLD,    /* connections that do nothing */
};

enum phase {
	PHASE_OPEN, /* all connections are opened, and exchange one byte */
	PHASE_LOAD, /* the load is on, not counted */
	PHASE_COUNT,
	PHASE_END,
};

struct plan {
	enum load load;
	struct sockaddr_in connect; /* where connections go */
	char ask[512];		    /* what is said there first: CONNECT, or nothing */
	char request[512];	    /* LOAD_HTTP, and LOAD_HOLD with `http` */
	bool http;		    /* LOAD_HOLD: idle after a request, not in a tunnel */
	bool once;		    /* LOAD_HTTP: each request has a connection of its own */
	bool stall;		    /* LOAD_HOLD with `http`: the answer is never read */
	bool login;  /* LOAD_HTTP: each request has a password of its own, a wrong one */
	double rate; /* LOAD_HTTP: requests begin when they are due, so many a second;
				     * 0: a connection asks again when it was answered */
	size_t size; /* of a message, bytes */
	int connections;
	int threads;
	int patience_ms; /* until all are open */
	_Atomic int phase;
};

struct conn;

struct driver {
	struct plan *plan;
	pthread_t thread;
	int epoll;
	struct conn *conn;
	int connections;
	char *piece; /* of PIECE bytes */
	_Atomic int ready;
	uint64_t due, period; /* with a rate: when the next request should begin; between two, ns */
	struct conn *idle;    /* with a rate: those that wait for one */
	/* Counted in PHASE_COUNT; read by others when the thread has ended. */
	_Atomic uint64_t bytes;
	uint64_t done, refused, errors;
	uint64_t overdue; /* requests that were due when it ended, and had not begun */
	char error[96];	  /* the first one */
	struct latency latency;
};
#define PIECE (256 << 10)

/* plan and connections are set; 0 or -ENOMEM. What it takes lasts as long as the process. */
int driver_init(struct driver *d);
/* The thread: opens d->connections connections and drives them until PHASE_END. */
void *drive(void *driver);

#endif
