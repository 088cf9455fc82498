/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_PROXY_CONFIG_H
#define SLUICE_PROXY_CONFIG_H

/* The configuration: a YAML file, read strictly into one object that doesn't change afterwards.
 * Unknown keys, wrong types, repeated keys, values out of range and names used twice are errors with
 * file:line:column and what was expected. Keys, ranges and defaults are documented in
 * docs/sluice.yaml.md. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/log.h"
#include "proxy/access/acl.h"
#include "proxy/access/rate.h"

enum sl_splice_choice {
	SL_SPLICE_AUTO,
	SL_SPLICE_COPY,
	SL_SPLICE_SOCKMAP,
	SL_SPLICE_PACKET,
};

enum sl_splice_hook {
	SL_SPLICE_HOOK_AUTO,
	SL_SPLICE_HOOK_TC,
	SL_SPLICE_HOOK_XDP,
	SL_SPLICE_HOOK_XDP_GENERIC,
};

struct sl_splice_config {
	enum sl_splice_choice engine;
	uint64_t after_bytes; /* 64k */
	uint32_t after_ms;    /* 50ms */
	/* Of the packet engine: */
	uint32_t pairs;		    /* 65536, if nothing is loaded yet */
	struct sl_port_range ports; /* source ports to upstreams; from 0: chosen */
	uint32_t mss;		    /* that both ends of a tunnel are told, 1400 */
	enum sl_splice_hook hook;   /* auto */
	char **devices;		    /* NULL: those that pairs use; else these, then NULL */
	uint32_t time_wait_ms;	    /* that a closed pair keeps its slot, 60s */
};

/* What happens to who is beyond a limit of connections in all, or of a listener. */
enum sl_when_full {
	SL_WHEN_FULL_REFUSE, /* it is told so */
	SL_WHEN_FULL_WAIT,   /* it waits in the listening socket's queue */
};

struct sl_limits_config {
	uint32_t connections;		 /* client connections of the process, 50000 */
	enum sl_when_full when_full;	 /* refuse */
	uint32_t connections_per_source; /* per source address (IPv6: per /64), 0: no limit; 0 */
	uint32_t head;			 /* bytes of a request or response head, 16k; 1k..64k */
	uint32_t start_line;		 /* 256..head; 8k, or head if that is less */
	uint32_t headers;		 /* fields, 100; 1..256 */
	uint64_t body;			 /* request body bytes, 0: no limit; 0 */
	uint64_t memory;		 /* bytes of buffers of the process, 1g */
	uint32_t rate_keys; /* sources and routes whose rate is remembered at once, 65536 */
};

/* Milliseconds; every one is at least 1 and at most a day (tunnel: 30 days). */
struct sl_timeouts_config {
	uint32_t header;      /* whole request head, from its first byte (or from accept), 10s */
	uint32_t body;	      /* no progress of a body in either direction, 30s */
	uint32_t idle;	      /* keep-alive connection without a request, 60s */
	uint32_t connect;     /* upstream connect, names included, 5s */
	uint32_t upstream;    /* from request sent to response head, 30s */
	uint32_t tunnel;      /* tunnel without a byte either way, 1h */
	uint32_t drain;	      /* bound on the drain after TERM, 30s */
	uint32_t drain_delay; /* from not ready to closed listeners, 0 */
	uint32_t upgrade;     /* the same of a process that handed over, 1h */
};

enum sl_access_log_format {
	SL_ACCESS_LOG_JSON,
	SL_ACCESS_LOG_CLF,
	SL_ACCESS_LOG_BINARY,
};

struct sl_access_log_config {
	char *path; /* NULL: none; "-": stdout */
	enum sl_access_log_format format;
	double sample; /* 0..1, 1.0 */
	/* Logged whatever sample says: */
	bool always_errors, always_sampled;
	uint32_t always_slower_ms; /* what took longer; 0: no such rule */
};

enum sl_listener_mode {
	SL_MODE_FORWARD, /* clients choose where to go */
	SL_MODE_HTTP,	 /* routes choose an upstream */
	SL_MODE_TCP,	 /* bytes pass, to the only upstream */
	SL_MODE_SNI,	 /* bytes pass, and TLS's server name chooses */
};

/* A name in the file that stands for an upstream. */
struct sl_upstream_ref {
	char *name;
	uint32_t index; /* in the configuration's upstreams */
	unsigned line, column;
};

