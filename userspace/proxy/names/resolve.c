/* SPDX-License-Identifier: BSD-2-Clause */
/* The resolver. A name that the cache doesn't know is looked for in /etc/hosts, then becomes a
 * question: two look-ups (AAAA and A), and the askers that wait for them.
 *
 * The two are separate, so that one that is lost or broken doesn't hold back the other: when only
 * one has answered with addresses, the second gets 50 ms (RFC 8305 section 3), then the askers are
 * told what is known and the question goes on for the cache alone.
 *
 * Invariants: a question is in one bucket of `asked` until both halves are done; a half that is
 * done only queues the question, answers are given from a deferred task. So askers may
 * ask and cancel anything from on_answer, and nobody is answered before sl_resolve() returns.
 *
 * Not here: search domains and aliases (a proxy resolves what it is told), sorting inside a family
 * (the server's order is kept, it may be balancing load), rereading resolv.conf. */

#include "proxy/names/resolve.h"

#include <errno.h>
#include <sodium.h>
#include <string.h>

#include "base/slab.h"
#include "proxy/names/resolve_cache.h"
#include "proxy/names/resolve_dns.h"

#define QUESTIONS	1024 /* most in flight */
#define BUCKETS		256  /* a power of two */
#define LABEL_MAX_BYTES 63
#define DELAY_MS	50   /* RFC 8305 section 3: what one family waits for the other */
#define FAILURE_TTL_MS	1000 /* RFC 9520 section 3.2 asks for at least a second */
#define HOSTS_TTL_MS	5000 /* a change of /etc/hosts is seen after that */

enum family {
	V6,
	V4,
	FAMILIES,
};

struct question {
	struct sl_resolver *resolver;
	struct sl_list in_bucket, in_ready;
	struct sl_list askers;
	struct sl_timer delay;
	uint64_t hash;
	struct sl_dns_lookup half[FAMILIES];
	bool early; /* answered with one half already */
	uint8_t name_len;
	char name[SL_NAME_MAX + 1];
};

struct sl_resolver {
	struct sl_loop *loop;
	struct sl_resolver_config config; /* servers not kept */
	struct sl_dns *dns;
	struct sl_task answer;
	struct sl_list ready; /* questions that have news for their askers */
	struct sl_list asked[BUCKETS];
	struct sl_slab questions;
	unsigned char key[crypto_shorthash_KEYBYTES];
	struct sl_resolve_cache cache;
	struct sl_resolver_stats stats;
};

/* ---- names ---- */

