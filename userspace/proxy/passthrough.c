/* SPDX-License-Identifier: BSD-2-Clause */
/* Connections that pass as they are, in mode tcp and mode sni: a route, a lease on a new connection of its
 * upstream, a tunnel. Who is refused is told in TLS if it speaks TLS, else by RST: there is no other
 * language in common. */

#include "proxy/conn.h"

#include "base/probe.h"
#include "base/util.h"

/* A record for the log even of what is refused. NULL: the connection was closed for lack of memory. */
static struct sl_exchange *begin(struct sl_conn *c, struct sl_slice name)
{
	struct sl_exchange *x = c->x = sl_exchange_new(c);

	if (x)
		x->text = malloc(name.len + 1);
	if (!x || !x->text) {
		sl_conn_count_refused(c, SL_REFUSED_MEMORY);
		sl_conn_close(c, SL_CLOSE_RESET);
		return NULL;
	}
	if (name.len)
		memcpy(x->text, name.p, name.len);
	x->passthrough = true;
	x->host = x->target = sl_slice(x->text, name.len);
	x->port = sl_addr_port(&c->listener->config->listen);
	x->method = c->listener->config->mode == SL_MODE_SNI ? SL_SLICE("TLS") : SL_SLICE("TCP");
	return x;
}

static void refuse(struct sl_conn *c, struct sl_slice alert, const char *reason)
{
	c->x->reason = reason;
	sl_conn_count_refused(c, SL_REFUSED_HELLO);
	sl_exchange_free(SL_TAKE_PTR(c->x));
	sl_conn_dismiss(c, alert);
}

void sl_passthrough_refuse_hello(struct sl_conn *c, enum sl_hello_result r)
{
	struct sl_exchange *x = begin(c, (struct sl_slice){0});

	if (!x)
		return;
	if (r == SL_HELLO_NOT_TLS) { /* it would not understand an alert */
		x->reason = sl_hello_result_name(r);
		sl_conn_count_refused(c, SL_REFUSED_HELLO);
		sl_conn_close(c, SL_CLOSE_RESET);
	} else {
		refuse(c, sl_hello_decode_error, sl_hello_result_name(r));
	}
}

void sl_passthrough_begin(struct sl_conn *c, struct sl_slice name)
{
	const struct sl_route_query q = {.host = name};
	struct sl_exchange *x = begin(c, name);

	if (!x)
		return;
	x->route = sl_routes_find(c->listener->routes, &q);
	if (!x->route) {
		refuse(c, sl_hello_unrecognized_name, "no-route");
		return;
	}
	SL_PROBE3(route, c->id, c->listener->config->name, x->route->upstream.name);
	if (!name.len)
		x->host = x->target = sl_slice_str(x->route->upstream.name);
	if (sl_exchange_throttle(c))
		sl_exchange_connect(c);
}
