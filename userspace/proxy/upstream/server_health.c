/* SPDX-License-Identifier: BSD-2-Clause */
/* The state of a server. Successes cost two relaxed additions on the server's own cache line; failures
 * take the upstream's lock only to eject.
 *
 * Counts of a window are approximate where workers meet: a window begins anew when a failure finds it
 * old. */

#include "proxy/upstream/server_health.h"

#include "base/log.h"
#include "base/util.h"
#include "proxy/upstream/upstream.h"

#define WINDOW_MS	10000
#define WINDOW_REQUESTS 20 /* fewer prove nothing */

#define load(p)	     __atomic_load_n((p), __ATOMIC_RELAXED)
#define store(p, v)  __atomic_store_n((p), (v), __ATOMIC_RELAXED)
#define increment(p) __atomic_add_fetch((p), 1, __ATOMIC_RELAXED)

const char *sl_server_state_name(enum sl_server_state s)
{
	switch (s) {
	case SL_SERVER_UP:
		return "up";
	case SL_SERVER_EJECTED:
		return "ejected";
	case SL_SERVER_DOWN:
		return "down";
	case SL_SERVER_DRAINED:
		return "drained";
	case SL_SERVER_REMOVED:
		return "removed";
	}
	return "unknown";
}

enum sl_server_state sl_server_state(const struct sl_server *s, uint64_t now_ms)
{
	const struct sl_server_health *h = &s->health;

	if (sl_server_is_removed(s))
		return SL_SERVER_REMOVED;
	if (load(&h->drained))
		return SL_SERVER_DRAINED;
	if (load(&h->down))
		return SL_SERVER_DOWN;
	return now_ms < load(&h->ejected_until_ms) ? SL_SERVER_EJECTED : SL_SERVER_UP;
}

uint32_t sl_server_weight(const struct sl_server *s, uint64_t now_ms)
{
	uint32_t slow_start_ms = s->upstream->config->slow_start_ms,
		 whole = load(&s->config->weight) * 100;
	uint64_t since = sl_max(load(&s->health.up_since_ms), load(&s->health.ejected_until_ms));
	uint64_t weight;

	if (!slow_start_ms || !since || now_ms >= since + slow_start_ms)
		return whole;
	weight = now_ms > since ? (now_ms - since) * whole / slow_start_ms : 0;
	return sl_max((uint32_t)weight, 1u);
}

/* --- how requests went --- */

void sl_server_succeeded(struct sl_server *s)
{
	struct sl_server_health *h = &s->health;

	increment(&h->requests);
	increment(&h->window_requests);
	if (load(&h->failed_in_a_row))
		store(&h->failed_in_a_row, 0);
}

/* Those that requests may not be sent to for their own sake, the server itself not counted. */
static size_t count_ejected(const struct sl_server *s, uint64_t now_ms)
{
	const struct sl_upstream *u = s->upstream;
	size_t n = 0;

	for (size_t i = 0; i < sl_upstream_len(u); i++)
		n += !sl_server_is_removed(&u->server[i]) &&
		     now_ms < load(&u->server[i].health.ejected_until_ms);
	return n;
}

static uint64_t ejection_ms(struct sl_server *s, uint64_t now_ms)
{
	const struct sl_eject_config *c = &s->upstream->config->eject;
	struct sl_server_health *h = &s->health;
	uint32_t shift;

	/* It has been well for as long as it may be left out at most: a new story. */
	if (now_ms > load(&h->ejected_until_ms) + c->max_ms)
		store(&h->ejections, 0);
	shift = sl_min(load(&h->ejections), 20u);
	increment(&h->ejections);
	return sl_min((uint64_t)c->time_ms << shift, (uint64_t)c->max_ms);
}

static void eject(struct sl_server *s, uint64_t now_ms, const char *why)
{
	struct sl_upstream *u = s->upstream;
	struct sl_server_health *h = &s->health;
	uint64_t time_ms = 0;

	pthread_mutex_lock(&u->eject_lock);
	if (now_ms >= load(&h->ejected_until_ms) &&
	    (count_ejected(s, now_ms) + 1) * 2 <= load(&u->n_present)) {
		time_ms = ejection_ms(s, now_ms);
		store(&h->ejected_until_ms, now_ms + time_ms);
		store(&h->failed_in_a_row, 0);
		increment(&h->ejected_total);
	}
	pthread_mutex_unlock(&u->eject_lock);
	if (time_ms)
		sl_warning("upstream %s: server %s gets no requests for %llu ms: %s",
			   u->config->name, s->config->address, (unsigned long long)time_ms, why);
}

static bool fails_too_often(struct sl_server *s, uint64_t now_ms)
{
	const struct sl_eject_config *c = &s->upstream->config->eject;
	struct sl_server_health *h = &s->health;
	uint32_t in_a_row = increment(&h->failed_in_a_row);
	uint64_t requests, failures;

	if (now_ms >= load(&h->window_ms) + WINDOW_MS) {
		store(&h->window_ms, now_ms);
		store(&h->window_requests, 0);
		store(&h->window_failures, 0);
	}
	requests = increment(&h->window_requests);
	failures = increment(&h->window_failures);
	if (c->failures && in_a_row >= c->failures)
		return true;
	return c->ratio && requests >= WINDOW_REQUESTS && failures * 100 >= requests * c->ratio;
}

void sl_server_failed(struct sl_server *s, uint64_t now_ms, const char *why)
{
	increment(&s->health.requests);
	increment(&s->health.failures);
	store(&s->health.why, why);
	if (fails_too_often(s, now_ms))
		eject(s, now_ms, why);
}

/* --- what others say --- */

static void came_up(struct sl_server *s, uint64_t now_ms)
{
	store(&s->health.up_since_ms, now_ms);
	store(&s->health.ejected_until_ms, 0);
	store(&s->health.failed_in_a_row, 0);
	sl_upstream_wake(s->upstream);
}

void sl_server_set_down(struct sl_server *s, bool down, uint64_t now_ms, const char *why)
{
	store(&s->health.down, down);
	store(&s->health.why, why);
	if (!down)
		came_up(s, now_ms);
	sl_log(down ? SL_LOG_WARNING : SL_LOG_INFO, "upstream %s: server %s is %s: %s",
	       s->upstream->config->name, s->config->address, down ? "down" : "up", why);
}

void sl_server_set_drained(struct sl_server *s, bool drained, uint64_t now_ms)
{
	store(&s->health.drained, drained);
	if (!drained)
		came_up(s, now_ms);
	sl_info("upstream %s: server %s is %s", s->upstream->config->name, s->config->address,
		drained ? "drained" : "enabled");
}
