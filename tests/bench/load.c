/* SPDX-License-Identifier: BSD-2-Clause */
/* The load generator of the benchmarks: opens connections through a proxy (or none), lets them rest,
 * loads them, and prints one line of JSON: what was done in the counted time, latencies, and the
 * CPU time that the machine and some processes took meanwhile.
 *
 * Through a proxy by CONNECT, if --ask is given; a proxy that only relays, and the direct way, look
 * the same but for it. The rest (--settle) gives each proxy the same time to hand pairs on. */

#include <arpa/inet.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/util.h"
#include "client.h"

#define THREADS_MAX 64

struct arguments {
	double seconds;
	int settle_ms, warm_ms;
	const char *url;
	int pids[CPU_PIDS];
	int n_pids;
};

static const char usage[] =
	"usage: load bulk|rtt|tunnels|http|hold --to ADDRESS:PORT [--ask HOST:PORT] [--url URL]\n"
	"            [--connections N] [--threads N] [--size N] [--seconds S] [--settle MS]\n"
	"            [--warm MS] [--patience MS] [--pid PID ...] [--once] [--stall] [--login]\n"
	"            [--rate N]\n"
	"  --once: each request of http has a connection of its own, and says that it will be the "
	"last\n"
	"  --rate: requests of http begin when they are due, N a second; latency counts from then\n"
	"  --login: each request of http tries a password, a wrong one\n"
	"  --stall: hold asks for --url and reads nothing\n";

static const struct option options[] = {
	{"to", required_argument, NULL, 't'},	    {"ask", required_argument, NULL, 'a'},
	{"url", required_argument, NULL, 'u'},	    {"connections", required_argument, NULL, 'c'},
	{"threads", required_argument, NULL, 'n'},  {"size", required_argument, NULL, 's'},
	{"seconds", required_argument, NULL, 'S'},  {"settle", required_argument, NULL, 'w'},
	{"warm", required_argument, NULL, 'W'},	    {"pid", required_argument, NULL, 'p'},
	{"patience", required_argument, NULL, 'P'}, {"once", no_argument, NULL, 'o'},
	{"stall", no_argument, NULL, 'l'},	    {"login", no_argument, NULL, 'L'},
	{"rate", required_argument, NULL, 'r'},	    {0}};

static bool parse_address(const char *text, struct sockaddr_in *ret)
{
	char host[64];
	unsigned port;

	if (sscanf(text, "%63[^:]:%u", host, &port) != 2 || port > 65535)
		return false;
	ret->sin_family = AF_INET;
	ret->sin_port = htons((uint16_t)port);
	return inet_pton(AF_INET, host, &ret->sin_addr) == 1;
}

static bool parse_load(const char *text, enum load *ret)
{
	static const char *const names[] = {"bulk", "rtt", "tunnels", "http", "hold"};

	for (unsigned i = 0; i < SL_ARRAY_SIZE(names); i++)
		if (!strcmp(text, names[i])) {
			*ret = (enum load)i;
			return true;
		}
	return false;
}

/* What stands for the host in a URL; of a mere path, `bench`. */
static void host_of(const char *url, char host[128])
{
	if (sscanf(url, "http://%127[^/]", host) != 1)
		strcpy(host, "bench");
}

static void write_request(struct plan *p, const char *url)
{
	/* base64 of `bench:` and, where the client puts letters, of a password. */
	static const char login[] = "Authorization: Basic YmVuY2g6########\r\n"
				    "Proxy-Authorization: Basic YmVuY2g6########\r\n";
	char host[128];

	host_of(url, host);
	snprintf(p->request, sizeof(p->request), "GET %s HTTP/1.1\r\nHost: %s\r\n%s%s\r\n", url,
		 host, p->once ? "Connection: close\r\n" : "", p->login ? login : "");
}

static bool take_option(int option, struct plan *p, struct arguments *a)
{
	switch (option) {
	case 'o':
		p->once = true;
		return true;
	case 'l':
		p->stall = true;
		return true;
	case 'L':
		p->login = true;
		return true;
	case 'r':
		p->rate = atof(optarg);
		return p->rate > 0 && p->rate <= 1e7;
	case 't':
		return parse_address(optarg, &p->connect);
	case 'a':
		snprintf(p->ask, sizeof(p->ask), "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n", optarg,
			 optarg);
		return strlen(optarg) < 128;
	case 'u':
		a->url = optarg;
		p->http = true;
		return strlen(optarg) < 256;
	case 'c':
		p->connections = atoi(optarg);
		return p->connections > 0 && p->connections <= 100000;
	case 'n':
		p->threads = atoi(optarg);
		return p->threads > 0 && p->threads <= THREADS_MAX;
	case 's':
		p->size = (size_t)atoi(optarg);
		return p->size > 0 && p->size < 512;
	case 'S':
		a->seconds = atof(optarg);
		return a->seconds > 0 && a->seconds <= 600;
	case 'w':
		a->settle_ms = atoi(optarg);
		return a->settle_ms >= 0 && a->settle_ms <= 60000;
	case 'P':
		p->patience_ms = atoi(optarg);
		return p->patience_ms > 0;
	case 'W':
		a->warm_ms = atoi(optarg);
		return a->warm_ms >= 0 && a->warm_ms <= 60000;
	case 'p':
		if (a->n_pids == CPU_PIDS)
			return false;
		a->pids[a->n_pids++] = atoi(optarg);
		return true;
	default:
		return false;
	}
}

