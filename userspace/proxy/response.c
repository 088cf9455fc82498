/* SPDX-License-Identifier: BSD-2-Clause */
/* Responses on their way to the client: what they mean, and the head that goes on. */

#include "proxy/message.h"

enum sl_http_error sl_response_inspect(const struct sl_head *h, enum sl_method request_method,
				       struct sl_response *ret)
{
	struct sl_response r = {.status = h->status};
	struct sl_hop hop;
	enum sl_http_error e;

	e = sl_response_framing(h, request_method, &r.framing);
	if (!e)
		e = sl_head_hop(h, &hop);
	if (e)
		return e;
	r.interim = r.status < 200 && r.status != 101;
	r.persistent = hop.persistent && r.framing.kind != SL_FRAMING_CLOSE;
	*ret = r;
	return SL_HTTP_OK;
}

/* Content-Length that describes a body which isn't sent: to HEAD, and with 304 (RFC 9110 8.6). */
static bool describes_length(const struct sl_response *r)
{
	return r->framing.kind == SL_FRAMING_NONE && r->status >= 200 && r->status != 204;
}

static bool forwards(const struct sl_head *h, const struct sl_field *f, const struct sl_response *r,
		     bool *length_written)
{
	switch (f->id) {
	case SL_FIELD_CONTENT_LENGTH:
		if (!describes_length(r) || *length_written)
			return false;
		*length_written = true; /* equal repeats become one */
		return true;
	case SL_FIELD_TRANSFER_ENCODING:
		return false;
	case SL_FIELD_UPGRADE:
		return r->status == 101 || r->status == 426;
	default:
		return !sl_head_drops(h, f);
	}
}

static bool write_framing(const struct sl_response *r, const struct sl_response_plan *plan,
			  struct sl_buf *out)
{
	if (plan->chunked)
		return sl_buf_append_str(out, "Transfer-Encoding: chunked\r\n");
	if (r->framing.kind == SL_FRAMING_LENGTH)
		return sl_buf_append_str(out, "Content-Length: ") &&
		       sl_buf_append_number(out, r->framing.length, 10) &&
		       sl_buf_append_str(out, "\r\n");
	return true;
}

static bool write_connection(const struct sl_response *r, const struct sl_response_plan *plan,
			     struct sl_buf *out)
{
	if (r->status == 101)
		return sl_buf_append_str(out, "Connection: Upgrade\r\n");
	if (r->interim)
		return true;
	if (r->status == 426)
		return sl_buf_append_str(out, plan->close ? "Connection: Upgrade, close\r\n"
							  : "Connection: Upgrade\r\n");
	return !plan->close || sl_buf_append_str(out, "Connection: close\r\n");
}

bool sl_response_write(const struct sl_head *h, const struct sl_response *r,
		       const struct sl_response_plan *plan, const char *pseudonym,
		       struct sl_buf *out)
{
	bool length_written = false;
	bool ok = sl_buf_append_str(out, "HTTP/1.1 ") && sl_buf_append_number(out, r->status, 10) &&
		  sl_buf_append_str(out, " ") && sl_buf_append_slice(out, h->reason) &&
		  sl_buf_append_str(out, "\r\n");

	for (unsigned i = 0; i < h->n_fields && ok; i++) {
		const struct sl_field *f = &h->field[i];

		if (!sl_edits_drop(plan->edits, f->name) && forwards(h, f, r, &length_written))
			ok = sl_buf_append_slice(out, f->name) && sl_buf_append_str(out, ": ") &&
			     sl_buf_append_slice(out, f->value) && sl_buf_append_str(out, "\r\n");
	}
	return ok && write_framing(r, plan, out) && write_connection(r, plan, out) &&
	       sl_edits_write(plan->edits, out) && sl_message_end_head(out, h->minor, pseudonym);
}
