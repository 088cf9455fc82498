/* SPDX-License-Identifier: BSD-2-Clause */
/* Runs many tunnels at once and prints what became of them, as one JSON object. */

#include "load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "fault.h"

#define TICK_MS		1
#define STARTS_A_TURN	8
#define CONCURRENCY_MAX 4096
#define EVENTS		256

static volatile sig_atomic_t interrupted;

struct options {
	uint32_t tunnels, concurrency, first;
	const char *device[2];
	struct fault_share share;
};

struct run {
	struct options options;
	struct environment env;
	struct tunnel *slot;
	bool *used;
	struct fault *fault[2];
	uint32_t started, over, failed;
	uint64_t bytes;
};

static uint64_t now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/* --- options --- */

enum {
	OPTION_CLIENT_NS,
	OPTION_SERVER_NS,
	OPTION_PROXY,
	OPTION_SERVER,
	OPTION_TUNNELS,
	OPTION_FIRST,
	OPTION_CONCURRENCY,
	OPTION_FIRST_PORT,
	OPTION_SEED,
	OPTION_BYTES,
	OPTION_PATIENCE,
	OPTION_NO_RESETS,
	OPTION_QUIET,
	OPTION_PLAIN,
	OPTION_DEVICE,
	OPTION_FAULT,
};

static const struct option long_options[] = {
	{"client-ns", required_argument, NULL, OPTION_CLIENT_NS},
	{"server-ns", required_argument, NULL, OPTION_SERVER_NS},
	{"proxy", required_argument, NULL, OPTION_PROXY},
	{"server", required_argument, NULL, OPTION_SERVER},
	{"tunnels", required_argument, NULL, OPTION_TUNNELS},
	{"first", required_argument, NULL, OPTION_FIRST},
	{"concurrency", required_argument, NULL, OPTION_CONCURRENCY},
	{"first-port", required_argument, NULL, OPTION_FIRST_PORT},
	{"seed", required_argument, NULL, OPTION_SEED},
	{"bytes", required_argument, NULL, OPTION_BYTES},
	{"patience", required_argument, NULL, OPTION_PATIENCE},
	{"no-resets", no_argument, NULL, OPTION_NO_RESETS},
	{"plain", no_argument, NULL, OPTION_PLAIN},
	{"quiet", no_argument, NULL, OPTION_QUIET},
	{"device", required_argument, NULL, OPTION_DEVICE},
	{"fault", required_argument, NULL, OPTION_FAULT},
	{0},
};

/* ADDRESS or ADDRESS,PORT. */
static bool parse_address(const char *text, struct sockaddr_storage *ret)
{
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ret;
	struct sockaddr_in *in = (struct sockaddr_in *)ret;
	char address[INET6_ADDRSTRLEN] = "";
	unsigned port = 0;

	sscanf(text, "%45[^,],%u", address, &port);
	in->sin_port = htons((uint16_t)port); /* at the same place in both families */
	if (inet_pton(AF_INET, address, &in->sin_addr) == 1)
		ret->ss_family = AF_INET;
	else if (inet_pton(AF_INET6, address, &in6->sin6_addr) == 1)
		ret->ss_family = AF_INET6;
	return ret->ss_family;
}

static bool open_namespace(const char *path, int *ret)
{
	*ret = open(path, O_RDONLY | O_CLOEXEC);
	return *ret >= 0;
}

static bool take_text(struct run *r, int option)
{
	struct options *o = &r->options;

	switch (option) {
	case OPTION_CLIENT_NS:
		return open_namespace(optarg, &r->env.ns[CLIENT]);
	case OPTION_SERVER_NS:
		return open_namespace(optarg, &r->env.ns[SERVER]);
	case OPTION_PROXY:
		return parse_address(optarg, &r->env.proxy);
	case OPTION_SERVER:
		return parse_address(optarg, &r->env.server);
	case OPTION_DEVICE: /* the client's, then the server's if it is another */
		o->device[o->device[0] != NULL] = optarg;
		return true;
	case OPTION_FAULT: /* lose,duplicate,delay,resets of 65536 */
		return sscanf(optarg, "%u,%u,%u,%u", &o->share.lose, &o->share.duplicate,
			      &o->share.delay, &o->share.resets) == 4;
	case OPTION_NO_RESETS:
		r->env.mix.resets = false;
		return true;
	case OPTION_PLAIN:
		r->env.mix.plain = true;
		return true;
	case OPTION_QUIET:
		r->env.mix.quiet = true;
		return true;
	default:
		return false;
	}
}

