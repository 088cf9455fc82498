/* SPDX-License-Identifier: BSD-2-Clause */
/* Upstreams: `- {name: app, servers: ["10.0.0.1:80", {address: "app2:80", weight: 2}]}`.
 *
 * A server that is given by name is marked here to be discovered, unless the upstream wants the name to
 * be one server. */

#include "proxy/config/config_upstream.h"

#include <errno.h>
#include <string.h>

#include "http/field.h"
#include "http/target.h"
#include "proxy/names/resolve.h"

#define DAY_MS	      (24ull * 3600 * 1000)
#define UPSTREAMS_MAX 1024

#define READ_SERVER(key, reader, field) SL_YAML_FIELD(key, reader, struct sl_server_config, field)
#define READ_UPSTREAM(key, reader, field) \
	SL_YAML_FIELD(key, reader, struct sl_upstream_config, field)

/* --- servers --- */

static int read_server_address(struct sl_yaml *y, const yaml_node_t *n, const struct sl_yaml_key *k,
			       void *object)
{
	struct sl_server_config *s = object;
	const char *text = sl_yaml_text(n);
	struct sl_authority a;

	if (!text || sl_authority_parse(sl_slice_str(text), &a) || !a.has_port)
		return sl_yaml_expected(y, n, "host:port such as 10.0.0.1:80 or app.internal:80");
	if (s->address)
		return sl_yaml_fail(y, n, "a server has an address or is found by srv");
	s->address = strdup(text);
	s->host = strndup(a.host.p, a.host.len);
	s->port = a.port;
	return s->address && s->host ? 0 : sl_yaml_no_memory(y);
}

static int read_server_srv(struct sl_yaml *y, const yaml_node_t *n, const struct sl_yaml_key *k,
			   void *object)
{
	struct sl_server_config *s = object;
	const char *text = sl_yaml_text(n);
	char name[SL_NAME_MAX + 1];

	if (!text || !sl_name_normalise(sl_slice_str(text), name) || *text != '_')
		return sl_yaml_expected(y, n, "a name such as _http._tcp.app.internal");
	if (s->address)
		return sl_yaml_fail(y, n, "a server has an address or is found by srv");
	s->address = strdup(name);
	s->host = strdup(name);
	return s->address && s->host ? 0 : sl_yaml_no_memory(y);
}

static int check_server(struct sl_yaml *y, const yaml_node_t *n, void *object)
{
	struct sl_server_config *s = object;

	if (!s->address)
		return sl_yaml_fail(y, n, "a server needs an address or srv");
	if (!s->port && s->weight)
		return sl_yaml_fail(y, n, "SRV records have weights of their own");
	return 0;
}

static const struct sl_yaml_key server_keys[] = {
	{.name = "address", .read = read_server_address},
	{READ_SERVER("backup", sl_yaml_read_bool, backup)},
	{.name = "srv", .read = read_server_srv},
	{READ_SERVER("weight", sl_yaml_read_number, weight), .min = 1, .max = 1000},
};
static const struct sl_yaml_map server_map = {server_keys, SL_ARRAY_SIZE(server_keys),
					      check_server};

/* The address alone, or a mapping. */
static int read_server(struct sl_yaml *y, const yaml_node_t *n, const struct sl_yaml_key *k,
		       void *object)
{
	const struct sl_yaml_key whole = {.map = &server_map};

	if (n->type == YAML_SCALAR_NODE)
		return read_server_address(y, n, k, object);
	return sl_yaml_read_map(y, n, &whole, object);
}

static void init_server(const yaml_node_t *n, void *element)
{
	struct sl_server_config *s = element;

	s->line = (unsigned)n->start_mark.line + 1;
	s->column = (unsigned)n->start_mark.column + 1;
}

static const struct sl_yaml_list server_list = {
	.item = {.read = read_server, .size = sizeof(struct sl_server_config)},
	.count_offset = offsetof(struct sl_upstream_config, n_servers),
	.counted = true,
	.min = 1,
	.max = SL_SERVERS_MAX,
	.init = init_server,
};

/* --- upstreams --- */