static bool parse(int argc, char **argv, struct plan *p, struct arguments *a)
{
	int option;

	if (argc < 2 || !parse_load(argv[1], &p->load))
		return false;
	while ((option = getopt_long(argc - 1, argv + 1, "", options, NULL)) != -1)
		if (!take_option(option, p, a))
			return false;
	if (a->url)
		write_request(p, a->url);
	p->threads = sl_min(p->threads, p->connections);
	return p->connect.sin_family && (p->load != LOAD_HTTP || p->http) && !(p->rate && p->once);
}

static void start(struct driver *d, struct plan *p)
{
	for (int i = 0; i < p->threads; i++) {
		d[i].plan = p;
		d[i].connections = p->connections / p->threads + (i < p->connections % p->threads);
		if (driver_init(&d[i]) || pthread_create(&d[i].thread, NULL, drive, &d[i]))
			exit(1);
	}
}

/* Waits until every connection is open; how many are. Tunnels open and close all the time. */
static int wait_until_open(struct driver *d, const struct plan *p)
{
	int open = 0;

	for (int ms = 0; ms < p->patience_ms && open < p->connections; ms += 10) {
		if (p->load == LOAD_TUNNELS)
			return p->connections;
		usleep(10000);
		open = 0;
		for (int i = 0; i < p->threads; i++)
			open += atomic_load(&d[i].ready);
	}
	return open;
}

static void report(struct driver *d, struct plan *p, const struct arguments *a, double seconds,
		   const struct cpu *before, const struct cpu *after)
{
	struct driver *sum = &d[0];

	for (int i = 1; i < p->threads; i++) {
		sum->bytes += d[i].bytes;
		sum->done += d[i].done;
		sum->refused += d[i].refused;
		sum->overdue += d[i].overdue;
		if (!sum->errors && d[i].errors)
			memcpy(sum->error, d[i].error, sizeof(sum->error));
		sum->errors += d[i].errors;
		latency_merge(&sum->latency, &d[i].latency);
	}
	printf("{\"seconds\": %.4f, \"bytes\": %llu, \"done\": %llu, \"refused\": %llu, "
	       "\"errors\": %llu, \"overdue\": %llu, \"error\": \"%s\", \"p50_us\": %.2f, "
	       "\"p99_us\": %.2f, "
	       "\"p999_us\": %.2f, \"busy_s\": %.3f, \"stolen_s\": %.3f, \"process_s\": [",
	       seconds, (unsigned long long)sum->bytes, (unsigned long long)sum->done,
	       (unsigned long long)sum->refused, (unsigned long long)sum->errors,
	       (unsigned long long)sum->overdue, sum->error, latency_percentile(&sum->latency, 0.5),
	       latency_percentile(&sum->latency, 0.99), latency_percentile(&sum->latency, 0.999),
	       after->busy - before->busy, after->stolen - before->stolen);
	for (int i = 0; i < a->n_pids; i++)
		printf("%s%.3f", i ? ", " : "", after->process[i] - before->process[i]);
	printf("]}\n");
}

static void enter(struct plan *p, enum phase phase)
{
	atomic_store(&p->phase, (int)phase);
}

/* Holds connections until stdin ends. */
static int hold(struct driver *d, struct plan *p)
{
	char c;

	printf("{\"ready\": %d}\n", wait_until_open(d, p));
	fflush(stdout);
	while (read(0, &c, 1) > 0)
		;
	enter(p, PHASE_END);
	for (int i = 0; i < p->threads; i++)
		pthread_join(d[i].thread, NULL);
	return 0;
}

static void measure(struct driver *d, struct plan *p, const struct arguments *a)
{
	struct cpu before, after;
	uint64_t start;
	double seconds;

	enter(p, PHASE_LOAD);
	usleep((useconds_t)a->warm_ms * 1000);
	cpu_read(&before, a->pids, a->n_pids);
	start = now_ns();
	enter(p, PHASE_COUNT);
	usleep((useconds_t)(a->seconds * 1e6));
	enter(p, PHASE_END);
	seconds = (double)(now_ns() - start) / 1e9;
	cpu_read(&after, a->pids, a->n_pids);
	for (int i = 0; i < p->threads; i++)
		pthread_join(d[i].thread, NULL);
	report(d, p, a, seconds, &before, &after);
}

int main(int argc, char **argv)
{
	static struct driver d[THREADS_MAX];
	struct plan p = {.connections = 1, .threads = 1, .size = 64, .patience_ms = 20000};
	struct arguments a = {.seconds = 2, .warm_ms = 500};
	struct rlimit files;
	int open;

	if (!parse(argc, argv, &p, &a)) {
		fputs(usage, stderr);
		return 2;
	}
	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	start(d, &p);
	if (p.load == LOAD_HOLD)
		return hold(d, &p);
	open = wait_until_open(d, &p);
	if (open < p.connections) {
		fprintf(stderr, "load: %d of %d connections are open: %s\n", open, p.connections,
			d[0].error);
		return 1;
	}
	usleep((useconds_t)a.settle_ms * 1000);
	measure(d, &p, &a);
	return 0;
}
