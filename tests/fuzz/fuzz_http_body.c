/* SPDX-License-Identifier: BSD-2-Clause */
/* Bodies: random splits give the content and the verdict of the whole; slices lie in the buffer.
 * First byte: 'l' for a body of as many bytes as the second says, 'e' for one until the end of the
 * connection, anything else for chunked. The rest is the body. */

#include "fuzz.h"

#include <string.h>

#include "base/util.h"
#include "http/body.h"

const char *const fuzz_words[] = {
	"0\r\n\r\n",
	"1\r\nx\r\n",
	"5\r\nhello\r\n",
	"\r\n",
	";a=b",
	";a=\"b\\\"\"",
	" ; c",
	"000",
	"ffffffffffffffff",
	"fffffffffffffff",
	"A: b\r\n",
	"Content-Length: 5\r\n",
	NULL,
};

struct result {
	uint8_t content[65536];
	size_t n, used;
	size_t trailer_len;
	enum sl_body_event event; /* END, BAD, or MORE when the bytes ran out */
	enum sl_http_error error;
};

static struct result whole, parts;
static struct sl_head trailer;

static void take(struct result *r, enum sl_body_event e, struct sl_slice s, const char *at,
		 size_t used)
{
	FUZZ_CHECK(s.len && s.p >= at && s.p + s.len == at + used);
	if (e == SL_BODY_TRAILER) {
		enum sl_http_error error = sl_trailer_parse(s, &trailer);

		FUZZ_CHECK(error == SL_HTTP_OK || error == SL_HTTP_TOO_MANY_FIELDS);
		r->trailer_len = s.len;
		return;
	}
	FUZZ_CHECK(r->n + s.len <= sizeof(r->content));
	memcpy(r->content + r->n, s.p, s.len);
	r->n += s.len;
}

/* Offers `step` bytes more (at most; random if rng) whenever the decoder wants more. */
static void decode(const struct sl_framing *f, const char *data, size_t len, uint64_t *rng,
		   struct result *r)
{
	size_t max = rng ? 1 + fuzz_random(rng) % 40 : len, avail = rng ? 0 : len, used;
	struct sl_slice s;
	struct sl_body b;

	r->n = r->used = r->trailer_len = 0;
	sl_body_init(&b, f);
	for (;;) {
		r->event = sl_body_decode(&b, data + r->used, avail - r->used, &used, &s);
		FUZZ_CHECK(used <= avail - r->used);
		if (r->event == SL_BODY_DATA || r->event == SL_BODY_TRAILER)
			take(r, r->event, s, data + r->used, used);
		r->used += used;
		if (r->event == SL_BODY_END || r->event == SL_BODY_BAD)
			break;
		if (r->event != SL_BODY_MORE)
			continue;
		if (avail == len)
			break;
		avail = sl_min(avail + 1 + (size_t)fuzz_random(rng) % max, len);
	}
	FUZZ_CHECK(b.content_bytes == r->n);
	FUZZ_CHECK(sl_body_ended(&b) == (r->event == SL_BODY_END));
	r->error = r->event == SL_BODY_BAD ? b.error : SL_HTTP_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct sl_framing f = {SL_FRAMING_CHUNKED, 0};
	uint64_t rng = fuzz_hash(data, len);

	if (len < 2 || len > sizeof(whole.content))
		return 0;
	if (data[0] == 'l')
		f = (struct sl_framing){SL_FRAMING_LENGTH, data[1]};
	else if (data[0] == 'e')
		f.kind = SL_FRAMING_CLOSE;
	decode(&f, (const char *)data + 1, len - 1, NULL, &whole);
	decode(&f, (const char *)data + 1, len - 1, &rng, &parts);
	FUZZ_CHECK(parts.event == whole.event && parts.error == whole.error);
	FUZZ_CHECK(parts.n == whole.n && !memcmp(parts.content, whole.content, whole.n));
	FUZZ_CHECK(parts.trailer_len == whole.trailer_len);
	if (whole.event == SL_BODY_END)
		FUZZ_CHECK(parts.used == whole.used);
	return 0;
}
