/* SPDX-License-Identifier: BSD-2-Clause */
/* Routes, compiled: sorted by host pattern, then in the order in which they are tried. A host's routes
 * are found by binary search, one for its name and one for each suffix of it, the longest first; then
 * they are tried one by one. */

#include "proxy/route.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

#define HOST_MAX 255

struct sl_routes {
	size_t n;
	const struct sl_route_config *route[];
};

/* Patterns as keys: exact names, "*.suffix" and "" don't collide. */
static const char *host_of(const struct sl_route_config *route)
{
	return route->host ? route->host : "";
}

static size_t conditions_of(const struct sl_route_config *route)
{
	return (route->method ? 1 : 0) + route->header.n;
}

static int compare(const void *left, const void *right)
{
	const struct sl_route_config *a = *(const struct sl_route_config *const *)left;
	const struct sl_route_config *b = *(const struct sl_route_config *const *)right;
	size_t a_len = a->path ? strlen(a->path) + 1 : 0, b_len = b->path ? strlen(b->path) + 1 : 0;
	int r = strcmp(host_of(a), host_of(b));

	if (r)
		return r;
	if (a_len != b_len)
		return a_len > b_len ? -1 : 1;
	if (conditions_of(a) != conditions_of(b))
		return conditions_of(a) > conditions_of(b) ? -1 : 1;
	return a < b ? -1 : 1; /* both are in the listener's array, in the file's order */
}

int sl_routes_new(const struct sl_listener_config *l, struct sl_routes **ret)
{
	struct sl_routes *r = calloc(1, sizeof(*r) + l->n_routes * sizeof(r->route[0]));

	if (!r)
		return -ENOMEM;
	r->n = l->n_routes;
	for (size_t i = 0; i < r->n; i++)
		r->route[i] = &l->routes[i];
	qsort(r->route, r->n, sizeof(r->route[0]), compare);
	*ret = r;
	return 0;
}

void sl_routes_free(struct sl_routes *r)
{
	free(r);
}

/* The first route of a host pattern; r->n if there is none. */
static size_t first_of(const struct sl_routes *r, const char *host)
{
	size_t from = 0, to = r->n;

	while (from < to) {
		size_t middle = from + (to - from) / 2;

		if (strcmp(host_of(r->route[middle]), host) < 0)
			from = middle + 1;
		else
			to = middle;
	}
	return from < r->n && !strcmp(host_of(r->route[from]), host) ? from : r->n;
}

/* name has room for a "*" before it, at name[-1]. */
static size_t first_for(const struct sl_routes *r, char *name)
{
	size_t i = first_of(r, name);

	for (char *dot = strchr(name, '.'); i == r->n && dot; dot = strchr(dot + 1, '.')) {
		dot[-1] = '*'; /* what was there is of no more use */
		i = first_of(r, dot - 1);
	}
	return i < r->n ? i : first_of(r, "");
}

static bool matches_path(const struct sl_route_config *route, struct sl_slice path)
{
	size_t len = route->path ? strlen(route->path) : 0;

	if (!route->path)
		return true;
	if (!path.len || path.len < len || memcmp(path.p, route->path, len))
		return false;
	return path.len == len || path.p[len] == '/' || path.p[len] == '?';
}

static bool matches_method(const struct sl_route_config *route, const struct sl_head *h)
{
	for (char **m = route->method; m && *m; m++)
		if (sl_slice_eq(sl_slice_str(*m), h->method_token))
			return true;
	return !route->method;
}

static bool has_field(const struct sl_head *h, const struct sl_field_value *wanted)
{
	for (unsigned i = 0; i < h->n_fields; i++)
		if (sl_slice_eq_nocase(h->field[i].name, sl_slice_str(wanted->name)) &&
		    (!wanted->value || sl_slice_eq(h->field[i].value, sl_slice_str(wanted->value))))
			return true;
	return false;
}

static bool matches_head(const struct sl_route_config *route, const struct sl_head *h)
{
	if (!matches_method(route, h))
		return false;
	for (size_t i = 0; i < route->header.n; i++)
		if (!has_field(h, &route->header.field[i]))
			return false;
	return true;
}

const struct sl_route_config *sl_routes_find(const struct sl_routes *r,
					     const struct sl_route_query *q)
{
	char buf[HOST_MAX + 2] = "*", *name = buf + 1;
	size_t len = q->host.len;
	size_t i;

	if (len && q->host.p[len - 1] == '.')
		len--;
	if (len > HOST_MAX)
		return NULL;
	for (size_t k = 0; k < len; k++)
		name[k] = sl_ascii_lower(q->host.p[k]);
	name[len] = '\0';
	i = len ? first_for(r, name) : first_of(r, "");
	if (i == r->n)
		return NULL;
	for (const char *host = host_of(r->route[i]); i < r->n; i++) {
		if (strcmp(host_of(r->route[i]), host))
			break;
		if (matches_path(r->route[i], q->path) && matches_head(r->route[i], q->head))
			return r->route[i];
	}
	return NULL;
}

/* The length of a dot at p, plain or encoded; 0: there is none. */
static size_t dot_at(const char *p, const char *end)
{
	if (p < end && *p == '.')
		return 1;
	return end - p >= 3 && p[0] == '%' && p[1] == '2' && (p[2] | 0x20) == 'e' ? 3 : 0;
}

static bool is_separator(const char *p, const char *end)
{
	if (p >= end || *p == '/')
		return true;
	return end - p >= 3 && p[0] == '%' && p[1] == '2' && (p[2] | 0x20) == 'f';
}

bool sl_path_is_ambiguous(struct sl_slice path)
{
	const char *query = path.len ? memchr(path.p, '?', path.len) : NULL;
	const char *end = query ? query : path.p + path.len;

	for (const char *p = path.p; p < end; p++) {
		const char *at;

		if (*p == '\\')
			return true;
		if (!is_separator(p, end))
			continue;
		at = p + (*p == '/' ? 1 : 3);
		for (int dots = 0; dots < 2 && dot_at(at, end); dots++) {
			at += dot_at(at, end);
			if (is_separator(at, end))
				return true;
		}
	}
	return false;
}