struct sl_field_value {
	char *name;
	char *value; /* NULL (conditions only): any */
};

/* All must hold. */
struct sl_field_conditions {
	struct sl_field_value *field;
	size_t n;
};

/* Changes to the fields of a head. */
struct sl_field_edits {
	struct sl_field_value *set; /* replace all fields of that name */
	size_t n_set;
	struct sl_field_value *add;
	size_t n_add;
	char **remove;
	size_t n_remove;
};

enum sl_route_action {
	SL_ROUTE_UPSTREAM,
	SL_ROUTE_REDIRECT,
	SL_ROUTE_RESPOND,
};

struct sl_route_config {
	bool by_sni;   /* host was given as sni: a TLS server name */
	char *host;    /* "name" or "*.suffix", lower case, without a final dot; NULL: any */
	char *path;    /* prefix of whole segments, without a final slash ("" is all); NULL: any */
	char **method; /* NULL-terminated; NULL: any */
	struct sl_field_conditions header;
	enum sl_route_action action;
	struct sl_upstream_ref upstream;
	struct sl_rate requests, requests_per_source; /* per_second 0: no limit */
	uint32_t concurrent;			      /* requests at once, 0: no limit */
	uint32_t number;			      /* of all routes of the configuration */
	char *rewrite_host;			      /* NULL: as it came */
	char *rewrite_path; /* instead of `path`, likewise without a final slash; NULL: as it came */
	struct sl_field_edits request, response;
	struct {
		char *scheme, *host, *path; /* NULL: the request's; scheme NULL: http */
		uint16_t status;
	} redirect;
	struct {
		char *body; /* NULL: the status's reason */
		uint16_t status;
	} respond;
	unsigned line, column;
};

/* W3C trace context. */
enum sl_trace_mode {
	SL_TRACE_OFF,  /* fields like any others */
	SL_TRACE_PASS, /* read; what is malformed ends here */
	SL_TRACE_MAKE, /* the same, and requests without get one */
};

enum sl_forwarded {
	SL_FORWARDED_NONE,
	SL_FORWARDED_RFC7239, /* Forwarded: for=... */
	SL_FORWARDED_XFF,     /* X-Forwarded-For */
	SL_FORWARDED_BOTH,
};

struct sl_listener_config {
	char *name;	       /* unique; letters, digits, ._- */
	struct sl_addr listen; /* port not 0; unique among the listeners, and not metrics */
	enum sl_listener_mode mode;
	struct sl_acl *acl;	     /* NULL: the defaults alone */
	char *auth_basic;	     /* path of the users file, NULL: no authentication */
	enum sl_forwarded forwarded; /* none */
	bool forwarded_trust; /* keep and append to what the client sent (else replace); false */
	uint32_t connections; /* 0: the global limit alone */
	struct sl_rate requests_per_source; /* per_second 0: no limit */
	enum sl_splice_choice splice;	    /* the global choice unless given */
	bool request_id;		    /* requests without X-Request-ID get one; false */
	enum sl_trace_mode trace;	    /* off */
	double trace_sample;		    /* of traces that are made, 1.0 */
	uint32_t keepalive_ms;		    /* silence before TCP asks a client, 0: never; 0 */
	uint32_t fast_open;		    /* TCP Fast Open: queue, 0: off; 0 */
	struct sl_cidr *proxy_from;	    /* who sends a PROXY header first */
	size_t n_proxy_from;
	struct sl_route_config *routes; /* of all modes but SL_MODE_FORWARD: at least one */
	size_t n_routes;
	unsigned line, column; /* where the listener stands in the file */
};

#define SL_SERVERS_MAX 256 /* of an upstream */

struct sl_server_config {
	char *address;	 /* as written: its name in logs and metrics */
	char *host;	 /* name or literal address without brackets */
	uint16_t port;	 /* 0: of an SRV name */
	uint32_t weight; /* 1..1000, 1 */
	bool backup;	 /* asked only while no other server is up */
	bool discover;	 /* its addresses become servers of their own: discovery.h */
	char *found_as;	 /* of such a server: host and port that it was found by; else NULL */
	unsigned line, column;
};

/* Whether a server is told by a PROXY header whose connection it is. */
enum sl_proxy_protocol {
	SL_PROXY_PROTOCOL_NONE,
	SL_PROXY_PROTOCOL_V1,
	SL_PROXY_PROTOCOL_V2,
};

