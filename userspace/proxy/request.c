/* SPDX-License-Identifier: BSD-2-Clause */
/* Requests on their way upstream: what they mean, and the head that goes on. The forwarder writes request
 * line, Host, framing and connection options itself; every other field is copied unless it is
 * hop-by-hop. */

#include "proxy/message.h"

static bool is_h2c(struct sl_slice upgrade)
{
	struct sl_slice m;

	while (sl_list_next(&upgrade, &m))
		if (sl_slice_eq_nocase(m, SL_SLICE("h2c")))
			return true;
	return false;
}

/* HTTP/2 in clear would hide requests from us; a body before the switch would be ambiguous. */
static void inspect_upgrade(const struct sl_head *h, struct sl_request *r)
{
	const struct sl_field *f = sl_head_find(h, SL_FIELD_UPGRADE);

	if (!r->hop.upgrade || !f || r->method == SL_METHOD_CONNECT)
		return;
	if (is_h2c(f->value) || r->framing.kind != SL_FRAMING_NONE)
		return;
	r->upgrade = true;
	r->upgrade_value = f->value;
}

/* RFC 9110 7.6.2: for OPTIONS and TRACE; ignored elsewhere. A malformed value counts as absent. */
static void inspect_max_forwards(const struct sl_head *h, struct sl_request *r)
{
	const struct sl_field *f = sl_head_find(h, SL_FIELD_MAX_FORWARDS);

	if (!f || (r->method != SL_METHOD_OPTIONS && r->method != SL_METHOD_TRACE))
		return;
	if (!f->value.len || f->value.len > 9)
		return;
	for (size_t i = 0; i < f->value.len; i++) {
		if (f->value.p[i] < '0' || f->value.p[i] > '9')
			return;
		r->max_forwards = r->max_forwards * 10 + (uint32_t)(f->value.p[i] - '0');
	}
	r->has_max_forwards = true;
}

enum sl_http_error sl_request_inspect(const struct sl_head *h, struct sl_request *ret)
{
	struct sl_request r = {.method = h->method, .minor = h->minor};
	enum sl_http_error e;

	e = sl_target_parse(h, &r.target);
	if (!e)
		e = sl_host_field(h, &r.host);
	if (!e)
		e = sl_request_framing(h, &r.framing);
	if (!e)
		e = sl_head_hop(h, &r.hop);
	if (e)
		return e;
	/* RFC 9110 9.3.6: content in CONNECT has no meaning; whoever sends some wants confusion. */
	if (r.method == SL_METHOD_CONNECT && r.framing.kind != SL_FRAMING_NONE &&
	    (r.framing.kind != SL_FRAMING_LENGTH || r.framing.length))
		return SL_HTTP_BAD_CONTENT_LENGTH;
	if (r.target.form == SL_TARGET_ABSOLUTE || r.target.form == SL_TARGET_AUTHORITY)
		r.authority = r.target.authority;
	r.port = r.authority.has_port ? r.authority.port : 80;
	inspect_upgrade(h, &r);
	inspect_max_forwards(h, &r);
	*ret = r;
	return SL_HTTP_OK;
}

/* A member of Via is "[name/]version received-by [comment]" (RFC 9110 7.6.3). */
static bool via_names(struct sl_slice member, struct sl_slice name)
{
	const char *space = memchr(member.p, ' ', member.len);
	struct sl_slice by;
	size_t end = 0;

	if (!space)
		return false;
	by = sl_slice(space + 1, (size_t)(member.p + member.len - space - 1));
	while (by.len && by.p[0] == ' ')
		by = sl_slice(by.p + 1, by.len - 1);
	while (end < by.len && by.p[end] != ' ' && by.p[end] != '\t')
		end++;
	return sl_slice_eq_nocase(sl_slice(by.p, end), name);
}

bool sl_request_loops(const struct sl_head *h, const char *pseudonym)
{
	struct sl_slice name = sl_slice_str(pseudonym), list, member;

	for (unsigned i = 0; i < h->n_fields; i++) {
		if (h->field[i].id != SL_FIELD_VIA)
			continue;
		list = h->field[i].value;
		while (sl_list_next(&list, &member))
			if (via_names(member, name))
				return true;
	}
	return false;
}

static bool write_request_line(const struct sl_head *h, const struct sl_request *r,
			       const struct sl_forwarding *f, struct sl_buf *out)
{
	struct sl_slice path = sl_slice(r->target.path_query.p + f->path_cut,
					r->target.path_query.len - f->path_cut);
	bool ok = sl_buf_append_slice(out, h->method_token) && sl_buf_append_str(out, " ");

	if (!r->target.path_query.len && r->method == SL_METHOD_OPTIONS)
		return ok && sl_buf_append_str(out, "* HTTP/1.1\r\n"); /* RFC 9112 3.2.4 */
	ok = ok && sl_buf_append_slice(out, f->path_prefix);
	if (!f->path_prefix.len && (!path.len || path.p[0] != '/'))
		ok = ok && sl_buf_append_str(out, "/");
	return ok && sl_buf_append_slice(out, path) && sl_buf_append_str(out, " HTTP/1.1\r\n");
}

static bool write_field(const struct sl_field *f, struct sl_buf *out)
{
	return sl_buf_append_slice(out, f->name) && sl_buf_append_str(out, ": ") &&
	       sl_buf_append_slice(out, f->value) && sl_buf_append_str(out, "\r\n");
}

/* The forwarder writes traceparent itself; a tracestate without one that is valid means nothing. */
static bool is_trace_over(const struct sl_trace *t, struct sl_slice name)
{
	return t && (sl_slice_eq_nocase(name, SL_SLICE("traceparent")) ||
		     (!t->came && sl_slice_eq_nocase(name, SL_SLICE("tracestate"))));
}