static const struct sl_yaml_choice balance_choices[] = {
	{"round_robin", SL_BALANCE_ROUND_ROBIN},
	{"least_conn", SL_BALANCE_LEAST_CONN},
	{"random2", SL_BALANCE_RANDOM2},
	{"maglev", SL_BALANCE_MAGLEV},
	{NULL},
};

static int read_key(struct sl_yaml *y, const yaml_node_t *n, const struct sl_yaml_key *k,
		    void *object)
{
	static const char header[] = "header:";
	const char *text = sl_yaml_text(n);
	struct sl_upstream_config *u = object;

	if (text && !strcmp(text, "source"))
		u->key = SL_KEY_SOURCE;
	else if (text && !strcmp(text, "host"))
		u->key = SL_KEY_HOST;
	else if (text && !strcmp(text, "path"))
		u->key = SL_KEY_PATH;
	else if (text && !strncmp(text, header, strlen(header)) &&
		 sl_is_token(sl_slice_str(text + strlen(header))))
		u->key = SL_KEY_HEADER;
	else
		return sl_yaml_expected(y, n, "one of: source, host, path, header:NAME");
	if (u->key == SL_KEY_HEADER)
		u->key_header = strdup(text + strlen(header));
	return u->key == SL_KEY_HEADER && !u->key_header ? sl_yaml_no_memory(y) : 0;
}

static const struct sl_yaml_choice proxy_choices[] = {
	{"none", SL_PROXY_PROTOCOL_NONE},
	{"v1", SL_PROXY_PROTOCOL_V1},
	{"v2", SL_PROXY_PROTOCOL_V2},
	{NULL},
};

static const struct sl_yaml_key pool_keys[] = {
	{READ_UPSTREAM("idle", sl_yaml_read_number, pool.idle), .max = 65536},
	{READ_UPSTREAM("idle_timeout", sl_yaml_read_duration, pool.idle_timeout_ms), .min = 1,
	 .max = DAY_MS},
	{READ_UPSTREAM("max", sl_yaml_read_number, pool.max), .min = 1, .max = 1000000},
	{READ_UPSTREAM("queue", sl_yaml_read_number, pool.queue), .max = 1000000},
	{READ_UPSTREAM("queue_timeout", sl_yaml_read_duration, pool.queue_timeout_ms), .min = 1,
	 .max = DAY_MS},
	{READ_UPSTREAM("requests", sl_yaml_read_number, pool.requests), .max = 1000000000},
	{READ_UPSTREAM("age", sl_yaml_read_duration, pool.age_ms), .max = DAY_MS},
	{READ_UPSTREAM("keepalive", sl_yaml_read_duration, pool.keepalive_ms), .max = 32767000},
	{READ_UPSTREAM("fast_open", sl_yaml_read_bool, pool.fast_open)},
};
static const struct sl_yaml_map pool_map = {pool_keys, SL_ARRAY_SIZE(pool_keys)};

static const struct sl_yaml_choice retry_choices[] = {
	{"closed", SL_RETRY_CLOSED}, {"timeout", SL_RETRY_TIMEOUT},
	{"429", SL_RETRY_429},	     {"500", SL_RETRY_500},
	{"502", SL_RETRY_502},	     {"503", SL_RETRY_503},
	{"504", SL_RETRY_504},	     {NULL},
};
static const struct sl_yaml_list retry_on_list = {
	.item = {.read = sl_yaml_read_choice, .size = 1, .choices = retry_choices},
	.count_offset = offsetof(struct sl_upstream_config, retry.n_on),
	.counted = true,
	.single_too = true,
	.max = 16,
};
static const struct sl_yaml_key retry_keys[] = {
	{READ_UPSTREAM("on", sl_yaml_read_list, retry.on), .list = &retry_on_list},
	{READ_UPSTREAM("tries", sl_yaml_read_number, retry.tries), .min = 1, .max = 10},
	{READ_UPSTREAM("budget", sl_yaml_read_number, retry.budget), .max = 100},
};
static const struct sl_yaml_map retry_map = {retry_keys, SL_ARRAY_SIZE(retry_keys)};

