/* SPDX-License-Identifier: BSD-2-Clause */
/* Dialling: a name becomes addresses, rules strike out those that may not be reached, the rest race.
 *
 * Invariants: only an address that sl_acl_check() allowed is connected, exactly as it was judged;
 * `racing` streams are ours until one wins or the dial ends; a failure is told from a deferred task,
 * success from the winner's event, both once, with the dial freed before.
 *
 * Not here: retries after the last address, a memory of what worked before. */

#include "proxy/dial.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define STAGGER_MS 250 /* RFC 8305 section 5: Connection Attempt Delay */

struct sl_dial {
	struct sl_dial_options options; /* host points into host[] */
	void (*on_done)(void *owner, const struct sl_dial_done *done);
	void *owner;
	struct sl_query query;
	struct sl_timer deadline, stagger;
	struct sl_task fail;
	struct sl_addrs addrs; /* allowed, unmapped, with the port */
	size_t next;	       /* address to try next */
	struct sl_stream *racing[SL_DIAL_RACERS];
	bool named; /* host is a name that is being or was resolved */
	int rank;   /* of the failure that done.error holds */
	struct sl_dial_done done;
	char host[SL_DIAL_HOST_MAX];
};

const char *sl_dial_result_name(enum sl_dial_result r)
{
	static const char *const names[SL_DIAL_RESULT_COUNT] = {
		[SL_DIAL_OK] = "ok",
		[SL_DIAL_DENIED] = "denied",
		[SL_DIAL_NO_NAME] = "dns-no-name",
		[SL_DIAL_NAME_FAILED] = "dns-failed",
		[SL_DIAL_NAME_TIMEOUT] = "dns-timeout",
		[SL_DIAL_REFUSED] = "connect-refused",
		[SL_DIAL_TIMEOUT] = "connect-timeout",
		[SL_DIAL_RESOURCES] = "connect-resources",
	};

	return r < SL_DIAL_RESULT_COUNT && names[r] ? names[r] : "unknown";
}

static struct sl_loop *loop_of(const struct sl_dial *d)
{
	return d->options.transport->loop;
}

/* Losers and leftovers are reset: nobody has written to them, and a reset leaves neither side with
 * a connection to time out. */
static void drop_racer(struct sl_dial *d, size_t i)
{
	struct sl_stream *s = SL_TAKE_PTR(d->racing[i]);

	if (s)
		s->ops->close(s, SL_CLOSE_RESET);
}

static void dial_free(struct sl_dial *d)
{
	sl_resolve_cancel(&d->query);
	sl_loop_disarm(loop_of(d), &d->deadline);
	sl_loop_disarm(loop_of(d), &d->stagger);
	sl_loop_cancel(&d->fail);
	for (size_t i = 0; i < SL_DIAL_RACERS; i++)
		drop_racer(d, i);
	free(d);
}

/* Frees first: the owner may start the next dial, or die, inside on_done. */
static void tell(struct sl_dial *d)
{
	void (*on_done)(void *owner, const struct sl_dial_done *done) = d->on_done;
	struct sl_dial_done done = d->done;
	void *owner = d->owner;

	dial_free(d);
	on_done(owner, &done);
}

static void tell_failure(struct sl_task *t)
{
	tell(sl_container_of(t, struct sl_dial, fail));
}

static void fail(struct sl_dial *d, enum sl_dial_result result)
{
	d->done.result = result;
	sl_loop_defer(loop_of(d), &d->fail);
}

/* Which of several failures tells the client most: what this host lacks (trying again later helps),
 * then what a peer did, then that there is no way to an address (often just no IPv6 here). */
enum {
	RANK_NONE,
	RANK_NO_WAY,
	RANK_PEER,
	RANK_RESOURCES,
};

static int rank_of(int error)
{
	switch (error) {
	case EMFILE:
	case ENFILE:
	case ENOBUFS:
	case ENOMEM:
	case EAGAIN:
		return RANK_RESOURCES;
	case EADDRNOTAVAIL: /* no free port to that address, or no source address at all */
	case ENETUNREACH:
	case EAFNOSUPPORT:
		return RANK_NO_WAY;
	default:
		return RANK_PEER;
	}
}

static void note_failure(struct sl_dial *d, int error)
{
	int rank = rank_of(error);

	if (rank < d->rank)
		return;
	d->rank = rank;
	d->done.error = error;
}

static enum sl_dial_result result_of(int error)
{
	if (rank_of(error) == RANK_RESOURCES || error == EADDRNOTAVAIL)
		return SL_DIAL_RESOURCES;
	return error == ETIMEDOUT ? SL_DIAL_TIMEOUT : SL_DIAL_REFUSED;
}

static void stream_event(struct sl_stream *s, unsigned events);

/* 0, or -errno if the attempt did not start. */
static int attempt(struct sl_dial *d, size_t slot, const struct sl_addr *addr)
{
	struct sl_connect_options o = {
		.addr = *addr,
		.keepalive_ms = d->options.keepalive_ms,
		.fast_open = d->options.fast_open,
	};
	struct sl_stream *s;
	int r;

	if (d->options.prepare)
		d->options.prepare(d->owner, &o);
	o.addr = *addr; /* the rules have judged this one */
	r = d->options.transport->ops->connect(d->options.transport, &o, &s);
	if ((r == -EADDRINUSE || r == -EADDRNOTAVAIL) && o.source.family != AF_UNSPEC) {
		o.source = (struct sl_addr){0}; /* the engine's choice was taken meanwhile */
		r = d->options.transport->ops->connect(d->options.transport, &o, &s);
	}
	if (r < 0)
		return r;
	s->on_event = stream_event;
	s->owner = d;
	d->racing[slot] = s;
	return 0;
}