static bool name_byte_ok(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

bool sl_name_normalise(struct sl_slice name, char ret[SL_NAME_MAX + 1])
{
	size_t label = 0;

	if (name.len && name.p[name.len - 1] == '.')
		name.len--;
	if (!name.len || name.len > SL_NAME_MAX)
		return false;
	for (size_t i = 0; i < name.len; i++) {
		ret[i] = sl_ascii_lower(name.p[i]);
		if (ret[i] == '.' && label) {
			label = 0;
			continue;
		}
		if (!name_byte_ok(ret[i]) || ++label > LABEL_MAX_BYTES)
			return false;
	}
	ret[name.len] = '\0';
	return label > 0;
}

/* Keyed SipHash, because strangers choose the names: without the key nobody can make them collide. A
 * faster hash with a seed (xxHash) doesn't promise that. */
static uint64_t hash_name(const struct sl_resolver *r, struct sl_slice name)
{
	uint64_t hash;

	_Static_assert(sizeof(hash) == crypto_shorthash_BYTES, "SipHash-2-4");
	crypto_shorthash((unsigned char *)&hash, (const unsigned char *)name.p, name.len, r->key);
	return hash;
}

/* ---- results ---- */

/* Alternates between the families, beginning with the first one (RFC 8305 section 4). */
static void interleave(const struct sl_addrs *first, const struct sl_addrs *second,
		       struct sl_addrs *ret)
{
	ret->n = 0;
	for (size_t i = 0; i < SL_RESOLVE_MAX; i++) {
		if (i < first->n && ret->n < SL_RESOLVE_MAX)
			ret->addr[ret->n++] = first->addr[i];
		if (i < second->n && ret->n < SL_RESOLVE_MAX)
			ret->addr[ret->n++] = second->addr[i];
	}
}

/* Whether there is a route and a source address (RFC 6724 rule 1). Nothing is sent. */
static bool routed(const struct sl_addr *addr)
{
	_sl_close_ int fd = socket(addr->family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct sl_addr to = *addr;

	sl_addr_set_port(&to, 9);
	return fd >= 0 && !connect(fd, &to.sa, sl_addr_len(&to));
}

static void order(const struct sl_addrs *v6, const struct sl_addrs *v4, struct sl_addrs *ret)
{
	if (v6->n && v4->n && !routed(&v6->addr[0]))
		interleave(v4, v6, ret);
	else
		interleave(v6, v4, ret);
}

/* There is no such name only if both families say so; else one of them might have had an address,
 * and a server that answered "I can't" tells more than one that did not answer. */
static int worse(int a, int b)
{
	if (a == -EIO || b == -EIO)
		return -EIO;
	return a == -ETIMEDOUT || b == -ETIMEDOUT ? -ETIMEDOUT : -ENOENT;
}

static int question_result(const struct question *q, struct sl_addrs *ret)
{
	order(&q->half[V6].addrs, &q->half[V4].addrs, ret);
	return ret->n ? 0 : worse(q->half[V6].error, q->half[V4].error);
}

/* How long the answer of a finished question may be kept. */
static uint64_t question_ttl_ms(const struct question *q, int error)
{
	const struct sl_resolver_config *c = &q->resolver->config;
	uint64_t ttl_ms = c->max_ttl_ms;

	if (error)
		return sl_min(c->negative_ttl_ms,
			      error == -ENOENT ? UINT32_MAX : (uint32_t)FAILURE_TTL_MS);
	for (int f = 0; f < FAMILIES; f++) {
		const struct sl_dns_lookup *h = &q->half[f];

		if (h->addrs.n)
			ttl_ms = sl_min(ttl_ms, (uint64_t)h->ttl_s * 1000);
		else if (h->error != -ENOENT) /* half the truth: ask again soon */
			ttl_ms = sl_min(ttl_ms, (uint64_t)FAILURE_TTL_MS);
	}
	return ttl_ms;
}

/* ---- questions ---- */

static void tell_askers(struct question *q, int error, const struct sl_addrs *addrs)
{
	while (!sl_list_empty(&q->askers)) {
		struct sl_query *asker = sl_list_entry(q->askers.next, struct sl_query, node);

		sl_list_del(&asker->node);
		asker->pending = false;
		asker->on_answer(asker, error, error ? NULL : addrs);
	}
}

static void question_free(struct question *q)
{
	sl_loop_disarm(q->resolver->loop, &q->delay);
	sl_list_del(&q->in_bucket);
	sl_list_del(&q->in_ready);
	sl_slab_put(&q->resolver->questions, q);
}

static void finish(struct question *q)
{
	struct sl_resolver *r = q->resolver;
	struct sl_addrs addrs;
	int error = question_result(q, &addrs);
	uint64_t ttl_ms = question_ttl_ms(q, error);

	/* Out of the table and into the cache first: an asker may ask again at once. */
	sl_list_del(&q->in_bucket);
	if (ttl_ms)
		sl_resolve_cache_put(&r->cache, q->hash, sl_slice(q->name, q->name_len),
				     sl_loop_now_ms(r->loop) + ttl_ms, error, &addrs);
	if (error)
		r->stats.failed++;
	if (error == -ETIMEDOUT)
		r->stats.timed_out++;
	tell_askers(q, error, &addrs);
	question_free(q);
}

static void answer_ready(struct sl_task *t)
{
	struct sl_resolver *r = sl_container_of(t, struct sl_resolver, answer);

	while (!sl_list_empty(&r->ready)) {
		struct question *q = sl_list_entry(r->ready.next, struct question, in_ready);
		struct sl_addrs addrs;

		sl_list_del(&q->in_ready);
		if (q->half[V6].done && q->half[V4].done) {
			finish(q);
		} else if (!question_result(q, &addrs)) {
			q->early = true;
			tell_askers(q, 0, &addrs);
		}
	}
}

static void make_ready(struct question *q)
{
	sl_list_del(&q->in_ready);
	sl_list_add_tail(&q->resolver->ready, &q->in_ready);
	sl_loop_defer(q->resolver->loop, &q->resolver->answer);
}

static void delay_over(struct sl_timer *t)
{
	make_ready(sl_container_of(t, struct question, delay));
}

static void half_done(struct sl_dns_lookup *half)
{
	struct question *q = half->owner;

	if (q->half[V6].done && q->half[V4].done)
		make_ready(q);
	else if (half->addrs.n)
		sl_loop_arm(q->resolver->loop, &q->delay, DELAY_MS);
}

static struct question *find_question(struct sl_resolver *r, uint64_t hash, struct sl_slice name)
{
	struct sl_list *bucket = &r->asked[hash % BUCKETS], *pos;

	sl_list_for_each (pos, bucket) {
		struct question *q = sl_list_entry(pos, struct question, in_bucket);

		if (q->hash == hash && sl_slice_eq(sl_slice(q->name, q->name_len), name))
			return q;
	}
	return NULL;
}

static struct question *question_new(struct sl_resolver *r, uint64_t hash, struct sl_slice name)
{
	struct question *q = sl_slab_get(&r->questions);

	if (!q)
		return NULL;
	q->resolver = r;
	q->hash = hash;
	q->name_len = (uint8_t)name.len;
	memcpy(q->name, name.p, name.len);
	sl_list_init(&q->in_ready);
	sl_list_init(&q->askers);
	sl_timer_init(&q->delay, delay_over);
	sl_list_add(&r->asked[hash % BUCKETS], &q->in_bucket);
	for (int f = 0; f < FAMILIES; f++)
		q->half[f] = (struct sl_dns_lookup){
			.family = f == V6 ? AF_INET6 : AF_INET, .on_done = half_done, .owner = q};
	return q;
}

static void ask(struct sl_resolver *r, struct question *q)
{
	r->stats.asked++;
	for (int f = 0; f < FAMILIES; f++)
		sl_dns_ask(r->dns, q->name, &q->half[f]);
}

static bool ask_hosts(struct sl_resolver *r, const char *name, struct sl_addrs *ret)
{
	struct sl_addrs v6, v4;

	sl_dns_hosts(r->dns, name, &v6, &v4);
	order(&v6, &v4, ret);
	return ret->n > 0;
}

/* ---- interface ---- */

/* -EAGAIN: nobody knows it yet. */
static int answer_now(struct sl_resolver *r, uint64_t hash, struct sl_slice name,
		      struct sl_addrs *ret)
{
	struct sl_addrs addrs;
	int error = sl_resolve_cache_get(&r->cache, hash, name, sl_loop_now_ms(r->loop), &addrs);

	if (error == -EAGAIN) {
		if (find_question(r, hash, name) || !ask_hosts(r, name.p, &addrs))
			return -EAGAIN;
		sl_resolve_cache_put(&r->cache, hash, name, sl_loop_now_ms(r->loop) + HOSTS_TTL_MS,
				     0, &addrs);
		error = 0;
	} else {
		r->stats.cached++;
		r->stats.negative += error ? 1 : 0;
	}
	if (!error)
		*ret = addrs;
	return error;
}

int sl_resolve(struct sl_resolver *r, struct sl_slice host, struct sl_query *query,
	       struct sl_addrs *ret)
{
	char text[SL_NAME_MAX + 1];
	struct sl_slice name = {text, 0};
	struct question *q;
	uint64_t hash;
	int error;

	query->pending = false;
	if (!sl_name_normalise(host, text))
		return -ENOENT;
	name.len = strlen(text);
	hash = hash_name(r, name);
	error = answer_now(r, hash, name, ret);
	if (error != -EAGAIN)
		return error;
	q = find_question(r, hash, name);
	if (q && q->early && !question_result(q, ret)) {
		r->stats.cached++;
		return 0;
	}
	if (q) {
		r->stats.joined++;
	} else {
		q = question_new(r, hash, name);
		if (!q) {
			r->stats.refused++;
			return -ENOBUFS;
		}
		ask(r, q);
	}
	query->pending = true;
	sl_list_add_tail(&q->askers, &query->node);
	return -EINPROGRESS;
}

void sl_resolve_cancel(struct sl_query *q)
{
	if (!q->pending)
		return;
	q->pending = false;
	sl_list_del(&q->node);
}

const struct sl_resolver_stats *sl_resolver_stats(const struct sl_resolver *r)
{
	return &r->stats;
}

int sl_resolver_new(struct sl_loop *loop, const struct sl_resolver_config *c,
		    struct sl_resolver **ret)
{
	struct sl_resolver *r = calloc(1, sizeof(*r));
	int error;

	if (!r)
		return -ENOMEM;
	r->loop = loop;
	r->config = *c;
	r->config.servers = NULL;
	sl_list_init(&r->ready);
	for (int i = 0; i < BUCKETS; i++)
		sl_list_init(&r->asked[i]);
	sl_task_init(&r->answer, answer_ready);
	sl_slab_init(&r->questions, "questions", sizeof(struct question), QUESTIONS);
	error = sl_resolve_cache_init(&r->cache, c->cache);
	error = error ?: sodium_init() < 0 ? -EIO : 0;
	crypto_shorthash_keygen(r->key);
	error = error ?: sl_dns_new(loop, c, &r->dns);
	if (error) {
		sl_resolver_free(r);
		return error;
	}
	*ret = r;
	return 0;
}

static void abandon(struct question *q)
{
	while (!sl_list_empty(&q->askers))
		sl_resolve_cancel(sl_list_entry(q->askers.next, struct sl_query, node));
	question_free(q);
}

void sl_resolver_free(struct sl_resolver *r)
{
	if (!r)
		return;
	sl_dns_free(r->dns);
	for (int i = 0; i < BUCKETS; i++)
		while (!sl_list_empty(&r->asked[i]))
			abandon(sl_list_entry(r->asked[i].next, struct question, in_bucket));
	sl_loop_cancel(&r->answer);
	sl_slab_destroy(&r->questions);
	sl_resolve_cache_destroy(&r->cache);
	free(r);
}
