/* SPDX-License-Identifier: BSD-2-Clause */
/* What a reload can't change, because it was made once for the whole life of the process. A file that
 * asks for another value is refused by the name of the key, so what stands in the file is what runs. */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/util.h"
#include "proxy/server_state.h"

static bool same_text(const char *a, const char *b)
{
	return a && b ? !strcmp(a, b) : a == b;
}

static bool same_list(char *const *a, char *const *b)
{
	size_t i = 0;

	if (!a || !b)
		return a == b;
	while (a[i] && b[i] && !strcmp(a[i], b[i]))
		i++;
	return !a[i] && !b[i];
}

static bool same_resolver(const struct sl_resolver_config *a, const struct sl_resolver_config *b)
{
	return same_list(a->servers, b->servers) && a->timeout_ms == b->timeout_ms &&
	       a->tries == b->tries && a->cache == b->cache &&
	       a->negative_ttl_ms == b->negative_ttl_ms && a->max_ttl_ms == b->max_ttl_ms;
}

static bool same_ports(const struct sl_port_range *a, const struct sl_port_range *b)
{
	return a->from == b->from && a->to == b->to;
}

static bool same_dpdk(const struct sl_dpdk_section *a, const struct sl_dpdk_section *b)
{
	bool same = a->n_ports == b->n_ports && a->stack == b->stack && a->memory == b->memory &&
		    a->huge_pages == b->huge_pages && a->telemetry == b->telemetry &&
		    same_text(a->file_prefix, b->file_prefix);

	for (size_t i = 0; same && i < a->n_ports; i++) {
		const struct sl_dpdk_port_section *p = &a->ports[i], *q = &b->ports[i];

		same = same_text(p->device, q->device) && p->driver == q->driver &&
		       p->n_addresses == q->n_addresses &&
		       !memcmp(p->addresses, q->addresses,
			       p->n_addresses * sizeof(p->addresses[0])) &&
		       !memcmp(&p->gateway, &q->gateway, sizeof(p->gateway)) &&
		       !memcmp(&p->gateway6, &q->gateway6, sizeof(p->gateway6)) &&
		       same_text(p->tap, q->tap);
	}
	return same;
}

/* Engines load programs at the start, where a listener may use them. */
static bool has_engine(const struct sl_daemon *s, const char *name)
{
	for (size_t i = 0; s->shared.engines[i]; i++)
		if (!strcmp(s->shared.engines[i]->name, name))
			return true;
	return false;
}

static bool has_engines(const struct sl_daemon *s, const struct sl_config *c)
{
	for (size_t i = 0; i < c->n_listeners; i++) {
		enum sl_splice_choice splice = c->listeners[i].splice;

		if (splice == SL_SPLICE_AUTO && s->engines_of_auto)
			continue;
		if (splice == SL_SPLICE_AUTO ||
		    (splice == SL_SPLICE_PACKET && !has_engine(s, "packet")) ||
		    (splice == SL_SPLICE_SOCKMAP && !has_engine(s, "sockmap")))
			return false;
	}
	return true;
}

static bool splices_automatically(const struct sl_config *c)
{
	for (size_t i = 0; i < c->n_listeners; i++)
		if (c->listeners[i].splice == SL_SPLICE_AUTO)
			return true;
	return false;
}

void sl_server_note_fixed(struct sl_daemon *s, const struct sl_config *c)
{
	s->shared.connections = c->limits.connections;
	s->first_pool = c->pool.idle;
	s->first_head = c->limits.head;
	s->engines_of_auto = splices_automatically(c);
}

int sl_server_check_fixed(const struct sl_daemon *s, const struct sl_config *c,
			  struct sl_config_error *ret_error)
{
	const struct sl_config *now = s->config;
	const struct {
		const char *key;
		bool changed;
	} rows[] = {
		{"workers", c->workers != now->workers},
		{"admin", !same_text(c->admin, now->admin)},
		{"metrics", memcmp(&c->metrics, &now->metrics, sizeof(c->metrics))},
		{"transport", c->transport != now->transport},
		{"dpdk", !same_dpdk(&c->dpdk, &now->dpdk)},
		{"user", !same_text(c->user, now->user)},
		{"seccomp", c->seccomp != now->seccomp},
		{"resolver", !same_resolver(&c->resolver, &now->resolver)},
		{"limits.connections (more than at the start)",
		 c->limits.connections > s->shared.connections},
		{"limits.head (more than at the start)", c->limits.head > s->first_head},
		{"limits.rate_keys", c->limits.rate_keys != now->limits.rate_keys},
		{"pool.idle (more than at the start)", c->pool.idle > s->first_pool},
		{"splice.pairs", c->splice.pairs != now->splice.pairs},
		{"splice.ports", !same_ports(&c->splice.ports, &now->splice.ports)},
		{"splice.mss", c->splice.mss != now->splice.mss},
		{"splice.hook", c->splice.hook != now->splice.hook},
		{"splice.devices", !same_list(c->splice.devices, now->splice.devices)},
		{"splice.time_wait", c->splice.time_wait_ms != now->splice.time_wait_ms},
		{"splice (an engine that was not loaded at the start)", !has_engines(s, c)},
	};

	for (size_t i = 0; i < SL_ARRAY_SIZE(rows); i++) {
		if (!rows[i].changed)
			continue;
		snprintf(ret_error->text, sizeof(ret_error->text),
			 "%s: %s can't change while sluice runs: restart or upgrade it", c->file,
			 rows[i].key);
		return -EINVAL;
	}
	return 0;
}