static uint32_t *number_of(struct run *r, int option)
{
	switch (option) {
	case OPTION_TUNNELS:
		return &r->options.tunnels;
	case OPTION_FIRST:
		return &r->options.first;
	case OPTION_CONCURRENCY:
		return &r->options.concurrency;
	case OPTION_FIRST_PORT:
		return &r->env.first_port;
	case OPTION_BYTES:
		return &r->env.mix.bytes_max;
	case OPTION_PATIENCE:
		return &r->env.patience_ms;
	default:
		return NULL;
	}
}

static bool parse(struct run *r, int argc, char **argv)
{
	int option;

	while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
		uint32_t *number = number_of(r, option);

		if (number)
			*number = (uint32_t)strtoul(optarg, NULL, 10);
		else if (option == OPTION_SEED)
			r->env.seed = strtoull(optarg, NULL, 10);
		else if (!take_text(r, option))
			return false;
	}
	return optind == argc && r->env.ns[CLIENT] >= 0 && r->env.ns[SERVER] >= 0 &&
	       r->env.proxy.ss_family && r->env.server.ss_family && r->options.concurrency &&
	       r->options.concurrency <= CONCURRENCY_MAX;
}

/* --- the network --- */

static int start_faults(struct run *r)
{
	for (int i = 0; i < 2 && r->options.device[i]; i++) {
		int error = setns(r->env.ns[i], CLONE_NEWNET) ? -errno : 0;

		if (!error)
			error = fault_start(r->options.device[i], r->options.share,
					    (uint32_t)r->env.seed + (uint32_t)i, &r->fault[i]);
		if (error)
			return error;
	}
	return 0;
}

static void forget_resets(struct run *r, const struct tunnel *t)
{
	for (int side = 0; side < 2; side++) {
		struct fault *f = r->fault[side] ? r->fault[side] : r->fault[0];

		if (f)
			fault_forget(f, t->port[side]);
	}
}

/* RSTs that one end of the tunnel sent and received. */
static uint32_t count_resets(const struct run *r, const struct tunnel *t)
{
	uint32_t n = 0;

	for (int side = 0; side < 2; side++) {
		struct fault *f = r->fault[side] ? r->fault[side] : r->fault[0];
		struct fault_resets resets = {0};

		if (f)
			resets = fault_resets(f, t->port[side]);
		n += resets.in + resets.out;
	}
	return n;
}

/* --- tunnels --- */

static void report(struct run *r, struct tunnel *t)
{
	const struct plan *p = &t->plan;
	uint32_t resets = count_resets(r, t);

	/* Where packets are lost or late, the last ones of a tunnel may meet closed ends. */
	if (!t->failure && resets && !plan_resets(p) && !r->options.share.lose)
		t->failure = "RST on the wire";
	printf("%s{\"number\": %u, \"ending\": \"%s\", \"head\": %d, \"ports\": [%u, %u], "
	       "\"quiet\": %s, \"room\": %s, \"small\": %s, \"rounds\": %u, \"retransmitted\": "
	       "[%u, %u], "
	       "\"resets\": %u, \"asked\": %u, "
	       "\"ms\": %u",
	       r->over ? ",\n" : "", t->number, ending_name(p->ending), p->head, t->port[CLIENT],
	       t->port[SERVER], t->had_quiet ? "true" : "false", t->had_room ? "true" : "false",
	       p->receive_buffer[0] || p->receive_buffer[1] ? "true" : "false", p->rounds,
	       t->end[CLIENT].retransmitted, t->end[SERVER].retransmitted, resets, t->asked,
	       (unsigned)((now_us() - t->began_us) / 1000));
	if (t->failure)
		printf(", \"failure\": \"%s\", \"where\": \"%s, round %u of %u, client sent "
		       "%" PRIu64 " got %" PRIu64 ", server sent %" PRIu64 " got %" PRIu64 "\"",
		       t->failure, state_name(t->state), t->round + 1, p->rounds,
		       t->end[CLIENT].sent, t->end[CLIENT].received, t->end[SERVER].sent,
		       t->end[SERVER].received);
	printf("}");
	fflush(stdout);
}

