/* SPDX-License-Identifier: BSD-2-Clause */
/* The table of spliced pairs and the burst loop. The steps are those of bpf/: parse, look up, track,
 * rewrite; only the surroundings differ (environment.h), and that a frame is plain memory.
 *
 * A frame is changed where it lies, and only after everything that could refuse it: what goes to the
 * stack is as it arrived. Checksums are made good by what changed, so a frame that was damaged on its
 * way stays so, and its receiver drops it. */

#include "dpdk/splice.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include <rte_hash.h>
#include <rte_jhash.h>
#include <rte_mbuf.h>

#include "dpdk/environment.h"
#include "dpdk/lcore.h"

#include <sluice/control.h>
#include <sluice/errors.h>
#include <sluice/track.h>

/* Frames that leave by the same port, one after the other. */
struct output {
	struct sl_port *port;
	unsigned n;
	struct rte_mbuf *frame[SL_PORT_BURST];
};

/* --- the table --- */

/* A stranger chooses some of what is hashed: the seed is secret. */
static int open_flows(struct sl_dpdk_flows *f, const char *family, uint32_t pairs, uint32_t key_len)
{
	static unsigned made;
	char name[RTE_HASH_NAMESIZE];
	struct rte_hash_parameters p = {
		.name = name,
		.entries = sl_max(2 * pairs, 8u),
		.key_len = key_len,
		.hash_func = rte_jhash,
		.socket_id = SOCKET_ID_ANY,
		/* Every one of the entries can be used. */
		.extra_flag = RTE_HASH_EXTRA_FLAGS_EXT_TABLE,
	};

	if (getrandom(&p.hash_func_init_val, sizeof(p.hash_func_init_val), 0) < 0)
		return -errno;
	snprintf(name, sizeof(name), "sluice %s %u", family,
		 __atomic_fetch_add(&made, 1, __ATOMIC_RELAXED));
	f->keys = rte_hash_create(&p);
	f->at = calloc(p.entries, sizeof(*f->at));
	return f->keys && f->at ? 0 : -ENOMEM;
}

static void close_flows(struct sl_dpdk_flows *f)
{
	rte_hash_free(f->keys);
	free(f->at);
}

void sl_dpdk_splice_free(struct sl_dpdk_splice *s)
{
	if (!s)
		return;
	close_flows(&s->ip4);
	close_flows(&s->ip6);
	free(s->pairs);
	free(s);
}

int sl_dpdk_splice_new(const struct sl_dpdk_splice_options *o, struct sl_dpdk_splice **ret)
{
	struct sl_dpdk_splice *s;
	int r;

	if (!o->pairs || o->pairs > SL_DPDK_PAIRS_MAX)
		return -EINVAL;
	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->options = *o;
	s->pairs = calloc(o->pairs, sizeof(*s->pairs));
	r = s->pairs ? 0 : -ENOMEM;
	if (!r)
		r = open_flows(&s->ip4, "flows", o->pairs, sizeof(struct sl_flow_key));
	if (!r)
		r = open_flows(&s->ip6, "flows6", o->pairs, sizeof(struct sl_flow6_key));
	if (r) {
		sl_dpdk_splice_free(s);
		return r;
	}
	*ret = s;
	return 0;
}

struct sl_flow_pair *sl_dpdk_splice_pair(struct sl_dpdk_splice *s, uint32_t slot)
{
	return slot < s->options.pairs ? &s->pairs[slot] : NULL;
}

void sl_dpdk_splice_count(const struct sl_dpdk_splice *s, struct sl_counter ret[SL_REASON_COUNT])
{
	for (int i = 0; i < SL_REASON_COUNT; i++) {
		ret[i].packets += __atomic_load_n(&s->counter[i].packets, __ATOMIC_RELAXED);
		ret[i].bytes += __atomic_load_n(&s->counter[i].bytes, __ATOMIC_RELAXED);
	}
}

int sl_dpdk_splice_control(struct sl_dpdk_splice *s, struct sl_control *c)
{
	here = s;
	sl_control_run(c);
	return c->ret;
}

/* --- frames --- */

static void flush(struct output *out)
{
	sl_port_send(out->port, out->frame, out->n);
	out->n = 0;
}

static enum sl_action send_to(struct output *out, struct rte_mbuf *m, const struct sl_leg *to)
{
	struct sl_port *port = sl_dpdk_port(to);

