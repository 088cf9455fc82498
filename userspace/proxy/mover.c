/* SPDX-License-Identifier: BSD-2-Clause */
/* Bodies on their way: decoded from the framing they came in, encoded in the one they leave in. Chunk
 * boundaries and extensions don't survive: what goes on has one reading only. */

#include "proxy/message.h"

/* "ffffffff\r\n" before a chunk and CRLF behind it. */
#define CHUNK_OVERHEAD	 12
/* "0\r\n" and the final empty line. */
#define LAST_CHUNK_BYTES 5

void sl_mover_init(struct sl_mover *m, const struct sl_framing *f, bool chunked)
{
	*m = (struct sl_mover){.chunked = chunked};
	sl_body_init(&m->body, f);
	if (!chunked && f->kind != SL_FRAMING_CHUNKED)
		m->complete = sl_body_ended(&m->body);
}

static void put_content(struct sl_mover *m, struct sl_slice content, struct sl_buf *out)
{
	if (m->chunked) {
		sl_buf_append_number(out, content.len, 16);
		sl_buf_append_str(out, "\r\n");
	}
	sl_buf_append_slice(out, content);
	if (m->chunked)
		sl_buf_append_str(out, "\r\n");
}

/* A trailer section that does not fit is dropped as a whole, which RFC 9110 6.5.1 allows. */
static void put_trailers(struct sl_mover *m, struct sl_slice section, struct sl_buf *out)
{
	struct sl_head trailers;

	trailers.n_fields = 0;
	m->error = sl_trailer_parse(section, &trailers);
	if (m->error || !m->chunked)
		return;
	sl_buf_append_str(out, "0\r\n");
	for (unsigned i = 0; i < trailers.n_fields; i++) {
		const struct sl_field *f = &trailers.field[i];
		size_t need = f->name.len + f->value.len + 4 + 2;

		if (sl_field_forbidden_in_trailer(f->id, f->name) || need > sl_buf_room(out))
			continue;
		sl_buf_append_slice(out, f->name);
		sl_buf_append_str(out, ": ");
		sl_buf_append_slice(out, f->value);
		sl_buf_append_str(out, "\r\n");
	}
	sl_buf_append_str(out, "\r\n");
}

/* Handles one event; false when nothing more can be done now. */
static bool step(struct sl_mover *m, struct sl_buf *in, struct sl_buf *out)
{
	uint32_t room = sl_buf_room(out);
	uint32_t reserve = CHUNK_OVERHEAD + LAST_CHUNK_BYTES;
	struct sl_slice data = {0};
	enum sl_body_event event;
	size_t used, len;

	if (room <= reserve)
		return false;
	len = sl_min(sl_buf_len(in), room - reserve);
	event = sl_body_decode(&m->body, sl_buf_head(in), len, &used, &data);
	if (event == SL_BODY_DATA)
		put_content(m, data, out);
	else if (event == SL_BODY_TRAILER)
		put_trailers(m, data, out);
	else if (event == SL_BODY_BAD)
		m->error = m->body.error;
	sl_buf_consume(in, (uint32_t)used);
	if (event == SL_BODY_END || (event == SL_BODY_TRAILER && !m->error) ||
	    (m->body.kind == SL_FRAMING_LENGTH && sl_body_ended(&m->body)))
		m->complete = true;
	return !m->error && !m->complete && event != SL_BODY_MORE;
}

bool sl_mover_move(struct sl_mover *m, struct sl_buf *in, struct sl_buf *out)
{
	while (!m->complete && !m->error && step(m, in, out))
		continue;
	return !m->error;
}

bool sl_mover_passes(struct sl_mover *m, const struct sl_buf *in)
{
	struct sl_slice data;
	size_t used;

	if (m->chunked || m->body.kind == SL_FRAMING_CHUNKED)
		return false;
	if (m->body.kind == SL_FRAMING_LENGTH && m->body.remaining < sl_buf_len(in))
		return false;
	sl_body_decode(&m->body, in->data + in->start, sl_buf_len(in), &used, &data);
	m->complete = sl_body_ended(&m->body);
	return true;
}

bool sl_mover_end(struct sl_mover *m, struct sl_buf *out)
{
	if (m->complete)
		return true;
	if (m->body.kind != SL_FRAMING_CLOSE)
		return false;
	if (m->chunked && !sl_buf_append_str(out, "0\r\n\r\n"))
		return false;
	m->complete = true;
	return true;
}
