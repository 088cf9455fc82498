/* SPDX-License-Identifier: BSD-2-Clause */
/* What keys the configuration file has: tables, and the checks that need more than one key.
 *
 * Ranges and names here are the ones that docs/sluice.yaml.md documents. */

#include "proxy/config/config_schema.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "proxy/config/config.h"
#include "proxy/config/config_acl.h"
#include "proxy/config/config_dpdk.h"
#include "proxy/config/config_route.h"
#include "proxy/config/config_upstream.h"

#define DAY_MS		(24ull * 3600 * 1000)
#define GIB		(1024ull * 1024 * 1024)
#define LISTENERS_MAX	256
#define DEVICE_NAME_MAX 15			      /* IFNAMSIZ - 1 */
#define INHERITED	((enum sl_splice_choice) - 1) /* never leaves this file */

#define READ_CONFIG(key, reader, field) SL_YAML_FIELD(key, reader, struct sl_config, field)

static const struct sl_yaml_choice splice_choices[] = {
	{"auto", SL_SPLICE_AUTO},
	{"copy", SL_SPLICE_COPY},
	{"sockmap", SL_SPLICE_SOCKMAP},
	{"packet", SL_SPLICE_PACKET},
	{NULL},
};

static const struct sl_yaml_choice hook_choices[] = {
	{"auto", SL_SPLICE_HOOK_AUTO},
	{"tc", SL_SPLICE_HOOK_TC},
	{"xdp", SL_SPLICE_HOOK_XDP},
	{"xdp-generic", SL_SPLICE_HOOK_XDP_GENERIC},
	{NULL},
};

/* A device's name, or auto, or none. */
static int read_device(struct sl_yaml *y, const yaml_node_t *n, const struct sl_yaml_key *k,
		       void *object)
{
	const char *text = sl_yaml_text(n);

	if (!text || !*text || strlen(text) > DEVICE_NAME_MAX || strpbrk(text, "/ \t"))
		return sl_yaml_expected(y, n, "auto, none, or names of devices");
	return sl_yaml_read_string(y, n, k, object);
}

static const struct sl_yaml_list splice_devices = {
	.item = {.read = read_device, .size = sizeof(char *), .max = DEVICE_NAME_MAX},
	.single_too = true,
	.min = 1,
	.max = 64,
};

/* auto and none stand alone: no list, and an empty one. */
static int check_splice(struct sl_yaml *y, const yaml_node_t *n, void *object)
{
	struct sl_splice_config *s = &((struct sl_config *)object)->splice;
	bool is_auto = false, is_none = false;
	size_t i;

	for (i = 0; s->devices && s->devices[i]; i++) {
		is_auto |= !strcmp(s->devices[i], "auto");
		is_none |= !strcmp(s->devices[i], "none");
	}
	if (!is_auto && !is_none)
		return 0;
	if (i > 1)
		return sl_yaml_fail(y, n, "expected devices to be auto, none, or names alone");
	free(s->devices[0]);
	s->devices[0] = NULL;
	if (is_auto) {
		free(s->devices);
		s->devices = NULL;
	}
	return 0;
}

static const struct sl_yaml_key splice_keys[] = {
	{READ_CONFIG("engine", sl_yaml_read_choice, splice.engine), .choices = splice_choices},
	{READ_CONFIG("after_bytes", sl_yaml_read_bytes, splice.after_bytes), .max = 1024 * GIB},
	{READ_CONFIG("after", sl_yaml_read_duration, splice.after_ms), .max = DAY_MS},
	{READ_CONFIG("pairs", sl_yaml_read_number, splice.pairs), .min = 16, .max = 1 << 22},
	{READ_CONFIG("ports", sl_config_read_ports, splice.ports)},
	{READ_CONFIG("devices", sl_yaml_read_list, splice.devices), .list = &splice_devices},
	{READ_CONFIG("hook", sl_yaml_read_choice, splice.hook), .choices = hook_choices},
	{READ_CONFIG("mss", sl_yaml_read_number, splice.mss), .min = 536, .max = 65483},
	{READ_CONFIG("time_wait", sl_yaml_read_duration, splice.time_wait_ms), .max = 3600 * 1000},
};
static const struct sl_yaml_map splice_map = {splice_keys, SL_ARRAY_SIZE(splice_keys),
					      check_splice};

