/* SPDX-License-Identifier: BSD-2-Clause */
/* lwIP's TCP at scale. The functions at the end have the names of lwIP's own: the dynamic linker finds
 * ours first, for lwIP's calls, too.
 *
 *   tcp_input         chooses the lists by the segment's addresses; a SYN may take over a connection in
 *                     TIME_WAIT (RFC 1122 4.2.2.13), and the oldest handshake gives way when too many
 *                     are half open
 *   tcp_next_iss      initial sequence numbers by RFC 6528 instead of a counter
 *   tcp_free          tells whose pcb is gone
 *   tcp_timer_needed  no timer of lwIP's own: ours run bucket by bucket
 *
 * Time: lwIP counts in ticks of its slow timer, meant to be 500 ms. Here a tick is 100 ms: the first
 * retransmission comes after 600 ms, later ones adapt (MIN_RTO_TICKS); TIME_WAIT is 24 s, FIN_WAIT_2 of
 * a closed stream 4 s, and a handshake has 4 s.
 *
 * Timers look at a bucket while its bit is set in `hot`, so connections at rest cost nothing, and every
 * 1.6 s at those with nothing but TIME_WAIT, or with peers that are to be asked if they are there
 * (`late`). Where one was asked and has not answered, they look at it again. */

#include "dpdk/stack_pcbs.h"

#include <dlfcn.h>
#include <errno.h>
#include <lwip/priv/tcp_priv.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/util.h"
#include "dpdk/stack_options.h"
#include "dpdk/stack_private.h"

#define BUCKETS	      65536
#define WORDS	      (BUCKETS / 64)
#define SLOW_PARTS    4	 /* ticks in which the slow timer gets to all: TICK_MS */
#define FAST_PARTS    2	 /* the fast one: 50 ms */
#define LATE_PARTS    64 /* that of TIME_WAIT: 1.6 s */
#define TICK_MS	      100
#define MIN_RTO_TICKS 3
#define HALF_OPEN_MAX 4096
#define KEEPALIVES    3	    /* as transport/socket.c: who is gone is noticed after twice the time */
#define KEEPALIVE_MS  1000u /* at least, before the first and between two */

struct bucket {
	struct tcp_pcb *active, *time_wait;
};

/* A handshake that was begun, in the order of time; it may be over. */
struct half_open {
	uint32_t bucket;
	uint32_t iss;
	uint16_t remote_port;
};

static struct {
	struct bucket *bucket;
	uint32_t current; /* whose lists are lwIP's at the moment */
	uint64_t hot[WORDS], late[WORDS];
	uint8_t timer_count; /* as lwIP's tcp_timer_ctr */
	unsigned part;
	uint32_t n_pcbs, n_half_open;
	struct half_open begun[HALF_OPEN_MAX];
	uint32_t first_begun, n_begun;
	uint8_t hash_key[crypto_shorthash_KEYBYTES];
	uint8_t iss_key[crypto_shorthash_KEYBYTES];
	void (*gone)(struct tcp_pcb *pcb);
	void (*real_input)(struct pbuf *p, struct netif *n);
	void (*real_free)(struct tcp_pcb *pcb);
} all;

/* --- buckets --- */

struct endpoints {
	uint8_t remote[16], local[16];
	uint16_t remote_port, local_port;
};

static void set_address(uint8_t to[16], const ip_addr_t *ip)
{
	if (IP_IS_V6(ip))
		memcpy(to, ip_2_ip6(ip)->addr, 16);
	else
		memcpy(to, &ip_2_ip4(ip)->addr, 4);
}

static uint64_t hash(const uint8_t *key, const ip_addr_t *local, uint16_t local_port,
		     const ip_addr_t *remote, uint16_t remote_port)
{
	struct endpoints e = {.remote_port = remote_port, .local_port = local_port};
	uint8_t out[crypto_shorthash_BYTES];
	uint64_t h;

	set_address(e.remote, remote);
	set_address(e.local, local);
	crypto_shorthash(out, (const uint8_t *)&e, sizeof(e), key);
	memcpy(&h, out, sizeof(h));
	return h;
}