static void end(struct run *r, uint32_t i)
{
	struct tunnel *t = &r->slot[i];

	tunnel_close(t);
	report(r, t);
	for (int side = 0; side < 2; side++)
		r->bytes += t->end[side].received;
	r->failed += t->failure != NULL;
	r->over++;
	r->used[i] = false;
}

static void begin(struct run *r, uint32_t i)
{
	struct tunnel *t = &r->slot[i];
	int error;

	t->number = r->options.first + r->started++;
	t->slot = i;
	error = tunnel_start(t, &r->env, now_us());

	r->used[i] = true;
	forget_resets(r, t);
	if (error) {
		t->failure = strerror(-error);
		end(r, i);
	}
}

static void begin_some(struct run *r)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < r->options.concurrency && n < STARTS_A_TURN; i++) {
		if (r->used[i] || r->started == r->options.tunnels)
			continue;
		begin(r, i);
		n++;
	}
}

static void look(struct run *r, uint32_t i, bool woken)
{
	struct tunnel *t = &r->slot[i];
	uint64_t now = now_us();

	if (!r->used[i] || (!woken && !tunnel_is_due(t, now)))
		return;
	tunnel_step(t, now);
	if (t->failure || t->state == STATE_OVER)
		end(r, i);
}

static void turn(struct run *r)
{
	struct epoll_event event[EVENTS];
	int n = epoll_wait(r->env.epoll, event, EVENTS, TICK_MS);

	for (int i = 0; i < n; i++)
		look(r, (uint32_t)((struct tunnel *)event[i].data.ptr - r->slot), true);
	for (uint32_t i = 0; i < r->options.concurrency; i++)
		look(r, i, false);
	begin_some(r);
}

static void on_signal(int number)
{
	interrupted = 1;
}

static void run(struct run *r)
{
	uint64_t start = now_us();
	struct fault_count sum = {0};

	printf("{\"list\": [");
	while (r->over < r->options.tunnels && !interrupted)
		turn(r);
	for (uint32_t i = 0; i < r->options.concurrency; i++) {
		if (!r->used[i])
			continue;
		r->slot[i].failure = "unfinished";
		end(r, i);
	}
	for (int i = 0; i < 2 && r->fault[i]; i++) {
		struct fault_count c = fault_count(r->fault[i]);

		sum.lost += c.lost;
		sum.lost_resets += c.lost_resets;
		sum.duplicated += c.duplicated;
		sum.delayed += c.delayed;
		sum.resets_in += c.resets_in;
		sum.resets_out += c.resets_out;
	}
	printf("],\n\"tunnels\": %u, \"failed\": %u, \"bytes\": %" PRIu64 ", \"ms\": %" PRIu64
	       ", \"lost\": %llu, \"lost_resets\": %llu, \"duplicated\": %llu, \"delayed\": %llu, "
	       "\"resets\": {\"in\": %llu, \"out\": %llu}}\n",
	       r->over, r->failed, r->bytes, (now_us() - start) / 1000, sum.lost, sum.lost_resets,
	       sum.duplicated, sum.delayed, sum.resets_in, sum.resets_out);
}

int main(int argc, char **argv)
{
	struct run r = {
		.options = {.tunnels = 100, .concurrency = 50},
		.env = {.ns = {-1, -1},
			.seed = 1,
			.patience_ms = 30000,
			.mix = {.bytes_max = 1 << 20, .resets = true}},
	};
	int error;

	if (!parse(&r, argc, argv)) {
		fprintf(stderr, "load: wrong options\n");
		return 2;
	}
	signal(SIGTERM, on_signal);
	signal(SIGINT, on_signal);
	r.env.epoll = epoll_create1(EPOLL_CLOEXEC);
	r.slot = calloc(r.options.concurrency, sizeof(*r.slot));
	r.used = calloc(r.options.concurrency, sizeof(*r.used));
	if (r.env.epoll < 0 || !r.slot || !r.used)
		return 1;
	error = start_faults(&r);
	if (error) {
		fprintf(stderr, "load: %s: %s\n", r.options.device[0], strerror(-error));
		return 77;
	}
	run(&r);
	for (int i = 0; i < 2; i++)
		fault_stop(r.fault[i]);
	free(r.slot);
	free(r.used);
	return r.failed ? 1 : 0;
}
