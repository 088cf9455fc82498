/* SPDX-License-Identifier: BSD-2-Clause */
/* The watchdog: each worker's loop notes that it turns; the control thread looks at the notes, says which
 * worker stands still, and tells the service manager that all is well only while none does.
 *
 * A process that was frozen as a whole is no stuck worker: a look that comes late itself judges nobody. */

#include <stdio.h>

#include "base/util.h"
#include "proxy/notify.h"
#include "proxy/server_state.h"

#define LOOK_MS	 500
#define STUCK_MS 4000 /* the note is a second old at most while a loop turns */

static bool is_late(const struct sl_daemon *s, uint64_t now)
{
	return now - s->looked_ms > STUCK_MS / 2;
}

static void tell(struct sl_daemon *s, uint32_t i, bool stuck, uint64_t silent_ms)
{
	if (stuck) {
		sl_error("worker %u is stuck: its loop has not turned for %llu ms", i,
			 (unsigned long long)silent_ms);
		s->stalls++;
	} else {
		sl_warning("worker %u turns again", i);
	}
	s->stuck[i] = stuck;
}

static uint32_t look_at_workers(struct sl_daemon *s, uint64_t now)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < s->n_workers; i++) {
		uint64_t turned = __atomic_load_n(&s->worker[i]->turned_ms, __ATOMIC_RELAXED);
		bool stuck = now > turned && now - turned > STUCK_MS;

		if (stuck != s->stuck[i] && !(stuck && is_late(s, now)))
			tell(s, i, stuck, now - turned);
		n += s->stuck[i];
	}
	return n;
}

static void look(struct sl_timer *t)
{
	struct sl_daemon *s = sl_container_of(t, struct sl_daemon, watchdog);
	uint64_t now = sl_clock_us() / 1000;

	s->n_stuck = look_at_workers(s, now);
	s->looked_ms = now;
	if (s->watchdog_ms && !s->n_stuck && now - s->notified_ms >= s->watchdog_ms) {
		sl_notify("WATCHDOG=1", -1);
		s->notified_ms = now;
	}
	sl_loop_arm(s->loop, t,
		    s->watchdog_ms ? sl_min(s->watchdog_ms, (uint64_t)LOOK_MS) : LOOK_MS);
}

void sl_server_start_watchdog(struct sl_daemon *s)
{
	s->watchdog_ms = sl_notify_watchdog_ms();
	s->looked_ms = sl_clock_us() / 1000;
	sl_timer_init(&s->watchdog, look);
	sl_loop_arm(s->loop, &s->watchdog, LOOK_MS);
}

/* --- what is told beside it --- */

static void name_door(const struct sl_door *door, char name[SL_ADDR_STR_MAX])
{
	sl_addr_format(&door->addr, name);
	for (char *c = name; *c; c++)
		if (*c == ':')
			*c = '_'; /* what separates names there */
}

void sl_server_tell_ready(struct sl_daemon *s)
{
	char name[SL_ADDR_STR_MAX], text[SL_ADDR_STR_MAX + 32];

	sl_notify("READY=1", -1);
	for (size_t i = 0; i < s->doors.n; i++) {
		name_door(&s->doors.door[i], name);
		snprintf(text, sizeof(text), "FDSTORE=1\nFDNAME=%s", name);
		for (uint32_t w = 0; w < s->doors.workers; w++)
			sl_notify(text, s->doors.door[i].fd[w]);
	}
}

void sl_server_tell_closed(struct sl_daemon *s, const struct sl_config *c)
{
	char name[SL_ADDR_STR_MAX], text[SL_ADDR_STR_MAX + 32];

	for (size_t i = 0; i < s->doors.n; i++) {
		if (sl_server_listens_on(s, c, &s->doors.door[i].addr))
			continue;
		name_door(&s->doors.door[i], name);
		snprintf(text, sizeof(text), "FDSTOREREMOVE=1\nFDNAME=%s", name);
		sl_notify(text, -1);
	}
}