static void enter(uint32_t b)
{
	if (b == all.current)
		return;
	all.bucket[all.current] =
		(struct bucket){.active = tcp_active_pcbs, .time_wait = tcp_tw_pcbs};
	all.current = b;
	tcp_active_pcbs = all.bucket[b].active;
	tcp_tw_pcbs = all.bucket[b].time_wait;
}

static void heat(uint32_t b)
{
	all.hot[b / 64] |= 1ull << b % 64;
}

static void select_by(const ip_addr_t *local, uint16_t local_port, const ip_addr_t *remote,
		      uint16_t remote_port)
{
	uint32_t b = hash(all.hash_key, local, local_port, remote, remote_port) % BUCKETS;

	enter(b);
	heat(b);
}

void sl_pcbs_select(const struct tcp_pcb *pcb)
{
	select_by(&pcb->local_ip, pcb->local_port, &pcb->remote_ip, pcb->remote_port);
}

static bool is_like(const struct tcp_pcb *pcb, const ip_addr_t *local, uint16_t local_port,
		    const ip_addr_t *remote, uint16_t remote_port)
{
	return pcb->remote_port == remote_port && pcb->local_port == local_port &&
	       ip_addr_cmp_zoneless(&pcb->remote_ip, remote) &&
	       ip_addr_cmp_zoneless(&pcb->local_ip, local);
}

struct tcp_pcb *sl_pcbs_current(const ip_addr_t *local, uint16_t local_port,
				const ip_addr_t *remote, uint16_t remote_port)
{
	for (struct tcp_pcb *p = tcp_active_pcbs; p; p = p->next)
		if (is_like(p, local, local_port, remote, remote_port))
			return p;
	return NULL;
}

bool sl_pcbs_find(const ip_addr_t *local, uint16_t local_port, const ip_addr_t *remote,
		  uint16_t remote_port)
{
	select_by(local, local_port, remote, remote_port);
	if (sl_pcbs_current(local, local_port, remote, remote_port))
		return true;
	for (const struct tcp_pcb *p = tcp_tw_pcbs; p; p = p->next)
		if (is_like(p, local, local_port, remote, remote_port))
			return true;
	return false;
}

uint32_t sl_pcbs_count(void)
{
	return all.n_pcbs;
}

void sl_pcbs_keep_alive(struct tcp_pcb *pcb, unsigned after_ms)
{
	const unsigned idle_ms = sl_max(after_ms, KEEPALIVE_MS);
	const unsigned scale = TCP_SLOW_INTERVAL / TICK_MS;

	if (!after_ms)
		return;
	/* lwIP divides by what it takes a tick for. It gives up by time alone, asked or not: the
	 * intervals together are more than the 1.6 s until it looks. */
	pcb->keep_idle = idle_ms * scale;
	pcb->keep_intvl = sl_max(idle_ms / KEEPALIVES, KEEPALIVE_MS) * scale;
	pcb->keep_cnt = KEEPALIVES;
	ip_set_option(pcb, SOF_KEEPALIVE);
}

void sl_pcbs_on_free(void (*gone)(struct tcp_pcb *pcb))
{
	all.gone = gone;
}

static void take_off(struct tcp_pcb *pcb)
{
	tcp_pcb_purge(pcb);
	TCP_RMV_ACTIVE(pcb);
	tcp_free(pcb);
}

void sl_pcbs_drop(struct tcp_pcb *pcb)
{
	sl_pcbs_select(pcb);
	take_off(pcb);
}

void sl_pcbs_drop_all(void)
{
	if (!all.bucket)
		return;
	for (uint32_t b = 0; b < BUCKETS; b++) {
		enter(b);
		while (tcp_active_pcbs)
			take_off(tcp_active_pcbs);
		while (tcp_tw_pcbs)
			tcp_abandon(tcp_tw_pcbs, 0);
	}
	enter(0);
	free(all.bucket);
	all.bucket = NULL;
}

void sl_pcbs_forget_listener(const struct tcp_pcb_listen *l)
{
	for (uint32_t b = 0; b < BUCKETS; b++) {
		struct tcp_pcb *pcb, *next;

		enter(b);
		for (pcb = tcp_active_pcbs; pcb; pcb = next) {
			next = pcb->next;
			if (pcb->listener != l)
				continue;
			pcb->listener = NULL;
			if (pcb->state == SYN_RCVD)
				tcp_abort(pcb);
		}
	}
}

