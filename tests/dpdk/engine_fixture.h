/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_TESTS_DPDK_ENGINE_FIXTURE_H
#define SLUICE_TESTS_DPDK_ENGINE_FIXTURE_H

/* The dpdk engine between fake streams and a fake port. One pair is worked with at a time. */

#include "unit.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include <rte_mbuf.h>

#include "base/loop.h"
#include "dpdk/engine.h"
#include "dpdk/kernel.h"
#include "dpdk/lcore.h"
#include "fake_port.h"
#include "frames.h"

#include <sluice/flow.h>

#define CLIENT	     0
#define SERVER	     1
#define PAIRS	     4
#define TIME_WAIT_MS 300

struct end {
	struct sl_stream base;
	struct sl_dpdk_tcp tcp;
	struct sl_endpoint endpoint;
	int known; /* what asking for its TCP says */
	int closed;
	enum sl_close_how how;
};

extern struct sl_engine *engine;
extern struct sl_dpdk_splice *table;
extern struct sl_flow_pair plan; /* addresses and numbers of the pair */
extern struct end end[2];
extern struct sl_pair pairs[PAIRS + 1], *pair; /* what is worked with */
extern int ended;

/* The n-th pair of that version, ready to be joined. */
void make_pair(int version, int n);
int join(const char **ret_reason);
/* The same, and it is joined. */
void splice(int version, int n);
/* Without options, at its standard place. */
struct frame segment(int leg, uint8_t flags, int payload);
/* Lets it arrive. The frame that leaves, or NULL; *ret_rest: one that is the stack's. */
struct rte_mbuf *arrive(const struct frame *f, struct rte_mbuf **ret_rest);
/* Frees it. */
void assert_frame(struct rte_mbuf *m, const struct frame *want);
void assert_sent(const struct frame *f, int leg);
void assert_passed(const struct frame *f);
/* The RST that tells the peer of a leg the end. The other peer has sent `after` bytes to it, and it has
 * sent `before` itself. */
void assert_reset(int leg, uint32_t after, uint32_t before);
void take_resets(void);
void turn(void);
uint64_t figure(const char *name, const char *value);
/* Waits on the loop's own clock. */
void let_time_wait_pass(void);
int start_with(const struct sl_dpdk_engine_config *config);
int start(void **state);
int stop(void **state);

#endif