/* Starts the next attempt if there is an address and room, or ends the dial if all is lost. */
static void race(struct sl_dial *d)
{
	size_t slot = 0, busy = 0;

	for (size_t i = 0; i < SL_DIAL_RACERS; i++) {
		if (d->racing[i])
			busy++;
		else
			slot = i;
	}
	while (busy < SL_DIAL_RACERS && d->next < d->addrs.n) {
		int r = attempt(d, slot, &d->addrs.addr[d->next++]);

		if (!r) {
			sl_loop_arm(loop_of(d), &d->stagger, STAGGER_MS);
			return;
		}
		note_failure(d, -r);
	}
	if (!busy && d->next >= d->addrs.n)
		fail(d, result_of(d->done.error));
}

static void stagger_over(struct sl_timer *t)
{
	race(sl_container_of(t, struct sl_dial, stagger));
}

static size_t slot_of(const struct sl_dial *d, const struct sl_stream *s)
{
	size_t i = 0;

	while (d->racing[i] != s)
		i++;
	return i;
}

static void stream_event(struct sl_stream *s, unsigned events)
{
	struct sl_dial *d = s->owner;
	size_t slot = slot_of(d, s);

	if ((events & SL_CONNECTED) && !s->error) {
		d->racing[slot] = NULL;
		s->on_event = NULL;
		s->owner = NULL;
		d->done = (struct sl_dial_done){
			.result = SL_DIAL_OK, .stream = s, .events = events & ~SL_CONNECTED};
		tell(d);
	} else if (events & (SL_CONNECTED | SL_ERROR | SL_HANGUP)) {
		note_failure(d, s->error ? s->error : ECONNRESET);
		drop_racer(d, slot);
		race(d);
	}
}

static void deadline_over(struct sl_timer *t)
{
	struct sl_dial *d = sl_container_of(t, struct sl_dial, deadline);

	/* A failure that waits to be told came first. */
	if (!sl_list_empty(&d->fail.node))
		return;
	d->done.error = ETIMEDOUT;
	d->done.result = d->query.pending ? SL_DIAL_NAME_TIMEOUT : SL_DIAL_TIMEOUT;
	tell(d);
}

/* Keeps the addresses that may be connected, in order. */
static void judge(struct sl_dial *d, const struct sl_addrs *found)
{
	const struct sl_dial_options *o = &d->options;
	struct sl_acl_query q = {.src = &o->src};

	if (d->named)
		q.host = o->host;
	for (size_t i = 0; i < found->n; i++) {
		struct sl_addr addr = found->addr[i];
		const struct sl_acl_rule *rule = NULL;
		enum sl_acl_verdict verdict;

		sl_addr_unmap(&addr);
		sl_addr_set_port(&addr, o->port);
		q.dst = &addr;
		verdict = o->trusted ? SL_ACL_ALLOW
				     : sl_acl_check(o->acl, o->own, o->n_own, &q, &rule);
		if (verdict == SL_ACL_ALLOW) {
			d->addrs.addr[d->addrs.n++] = addr;
		} else if (d->done.verdict == SL_ACL_ALLOW) {
			d->done.verdict = verdict;
			d->done.rule = rule;
		}
	}
}

static void start_race(struct sl_dial *d, const struct sl_addrs *found)
{
	judge(d, found);
	if (d->addrs.n)
		race(d);
	else
		fail(d, SL_DIAL_DENIED);
}

static void name_failed(struct sl_dial *d, int error)
{
	d->done.error = -error;
	if (error == -ENOENT)
		fail(d, SL_DIAL_NO_NAME);
	else if (error == -ETIMEDOUT)
		fail(d, SL_DIAL_NAME_TIMEOUT);
	else if (error == -ENOBUFS)
		fail(d, SL_DIAL_RESOURCES);
	else
		fail(d, SL_DIAL_NAME_FAILED);
}

static void name_answered(struct sl_query *q, int error, const struct sl_addrs *addrs)
{
	struct sl_dial *d = sl_container_of(q, struct sl_dial, query);

	if (error)
		name_failed(d, error);
	else
		start_race(d, addrs);
}

static void begin(struct sl_dial *d)
{
	struct sl_addrs addrs = {.n = 1};
	int r;

	if (!sl_addr_parse_host(d->options.host, d->options.port, &addrs.addr[0])) {
		start_race(d, &addrs);
		return;
	}
	d->named = true;
	r = sl_resolve(d->options.resolver, d->options.host, &d->query, &addrs);
	if (!r)
		start_race(d, &addrs);
	else if (r != -EINPROGRESS)
		name_failed(d, r);
}

int sl_dial_start(const struct sl_dial_options *o,
		  void (*on_done)(void *owner, const struct sl_dial_done *done), void *owner,
		  struct sl_dial **ret)
{
	struct sl_dial *d;

	if (!o->host.len || o->host.len > SL_DIAL_HOST_MAX)
		return -EINVAL;
	d = calloc(1, sizeof(*d));
	if (!d)
		return -ENOMEM;
	d->options = *o;
	memcpy(d->host, o->host.p, o->host.len);
	d->options.host.p = d->host;
	d->on_done = on_done;
	d->owner = owner;
	d->query.on_answer = name_answered;
	sl_timer_init(&d->deadline, deadline_over);
	sl_timer_init(&d->stagger, stagger_over);
	sl_task_init(&d->fail, tell_failure);
	sl_loop_arm(loop_of(d), &d->deadline, o->timeout_ms);
	begin(d);
	*ret = d;
	return 0;
}

void sl_dial_cancel(struct sl_dial *d)
{
	if (d)
		dial_free(d);
}