enum sl_balance {
	SL_BALANCE_ROUND_ROBIN, /* smooth and weighted */
	SL_BALANCE_LEAST_CONN,
	SL_BALANCE_RANDOM2, /* the less loaded of two random ones */
	SL_BALANCE_MAGLEV,  /* consistent hashing of a key */
};

enum sl_balance_key {
	SL_KEY_SOURCE, /* the client's address, without port */
	SL_KEY_HOST,
	SL_KEY_PATH, /* without query */
	SL_KEY_HEADER,
};

struct sl_upstream_pool_config {
	uint32_t idle;		   /* idle connections kept to each server, 64 */
	uint32_t idle_timeout_ms;  /* 30s */
	uint32_t max;		   /* connections to each server, idle ones too; 1024 */
	uint32_t queue;		   /* requests that may wait for one, of the upstream; 256 */
	uint32_t queue_timeout_ms; /* 1s */
	uint32_t requests;	   /* that a connection may carry, 0: no limit; 0 */
	uint32_t age_ms;	   /* of a connection, 0: no limit; 1h */
	uint32_t keepalive_ms;	   /* silence before TCP asks, 0: never; 0 */
	bool fast_open;		   /* requests that may be repeated go with the SYN; false */
};

/* What makes a request be sent again, as long as nothing of a response was forwarded. */
enum sl_retry_on {
	SL_RETRY_CLOSED,  /* the connection ended without a byte of a response */
	SL_RETRY_TIMEOUT, /* no response within timeouts.upstream */
	SL_RETRY_429,
	SL_RETRY_500,
	SL_RETRY_502,
	SL_RETRY_503,
	SL_RETRY_504,
};

struct sl_retry_config {
	uint8_t *on; /* enum sl_retry_on, n_on of them; NULL: SL_RETRY_CLOSED alone */
	size_t n_on;
	uint32_t tries;	 /* of a request in all, 1..10, 2 */
	uint32_t budget; /* retries in percent of requests, 0..100, 20 */
};

/* Servers that fail requests are left out for a time. */
struct sl_eject_config {
	uint32_t failures; /* in a row; 0: never; 5 */
	uint32_t ratio;	   /* percent of requests in ten seconds (at least 20); 0: never; 50 */
	bool errors;	   /* 5xx are failures, too; false */
	uint32_t time_ms;  /* the first time; twice as long each time again, 10s */
	uint32_t max_ms;   /* 5m */
};

/* Servers are asked whether they are well. */
struct sl_health_config {
	bool enabled;
	char *path;	      /* of a GET; NULL: a connection is enough */
	char *host;	      /* in its Host; NULL: the server's address */
	uint16_t status;      /* expected; 0: 200 to 399 */
	uint32_t interval_ms; /* 2s */
	uint32_t timeout_ms;  /* 1s */
	uint32_t fall, rise;  /* answers in a row, 3 and 2 */
};

/* How often names are resolved that stand for servers. */
struct sl_discovery_config {
	bool one;	 /* a name is one server, resolved when a connection is opened; false */
	uint32_t min_ms; /* an answer's TTL counts within these; 1s */
	uint32_t max_ms; /* 5m */
};

struct sl_upstream_config {
	char *name; /* unique; letters, digits, ._- */
	enum sl_balance balance;
	enum sl_balance_key key; /* of SL_BALANCE_MAGLEV */
	char *key_header;	 /* of SL_KEY_HEADER; a request without it goes by its source */
	enum sl_proxy_protocol proxy_protocol;
	struct sl_server_config *servers;
	size_t n_servers;
	struct sl_upstream_pool_config pool;
	struct sl_retry_config retry;
	struct sl_eject_config eject;
	struct sl_health_config health;
	struct sl_discovery_config resolve;
	uint32_t slow_start_ms; /* a server that came up gets its whole weight after this; 0 */
	unsigned line, column;
};

struct sl_resolver_config {
	char **servers; /* "address" or "address:port", NULL-terminated; NULL: /etc/resolv.conf */
	uint32_t timeout_ms;	  /* per try, 2s */
	uint32_t tries;		  /* 2 */
	uint32_t cache;		  /* names, 4096; 0: none */
	uint32_t negative_ttl_ms; /* most that a negative answer is kept, 10s */
	uint32_t max_ttl_ms;	  /* most that a positive answer is kept, 1h */
};

