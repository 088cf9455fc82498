/* SPDX-License-Identifier: BSD-2-Clause */
/* What comes before anything else: a PROXY header from those who are configured to send one, then, in
 * mode sni, the ClientHello. Both must be there in full within timeouts.header after accept; what a
 * ClientHello was read from goes on unchanged. Also the other way: a PROXY header to servers that
 * want one. */

#include "proxy/conn.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "proxy/client_hello.h"
#include "proxy/proxy_header.h"

bool sl_preface_begin(struct sl_conn *c)
{
	const struct sl_listener_config *l = c->listener->config;

	for (size_t i = 0; i < l->n_proxy_from && !c->proxied; i++)
		c->proxied = sl_cidr_contains(&l->proxy_from[i], &c->source);
	return c->proxied || l->mode == SL_MODE_TCP || l->mode == SL_MODE_SNI;
}

static struct sl_slice input(struct sl_conn *c)
{
	return c->in ? sl_slice(sl_buf_head(c->in), sl_buf_len(c->in)) : (struct sl_slice){0};
}

/* True if there is more now. Else it waits, or has ended. */
static bool read_more(struct sl_conn *c)
{
	ssize_t n = sl_conn_read(c);

	if (n > 0)
		return true;
	if (n == -ENOBUFS) {
		sl_conn_count_refused(c, SL_REFUSED_MEMORY);
		sl_conn_close(c, SL_CLOSE_RESET);
	} else if (n < 0 || c->input_ended) {
		sl_conn_close(c, n < 0 ? SL_CLOSE_RESET : SL_CLOSE_GRACEFUL);
	}
	return false;
}

/* --- PROXY --- */

static void refuse_header(struct sl_conn *c)
{
	sl_conn_count_refused(c, SL_REFUSED_HEADER);
	sl_conn_close(c, SL_CLOSE_RESET);
}

/* What a server is told on, beside the client: where that client went, and extensions. */
static bool keep_told(struct sl_conn *c, const struct sl_proxy_header *h)
{
	c->told = malloc(sizeof(*c->told) + h->tlvs.len);
	if (!c->told) {
		sl_conn_count_refused(c, SL_REFUSED_MEMORY);
		sl_conn_close(c, SL_CLOSE_RESET);
		return false;
	}
	c->told->destination = h->dst;
	c->told->len = (uint16_t)h->tlvs.len;
	if (h->tlvs.len)
		memcpy(c->told->tlvs, h->tlvs.p, h->tlvs.len);
	return true;
}

/* False if it waits, or the connection has ended. */
static bool take_header(struct sl_conn *c)
{
	struct sl_proxy_header h;
	enum sl_proxy_result r;

	while ((r = sl_proxy_header_read(input(c), &h)) == SL_PROXY_MORE)
		if (!read_more(c))
			return false;
	if (r != SL_PROXY_OK) {
		refuse_header(c);
		return false;
	}
	if (h.src.family != AF_UNSPEC && !keep_told(c, &h))
		return false;
	sl_buf_consume(c->in, (uint32_t)h.len);
	if (!sl_buf_len(c->in))
		c->in = sl_buf_put(&c->worker->buffers, c->in);
	c->proxied = false;
	return h.src.family == AF_UNSPEC || sl_conn_set_source(c, &h.src);
}

static size_t write_header(enum sl_proxy_protocol version, const struct sl_conn *c,
			   char out[SL_PROXY_HEADER_MAX])
{
	struct sl_slice tlvs = {0};
	struct sl_endpoint e = {0};

	if (c->told) {
		e.local = c->told->destination;
		tlvs = sl_slice(c->told->tlvs, c->told->len);
	} else {
		c->client->ops->endpoint(c->client, &e);
	}
	sl_addr_unmap(&e.local);
	return version == SL_PROXY_PROTOCOL_V1
		       ? sl_proxy_header_write_v1(out, &c->source, &e.local)
		       : sl_proxy_header_write_v2(out, &c->source, &e.local, tlvs);
}

bool sl_preface_send(struct sl_conn *c, const struct sl_upstream_config *u, struct sl_stream *s)
{
	char header[SL_PROXY_HEADER_MAX];
	struct iovec iov = {.iov_base = header};

	if (!u->proxy_protocol)
		return true;
	iov.iov_len = write_header(u->proxy_protocol, c, header);
	sl_count(c->worker->stats.upstream_bytes_out_total, iov.iov_len);
	return s->ops->write(s, &iov, 1) == (ssize_t)iov.iov_len;
}

/* --- ClientHello --- */

static void take_hello(struct sl_conn *c)
{
	struct sl_hello hello = {0};
	enum sl_hello_result r;

	while ((r = sl_hello_read(input(c), &hello)) == SL_HELLO_MORE)
		if (!read_more(c))
			return;
	if (r == SL_HELLO_NAME || r == SL_HELLO_NO_NAME)
		sl_passthrough_begin(c, sl_slice(hello.name, hello.name_len));
	else
		sl_passthrough_refuse_hello(c, r);
}

void sl_preface_run(struct sl_conn *c)
{
	if (c->proxied && !take_header(c))
		return;
	switch (c->listener->config->mode) {
	case SL_MODE_TCP:
		sl_passthrough_begin(c, (struct sl_slice){0});
		break;
	case SL_MODE_SNI:
		take_hello(c);
		break;
	case SL_MODE_FORWARD:
	case SL_MODE_HTTP:
		sl_conn_set_state(c, c->in ? SL_CONN_HEAD : SL_CONN_IDLE);
		sl_conn_schedule(c);
		break;
	}
}
