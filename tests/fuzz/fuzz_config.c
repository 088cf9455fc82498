/* SPDX-License-Identifier: BSD-2-Clause */
/* Configuration files: whatever the bytes, there is either a configuration within its documented
 * ranges or one line of error that begins with the file's name and a place. */

#include "fuzz.h"

#include <errno.h>
#include <string.h>

#include "proxy/config/config.h"

const char *const fuzz_words[] = {
	"workers: ",
	"listeners:",
	"limits: {",
	"timeouts: {header: ",
	"acl: [{allow: {",
	"deny",
	"dst: ",
	"port: ",
	"host: ",
	"\"*.",
	"10.0.0.0/8",
	"[::]:1",
	"127.0.0.1:0",
	"&a ",
	"*a",
	"<<: ",
	"!!int ",
	"---\n",
	"...\n",
	"- ",
	"? ",
	"| ",
	"'",
	"\"\\0\"",
	"99999999999999999999",
	"64k",
	"1ms",
	"off",
	"~",
	"null",
	"%YAML 1.2\n",
	"upstreams: []\n",
	"upstreams: [{name: u, servers: [\"10.0.0.1:80\", {address: \"a:1\", weight: 2}]}]\n",
	"mode: http, routes: [{host: \"*.a\", path: /v1, upstream: u}]",
	NULL,
};

static void check_rule(const struct sl_acl_rule *r)
{
	FUZZ_CHECK(r->line && r->column);
	for (size_t i = 0; i < r->n_src; i++)
		FUZZ_CHECK(r->src[i].bits <= (r->src[i].addr.family == AF_INET ? 32 : 128));
	for (size_t i = 0; i < r->n_dst; i++)
		FUZZ_CHECK(r->dst[i].bits <= (r->dst[i].addr.family == AF_INET ? 32 : 128));
	for (size_t i = 0; i < r->n_port; i++)
		FUZZ_CHECK(r->port[i].from && r->port[i].from <= r->port[i].to);
	for (size_t i = 0; i < r->n_host; i++)
		FUZZ_CHECK(r->host[i][0] && !strpbrk(r->host[i] + 1, "*ABCXYZ /:"));
}

static void check_listener(const struct sl_listener_config *l)
{
	FUZZ_CHECK(l->name && *l->name && strlen(l->name) <= 64);
	FUZZ_CHECK(l->listen.family == AF_INET || l->listen.family == AF_INET6);
	FUZZ_CHECK(sl_addr_port(&l->listen));
	FUZZ_CHECK(!l->routes == (l->mode == SL_MODE_FORWARD));
	FUZZ_CHECK(l->splice == SL_SPLICE_AUTO || l->splice == SL_SPLICE_COPY);
	FUZZ_CHECK(!l->auth_basic || l->auth_basic[0] == '/');
	for (size_t i = 0; l->acl && i < l->acl->n_rules; i++)
		check_rule(&l->acl->rules[i]);
}

static void check_routes(const struct sl_config *c, const struct sl_listener_config *l)
{
	for (size_t i = 0; i < l->n_routes; i++) {
		const struct sl_route_config *r = &l->routes[i];

		FUZZ_CHECK(!r->path || !*r->path || *r->path == '/');
		FUZZ_CHECK(!r->host || *r->host);
		FUZZ_CHECK(r->upstream.index < c->n_upstreams);
		FUZZ_CHECK(!strcmp(r->upstream.name, c->upstreams[r->upstream.index].name));
	}
}

static void check_upstream(const struct sl_upstream_config *u)
{
	FUZZ_CHECK(u->name && *u->name && u->n_servers && u->n_servers <= SL_SERVERS_MAX);
	for (size_t i = 0; i < u->n_servers; i++)
		FUZZ_CHECK(u->servers[i].host && *u->servers[i].host &&
			   (u->servers[i].port || u->servers[i].discover) && u->servers[i].weight);
}

static void check_config(const struct sl_config *c)
{
	FUZZ_CHECK(c->n_listeners && c->workers <= 256);
	for (size_t i = 0; i < c->n_listeners; i++)
		check_routes(c, &c->listeners[i]);
	for (size_t i = 0; i < c->n_upstreams; i++)
		check_upstream(&c->upstreams[i]);
	FUZZ_CHECK(c->limits.head >= 1024 && c->limits.head <= 65536);
	FUZZ_CHECK(c->limits.start_line && c->limits.start_line <= c->limits.head);
	FUZZ_CHECK(c->limits.headers && c->limits.headers <= 256);
	FUZZ_CHECK(c->timeouts.header && c->timeouts.tunnel && c->timeouts.drain);
	FUZZ_CHECK(c->access_log.sample >= 0 && c->access_log.sample <= 1);
	FUZZ_CHECK(c->admin[0] == '/' && (!c->via || c->via[0]));
	for (size_t i = 0; i < c->n_listeners; i++)
		check_listener(&c->listeners[i]);
}

static void check_error(int r, const struct sl_config_error *e)
{
	unsigned line = 0, column = 0;

	FUZZ_CHECK(r == -EINVAL);
	FUZZ_CHECK(sscanf(e->text, "f:%u:%u: ", &line, &column) == 2 && line && column);
	for (const char *s = e->text; *s; s++)
		FUZZ_CHECK(*s >= ' ' && *s < 127);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct sl_config_error error = {""};
	struct sl_config *c = NULL;
	int r = sl_config_parse("f", (const char *)data, len, &c, &error);

	if (r)
		check_error(r, &error);
	else
		check_config(c);
	sl_config_free(c);
	return 0;
}