	if (out->n && (out->port != port || out->n == SL_PORT_BURST))
		flush(out);
	/* What the device said when it arrived is no order for when it leaves. */
	m->ol_flags &= RTE_MBUF_F_INDIRECT | RTE_MBUF_F_EXTERNAL;
	out->port = port;
	out->frame[out->n++] = m;
	return SL_SEND;
}

/* Options in an unusual order: finds the timestamps. False: malformed, or they sign the segment. */
static bool check_options(struct sl_packet *p, const uint8_t *data, const void *end)
{
	const uint8_t *options = data + p->l4_at + sizeof(struct tcphdr);
	struct sl_options o = {.len = p->options_len};

	if (p->layout != SL_OPTS_SLOW)
		return true;
	if ((const void *)(options + o.len) > end)
		return false;
	memcpy(o.bytes, options, o.len);
	return sl_take_options(p, &o, o.len);
}

static enum sl_action send_on(struct output *out, struct rte_mbuf *m, const struct sl_packet *p,
			      const struct sl_found *f, uint8_t *data, const void *end)
{
	struct sl_change c = {
		.data = data,
		.end = end,
		.from = f->from,
		.to = f->to,
		.address_sum = sl_address_sum(f->pair, f->leg),
		.timestamps = f->pair->flags & SL_PAIR_TIMESTAMPS,
	};

	if (sl_packet_splice(p, &c, 0)) {
		sl_fail(p, f, -EINVAL);
		return SL_DROP;
	}
	sl_account(p, f, c.notes);
	sl_count_sent(SL_SENT, p->payload_len);
	return send_to(out, m, f->to);
}

static enum sl_action treat_tcp(struct output *out, struct rte_mbuf *m, struct sl_packet *p,
				uint8_t *data, const void *end)
{
	struct sl_arrival arrival = {
		.eth = (const void *)data,
		.tag = {p->tag[0], p->tag[1]},
		.tagging = p->tagging,
	};
	enum sl_action action;
	struct sl_found found;

	if (p->frame_len > m->pkt_len || !sl_find(p, data, end, &found))
		return SL_PASS;
	arrival.ifindex = sl_dpdk_ifindex(sl_port_of(m->port));
	if (!check_options(p, data, end))
		return sl_drop(p, SL_DROP_OPTIONS);
	if (!sl_is_spliced(found.pair) && !sl_watch(p, &found, &arrival))
		return SL_PASS;
	action = sl_track(p, &found, &arrival);
	return action == SL_SEND ? send_on(out, m, p, &found, data, end) : action;
}

/* An ICMP error about what was sent on. The rest passes. */
static enum sl_action treat_error(struct output *out, struct rte_mbuf *m, uint8_t *data,
				  const void *end)
{
	struct sl_change c = {.data = data, .end = end};
	struct sl_packet p = {0};
	struct sl_icmp_error e;
	struct sl_found found;
	enum sl_action action;

	if (!sl_icmp_parse(&p, &e, data, end, m->pkt_len))
		return SL_PASS;
	action = sl_judge_error(&p, &e, data, end, &found);
	if (action != SL_SEND)
		return action;
	c.to = found.to;
	if (!sl_icmp_rewrite(&p, &e, &c) || !sl_rewrite_link(&p, &c, 0))
		return SL_DROP;
	sl_count(SL_ICMP, 0);
	return send_to(out, m, found.to);
}

/* SL_SEND: the frame is in *out. */
static enum sl_action treat(struct output *out, struct rte_mbuf *m)
{
	uint8_t *data = rte_pktmbuf_mtod(m, uint8_t *);
	const void *end = data + m->data_len;
	struct sl_packet p;

	if (sl_packet_parse(&p, data, end, m->pkt_len))
		return treat_tcp(out, m, &p, data, end);
	return treat_error(out, m, data, end);
}

unsigned sl_splice_burst(struct sl_dpdk_splice *s, struct rte_mbuf **pkts, unsigned n,
			 struct rte_mbuf **ret_rest)
{
	struct output out;
	unsigned rest = 0;

	here = s;
	out.n = 0;
	for (unsigned i = 0; i < n; i++) {
		struct rte_mbuf *m = pkts[i];
		enum sl_action action = treat(&out, m);

		if (action == SL_PASS)
			ret_rest[rest++] = m;
		else if (action == SL_DROP)
			rte_pktmbuf_free(m);
	}
	if (out.n)
		flush(&out);
	return rest;
}