struct sl_pool_config {
	uint32_t idle;		  /* idle upstream connections per worker, 64 */
	uint32_t idle_timeout_ms; /* 30s */
};

enum sl_transport_choice {
	SL_TRANSPORT_SOCKET, /* the kernel's */
	SL_TRANSPORT_DPDK,
};

#define SL_DPDK_PORTS_MAX     4
#define SL_DPDK_ADDRESSES_MAX 4

enum sl_dpdk_driver {
	SL_DPDK_AF_PACKET,
	SL_DPDK_AF_XDP,
};

enum sl_dpdk_stack {
	SL_DPDK_LWIP,
	SL_DPDK_KERNEL, /* behind devices of its own: the exception path */
};

struct sl_dpdk_prefix {
	struct sl_addr addr;
	uint8_t bits;
};

/* An Ethernet port that DPDK owns. */
struct sl_dpdk_port_section {
	char *device;		    /* of the kernel, of PCI, or a virtual one as DPDK spells it */
	enum sl_dpdk_driver driver; /* of a kernel's device, af_packet */
	struct sl_dpdk_prefix *addresses;
	size_t n_addresses;
	struct sl_addr gateway; /* of IPv4; AF_UNSPEC: none */
	struct sl_addr gateway6;
	char *tap; /* stack: kernel: its device there; else NULL */
};

struct sl_dpdk_section {
	struct sl_dpdk_port_section *ports; /* NULL: no section */
	size_t n_ports;
	enum sl_dpdk_stack stack; /* lwip */
	uint64_t memory;	  /* 256m */
	bool huge_pages;	  /* false */
	bool telemetry;		  /* false */
	char *file_prefix;	  /* NULL: sluice */
};

struct sl_config {
	char *file;		/* NULL: built-in defaults */
	uint32_t workers;	/* 1..256; 0: one per CPU the process may use (auto) */
	char *admin;		/* socket path, at most 107 bytes, /run/sluice/admin.sock */
	struct sl_addr metrics; /* AF_UNSPEC: off; 127.0.0.1:9145 */
	char *user;		/* to run as once all is open; NULL: as it was started */
	bool seccomp;		/* only system calls of a list; false */
	char *via;		/* pseudonym in Via; NULL: each process makes its own */
	enum sl_log_level log_level;
	enum sl_transport_choice transport; /* socket */
	struct sl_dpdk_section dpdk;
	struct sl_splice_config splice;
	struct sl_limits_config limits;
	struct sl_timeouts_config timeouts;
	struct sl_access_log_config access_log;
	struct sl_resolver_config resolver;
	struct sl_pool_config pool; /* of forward listeners */
	struct sl_listener_config *listeners;
	size_t n_listeners;
	struct sl_upstream_config *upstreams;
	size_t n_upstreams;
	uint32_t all_routes; /* of all listeners */
	uint32_t keepers;    /* owners beside the first */
};

/* True if servers may come and go. */
static inline bool sl_upstream_discovers(const struct sl_upstream_config *u)
{
	for (size_t i = 0; i < u->n_servers; i++)
		if (u->servers[i].discover)
			return true;
	return false;
}

/* Most servers that the upstream may have at once. */
static inline size_t sl_upstream_slots(const struct sl_upstream_config *u)
{
	return sl_upstream_discovers(u) ? SL_SERVERS_MAX : u->n_servers;
}

/* "file:line:column: message", always terminated. */
struct sl_config_error {
	char text[512];
};

/* Writes the text. Returns r. */
int sl_config_fail(int r, struct sl_config_error *ret_error, const char *fmt, ...) SL_PRINTF(3, 4);

/* 0 and a configuration that the caller frees; or -EINVAL (see *ret_error), -ENOENT and other
 * errors of reading the file (also told in *ret_error). */
int sl_config_load(const char *file, struct sl_config **ret, struct sl_config_error *ret_error);
/* From memory; name stands for the file in errors. */
int sl_config_parse(const char *name, const char *text, size_t len, struct sl_config **ret,
		    struct sl_config_error *ret_error);
/* What `sluice run` uses without a file: forward proxy on 127.0.0.1:3128. 0 or -ENOMEM. */
int sl_config_default(struct sl_config **ret);
/* One more owner, each of whom frees it. One thread's. Returns c. */
struct sl_config *sl_config_keep(struct sl_config *c);
/* Takes NULL. */
void sl_config_free(struct sl_config *c);

#endif