/* start_line is at most head; not given, it follows a smaller head. */
static int check_limits(struct sl_yaml *y, const yaml_node_t *n, void *object)
{
	struct sl_limits_config *l = &((struct sl_config *)object)->limits;
	char what[64];

	if (!l->start_line)
		l->start_line = sl_min(8 * 1024u, l->head);
	if (l->start_line <= l->head)
		return 0;
	snprintf(what, sizeof(what), "start_line (%u) to be at most head (%u)", l->start_line,
		 l->head);
	return sl_yaml_fail(y, n, "expected %s", what);
}

static const struct sl_yaml_choice when_full_choices[] = {
	{"refuse", SL_WHEN_FULL_REFUSE},
	{"wait", SL_WHEN_FULL_WAIT},
	{NULL},
};

static const struct sl_yaml_key limits_keys[] = {
	{READ_CONFIG("connections", sl_yaml_read_number, limits.connections), .min = 1,
	 .max = 1000000},
	{READ_CONFIG("connections_per_source", sl_yaml_read_number, limits.connections_per_source),
	 .max = 1000000},
	{READ_CONFIG("when_full", sl_yaml_read_choice, limits.when_full),
	 .choices = when_full_choices},
	{READ_CONFIG("head", sl_yaml_read_bytes, limits.head), .min = 1024, .max = 64 * 1024},
	{READ_CONFIG("start_line", sl_yaml_read_bytes, limits.start_line), .min = 256,
	 .max = 64 * 1024},
	{READ_CONFIG("headers", sl_yaml_read_number, limits.headers), .min = 1, .max = 256},
	{READ_CONFIG("body", sl_yaml_read_bytes, limits.body), .max = 1024 * 1024 * GIB},
	{READ_CONFIG("rate_keys", sl_yaml_read_number, limits.rate_keys), .min = 16,
	 .max = 16777216},
	{READ_CONFIG("memory", sl_yaml_read_bytes, limits.memory), .min = 1024 * 1024,
	 .max = 1024 * GIB},
};
static const struct sl_yaml_map limits_map = {limits_keys, SL_ARRAY_SIZE(limits_keys),
					      check_limits};

