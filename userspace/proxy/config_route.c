/* SPDX-License-Identifier: BSD-2-Clause */
/* Routes: `- {host: "*.example.com", path: /v1, upstream: api}`.
 *
 * A route that could never be reached is refused, because it is a slip: paths that no request can have,
 * and routes with the very conditions of an earlier one. */

#include "proxy/config_route.h"

#include <errno.h>
#include <string.h>

#define ROUTES_MAX     4096
#define ROUTE_PATH_MAX 1024

static int read_upstream_name(struct sl_yaml *y, const yaml_node_t *n, const struct sl_yaml_key *k,
			      void *object)
{
	struct sl_upstream_ref *ref = (void *)((char *)object + k->offset);
	const struct sl_yaml_key name = {
		SL_YAML_FIELD("", sl_yaml_read_name, struct sl_upstream_ref, name),
		.min = 1,
		.max = 64,
	};

	ref->line = (unsigned)n->start_mark.line + 1;
	ref->column = (unsigned)n->start_mark.column + 1;
	return name.read(y, n, &name, ref);
}

/* Visible ASCII that begins with "/"; without query, fragment and the segments that a server would
 * resolve away. */
static bool is_path(const char *s)
{
	if (*s != '/' || strstr(s, "//"))
		return false;
	for (const char *p = s; *p; p++) {
		if (*p <= ' ' || *p > '~' || *p == '?' || *p == '#')
			return false;
		if (p[0] == '/' && p[1] == '.' &&
		    (!p[2] || p[2] == '/' || (p[2] == '.' && (!p[3] || p[3] == '/'))))
			return false;
	}
	return true;
}

static int read_path(struct sl_yaml *y, const yaml_node_t *n, const struct sl_yaml_key *k,
		     void *object)
{
	char **field = (char **)((char *)object + k->offset);
	const char *text = sl_yaml_text(n);
	size_t len;
	int r;

	if (!text || !is_path(text))
		return sl_yaml_expected(y, n, "a path such as /v1");
	r = sl_yaml_read_string(y, n, k, object);
	if (r)
		return r;
	len = strlen(*field);
	if ((*field)[len - 1] == '/') /* whole segments match: the slash says nothing */
		(*field)[len - 1] = '\0';
	return 0;
}

#define READ_ROUTE(key, reader, field) SL_YAML_FIELD(key, reader, struct sl_route_config, field)

static const struct sl_yaml_key route_keys[] = {
	{READ_ROUTE("host", sl_yaml_read_host, host)},
	{READ_ROUTE("path", read_path, path), .min = 1, .max = ROUTE_PATH_MAX},
	{READ_ROUTE("upstream", read_upstream_name, upstream), .required = true},
};
static const struct sl_yaml_map route_map = {route_keys, SL_ARRAY_SIZE(route_keys)};

static void init_route(const yaml_node_t *n, void *element)
{
	struct sl_route_config *route = element;

	route->line = (unsigned)n->start_mark.line + 1;
	route->column = (unsigned)n->start_mark.column + 1;
}

static const struct sl_yaml_list route_list = {
	.item = {.read = sl_yaml_read_map,
		 .size = sizeof(struct sl_route_config),
		 .map = &route_map},
	.count_offset = offsetof(struct sl_listener_config, n_routes),
	.counted = true,
	.min = 1,
	.max = ROUTES_MAX,
	.init = init_route,
};

static int refuse_both(struct sl_yaml *y, const yaml_node_t *n)
{
	return sl_yaml_fail(y, n, "expected either routes or upstream");
}

int sl_config_read_routes(struct sl_yaml *y, const yaml_node_t *n, const struct sl_yaml_key *k,
			  void *object)
{
	const struct sl_yaml_key routes = {
		SL_YAML_FIELD("", sl_yaml_read_list, struct sl_listener_config, routes),
		.list = &route_list,
	};
	const struct sl_listener_config *l = object;

	return l->routes ? refuse_both(y, n) : routes.read(y, n, &routes, object);
}

int sl_config_read_only_route(struct sl_yaml *y, const yaml_node_t *n, const struct sl_yaml_key *k,
			      void *object)
{
	const struct sl_yaml_key upstream = {
		READ_ROUTE("", read_upstream_name, upstream),
	};
	struct sl_listener_config *l = object;

	if (l->routes)
		return refuse_both(y, n);
	l->routes = calloc(1, sizeof(*l->routes));
	if (!l->routes)
		return sl_yaml_no_memory(y);
	l->n_routes = 1;
	init_route(n, l->routes);
	return upstream.read(y, n, &upstream, l->routes);
}

/* --- what needs the whole file --- */

static bool same(const char *a, const char *b)
{
	return a == b || (a && b && !strcmp(a, b));
}

static int check_reachable(struct sl_yaml *y, const struct sl_listener_config *l, size_t i)
{
	const struct sl_route_config *route = &l->routes[i];

	for (size_t j = 0; j < i; j++)
		if (same(route->host, l->routes[j].host) && same(route->path, l->routes[j].path))
			return sl_yaml_fail_at(y, route->line, route->column,
					       "the route at line %u takes all that this one would",
					       l->routes[j].line);
	return 0;
}

static int resolve(struct sl_yaml *y, const struct sl_config *c, struct sl_upstream_ref *ref)
{
	char quoted[64];

	for (size_t i = 0; i < c->n_upstreams; i++) {
		if (strcmp(c->upstreams[i].name, ref->name))
			continue;
		ref->index = (uint32_t)i;
		return 0;
	}
	return sl_yaml_fail_at(y, ref->line, ref->column, "there is no upstream %s",
			       sl_yaml_quote(ref->name, quoted));
}

int sl_config_resolve_routes(struct sl_yaml *y, struct sl_config *c)
{
	int r = 0;

	for (size_t i = 0; i < c->n_listeners && !r; i++) {
		struct sl_listener_config *l = &c->listeners[i];

		for (size_t k = 0; k < l->n_routes && !r; k++) {
			r = check_reachable(y, l, k);
			if (!r)
				r = resolve(y, c, &l->routes[k].upstream);
		}
	}
	return r;
}

void sl_config_free_routes(struct sl_listener_config *l)
{
	for (size_t i = 0; i < l->n_routes; i++) {
		free(l->routes[i].host);
		free(l->routes[i].path);
		free(l->routes[i].upstream.name);
	}
	free(l->routes);
}
