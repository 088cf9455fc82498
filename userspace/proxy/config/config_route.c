/* SPDX-License-Identifier: BSD-2-Clause */
/* Routes: `- {host: "*.example.com", path: /v1, upstream: api}`.
 *
 * A route that could never be reached is refused, because it is a slip: paths that no request can have,
 * and routes with the very conditions of an earlier one. */

#include "proxy/config/config_route.h"

#include <errno.h>
#include <string.h>

#include "http/field.h"
#include "http/target.h"
#include "proxy/config/config_fields.h"

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

static int read_sni(struct sl_yaml *y, const yaml_node_t *n, const struct sl_yaml_key *k,
		    void *object)
{
	struct sl_route_config *route = object;

	if (route->host)
		return sl_yaml_fail(y, n, "expected either host or sni");
	route->by_sni = true;
	return sl_yaml_read_host(y, n, k, object);
}

static int read_host(struct sl_yaml *y, const yaml_node_t *n, const struct sl_yaml_key *k,
		     void *object)
{
	const struct sl_route_config *route = object;

	if (route->host)
		return sl_yaml_fail(y, n, "expected either host or sni");
	return sl_yaml_read_host(y, n, k, object);
}

#define READ_ROUTE(key, reader, field) SL_YAML_FIELD(key, reader, struct sl_route_config, field)

static int read_method(struct sl_yaml *y, const yaml_node_t *n, const struct sl_yaml_key *k,
		       void *object)
{
	const char *text = sl_yaml_text(n);

	if (!text || !sl_is_token(sl_slice_str(text)))
		return sl_yaml_expected(y, n, "a method such as GET");
	return sl_yaml_read_string(y, n, k, object);
}

/* "name" or "name:port". */
static int read_authority(struct sl_yaml *y, const yaml_node_t *n, const struct sl_yaml_key *k,
			  void *object)
{
	const char *text = sl_yaml_text(n);
	struct sl_authority a;

	if (!text || sl_authority_parse(sl_slice_str(text), &a))
		return sl_yaml_expected(y, n, "a host such as app.internal or app.internal:8080");
	return sl_yaml_read_string(y, n, k, object);
}

static const struct sl_yaml_list method_list = {
	.item = {.read = read_method, .size = sizeof(char *), .min = 1, .max = 32},
	.single_too = true,
	.min = 1,
	.max = 32,
};

static const struct sl_yaml_key rewrite_keys[] = {
	{READ_ROUTE("host", read_authority, rewrite_host), .max = 261},
	{READ_ROUTE("path", read_path, rewrite_path), .min = 1, .max = ROUTE_PATH_MAX},
};
static const struct sl_yaml_map rewrite_map = {rewrite_keys, SL_ARRAY_SIZE(rewrite_keys)};

static int read_scheme(struct sl_yaml *y, const yaml_node_t *n, const struct sl_yaml_key *k,
		       void *object)
{
	const char *text = sl_yaml_text(n);

	if (!text || (strcmp(text, "http") && strcmp(text, "https")))
		return sl_yaml_expected(y, n, "http or https");
	return sl_yaml_read_string(y, n, k, object);
}

static const struct sl_yaml_choice redirect_statuses[] = {
	{"301", 301}, {"302", 302}, {"303", 303}, {"307", 307}, {"308", 308}, {NULL},
};
static const struct sl_yaml_key redirect_keys[] = {
	{READ_ROUTE("scheme", read_scheme, redirect.scheme), .max = 8},
	{READ_ROUTE("host", read_authority, redirect.host), .max = 261},
	{READ_ROUTE("path", read_path, redirect.path), .min = 1, .max = ROUTE_PATH_MAX},
	{READ_ROUTE("status", sl_yaml_read_choice, redirect.status), .choices = redirect_statuses},
};
static const struct sl_yaml_map redirect_map = {redirect_keys, SL_ARRAY_SIZE(redirect_keys)};

static const struct sl_yaml_choice respond_statuses[] = {
	{"200", 200}, {"400", 400}, {"403", 403}, {"404", 404}, {"410", 410},
	{"429", 429}, {"500", 500}, {"503", 503}, {NULL},
};
static const struct sl_yaml_key respond_keys[] = {
	{READ_ROUTE("status", sl_yaml_read_choice, respond.status), .choices = respond_statuses,
	 .required = true},
	{READ_ROUTE("body", sl_yaml_read_string, respond.body), .max = 4096},
};
static const struct sl_yaml_map respond_map = {respond_keys, SL_ARRAY_SIZE(respond_keys)};

/* 308: the client repeats the request as it was. */
static int read_redirect(struct sl_yaml *y, const yaml_node_t *n, const struct sl_yaml_key *k,
			 void *object)
{
	((struct sl_route_config *)object)->redirect.status = 308;
	return sl_yaml_read_map(y, n, k, object);
}

