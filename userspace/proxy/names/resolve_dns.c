/* SPDX-License-Identifier: BSD-2-Clause */
/* c-ares on the loop: its sockets are watched, its next timeout is a timer. Two channels: one that
 * asks servers, one that looks into /etc/hosts alone and answers before its call returns.
 *
 * Invariant: every open socket of the first channel has a watch, made and ended by c-ares' own
 * callback. What strangers' servers send is cut to SL_RESOLVE_MAX addresses, unsorted: sorting in
 * c-ares costs a socket for every address of an answer, and a stranger's answer may hold thousands. */

#include "proxy/names/resolve_dns.h"

#include <ares.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/time.h>

#define SERVERS	       16
#define CLASS_IN       1
#define TIMEOUT_MAX_MS 60000u
#define TRIES_MAX      8u /* c-ares doubles the timeout with every try, unchecked */

struct sl_dns {
	struct sl_loop *loop;
	ares_channel channel, hosts;
	struct sl_list watches;
	struct sl_timer timer; /* c-ares' next timeout */
	bool closing;
};

/* A socket of c-ares. */
struct watch {
	struct sl_io io;
	struct sl_list node;
	struct sl_dns *dns;
};

/* ---- results ---- */

static int error_of(int status)
{
	switch (status) {
	case ARES_SUCCESS:
	case ARES_ENODATA:
	case ARES_ENOTFOUND:
	case ARES_ENONAME:
	case ARES_EBADNAME:
		return -ENOENT;
	case ARES_ETIMEOUT:
		return -ETIMEDOUT;
	default:
		return -EIO;
	}
}

static bool has_addr(const struct sl_addrs *a, const struct sl_addr *addr)
{
	for (size_t i = 0; i < a->n; i++)
		if (sl_addr_eq_host(&a->addr[i], addr))
			return true;
	return false;
}

/* Takes the first addresses of a family; a stranger's answer may hold thousands. */
static void take_addrs(const struct ares_addrinfo *res, int family, struct sl_addrs *ret)
{
	for (const struct ares_addrinfo_node *n = res->nodes; n && ret->n < SL_RESOLVE_MAX;
	     n = n->ai_next) {
		struct sl_addr addr = {0};

		if (n->ai_family != family || n->ai_addrlen > sizeof(addr))
			continue;
		memcpy(&addr, n->ai_addr, n->ai_addrlen);
		sl_addr_set_port(&addr, 0);
		if (!has_addr(ret, &addr))
			ret->addr[ret->n++] = addr;
	}
}

/* The shortest of the records, aliases included. Above 2^31 is 0 (RFC 2181 section 8). */
static uint32_t ttl_of(const struct ares_addrinfo *res)
{
	int ttl = INT32_MAX;

	for (const struct ares_addrinfo_node *n = res->nodes; n; n = n->ai_next)
		ttl = sl_min(ttl, n->ai_ttl);
	for (const struct ares_addrinfo_cname *c = res->cnames; c; c = c->next)
		ttl = sl_min(ttl, c->ttl);
	return (uint32_t)sl_max(ttl, 0);
}

/* ---- c-ares on the loop ---- */

static void arm_timer(struct sl_dns *d)
{
	struct timeval tv;

	if (!ares_timeout(d->channel, NULL, &tv))
		sl_loop_disarm(d->loop, &d->timer);
	else
		sl_loop_arm(d->loop, &d->timer,
			    (uint64_t)tv.tv_sec * 1000 + ((uint64_t)tv.tv_usec + 999) / 1000);
}