#define TIMEOUT(key, most)                                                                      \
	{                                                                                       \
		READ_CONFIG(#key, sl_yaml_read_duration, timeouts.key), .min = 1, .max = (most) \
	}
static const struct sl_yaml_key timeouts_keys[] = {
	TIMEOUT(header, DAY_MS),
	TIMEOUT(body, DAY_MS),
	TIMEOUT(idle, DAY_MS),
	TIMEOUT(connect, DAY_MS),
	TIMEOUT(upstream, DAY_MS),
	TIMEOUT(tunnel, 30 * DAY_MS),
	TIMEOUT(drain, DAY_MS),
	TIMEOUT(upgrade, DAY_MS),
	{READ_CONFIG("drain_delay", sl_yaml_read_duration, timeouts.drain_delay), .max = DAY_MS},
};
static const struct sl_yaml_map timeouts_map = {timeouts_keys, SL_ARRAY_SIZE(timeouts_keys)};

static int read_log_path(struct sl_yaml *y, const yaml_node_t *n, const struct sl_yaml_key *k,
			 void *object)
{
	const char *text = sl_yaml_text(n);

	if (!text || (strcmp(text, "-") && *text != '/'))
		return sl_yaml_expected(y, n, "an absolute path, or - for standard output");
	return sl_yaml_read_string(y, n, k, object);
}

static const struct sl_yaml_choice access_log_formats[] = {
	{"json", SL_ACCESS_LOG_JSON},
	{"clf", SL_ACCESS_LOG_CLF},
	{"binary", SL_ACCESS_LOG_BINARY},
	{NULL},
};
static const struct sl_yaml_key always_keys[] = {
	{READ_CONFIG("errors", sl_yaml_read_bool, access_log.always_errors)},
	{READ_CONFIG("sampled", sl_yaml_read_bool, access_log.always_sampled)},
	{READ_CONFIG("slower", sl_yaml_read_duration, access_log.always_slower_ms), .min = 1,
	 .max = DAY_MS},
};
static const struct sl_yaml_map always_map = {always_keys, SL_ARRAY_SIZE(always_keys)};

static const struct sl_yaml_key access_log_keys[] = {
	{READ_CONFIG("path", read_log_path, access_log.path), .min = 1, .max = 4095,
	 .required = true},
	{READ_CONFIG("format", sl_yaml_read_choice, access_log.format),
	 .choices = access_log_formats},
	{READ_CONFIG("sample", sl_yaml_read_fraction, access_log.sample)},
	{.name = "always", .read = sl_yaml_read_map, .map = &always_map},
};
static const struct sl_yaml_map access_log_map = {access_log_keys, SL_ARRAY_SIZE(access_log_keys)};

static int read_dns_server(struct sl_yaml *y, const yaml_node_t *n, const struct sl_yaml_key *k,
			   void *object)
{
	const char *text = sl_yaml_text(n);
	struct sl_addr a;

	if (!text || (sl_addr_parse_host(sl_slice_str(text), 53, &a) &&
		      (sl_addr_parse(sl_slice_str(text), &a) || !sl_addr_port(&a))))
		return sl_yaml_expected(y, n, "an address such as 10.0.0.2 or 10.0.0.2:53");
	return sl_yaml_read_string(y, n, k, object);
}

static const struct sl_yaml_list dns_servers = {
	.item = {.read = read_dns_server, .size = sizeof(char *), .max = SL_ADDR_STR_MAX},
	.single_too = true,
	.min = 1,
	.max = 8,
};
static const struct sl_yaml_key resolver_keys[] = {
	{READ_CONFIG("servers", sl_yaml_read_list, resolver.servers), .list = &dns_servers},
	{READ_CONFIG("timeout", sl_yaml_read_duration, resolver.timeout_ms), .min = 1,
	 .max = 60000},
	{READ_CONFIG("tries", sl_yaml_read_number, resolver.tries), .min = 1, .max = 10},
	{READ_CONFIG("cache", sl_yaml_read_number, resolver.cache), .max = 1000000},
	{READ_CONFIG("negative_ttl", sl_yaml_read_duration, resolver.negative_ttl_ms),
	 .max = DAY_MS},
	{READ_CONFIG("max_ttl", sl_yaml_read_duration, resolver.max_ttl_ms), .max = 7 * DAY_MS},
};
static const struct sl_yaml_map resolver_map = {resolver_keys, SL_ARRAY_SIZE(resolver_keys)};

static const struct sl_yaml_key pool_keys[] = {
	{READ_CONFIG("idle", sl_yaml_read_number, pool.idle), .max = 65536},
	{READ_CONFIG("idle_timeout", sl_yaml_read_duration, pool.idle_timeout_ms), .min = 1,
	 .max = DAY_MS},
};
static const struct sl_yaml_map pool_map = {pool_keys, SL_ARRAY_SIZE(pool_keys)};

#define READ_LISTENER(key, reader, field) \
	SL_YAML_FIELD(key, reader, struct sl_listener_config, field)

static const struct sl_yaml_choice listener_modes[] = {
	{"forward", SL_MODE_FORWARD},
	{"http", SL_MODE_HTTP},
	{"tcp", SL_MODE_TCP},
	{"sni", SL_MODE_SNI},
	{NULL},
};
static const struct sl_yaml_choice forwarded_choices[] = {
	{"none", SL_FORWARDED_NONE},
	{"forwarded", SL_FORWARDED_RFC7239},
	{"x-forwarded-for", SL_FORWARDED_XFF},
	{"both", SL_FORWARDED_BOTH},
	{NULL},
};
static const struct sl_yaml_choice trace_choices[] = {
	{"off", SL_TRACE_OFF},
	{"pass", SL_TRACE_PASS},
	{"make", SL_TRACE_MAKE},
	{NULL},
};
static const struct sl_yaml_key auth_keys[] = {
	{READ_LISTENER("basic", sl_yaml_read_path, auth_basic), .max = 4095, .required = true},
};
static const struct sl_yaml_map auth_map = {auth_keys, SL_ARRAY_SIZE(auth_keys)};
static const struct sl_yaml_key listener_limits_keys[] = {
	{READ_LISTENER("connections", sl_yaml_read_number, connections), .max = 1000000},
	{READ_LISTENER("requests_per_source", sl_yaml_read_rate, requests_per_source)},
};
static const struct sl_yaml_map listener_limits_map = {listener_limits_keys,
						       SL_ARRAY_SIZE(listener_limits_keys)};

static const struct sl_yaml_key listener_keys[] = {
	{READ_LISTENER("name", sl_yaml_read_name, name), .min = 1, .max = 64, .required = true},
	{READ_LISTENER("listen", sl_yaml_read_address, listen), .required = true},
	{READ_LISTENER("mode", sl_yaml_read_choice, mode), .choices = listener_modes,
	 .required = true},
	{READ_LISTENER("acl", sl_config_read_acl, acl)},
	{.name = "auth", .read = sl_yaml_read_map, .map = &auth_map},
	{READ_LISTENER("forwarded", sl_yaml_read_choice, forwarded), .choices = forwarded_choices},
	{READ_LISTENER("forwarded_trust", sl_yaml_read_bool, forwarded_trust)},
	{.name = "limits", .read = sl_yaml_read_map, .map = &listener_limits_map},
	{READ_LISTENER("proxy_from", sl_yaml_read_list, proxy_from), .list = &sl_config_proxy_from},
	{READ_LISTENER("splice", sl_yaml_read_choice, splice), .choices = splice_choices},
	{READ_LISTENER("keepalive", sl_yaml_read_duration, keepalive_ms), .max = 32767000},
	{READ_LISTENER("fast_open", sl_yaml_read_number, fast_open), .max = 65535},
	{READ_LISTENER("request_id", sl_yaml_read_bool, request_id)},
	{READ_LISTENER("trace", sl_yaml_read_choice, trace), .choices = trace_choices},
	{READ_LISTENER("trace_sample", sl_yaml_read_fraction, trace_sample)},
	{.name = "routes", .read = sl_config_read_routes},
	{.name = "upstream", .read = sl_config_read_only_route},
};

static int check_listener(struct sl_yaml *y, const yaml_node_t *n, void *object)
{
	const struct sl_listener_config *l = object;
	const char *mode = listener_modes[l->mode].name;

	if (l->mode == SL_MODE_FORWARD && l->request_id)
		return sl_yaml_fail(y, n, "request_id is for mode http");
	if (l->mode == SL_MODE_FORWARD && l->routes)
		return sl_yaml_fail(y, n, "mode forward has no routes: its clients choose");
	if (l->mode != SL_MODE_FORWARD && !l->routes)
		return sl_yaml_fail(y, n, "mode %s needs %san upstream", mode,
				    l->mode == SL_MODE_TCP ? "" : "routes or ");
	if (l->mode != SL_MODE_FORWARD && (l->acl || l->auth_basic))
		return sl_yaml_fail(y, n, "acl and auth are for mode forward");
	if ((l->mode == SL_MODE_TCP || l->mode == SL_MODE_SNI) && (l->forwarded || l->trace))
		return sl_yaml_fail(y, n, "mode %s knows no fields to add to", mode);
	return sl_config_check_conditions(y, l);
}

static const struct sl_yaml_map listener_map = {listener_keys, SL_ARRAY_SIZE(listener_keys),
						check_listener};

static void init_listener(const yaml_node_t *n, void *element)
{
	struct sl_listener_config *l = element;

	l->splice = INHERITED;
	l->trace_sample = 1;
	l->line = (unsigned)n->start_mark.line + 1;
	l->column = (unsigned)n->start_mark.column + 1;
}

static const struct sl_yaml_list listener_list = {
	.item = {.read = sl_yaml_read_map,
		 .size = sizeof(struct sl_listener_config),
		 .map = &listener_map},
	.count_offset = offsetof(struct sl_config, n_listeners),
	.counted = true,
	.min = 1,
	.max = LISTENERS_MAX,
	.init = init_listener,
};

static int read_workers(struct sl_yaml *y, const yaml_node_t *n, const struct sl_yaml_key *k,
			void *object)
{
	const char *text = sl_yaml_text(n);

	if (!text || strcmp(text, "auto"))
		return sl_yaml_read_number(y, n, k, object);
	((struct sl_config *)object)->workers = 0;
	return 0;
}

static int read_metrics(struct sl_yaml *y, const yaml_node_t *n, const struct sl_yaml_key *k,
			void *object)
{
	const char *text = sl_yaml_text(n);

	if (!text || strcmp(text, "off"))
		return sl_yaml_read_address(y, n, k, object);
	((struct sl_config *)object)->metrics = (struct sl_addr){.family = AF_UNSPEC};
	return 0;
}

/* A token of RFC 9110 5.6.2: it stands in Via as the pseudonym. */
static int read_via(struct sl_yaml *y, const yaml_node_t *n, const struct sl_yaml_key *k,
		    void *object)
{
	static const char token[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				    "0123456789!#$%&'*+-.^_`|~";
	const char *text = sl_yaml_text(n);

	if (!text || !*text || text[strspn(text, token)])
		return sl_yaml_expected(y, n, "a token such as sluice or proxy1.example.com");
	return sl_yaml_read_string(y, n, k, object);
}

static const struct sl_yaml_choice log_levels[] = {
	{"error", SL_LOG_ERROR},
	{"warning", SL_LOG_WARNING},
	{"info", SL_LOG_INFO},
	{"debug", SL_LOG_DEBUG},
	{NULL},
};

static const struct sl_yaml_choice transports[] = {
	{"socket", SL_TRANSPORT_SOCKET},
	{"dpdk", SL_TRANSPORT_DPDK},
	{NULL},
};

/* Unix socket paths have room for 107 bytes (unix(7)). */
static const struct sl_yaml_key root_keys[] = {
	{READ_CONFIG("workers", read_workers, workers), .min = 1, .max = 256},
	{READ_CONFIG("admin", sl_yaml_read_path, admin), .max = 107},
	{READ_CONFIG("metrics", read_metrics, metrics)},
	{READ_CONFIG("via", read_via, via), .max = 64},
	{READ_CONFIG("user", sl_yaml_read_string, user), .max = 32},
	{READ_CONFIG("seccomp", sl_yaml_read_bool, seccomp)},
	{READ_CONFIG("log_level", sl_yaml_read_choice, log_level), .choices = log_levels},
	{READ_CONFIG("transport", sl_yaml_read_choice, transport), .choices = transports},
	{.name = "dpdk", .read = sl_yaml_read_map, .map = &sl_config_dpdk_map},
	{.name = "splice", .read = sl_yaml_read_map, .map = &splice_map},
	{.name = "limits", .read = sl_yaml_read_map, .map = &limits_map},
	{.name = "timeouts", .read = sl_yaml_read_map, .map = &timeouts_map},
	{.name = "access_log", .read = sl_yaml_read_map, .map = &access_log_map},
	{.name = "resolver", .read = sl_yaml_read_map, .map = &resolver_map},
	{.name = "pool", .read = sl_yaml_read_map, .map = &pool_map},
	{READ_CONFIG("listeners", sl_yaml_read_list, listeners), .list = &listener_list,
	 .required = true},
	{READ_CONFIG("upstreams", sl_yaml_read_list, upstreams), .list = &sl_config_upstream_list},
};

_Static_assert(SL_ARRAY_SIZE(root_keys) <= SL_YAML_KEYS_MAX, "read_mapping() has no more room");

static int check_against_others(struct sl_yaml *y, const struct sl_config *c, size_t i)
{
	const struct sl_listener_config *l = &c->listeners[i];
	char text[SL_ADDR_STR_MAX];

	for (size_t j = 0; j < i; j++) {
		const struct sl_listener_config *other = &c->listeners[j];

		if (!strcmp(l->name, other->name))
			return sl_yaml_fail_at(y, l->line, l->column,
					       "listeners[%zu]: name '%s' is taken at line %u", i,
					       l->name, other->line);
		if (sl_addr_eq(&l->listen, &other->listen))
			return sl_yaml_fail_at(y, l->line, l->column,
					       "listeners[%zu]: %s is taken by '%s' at line %u", i,
					       sl_addr_format(&l->listen, text), other->name,
					       other->line);
	}
	if (sl_addr_eq(&l->listen, &c->metrics))
		return sl_yaml_fail_at(y, l->line, l->column,
				       "listeners[%zu]: %s is the metrics address", i,
				       sl_addr_format(&l->listen, text));
	return 0;
}

static int check_config(struct sl_yaml *y, const yaml_node_t *n, void *object)
{
	struct sl_config *c = object;
	int r = 0;

	if (!c->limits.start_line)
		r = check_limits(y, n, object);
	for (size_t i = 0; !r && i < c->n_listeners; i++) {
		if (c->listeners[i].splice == INHERITED)
			c->listeners[i].splice = c->splice.engine;
		r = check_against_others(y, c, i);
	}
	if (!r)
		r = sl_config_check_dpdk(y, n, c);
	if (!r)
		r = sl_config_check_upstreams(y, c);
	return r ? r : sl_config_resolve_routes(y, c);
}

const struct sl_yaml_map sl_config_schema = {root_keys, SL_ARRAY_SIZE(root_keys), check_config};