/* --- timers --- */

/* Nothing to send, to wait for or to end: no timer has to look at it. */
static bool is_at_rest(const struct tcp_pcb *p)
{
	if (p->state != ESTABLISHED && p->state != CLOSE_WAIT &&
	    (p->state != FIN_WAIT_2 || p->flags & TF_RXCLOSED))
		return false;
	return !p->unsent && !p->unacked && !p->ooseq && !p->refused_data && !p->persist_backoff &&
	       !p->keep_cnt_sent &&
	       !(p->flags & (TF_ACK_DELAY | TF_ACK_NOW | TF_CLOSEPEND | TF_NAGLEMEMERR));
}

static bool bucket_is_at_rest(void)
{
	for (const struct tcp_pcb *p = tcp_active_pcbs; p; p = p->next)
		if (!is_at_rest(p))
			return false;
	return true;
}

/* Whether a bucket at rest is to be looked at every now and then. */
static bool bucket_is_late(void)
{
	for (const struct tcp_pcb *p = tcp_active_pcbs; p; p = p->next)
		if (ip_get_option(p, SOF_KEEPALIVE))
			return true;
	return tcp_tw_pcbs;
}

/* lwIP skips a pcb whose last_timer equals its count, which is to say that it was looked at already:
 * with one byte and many buckets it may just look so. */
static void prepare_for_timer(void)
{
	for (struct tcp_pcb *p = tcp_active_pcbs; p; p = p->next)
		p->last_timer = all.timer_count;
	all.timer_count++;
}

/* Peers delay acknowledgements by more than a tick, and a variance of 0 would stop the backoff. */
static void keep_rto_sane(void)
{
	for (struct tcp_pcb *p = tcp_active_pcbs; p; p = p->next) {
		if ((p->sa >> 3) + p->sv < MIN_RTO_TICKS)
			p->sv = (s16_t)(MIN_RTO_TICKS - (p->sa >> 3));
		if (p->rto < MIN_RTO_TICKS)
			p->rto = MIN_RTO_TICKS;
	}
}

static void run_fast(uint32_t b)
{
	enter(b);
	prepare_for_timer();
	tcp_fasttmr();
}

static void run_slow(uint32_t b)
{
	uint32_t ticks = tcp_ticks;

	enter(b);
	prepare_for_timer();
	keep_rto_sane();
	tcp_slowtmr();
	tcp_ticks = ticks;
	if (!bucket_is_at_rest())
		return;
	all.hot[b / 64] &= ~(1ull << b % 64);
	if (bucket_is_late())
		all.late[b / 64] |= 1ull << b % 64;
}

/* A hot one comes back when it is at rest. */
static void run_late(uint32_t b)
{
	all.late[b / 64] &= ~(1ull << b % 64);
	if (all.hot[b / 64] & 1ull << b % 64)
		return;
	run_slow(b);
	if (!bucket_is_at_rest())
		heat(b);
}

/* The buckets of one part, of so many, that have their bit set. */
static void run_part(const uint64_t *bits, unsigned part, unsigned parts, void (*run)(uint32_t b))
{
	unsigned words = WORDS / parts;

	for (unsigned w = part * words; w < (part + 1) * words; w++)
		for (uint64_t left = bits[w]; left; left &= left - 1)
			run(w * 64 + (unsigned)__builtin_ctzll(left));
}

void sl_pcbs_tick(void)
{
	if (!(all.part % SLOW_PARTS))
		tcp_ticks++;
	run_part(all.hot, all.part % FAST_PARTS, FAST_PARTS, run_fast);
	run_part(all.hot, all.part % SLOW_PARTS, SLOW_PARTS, run_slow);
	run_part(all.late, all.part % LATE_PARTS, LATE_PARTS, run_late);
	all.part++;
}

/* --- handshakes --- */

