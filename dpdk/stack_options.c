/* SPDX-License-Identifier: BSD-2-Clause */
/* Options that lwIP does not know, see stack_options.h. That a SYN says SL_TCP_WSCALE and that lwIP
 * writes its windows in that scale is settled in one place: SYNs whose connection is not found stay as
 * they are, and SYNs that can't be changed for want of memory don't leave. */

#include "dpdk/stack_options.h"

#include <lwip/priv/tcp_priv.h>
#include <string.h>

#include "base/util.h"
#include "dpdk/stack_pcbs.h"
#include "dpdk/tcp_options.h"

#if !LWIP_WND_SCALE || LWIP_TCP_SACK_OUT || !TCP_QUEUE_OOSEQ
#error "lwIP is not built as this file expects"
#endif

#define DUPLICATES 3 /* segments beyond a hole that make it a loss (RFC 6675, DupThresh) */

/* The segment that lwIP treats at the moment, or treated last. */
static struct {
	bool permits_sack;
	uint32_t seq, ack;
	struct sl_tcp_block repeated; /* its bytes, if all of them were here before */
	struct sl_tcp_block sacked[SL_TCP_BLOCKS_MAX];
	unsigned n_sacked;
	/* of the connection, before: it was sending again what was lost */
	bool recovered;
	tcpwnd_size_t ssthresh;
} now;

static void note_syn(struct tcp_pcb *pcb, const struct pbuf *segment)
{
	now.permits_sack = sl_tcp_permits_sack(segment->payload, segment->len);
	if (!pcb || pcb->state != SYN_SENT)
		return;
	tcp_clear_flags(pcb, SL_PCB_SACK);
	if (now.permits_sack)
		tcp_set_flags(pcb, SL_PCB_SACK);
}

static void note_established(const struct tcp_pcb *pcb, const struct pbuf *segment)
{
	const struct tcp_hdr *t = segment->payload;
	uint32_t end =
		now.seq + segment->tot_len - 4u * TCPH_HDRLEN(t) + !!(TCPH_FLAGS(t) & TCP_FIN);

	if (now.seq != end && TCP_SEQ_LEQ(end, pcb->rcv_nxt))
		now.repeated = (struct sl_tcp_block){now.seq, end};
	now.n_sacked = sl_tcp_sacked(segment->payload, segment->len, now.sacked);
	now.recovered = pcb->flags & TF_INFR;
	now.ssthresh = pcb->ssthresh;
}

void sl_options_note(const struct pbuf *segment, const ip_addr_t *local, const ip_addr_t *remote)
{
	const struct tcp_hdr *t = segment->payload;
	struct tcp_pcb *pcb =
		sl_pcbs_current(local, lwip_ntohs(t->dest), remote, lwip_ntohs(t->src));

	now.seq = lwip_ntohl(t->seqno);
	now.ack = lwip_ntohl(t->ackno);
	now.n_sacked = 0;
	if (TCPH_FLAGS(t) & TCP_SYN)
		note_syn(pcb, segment);
	else if (pcb && pcb->flags & SL_PCB_SACK)
		note_established(pcb, segment);
}

void sl_options_begun(struct tcp_pcb *pcb)
{
	if (now.permits_sack)
		tcp_set_flags(pcb, SL_PCB_SACK);
}

void sl_options_established(struct tcp_pcb *pcb)
{
	if (pcb->flags & SL_PCB_WSCALE && pcb->flags & TF_WND_SCALE)
		pcb->rcv_scale = SL_TCP_WSCALE;
}

/* --- what is held out of order --- */

static bool is_repeated(void)
{
	return now.repeated.left != now.repeated.right;
}

/* In the order of RFC 2018 and RFC 2883: what came twice, the block of the segment that came last, then
 * others. Without the first a peer takes a probe of its own for a loss that was mended. */
static unsigned list_blocks(const struct tcp_pcb *pcb, struct sl_tcp_block ret[SL_TCP_BLOCKS_MAX])
{
	unsigned n = 0;

	if (is_repeated())
		ret[n++] = now.repeated;
	for (const struct tcp_seg *s = pcb->ooseq; s;) {
		struct sl_tcp_block b = {.left = s->tcphdr->seqno};

		b.right = b.left + TCP_TCPLEN(s);
		for (s = s->next; s && s->tcphdr->seqno == b.right; s = s->next)
			b.right += TCP_TCPLEN(s);
		if (now.seq - b.left < b.right - b.left) {
			memmove(ret + 1, ret, sl_min(n, SL_TCP_BLOCKS_MAX - 1u) * sizeof(*ret));
			ret[0] = b;
			n = sl_min(n + 1, (unsigned)SL_TCP_BLOCKS_MAX);
		} else if (n < SL_TCP_BLOCKS_MAX) {
			ret[n++] = b;
		}
	}
	return n;
}