static const struct sl_yaml_key eject_keys[] = {
	{READ_UPSTREAM("failures", sl_yaml_read_number, eject.failures), .max = 1000000},
	{READ_UPSTREAM("ratio", sl_yaml_read_number, eject.ratio), .max = 100},
	{READ_UPSTREAM("errors", sl_yaml_read_bool, eject.errors)},
	{READ_UPSTREAM("time", sl_yaml_read_duration, eject.time_ms), .min = 1, .max = DAY_MS},
	{READ_UPSTREAM("max", sl_yaml_read_duration, eject.max_ms), .min = 1, .max = DAY_MS},
};
static const struct sl_yaml_map eject_map = {eject_keys, SL_ARRAY_SIZE(eject_keys)};

static bool is_request_text(const char *s)
{
	for (; *s; s++)
		if (*s <= ' ' || *s > '~')
			return false;
	return true;
}

static int read_health_path(struct sl_yaml *y, const yaml_node_t *n, const struct sl_yaml_key *k,
			    void *object)
{
	const char *text = sl_yaml_text(n);

	if (!text || *text != '/' || !is_request_text(text))
		return sl_yaml_expected(y, n, "a path such as /healthz");
	return sl_yaml_read_string(y, n, k, object);
}

static int read_health_host(struct sl_yaml *y, const yaml_node_t *n, const struct sl_yaml_key *k,
			    void *object)
{
	const char *text = sl_yaml_text(n);
	struct sl_authority a;

	if (!text || sl_authority_parse(sl_slice_str(text), &a))
		return sl_yaml_expected(y, n, "a host such as app.internal");
	return sl_yaml_read_string(y, n, k, object);
}

static const struct sl_yaml_key health_keys[] = {
	{READ_UPSTREAM("path", read_health_path, health.path), .max = 1024},
	{READ_UPSTREAM("host", read_health_host, health.host), .max = 261},
	{READ_UPSTREAM("status", sl_yaml_read_number, health.status), .min = 200, .max = 599},
	{READ_UPSTREAM("interval", sl_yaml_read_duration, health.interval_ms), .min = 10,
	 .max = DAY_MS},
	{READ_UPSTREAM("timeout", sl_yaml_read_duration, health.timeout_ms), .min = 1,
	 .max = 60000},
	{READ_UPSTREAM("fall", sl_yaml_read_number, health.fall), .min = 1, .max = 1000},
	{READ_UPSTREAM("rise", sl_yaml_read_number, health.rise), .min = 1, .max = 1000},
};
static const struct sl_yaml_map health_map = {health_keys, SL_ARRAY_SIZE(health_keys)};

static int read_health(struct sl_yaml *y, const yaml_node_t *n, const struct sl_yaml_key *k,
		       void *object)
{
	((struct sl_upstream_config *)object)->health.enabled = true;
	return sl_yaml_read_map(y, n, k, object);
}

static const struct sl_yaml_choice addresses_choices[] = {{"all", false}, {"one", true}, {NULL}};

static const struct sl_yaml_key resolve_keys[] = {
	{READ_UPSTREAM("addresses", sl_yaml_read_choice, resolve.one),
	 .choices = addresses_choices},
	{READ_UPSTREAM("max", sl_yaml_read_duration, resolve.max_ms), .min = 1, .max = DAY_MS},
	{READ_UPSTREAM("min", sl_yaml_read_duration, resolve.min_ms), .min = 1, .max = DAY_MS},
};
static const struct sl_yaml_map resolve_map = {resolve_keys, SL_ARRAY_SIZE(resolve_keys)};

static void finish_servers(struct sl_upstream_config *u)
{
	struct sl_addr literal;

	for (size_t i = 0; i < u->n_servers; i++) {
		struct sl_server_config *s = &u->servers[i];

		if (!s->weight)
			s->weight = 1;
		s->discover =
			!s->port || (!u->resolve.one &&
				     sl_addr_parse_host(sl_slice_str(s->host), s->port, &literal));
	}
}

