/* SPDX-License-Identifier: BSD-2-Clause */
/* Heads: slices lie in the buffer, splits change nothing, both scans agree, meanings are defined.
 * First byte: odd for a request, bit 3 for small limits. The rest is the message. */

#include "fuzz.h"

#include <string.h>

#include "base/util.h"
#include "http/scan.h"
#include "http/target.h"

const char *const fuzz_words[] = {
	"GET ",
	"CONNECT ",
	"OPTIONS * ",
	"HTTP/1.1",
	"HTTP/1.0",
	"\r\n",
	"\r\n\r\n",
	"\r\n ",
	"Host: a\r\n",
	"Content-Length: ",
	"Transfer-Encoding: ",
	"chunked",
	"Connection: ",
	"close",
	"keep-alive",
	"Upgrade: x\r\n",
	"TE: trailers\r\n",
	"Expect: 100-continue\r\n",
	"http://",
	" 200 ",
	NULL,
};

static struct sl_head whole, parts;

static void check_slice(struct sl_slice s, const char *data, size_t len)
{
	if (s.len)
		FUZZ_CHECK(s.p >= data && s.p + s.len <= data + len);
}

static void check_same(struct sl_slice a, struct sl_slice b)
{
	FUZZ_CHECK(a.len == b.len && (!a.len || a.p == b.p));
}

static void check_scans(const char *data, size_t len)
{
	if (!sl_scan_has_simd())
		return;
	for (int c = 0; c < SL_SCAN_COUNT; c++)
		for (size_t at = 0; at < len; at += 1 + at / 4)
			FUZZ_CHECK(sl_scan_simd(c, data + at, len - at) ==
				   sl_scan_scalar(c, data + at, len - at));
}

static void check_field(const struct sl_field *f, const char *data, size_t len)
{
	check_slice(f->name, data, len);
	check_slice(f->value, data, len);
	FUZZ_CHECK(sl_is_token(f->name));
	FUZZ_CHECK(f->id == sl_field_lookup(f->name));
	for (size_t i = 0; i < f->value.len; i++)
		FUZZ_CHECK(!strchr("\r\n", f->value.p[i]));
	if (f->value.len)
		FUZZ_CHECK(!strchr(" \t", *f->value.p) &&
			   !strchr(" \t", f->value.p[f->value.len - 1]));
}

static void check_meaning(const struct sl_head *h, bool request)
{
	struct sl_framing framing;
	struct sl_authority host;
	struct sl_target target;
	struct sl_hop hop;
	bool good;

	good = !(request ? sl_request_framing(h, &framing)
			 : sl_response_framing(h, SL_METHOD_GET, &framing));
	if (good && request)
		FUZZ_CHECK(framing.kind != SL_FRAMING_CLOSE);
	if (good && framing.kind == SL_FRAMING_CHUNKED)
		FUZZ_CHECK(h->minor && !sl_head_find(h, SL_FIELD_CONTENT_LENGTH));
	if (!sl_head_hop(h, &hop)) {
		for (unsigned i = 0; i < h->n_fields; i++)
			if (sl_head_drops(h, &h->field[i]))
				FUZZ_CHECK(!sl_field_is_framing(h->field[i].id) &&
					   h->field[i].id != SL_FIELD_HOST &&
					   h->field[i].id != SL_FIELD_VIA);
	}
	if (request && !sl_target_parse(h, &target))
		check_slice(target.path_query, h->target.p, h->target.len);
	if (request && !sl_host_field(h, &host) && host.host.len)
		FUZZ_CHECK(sl_head_find(h, SL_FIELD_HOST));
}

static void check_head(const struct sl_head *h, const char *data, size_t len, bool request)
{
	FUZZ_CHECK(h->len <= len && h->len >= 4);
	FUZZ_CHECK(!memcmp(data + h->len - 4, "\r\n\r\n", 4));
	FUZZ_CHECK(!memchr(data, '\0', h->len));
	check_slice(h->method_token, data, h->len);
	check_slice(h->target, data, h->len);
	check_slice(h->reason, data, h->len);
	FUZZ_CHECK(request ? h->target.len > 0 : h->status >= 100 && h->status <= 999);
	for (unsigned i = 0; i < h->n_fields; i++)
		check_field(&h->field[i], data, h->len);
	check_meaning(h, request);
}

static enum sl_parse parse(const char *data, size_t len, size_t *scanned, uint8_t mode,
			   struct sl_head *h)
{
	static const struct sl_head_limits wide = {4096, 1024, 64}, narrow = {100, 30, 3};

	return (mode & 1 ? sl_head_parse_request : sl_head_parse_response)(
		data, len, scanned, mode & 8 ? &narrow : &wide, h);
}

/* A bad byte in a line that is not whole may go unseen, but only until the head could be whole. */
static void check_completed(const char *data, size_t len, size_t scanned, uint8_t mode)
{
	_sl_free_ char *more = malloc(len + 4);

	memcpy(more, data, len);
	memcpy(more + len, "\r\n\r\n", 4);
	FUZZ_CHECK(parse(more, len + 4, &scanned, mode, &parts) == SL_PARSE_BAD);
	FUZZ_CHECK(parts.error == whole.error);
}

/* Grows the message by random steps. */
static void check_pieces(const char *data, size_t len, uint8_t mode, enum sl_parse want)
{
	uint64_t rng = fuzz_hash((const uint8_t *)data, len);
	size_t scanned = 0, max = 1 + fuzz_random(&rng) % 64;
	enum sl_parse r = SL_PARSE_MORE;

	for (size_t n = 0; r == SL_PARSE_MORE && n < len;) {
		n = sl_min(n + 1 + (size_t)fuzz_random(&rng) % max, len);
		r = parse(data, n, &scanned, mode, &parts);
	}
	if (r == SL_PARSE_MORE && want == SL_PARSE_BAD) {
		check_completed(data, len, scanned, mode);
		return;
	}
	FUZZ_CHECK(r == want);
	if (r == SL_PARSE_BAD)
		FUZZ_CHECK(parts.error == whole.error);
	if (r != SL_PARSE_DONE)
		return;
	FUZZ_CHECK(parts.len == whole.len && parts.n_fields == whole.n_fields &&
		   parts.method == whole.method && parts.status == whole.status &&
		   parts.minor == whole.minor);
	check_same(parts.target, whole.target);
	check_same(parts.reason, whole.reason);
	for (unsigned i = 0; i < parts.n_fields; i++) {
		check_same(parts.field[i].name, whole.field[i].name);
		check_same(parts.field[i].value, whole.field[i].value);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	const char *text = (const char *)data + 1;
	size_t scanned = 0;
	enum sl_parse r;

	if (len < 2)
		return 0;
	len--;
	r = parse(text, len, &scanned, data[0], &whole);
	if (r == SL_PARSE_MORE)
		FUZZ_CHECK(len < (data[0] & 8 ? 100 : 4096));
	if (r == SL_PARSE_BAD)
		FUZZ_CHECK(whole.error > SL_HTTP_OK && whole.error < SL_HTTP_BAD_CONTENT_LENGTH);
	if (r == SL_PARSE_DONE)
		check_head(&whole, text, len, data[0] & 1);
	check_pieces(text, len, data[0], r);
	check_scans(text, len);
	return 0;
}