/* --- what the peer holds out of order --- */

/* At most what is under way. */
static uint32_t sacked_bytes(const struct tcp_pcb *pcb)
{
	uint32_t all = 0;

	for (unsigned i = 0; i < now.n_sacked; i++)
		all += now.sacked[i].right - now.sacked[i].left;
	return sl_min(all, pcb->snd_nxt - pcb->lastack);
}

/* lwIP counts acknowledgements that repeat themselves, forgets the count when data comes in between, and
 * takes the first that is new for the end of all losses. What was reported says it better: so many
 * segments beyond the hole make it a loss, and a hole that is left makes it another one (RFC 6582),
 * which is no new sign of congestion. Bytes that have arrived make room for others. After a timeout all
 * of it is sent again, as lwIP does. */
void sl_options_credit(const ip_addr_t *local, uint16_t local_port, const ip_addr_t *remote,
		       uint16_t remote_port)
{
	struct tcp_pcb *pcb;
	uint32_t bytes;

	now.repeated = (struct sl_tcp_block){0, 0};
	if (!now.n_sacked)
		return;
	pcb = sl_pcbs_current(local, local_port, remote, remote_port);
	if (!pcb || pcb->lastack != now.ack || !pcb->unacked || pcb->flags & TF_RTO)
		return;
	bytes = sacked_bytes(pcb);
	if (!(pcb->flags & TF_INFR) && (now.recovered || bytes >= DUPLICATES * pcb->mss)) {
		tcp_rexmit_fast(pcb);
		if (now.recovered)
			pcb->ssthresh = now.ssthresh;
	}
	if (pcb->flags & TF_INFR)
		pcb->cwnd = sl_max(pcb->cwnd, pcb->ssthresh + bytes);
	tcp_output(pcb);
}

/* --- out --- */

static struct tcp_pcb *find_sender(const uint8_t *packet, const struct sl_tcp_view *v)
{
	const struct tcp_hdr *t = (const void *)v->tcp;
	ip_addr_t from = {0}, to = {0};

	if (v->is_ip6) {
		IP_SET_TYPE_VAL(from, IPADDR_TYPE_V6);
		IP_SET_TYPE_VAL(to, IPADDR_TYPE_V6);
		memcpy(ip_2_ip6(&from)->addr, packet + 8, 16);
		memcpy(ip_2_ip6(&to)->addr, packet + 24, 16);
	} else {
		memcpy(&ip_2_ip4(&from)->addr, packet + 12, 4);
		memcpy(&ip_2_ip4(&to)->addr, packet + 16, 4);
	}
	return sl_pcbs_current(&from, lwip_ntohs(t->src), &to, lwip_ntohs(t->dest));
}

static struct pbuf *copy(const struct pbuf *p)
{
	struct pbuf *c = pbuf_alloc(PBUF_LINK, p->tot_len + SL_TCP_MORE, PBUF_RAM);

	if (c)
		pbuf_copy_partial(p, c->payload, p->tot_len, 0);
	return c;
}

static struct pbuf *amend_syn(const struct pbuf *p, struct tcp_pcb *pcb)
{
	struct pbuf *c = copy(p);
	size_t len = p->tot_len;
	bool scaled;

	if (!c)
		return NULL;
	len = sl_tcp_offer(c->payload, len, pcb->state == SYN_SENT || pcb->flags & SL_PCB_SACK,
			   &scaled);
	pbuf_realloc(c, (u16_t)len);
	if (!scaled)
		return c;
	tcp_set_flags(pcb, SL_PCB_WSCALE);
	if (pcb->state == SYN_RCVD)
		pcb->rcv_scale = SL_TCP_WSCALE;
	return c;
}

static struct pbuf *amend_ack(struct pbuf *p, const struct tcp_pcb *pcb)
{
	struct sl_tcp_block block[SL_TCP_BLOCKS_MAX];
	struct pbuf *c = copy(p);

	if (!c)
		return p;
	pbuf_realloc(c,
		     (u16_t)sl_tcp_report(c->payload, p->tot_len, block, list_blocks(pcb, block)));
	return c;
}

struct pbuf *sl_options_amend(struct pbuf *p)
{
	struct sl_tcp_view v;
	struct tcp_pcb *pcb;

	if (p->len != p->tot_len || !sl_tcp_look(p->payload, p->len, &v) || v.has_payload)
		return p;
	if (!(v.flags & TCP_SYN) && v.flags != TCP_ACK)
		return p;
	pcb = find_sender(p->payload, &v);
	if (!pcb)
		return p;
	if (v.flags & TCP_SYN)
		return amend_syn(p, pcb);
	return pcb->flags & SL_PCB_SACK && (pcb->ooseq || is_repeated()) ? amend_ack(p, pcb) : p;
}