static int check_changes(struct sl_yaml *y, const yaml_node_t *n, const struct sl_route_config *r)
{
	bool changes = r->rewrite_host || r->rewrite_path || r->request.set || r->request.add ||
		       r->request.remove || r->response.set || r->response.add ||
		       r->response.remove;

	if (changes && r->action != SL_ROUTE_UPSTREAM)
		return sl_yaml_fail(y, n, "rewrite, request and response need an upstream");
	if ((r->rewrite_path || r->redirect.path) && !r->path)
		return sl_yaml_fail(y, n, "a new path needs a path that it replaces");
	if (r->redirect.status && !r->redirect.scheme && !r->redirect.host && !r->redirect.path)
		return sl_yaml_fail(y, n, "the redirect would lead to where the request came from");
	return 0;
}

static int check_route(struct sl_yaml *y, const yaml_node_t *n, void *object)
{
	struct sl_route_config *r = object;

	if (!!r->upstream.name + !!r->redirect.status + !!r->respond.status != 1)
		return sl_yaml_fail(y, n, "expected one of upstream, redirect, respond");
	if (r->redirect.status)
		r->action = SL_ROUTE_REDIRECT;
	else if (r->respond.status)
		r->action = SL_ROUTE_RESPOND;
	return check_changes(y, n, r);
}

static const struct sl_yaml_key limits_keys[] = {
	{READ_ROUTE("requests", sl_yaml_read_rate, requests)},
	{READ_ROUTE("requests_per_source", sl_yaml_read_rate, requests_per_source)},
	{READ_ROUTE("concurrent", sl_yaml_read_number, concurrent), .max = 1000000},
};
static const struct sl_yaml_map limits_map = {limits_keys, SL_ARRAY_SIZE(limits_keys)};

static const struct sl_yaml_key route_keys[] = {
	{READ_ROUTE("host", read_host, host)},
	{READ_ROUTE("sni", read_sni, host)},
	{READ_ROUTE("path", read_path, path), .min = 1, .max = ROUTE_PATH_MAX},
	{READ_ROUTE("method", sl_yaml_read_list, method), .list = &method_list},
	{READ_ROUTE("header", sl_config_read_field_conditions, header)},
	{READ_ROUTE("upstream", read_upstream_name, upstream)},
	{.name = "limits", .read = sl_yaml_read_map, .map = &limits_map},
	{.name = "rewrite", .read = sl_yaml_read_map, .map = &rewrite_map},
	{READ_ROUTE("request", sl_config_read_field_edits, request)},
	{READ_ROUTE("response", sl_config_read_field_edits, response)},
	{.name = "redirect", .read = read_redirect, .map = &redirect_map},
	{.name = "respond", .read = sl_yaml_read_map, .map = &respond_map},
};
static const struct sl_yaml_map route_map = {route_keys, SL_ARRAY_SIZE(route_keys), check_route};

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
		if (!route->method && !route->header.n && !l->routes[j].method &&
		    !l->routes[j].header.n && same(route->host, l->routes[j].host) &&
		    same(route->path, l->routes[j].path))
			return sl_yaml_fail_at(y, route->line, route->column,
					       "the route at line %u takes all that this one would",
					       l->routes[j].line);
	return 0;
}

/* What only HTTP has. */
static bool needs_http(const struct sl_route_config *r)
{
	return r->path || r->method || r->header.n || r->action != SL_ROUTE_UPSTREAM ||
	       r->rewrite_host || r->rewrite_path || r->request.n_set + r->request.n_add ||
	       r->request.n_remove || r->response.n_set + r->response.n_add || r->response.n_remove;
}

int sl_config_check_conditions(struct sl_yaml *y, const struct sl_listener_config *l)
{
	for (size_t i = 0; i < l->n_routes; i++) {
		const struct sl_route_config *route = &l->routes[i];
		bool by_host = route->host && !route->by_sni;
		const char *wrong = NULL;

		if (l->mode == SL_MODE_TCP && (route->host || needs_http(route)))
			wrong = "mode tcp has one upstream, without conditions";
		else if (l->mode == SL_MODE_SNI && (by_host || needs_http(route)))
			wrong = "mode sni sees nothing but sni";
		else if (l->mode == SL_MODE_HTTP && route->by_sni)
			wrong = "sni is for mode sni; here it is host";
		if (wrong)
			return sl_yaml_fail_at(y, route->line, route->column, "%s", wrong);
	}
	return 0;
}

static int resolve(struct sl_yaml *y, const struct sl_config *c, struct sl_upstream_ref *ref)
{
	char quoted[64];

	if (!ref->name)
		return 0;
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
			l->routes[k].number = c->all_routes++;
			r = check_reachable(y, l, k);
			if (!r)
				r = resolve(y, c, &l->routes[k].upstream);
		}
	}
	return r;
}

static void free_route(struct sl_route_config *r)
{
	for (char **m = r->method; m && *m; m++)
		free(*m);
	free(r->method);
	sl_config_free_field_conditions(&r->header);
	sl_config_free_field_edits(&r->request);
	sl_config_free_field_edits(&r->response);
	free(r->host);
	free(r->path);
	free(r->upstream.name);
	free(r->rewrite_host);
	free(r->rewrite_path);
	free(r->redirect.scheme);
	free(r->redirect.host);
	free(r->redirect.path);
	free(r->respond.body);
}

void sl_config_free_routes(struct sl_listener_config *l)
{
	for (size_t i = 0; i < l->n_routes; i++)
		free_route(&l->routes[i]);
	free(l->routes);
}
