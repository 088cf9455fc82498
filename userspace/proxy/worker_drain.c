/* SPDX-License-Identifier: BSD-2-Clause */
/* Connections that are to end, of a whole worker or of one listener. What waits for an answer gets it, and
 * learns that it is the last; when time is up the rest is cut. What stops accepting is in eras.c. */

#include <errno.h>
#include <stdlib.h>

#include "base/util.h"
#include "proxy/conn.h"
#include "proxy/worker.h"

void sl_worker_drain(struct sl_worker *w)
{
	struct sl_list *pos, *tmp;

	if (w->draining)
		return;
	sl_worker_unlisten(w, w->handed_over);
	w->draining = true;
	sl_list_for_each_safe (pos, tmp, &w->all_conns)
		if (!w->handed_over)
			sl_conn_drain(sl_list_entry(pos, struct sl_conn, node));
}

void sl_worker_set_ending(struct sl_worker *w, uint32_t place, bool on)
{
	const uint64_t bit = 1ull << place % 64;

	if (on)
		w->ending[place / 64] |= bit;
	else
		w->ending[place / 64] &= ~bit;
}

void sl_worker_count_load(struct sl_worker *w, struct sl_listener_load *load)
{
	struct sl_list *pos;

	sl_list_for_each (pos, &w->all_conns) {
		const struct sl_conn *c = sl_list_entry(pos, struct sl_conn, node);

		if (c->listener->place != load->place)
			continue;
		load->connections++;
		load->idle += c->state == SL_CONN_IDLE;
		load->tunnels += c->state == SL_CONN_TUNNEL;
	}
}

void sl_worker_end_lingering(struct sl_worker *w)
{
	struct sl_list *pos, *tmp;

	sl_list_for_each_safe (pos, tmp, &w->all_conns) {
		struct sl_conn *c = sl_list_entry(pos, struct sl_conn, node);

		if (c->state == SL_CONN_LINGER)
			sl_conn_close(c, SL_CLOSE_GRACEFUL);
	}
}

/* One that has sent its answer already only waits for the client's FIN. True if it is reset. */
static bool end_conn(struct sl_conn *c)
{
	if (c->state == SL_CONN_IDLE) {
		sl_conn_drain(c);
		return false;
	}
	if (c->state == SL_CONN_LINGER) {
		sl_conn_close(c, SL_CLOSE_GRACEFUL);
		return false;
	}
	sl_conn_abort(c, "stopped");
	return true;
}

/* Ending one may end others, so each look begins at the front; those that are ending are `closing` or off
 * the list. */
uint64_t sl_worker_end_conns(struct sl_worker *w, uint32_t place)
{
	struct sl_list *pos = w->all_conns.next;
	uint64_t reset = 0;

	while (pos != &w->all_conns) {
		struct sl_conn *c = sl_list_entry(pos, struct sl_conn, node);

		pos = pos->next;
		if (c->listener->place != place)
			continue;
		reset += end_conn(c);
		if (sl_list_empty(pos) && pos != &w->all_conns)
			pos = w->all_conns.next;
	}
	return reset;
}
