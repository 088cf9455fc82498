/* SPDX-License-Identifier: BSD-2-Clause */
/* The clock of an exchange: an origin that does not answer, and bodies that stall in either direction.
 * Connecting and sluice's own responses have clocks elsewhere (dial.c, conn.c). */

#include "proxy/conn.h"

#include "base/util.h"

/* A client that takes less than this in a whole body timeout is stalling, however it dribbles. */
#define SLOWEST_BYTES 1024

uint64_t sl_exchange_searched(struct sl_exchange *x)
{
	struct sl_worker *w = x->conn->worker;
	uint64_t spent_us = sl_loop_now_us(w->loop) - x->dial_us;
	uint64_t waited_us = x->route ? sl_lease_waited_us(&x->lease) : 0;

	if (waited_us)
		sl_histogram_add(&w->stats.queue_wait, waited_us);
	x->queue_us += waited_us;
	x->connect_us += spent_us - waited_us;
	x->dial_us = 0;
	return spent_us - waited_us;
}

static void time_out(struct sl_conn *c, bool waits_for_origin)
{
	struct sl_stats *stats = &c->worker->stats;

	if (waits_for_origin) {
		sl_count(stats->timeouts_upstream_total, 1);
		c->x->outcome = SL_OUTCOME_BROKEN;
		if (sl_exchange_retry(c, SL_RETRY_TIMEOUT))
			return;
		sl_exchange_fail(c, 504, "upstream-timeout");
		return;
	}
	sl_count(stats->timeouts_body_total, 1);
	c->closing = true;
	if (c->out)
		sl_exchange_fail(c, 408, "client-stalled");
	else if (c->x->up_out || sl_exchange_head_left(c->x) || c->x->response_head)
		sl_exchange_fail(c, 504, "upstream-stalled");
	else
		sl_exchange_fail(c, 408, "body-timeout");
}

/* The timer is re-armed lazily: it fires early and finds out how much time is left. It never sleeps for
 * longer than the shortest wait that may begin meanwhile. */
void sl_exchange_timeout(struct sl_conn *c)
{
	const struct sl_timeouts_config *timeouts = &sl_conn_config(c)->timeouts;
	struct sl_exchange *x = c->x;
	bool waits_for_origin = !x->response_head && sl_exchange_request_sent(x);
	uint64_t now = sl_loop_now_ms(c->worker->loop);
	uint64_t since = waits_for_origin ? x->sent_us / 1000 : x->progress_ms;
	uint64_t limit = waits_for_origin ? timeouts->upstream : timeouts->body;
	uint64_t next;

	if (now >= since + limit) {
		time_out(c, waits_for_origin);
		return;
	}
	if (now >= x->window_ms + timeouts->body) {
		if (c->out && x->moved - x->moved_at_window < SLOWEST_BYTES) {
			time_out(c, false);
			return;
		}
		x->window_ms = now;
		x->moved_at_window = x->moved;
	}
	next = sl_min(since + limit, x->window_ms + timeouts->body) - now;
	sl_conn_arm(c, sl_min(next, (uint64_t)timeouts->upstream));
}
