/* SPDX-License-Identifier: BSD-2-Clause */
#include "engine_fixture.h"

static struct sl_loop *loop;
struct sl_engine *engine;
struct sl_dpdk_splice *table;
struct sl_flow_pair plan;
struct end end[2];
struct sl_pair pairs[PAIRS + 1], *pair = pairs;
int ended;

/* --- the stack --- */

void sl_lcore_set_splice(struct sl_dpdk_splice *s)
{
	table = s;
}

int sl_dpdk_stream_tcp(struct sl_stream *s, struct sl_dpdk_tcp *ret)
{
	struct end *e = sl_container_of(s, struct end, base);

	if (!e->known)
		*ret = e->tcp;
	return e->known;
}

int sl_kernel_route(const struct sl_addr *to, struct sl_addr *ret_source)
{
	*ret_source = end[1].endpoint.local;
	return 0;
}

static int fake_endpoint(struct sl_stream *s, struct sl_endpoint *ret)
{
	*ret = sl_container_of(s, struct end, base)->endpoint;
	return 0;
}

static void fake_close(struct sl_stream *s, enum sl_close_how how)
{
	struct end *e = sl_container_of(s, struct end, base);

	e->closed++;
	e->how = how;
}

static const struct sl_transport_ops fake_ops = {.endpoint = fake_endpoint, .close = fake_close};

/* --- a pair --- */

static struct sl_addr address(const uint8_t *ip, uint16_t port)
{
	struct sl_addr a = {.in6 = {.sin6_family = AF_INET6, .sin6_port = port}};

	memcpy(&a.in6.sin6_addr, ip, 16);
	sl_addr_unmap(&a);
	return a;
}

static void make_end(int side)
{
	struct sl_leg *l = &plan.leg[side];

	memcpy(l->local_mac, sl_port_mac(NULL), 6);
	end[side] = (struct end){
		.base = {.ops = &fake_ops},
		.tcp = {.port = sl_port_get(0),
			.quiet = true,
			.snd_nxt = l->wseq,
			.lastack = l->wseq,
			.rcv_nxt = l->exp,
			.announced = 5000,
			.peer_window = 60000,
			.snd_wscale = l->peer_wscale,
			.rcv_wscale = l->local_wscale,
			.mss = 1460,
			.announced_mss = 1460},
		.endpoint = {.fd = -1,
			     .local = address(l->local, l->local_port),
			     .peer = address(l->peer, l->peer_port),
			     .sack = true,
			     .tcp_known = true},
	};
	memcpy(end[side].tcp.peer_mac, l->peer_mac, 6);
}

static void on_end(struct sl_pair *p, enum sl_pair_end why)
{
	assert_int_equal(p->end, why);
	assert_null(p->engine);
	ended++;
}

void make_pair(int version, int n)
{
	plan = frame_pair(version);
	plan.flags = SL_PAIR_DRAINED;
	plan.leg[0].peer_port = htons((uint16_t)(40000 + n));
	plan.leg[1].local_port = htons((uint16_t)(20000 + n));
	for (int side = 0; side < 2; side++) {
		plan.leg[side].flags = SL_LEG_SEEN | SL_LEG_SACK;
		make_end(side);
	}
	ended = 0;
	pair = &pairs[n % SL_ARRAY_SIZE(pairs)];
	*pair = (struct sl_pair){.stream = {&end[0].base, &end[1].base},
				 .from = {{100, 1}, {200, 2}},
				 .on_end = on_end};
}

int join(const char **ret_reason)
{
	return engine->ops->join(engine, pair, ret_reason);
}

void splice(int version, int n)
{
	const char *reason;

	make_pair(version, n);
	assert_int_equal(join(&reason), 0);
}

struct frame segment(int leg, uint8_t flags, int payload)
{
	struct frame f = frame_from(&plan, leg);

	f.options = 0;
	f.flags = flags;
	f.payload = payload;
	return f;
}

struct rte_mbuf *arrive(const struct frame *f, struct rte_mbuf **ret_rest)
{
	struct rte_mbuf *m;
	FRAME_BUFFER(in);

	*ret_rest = NULL;
	m = fake_port_arrival(in, frame_write(f, in));
	sl_splice_burst(table, &m, 1, ret_rest);
	return fake_port_take();
}