static void give_up(const struct half_open *h)
{
	enter(h->bucket);
	for (struct tcp_pcb *p = tcp_active_pcbs; p; p = p->next) {
		if (p->state != SYN_RCVD || p->lastack != h->iss ||
		    p->remote_port != h->remote_port)
			continue;
		sl_stack_counters.half_open_lost++;
		tcp_abandon(p, 0);
		return;
	}
}

static void remember_half_open(const struct tcp_pcb *pcb, uint32_t iss)
{
	uint32_t at = (all.first_begun + all.n_begun) % HALF_OPEN_MAX;

	all.begun[at] = (struct half_open){
		.bucket = all.current, .iss = iss, .remote_port = pcb->remote_port};
	all.n_begun++;
}

/* Before a SYN may begin another handshake: there is room for it in `begun`. */
static void make_room(void)
{
	uint32_t bucket = all.current;

	if (all.n_begun < HALF_OPEN_MAX)
		return;
	give_up(&all.begun[all.first_begun]);
	all.first_begun = (all.first_begun + 1) % HALF_OPEN_MAX;
	all.n_begun--;
	enter(bucket);
}

static void recycle(const struct tcp_hdr *t)
{
	struct tcp_pcb *p, *next;

	for (p = tcp_tw_pcbs; p; p = next) {
		next = p->next;
		if (is_like(p, ip_current_dest_addr(), lwip_ntohs(t->dest), ip_current_src_addr(),
			    lwip_ntohs(t->src)) &&
		    TCP_SEQ_GT(lwip_ntohl(t->seqno), p->rcv_nxt))
			tcp_abandon(p, 0);
	}
}

/* --- instead of lwIP's own --- */

void tcp_input(struct pbuf *p, struct netif *n)
{
	const struct tcp_hdr *t = p->payload;
	const ip_addr_t local = *ip_current_dest_addr(), remote = *ip_current_src_addr();
	uint16_t local_port, remote_port;

	if (p->len < TCP_HLEN) {
		all.real_input(p, n);
		return;
	}
	local_port = lwip_ntohs(t->dest);
	remote_port = lwip_ntohs(t->src);
	select_by(&local, local_port, &remote, remote_port);
	if ((TCPH_FLAGS(t) & (TCP_SYN | TCP_ACK | TCP_RST)) == TCP_SYN) {
		recycle(t);
		make_room();
	}
	sl_options_note(p, &local, &remote);
	all.real_input(p, n);
	sl_options_credit(&local, local_port, &remote, remote_port);
}

/* F(endpoints, secret) + M, where M counts 4 us. */
u32_t tcp_next_iss(struct tcp_pcb *pcb)
{
	struct timespec now;
	uint32_t iss;

	clock_gettime(CLOCK_MONOTONIC, &now);
	iss = (uint32_t)hash(all.iss_key, &pcb->local_ip, pcb->local_port, &pcb->remote_ip,
			     pcb->remote_port) +
	      (uint32_t)((uint64_t)now.tv_sec * 250000 + (uint64_t)now.tv_nsec / 4000);
	all.n_pcbs++;
	if (pcb->state == SYN_RCVD) {
		remember_half_open(pcb, iss);
		sl_options_begun(pcb);
	}
	return iss;
}

void tcp_free(struct tcp_pcb *pcb)
{
	if (pcb->remote_port) /* else it was never connected, and so not counted */
		all.n_pcbs--;
	if (all.gone)
		all.gone(pcb);
	all.real_free(pcb);
}

void tcp_timer_needed(void)
{
}

int sl_pcbs_init(void)
{
	if (sodium_init() < 0)
		return -EIO;
	all.real_input = (void (*)(struct pbuf *, struct netif *))dlsym(RTLD_NEXT, "tcp_input");
	all.real_free = (void (*)(struct tcp_pcb *))dlsym(RTLD_NEXT, "tcp_free");
	if (!all.real_input || !all.real_free)
		return -ENOSYS;
	all.bucket = calloc(BUCKETS, sizeof(*all.bucket));
	if (!all.bucket)
		return -ENOMEM;
	randombytes_buf(all.hash_key, sizeof(all.hash_key));
	randombytes_buf(all.iss_key, sizeof(all.iss_key));
	return 0;
}