static bool write_trace(const struct sl_trace *t, struct sl_buf *out)
{
	return !t || !t->there ||
	       (sl_buf_append_str(out, "traceparent: ") &&
		sl_buf_append_slice(out, sl_slice(t->text, sizeof(t->text))) &&
		sl_buf_append_str(out, "\r\n"));
}

/* Fields that the forwarder writes itself, or that end here. */
static bool forwards(const struct sl_head *h, const struct sl_field *f, const struct sl_request *r,
		     const struct sl_forwarding *w)
{
	if (sl_edits_drop(w->edits, f->name) || is_trace_over(w->trace, f->name))
		return false;
	switch (f->id) {
	case SL_FIELD_HOST:
	case SL_FIELD_CONTENT_LENGTH:
	case SL_FIELD_TRANSFER_ENCODING:
	case SL_FIELD_PROXY_AUTHORIZATION:
		return false;
	case SL_FIELD_MAX_FORWARDS:
		return !r->has_max_forwards;
	case SL_FIELD_EXPECT:
		return r->hop.expect_continue;
	case SL_FIELD_FORWARDED:
	case SL_FIELD_X_FORWARDED_FOR:
	case SL_FIELD_X_FORWARDED_PROTO:
		return w->forwarded == SL_FORWARDED_NONE || w->forwarded_trust;
	default:
		return !sl_head_drops(h, f);
	}
}

static bool write_framing(const struct sl_framing *f, struct sl_buf *out)
{
	switch (f->kind) {
	case SL_FRAMING_LENGTH:
		return sl_buf_append_str(out, "Content-Length: ") &&
		       sl_buf_append_number(out, f->length, 10) && sl_buf_append_str(out, "\r\n");
	case SL_FRAMING_CHUNKED:
		return sl_buf_append_str(out, "Transfer-Encoding: chunked\r\n");
	default:
		return true;
	}
}

/* A trusted client's own word on its scheme stands alone: servers take it for one value, not a list. */
static bool write_scheme(const struct sl_head *h, const struct sl_forwarding *f, struct sl_buf *out)
{
	if (f->forwarded_trust && sl_head_find(h, SL_FIELD_X_FORWARDED_PROTO))
		return true;
	return sl_buf_append_str(out, "X-Forwarded-Proto: http\r\n");
}

static bool write_forwarded(const struct sl_head *h, const struct sl_forwarding *f,
			    struct sl_buf *out)
{
	char host[SL_ADDR_STR_MAX];
	bool v6 = f->client.family == AF_INET6, ok = true;

	if (f->forwarded == SL_FORWARDED_NONE)
		return true;
	sl_addr_format_host(&f->client, host);
	if (f->forwarded == SL_FORWARDED_RFC7239 || f->forwarded == SL_FORWARDED_BOTH)
		ok = sl_buf_append_str(out, v6 ? "Forwarded: for=\"[" : "Forwarded: for=") &&
		     sl_buf_append_str(out, host) &&
		     sl_buf_append_str(out, v6 ? "]\";proto=http\r\n" : ";proto=http\r\n");
	if (f->forwarded == SL_FORWARDED_XFF || f->forwarded == SL_FORWARDED_BOTH)
		ok = ok && sl_buf_append_str(out, "X-Forwarded-For: ") &&
		     sl_buf_append_str(out, host) && sl_buf_append_str(out, "\r\n") &&
		     write_scheme(h, f, out);
	return ok;
}

static bool write_connection(const struct sl_request *r, struct sl_buf *out)
{
	if (r->upgrade)
		return sl_buf_append_str(out, "Connection: Upgrade\r\nUpgrade: ") &&
		       sl_buf_append_slice(out, r->upgrade_value) && sl_buf_append_str(out, "\r\n");
	if (r->hop.te_trailers)
		return sl_buf_append_str(out, "Connection: TE\r\nTE: trailers\r\n");
	return true;
}

bool sl_message_end_head(struct sl_buf *out, unsigned minor, const char *pseudonym)
{
	return sl_buf_append_str(out, "Via: 1.") && sl_buf_append_number(out, minor, 10) &&
	       sl_buf_append_str(out, " ") && sl_buf_append_str(out, pseudonym) &&
	       sl_buf_append_str(out, "\r\n\r\n");
}

bool sl_request_write(const struct sl_head *h, const struct sl_request *r,
		      const struct sl_forwarding *f, struct sl_buf *out)
{
	struct sl_slice host = f->host.len ? f->host : r->authority.text;
	bool ok = write_request_line(h, r, f, out) && sl_buf_append_str(out, "Host: ") &&
		  sl_buf_append_slice(out, host) && sl_buf_append_str(out, "\r\n");

	for (unsigned i = 0; i < h->n_fields && ok; i++)
		if (forwards(h, &h->field[i], r, f))
			ok = write_field(&h->field[i], out);
	ok = ok && write_framing(&r->framing, out) && write_connection(r, out) &&
	     write_forwarded(h, f, out);
	ok = ok && write_trace(f->trace, out);
	if (ok && f->request_id.len)
		ok = sl_buf_append_str(out, "X-Request-ID: ") &&
		     sl_buf_append_slice(out, f->request_id) && sl_buf_append_str(out, "\r\n");
	ok = ok && sl_edits_write(f->edits, out);
	if (ok && r->has_max_forwards)
		ok = sl_buf_printf(out, "Max-Forwards: %u\r\n", r->max_forwards - 1);
	return ok && sl_message_end_head(out, r->minor, f->pseudonym);
}