/* Two servers of one address would be one server that is counted twice. */
static int check_upstream(struct sl_yaml *y, const yaml_node_t *n, void *object)
{
	struct sl_upstream_config *u = object;

	if (u->resolve.min_ms > u->resolve.max_ms)
		return sl_yaml_fail(y, n, "resolve.min is above resolve.max");
	finish_servers(u);
	if (u->balance != SL_BALANCE_MAGLEV && u->key)
		return sl_yaml_fail(y, n, "a key is for balance: maglev");
	for (size_t i = 0; i < u->n_servers; i++)
		for (size_t j = 0; j < i; j++)
			if (!strcmp(u->servers[i].address, u->servers[j].address))
				return sl_yaml_fail_at(y, u->servers[i].line, u->servers[i].column,
						       "server %s is there already, at line %u",
						       u->servers[i].address, u->servers[j].line);
	return 0;
}

static const struct sl_yaml_key upstream_keys[] = {
	{READ_UPSTREAM("name", sl_yaml_read_name, name), .min = 1, .max = 64, .required = true},
	{READ_UPSTREAM("balance", sl_yaml_read_choice, balance), .choices = balance_choices},
	{.name = "key", .read = read_key},
	{READ_UPSTREAM("servers", sl_yaml_read_list, servers), .list = &server_list,
	 .required = true},
	{.name = "pool", .read = sl_yaml_read_map, .map = &pool_map},
	{.name = "retry", .read = sl_yaml_read_map, .map = &retry_map},
	{READ_UPSTREAM("proxy_protocol", sl_yaml_read_choice, proxy_protocol),
	 .choices = proxy_choices},
	{.name = "eject", .read = sl_yaml_read_map, .map = &eject_map},
	{.name = "health", .read = read_health, .map = &health_map},
	{.name = "resolve", .read = sl_yaml_read_map, .map = &resolve_map},
	{READ_UPSTREAM("slow_start", sl_yaml_read_duration, slow_start_ms), .max = DAY_MS},
};
static const struct sl_yaml_map upstream_map = {upstream_keys, SL_ARRAY_SIZE(upstream_keys),
						check_upstream};

static void init_upstream(const yaml_node_t *n, void *element)
{
	struct sl_upstream_config *u = element;

	u->pool = (struct sl_upstream_pool_config){
		.idle = 64,
		.idle_timeout_ms = 30000,
		.max = 1024,
		.queue = 256,
		.queue_timeout_ms = 1000,
		.age_ms = 3600000,
	};
	u->retry = (struct sl_retry_config){.tries = 2, .budget = 20};
	u->eject = (struct sl_eject_config){
		.failures = 5, .ratio = 50, .time_ms = 10000, .max_ms = 300000};
	u->health = (struct sl_health_config){
		.interval_ms = 2000, .timeout_ms = 1000, .fall = 3, .rise = 2};
	u->resolve = (struct sl_discovery_config){.min_ms = 1000, .max_ms = 300000};
	u->line = (unsigned)n->start_mark.line + 1;
	u->column = (unsigned)n->start_mark.column + 1;
}

const struct sl_yaml_list sl_config_upstream_list = {
	.item = {.read = sl_yaml_read_map,
		 .size = sizeof(struct sl_upstream_config),
		 .map = &upstream_map},
	.count_offset = offsetof(struct sl_config, n_upstreams),
	.counted = true,
	.max = UPSTREAMS_MAX,
	.init = init_upstream,
};

int sl_config_check_upstreams(struct sl_yaml *y, const struct sl_config *c)
{
	for (size_t i = 0; i < c->n_upstreams; i++)
		for (size_t j = 0; j < i; j++)
			if (!strcmp(c->upstreams[i].name, c->upstreams[j].name))
				return sl_yaml_fail_at(
					y, c->upstreams[i].line, c->upstreams[i].column,
					"upstreams[%zu]: name '%s' is taken at line %u", i,
					c->upstreams[i].name, c->upstreams[j].line);
	return 0;
}

void sl_config_free_upstream(struct sl_upstream_config *u)
{
	for (size_t i = 0; i < u->n_servers; i++) {
		free(u->servers[i].address);
		free(u->servers[i].host);
	}
	free(u->servers);
	free(u->retry.on);
	free(u->key_header);
	free(u->health.path);
	free(u->health.host);
	free(u->name);
}