void assert_frame(struct rte_mbuf *m, const struct frame *want)
{
	FRAME_BUFFER(bytes);
	size_t len = frame_write(want, bytes);

	assert_non_null(m);
	assert_int_equal(m->pkt_len, len);
	assert_memory_equal(rte_pktmbuf_mtod(m, void *), bytes, len);
	rte_pktmbuf_free(m);
}

void assert_sent(const struct frame *f, int leg)
{
	struct frame out = frame_splice(f, &plan, leg);
	struct rte_mbuf *rest;

	assert_frame(arrive(f, &rest), &out);
	assert_null(rest);
}

void assert_passed(const struct frame *f)
{
	struct rte_mbuf *rest;

	assert_null(arrive(f, &rest));
	assert_frame(rest, f);
}

/* What may be any becomes the oracle's: the flow label of IPv6, the identification of IPv4, of which the
 * sum must have been right. */
static void settle_labels(struct rte_mbuf *m, int version)
{
	static const uint8_t theirs[2] = {0x12, 0x34}, label[3] = {0x05, 0x43, 0x21};
	uint8_t *ip = rte_pktmbuf_mtod(m, uint8_t *) + 14;
	uint16_t sum;

	if (version == 6) {
		memcpy(ip + 1, label, sizeof(label));
		return;
	}
	assert_int_equal(frame_sum(ip, 20, 0), 0xffff);
	memcpy(ip + 4, theirs, sizeof(theirs));
	memset(ip + 10, 0, 2);
	sum = htons((uint16_t)~frame_sum(ip, 20, 0));
	memcpy(ip + 10, &sum, 2);
}

void assert_reset(int leg, uint32_t after, uint32_t before)
{
	const struct sl_leg *to = &plan.leg[leg];
	struct frame back = frame_from(&plan, leg), f = back;
	struct rte_mbuf *m = fake_port_take();

	assert_non_null(m);
	memcpy(f.to_mac, to->peer_mac, 6);
	memcpy(f.from_mac, to->local_mac, 6);
	memcpy(f.src, back.dst, 16);
	memcpy(f.dst, back.src, 16);
	f.sport = back.dport;
	f.dport = back.sport;
	f.seq = to->wseq + after;
	f.ack = to->exp + before;
	f.flags = FRAME_RST | FRAME_ACK;
	f.window = f.tos = f.options = f.payload = 0;
	settle_labels(m, f.version);
	assert_frame(m, &f);
}

void take_resets(void)
{
	for (int i = 0; i < 2; i++)
		rte_pktmbuf_free(fake_port_take());
}

void turn(void)
{
	assert_int_equal(sl_loop_turn(loop, 0), 0);
}

static uint64_t figure_n;
static const char *figure_name, *figure_value;

static void look_for_figure(void *arg, const struct sl_figure *f)
{
	if (!strcmp(f->name, figure_name) && (!f->value || !strcmp(f->value, figure_value)))
		figure_n += f->n;
}

uint64_t figure(const char *name, const char *value)
{
	figure_name = name;
	figure_value = value;
	figure_n = 0;
	sl_dpdk_figures(look_for_figure, NULL);
	return figure_n;
}

void let_time_wait_pass(void)
{
	const uint64_t until = sl_clock_us() + (TIME_WAIT_MS + 1000) * 1000;

	while (figure("packet_slots", "closed") && sl_clock_us() < until)
		assert_int_equal(sl_loop_turn(loop, 50), 0);
	assert_int_equal(figure("packet_slots", "closed"), 0);
}

int start_with(const struct sl_dpdk_engine_config *config)
{
	struct sl_engine_options o = {0};

	fake_port_start();
	assert_int_equal(sl_loop_new(&loop), 0);
	o.loop = loop;
	sl_dpdk_engine_configure(config);
	assert_int_equal(sl_dpdk_engine.create(&o, &engine), 0);
	assert_non_null(table);
	return 0;
}

int start(void **state)
{
	const struct sl_dpdk_engine_config config = {.pairs = PAIRS, .time_wait_ms = TIME_WAIT_MS};

	return start_with(&config);
}

int stop(void **state)
{
	let_time_wait_pass();
	engine->ops->destroy(engine);
	assert_null(table);
	sl_loop_free(loop);
	fake_port_stop();
	return 0;
}