static void timer_fired(struct sl_timer *t)
{
	struct sl_dns *d = sl_container_of(t, struct sl_dns, timer);

	ares_process_fd(d->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
	arm_timer(d);
}

static void watch_event(struct sl_io *io, uint32_t events)
{
	struct sl_dns *d = sl_container_of(io, struct watch, io)->dns;
	int fd = io->fd;

	/* c-ares may close the socket inside: io is gone then. */
	ares_process_fd(d->channel, events & (EPOLLIN | EPOLLERR | EPOLLHUP) ? fd : ARES_SOCKET_BAD,
			events & (EPOLLOUT | EPOLLERR | EPOLLHUP) ? fd : ARES_SOCKET_BAD);
	arm_timer(d);
}

static struct watch *find_watch(struct sl_dns *d, int fd)
{
	struct sl_list *pos;

	sl_list_for_each (pos, &d->watches) {
		struct watch *w = sl_list_entry(pos, struct watch, node);

		if (w->io.fd == fd)
			return w;
	}
	return NULL;
}

static void unwatch(struct sl_dns *d, struct watch *w)
{
	sl_loop_del(d->loop, &w->io);
	sl_list_del(&w->node);
	free(w);
}

/* A socket that can't be watched for lack of memory is left to its timeout. */
static void watch(struct sl_dns *d, int fd, uint32_t events)
{
	struct watch *w = calloc(1, sizeof(*w));

	if (!w)
		return;
	w->io = (struct sl_io){.fd = fd, .on_event = watch_event};
	w->dns = d;
	sl_list_add(&d->watches, &w->node);
	if (sl_loop_add(d->loop, &w->io, events) < 0)
		unwatch(d, w);
}

static void sock_state(void *data, ares_socket_t fd, int readable, int writable)
{
	struct sl_dns *d = data;
	struct watch *w = find_watch(d, fd);
	uint32_t events = (readable ? EPOLLIN : 0) | (writable ? EPOLLOUT : 0);

	if (w && !events)
		unwatch(d, w);
	else if (w)
		sl_loop_mod(d->loop, &w->io, events);
	else if (events)
		watch(d, fd, events);
}

/* ---- questions ---- */

static void lookup_done(void *arg, int status, int timeouts, struct ares_addrinfo *res)
{
	struct sl_dns_lookup *l = arg;

	if (!l->dns->closing) {
		l->done = true;
		l->error = error_of(status);
		if (status == ARES_SUCCESS && res) {
			take_addrs(res, l->family, &l->addrs);
			l->ttl_s = ttl_of(res);
		}
		l->on_done(l);
	}
	if (res)
		ares_freeaddrinfo(res);
}

void sl_dns_ask(struct sl_dns *d, const char *name, struct sl_dns_lookup *l)
{
	const struct ares_addrinfo_hints hints = {
		.ai_flags = ARES_AI_NOSORT, .ai_family = l->family, .ai_socktype = SOCK_STREAM};

	l->dns = d;
	ares_getaddrinfo(d->channel, name, NULL, &hints, lookup_done, l);
	arm_timer(d);
}

static void srv_done(void *arg, int status, int timeouts, unsigned char *message, int len)
{
	struct sl_dns_srv_lookup *l = arg;

	if (l->dns->closing)
		return;
	l->error = error_of(status);
	if (status == ARES_SUCCESS)
		l->error = sl_srv_parse(message, (size_t)len, &l->srvs);
	l->on_done(l);
}

void sl_dns_ask_srv(struct sl_dns *d, const char *name, struct sl_dns_srv_lookup *l)
{
	l->dns = d;
	ares_query(d->channel, name, CLASS_IN, SL_TYPE_SRV, srv_done, l);
	arm_timer(d);
}

struct hosts_answer {
	struct sl_addrs *v6, *v4;
};

static void hosts_found(void *arg, int status, int timeouts, struct ares_addrinfo *res)
{
	struct hosts_answer *a = arg;

	if (status == ARES_SUCCESS && res) {
		take_addrs(res, AF_INET6, a->v6);
		take_addrs(res, AF_INET, a->v4);
	}
	if (res)
		ares_freeaddrinfo(res);
}

void sl_dns_hosts(struct sl_dns *d, const char *name, struct sl_addrs *ret_v6,
		  struct sl_addrs *ret_v4)
{
	const struct ares_addrinfo_hints hints = {
		.ai_flags = ARES_AI_NOSORT, .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
	struct hosts_answer a = {ret_v6, ret_v4};

	ret_v6->n = ret_v4->n = 0;
	ares_getaddrinfo(d->hosts, name, NULL, &hints, hosts_found, &a);
}

/* ---- life ---- */

static void init_library(void)
{
	ares_library_init(ARES_LIB_INIT_ALL);
}

static int open_channel(struct sl_dns *d, const struct sl_resolver_config *c, char *lookups,
			ares_channel *ret)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	/* Without domains, too: ares_getaddrinfo() of 1.18 doesn't look at NOSEARCH. Without
	 * STAYOPEN an idle socket is closed, so source ports keep changing. */
	struct ares_options o = {.flags = ARES_FLAG_NOSEARCH | ARES_FLAG_NOALIASES,
				 .timeout = (int)sl_max(sl_min(c->timeout_ms, TIMEOUT_MAX_MS), 1u),
				 .tries = (int)sl_max(sl_min(c->tries, TRIES_MAX), 1u),
				 .lookups = lookups,
				 .ndomains = 0,
				 .sock_state_cb = sock_state,
				 .sock_state_cb_data = d};
	int mask = ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_LOOKUPS |
		   ARES_OPT_DOMAINS | ARES_OPT_SOCK_STATE_CB | ARES_OPT_NOROTATE;
	int status;

	pthread_once(&once, init_library);
	status = ares_init_options(ret, &o, mask);
	if (status == ARES_ENOMEM)
		return -ENOMEM;
	return status == ARES_SUCCESS ? 0 : -EIO;
}

static int parse_server(const char *text, struct ares_addr_port_node *ret)
{
	struct sl_slice s = sl_slice_str(text);
	struct sl_addr a;

	if (sl_addr_parse_host(s, 53, &a) && sl_addr_parse(s, &a))
		return -EINVAL;
	*ret = (struct ares_addr_port_node){
		.family = a.family, .udp_port = sl_addr_port(&a), .tcp_port = sl_addr_port(&a)};
	if (a.family == AF_INET)
		ret->addr.addr4 = a.in.sin_addr;
	else
		memcpy(&ret->addr.addr6, &a.in6.sin6_addr, sizeof(ret->addr.addr6));
	return 0;
}

static int set_servers(struct sl_dns *d, char **servers)
{
	struct ares_addr_port_node node[SERVERS];
	size_t n = 0;

	for (; servers && servers[n]; n++) {
		if (n == SERVERS || parse_server(servers[n], &node[n]))
			return -EINVAL;
		if (n)
			node[n - 1].next = &node[n];
	}
	if (!n)
		return 0;
	return ares_set_servers_ports(d->channel, node) == ARES_SUCCESS ? 0 : -ENOMEM;
}

int sl_dns_new(struct sl_loop *loop, const struct sl_resolver_config *c, struct sl_dns **ret)
{
	struct sl_dns *d = calloc(1, sizeof(*d));
	int r;

	if (!d)
		return -ENOMEM;
	d->loop = loop;
	sl_list_init(&d->watches);
	sl_timer_init(&d->timer, timer_fired);
	r = open_channel(d, c, "b", &d->channel);
	if (!r)
		r = open_channel(d, c, "f", &d->hosts);
	if (!r)
		r = set_servers(d, c->servers);
	if (r < 0) {
		sl_dns_free(d);
		return r;
	}
	*ret = d;
	return 0;
}

void sl_dns_free(struct sl_dns *d)
{
	if (!d)
		return;
	d->closing = true;
	if (d->channel)
		ares_destroy(d->channel);
	if (d->hosts)
		ares_destroy(d->hosts);
	while (!sl_list_empty(&d->watches))
		unwatch(d, sl_list_entry(d->watches.next, struct watch, node));
	sl_loop_disarm(d->loop, &d->timer);
	free(d);
}
