/* SPDX-License-Identifier: BSD-2-Clause */
/* The same request to sluice's parser and to llhttp (strict mode): verdict, method, target, version,
 * fields, framing, content and end must agree, or the disagreement is one of those explained in the
 * tables below and in docs/http.md. Any other one fails.
 *
 * The input is the bytes of a connection; only its first request counts. */

#include "fuzz.h"

#include <llhttp/llhttp.h>
#include <string.h>

#include "base/util.h"
#include "http/body.h"
#include "http/target.h"

#define FIELDS_MAX 64
#define INPUT_MAX  4096

const char *const fuzz_words[] = {
	"GET ",
	"POST ",
	"CONNECT ",
	"OPTIONS * ",
	" HTTP/1.1\r\n",
	" HTTP/1.0\r\n",
	"\r\n",
	"\r\n\r\n",
	"Host: a\r\n",
	"Content-Length: 5\r\n",
	"Content-Length: 05\r\n",
	"Transfer-Encoding: chunked\r\n",
	"Transfer-Encoding: gzip, chunked\r\n",
	"chunked",
	"Connection: close\r\n",
	"Connection: Upgrade\r\nUpgrade: x\r\n",
	"Expect: 100-continue\r\n",
	"0\r\n\r\n",
	"5\r\nhello\r\n",
	";a=b",
	";a=\"b\"",
	"http://a:80/",
	"A: b\r\n",
	NULL,
};

enum verdict {
	TAKEN,	 /* the whole request is there and good */
	WAITING, /* good so far */
	REFUSED,
};

struct outcome {
	enum verdict verdict;
	bool head_whole; /* what follows is set */
	char method[32];
	struct sl_slice target;
	unsigned minor;
	unsigned n_fields;
	struct sl_slice name[FIELDS_MAX], value[FIELDS_MAX];
	enum sl_framing_kind framing;
	uint64_t length;
	char content[INPUT_MAX];
	size_t content_len;
	size_t used; /* with TAKEN */
	union {
		enum sl_http_error error; /* sluice */
		llhttp_errno_t llhttp_error;
	};
	const char *reason; /* llhttp's */
};

/* What sluice refuses and llhttp takes or would take, by sluice's reason. */
static struct {
	enum sl_http_error error;
	const char *why;
	unsigned long seen;
} stricter[] = {
	{SL_HTTP_BAD_START_LINE, "HTTP/0.9 and ICE/RTSP lines, several empty lines before it"},
	{SL_HTTP_BAD_VERSION, "versions 0.9 and 2.0 (RFC 9112 2.3)"},
	{SL_HTTP_HTTP2_PREFACE, "the HTTP/2 preface, which llhttp pauses for"},
	{SL_HTTP_BAD_FIELD_NAME, "an empty field name (RFC 9110 5.1)"},
	{SL_HTTP_OBS_FOLD, "folded values, which RFC 9112 5.2 lets a server refuse"},
	{SL_HTTP_BARE_LF, "LF alone as line end, which RFC 9112 2.2 allows, but only allows"},
	{SL_HTTP_BARE_CR, "CR alone, which llhttp skips before the request line"},
	{SL_HTTP_TOO_MANY_FIELDS, "llhttp leaves limits to its user"},
	{SL_HTTP_BAD_CONTENT_LENGTH, "more than 18 digits, leading zeros included"},
	{SL_HTTP_LENGTH_AND_ENCODING, "Content-Length with an empty Transfer-Encoding"},
	{SL_HTTP_BAD_TRANSFER_ENCODING, "Transfer-Encoding empty, or in HTTP/1.0 (RFC 9112 6.1)"},
	{SL_HTTP_UNKNOWN_TRANSFER_ENCODING, "gzip before chunked, which is not understood here"},
	{SL_HTTP_BAD_TARGET, "fragments, userinfo, form and method at odds (RFC 9112 3.2)"},
	{SL_HTTP_BAD_HOST, "Host missing, repeated or malformed: llhttp doesn't look"},
	{SL_HTTP_BAD_CONNECTION, "Connection that is no list of tokens: llhttp doesn't look"},
	{SL_HTTP_BAD_EXPECT, "expectations that nobody can meet: llhttp doesn't look"},
	{SL_HTTP_BAD_CHUNK_SIZE, "more than 15 digits, leading zeros included"},
	{SL_HTTP_BAD_CHUNK_EXTENSION, "extensions with an empty name or value (RFC 9112 7.1.1)"},
	{SL_HTTP_BAD_TRAILER, "LF alone as line end of a trailer section"},
};

/* What llhttp refuses and sluice takes, by llhttp's reason. Many bytes are refused by llhttp as they
 * come and by sluice when their line or head is whole: those have `later` set, and must not belong
 * to the head of a request that sluice takes. (In a trailer section llhttp judges framing fields as
 * in the head; sluice takes them as fields, and forwards none of them.) */
static struct {
	llhttp_errno_t error;
	const char *reason;
	bool later;
	const char *why;
	unsigned long seen;
} looser[] = {
	{HPE_INVALID_METHOD, "Invalid method encountered", false,
	 "llhttp has a list of methods; RFC 9110 9.1 leaves it open"},
	{HPE_INVALID_METHOD, "Expected space after method", false, "the same"},
	{HPE_INVALID_VERSION, "Expected HTTP/2 Connection Preface", false,
	 "PRI is a method like any other in HTTP/1"},
	{HPE_INVALID_CONSTANT, "Invalid method for HTTP/x.x request", false,
	 "llhttp keeps RTSP's methods for RTSP"},
	{HPE_INVALID_URL, "Unexpected start char in url", true, "the target is judged in whole"},
	{HPE_INVALID_URL, "Unexpected char in url schema", false,
	 "llhttp's schemes are letters only; RFC 3986 3.1 has digits, '+', '-' and '.'"},
	{HPE_INVALID_URL, "Unexpected char in url server", true, "the target is judged in whole"},
	{HPE_INVALID_URL, "Invalid characters in url", true, "the target is judged in whole"},
	{HPE_INVALID_URL, "Double @ in url", true, "the target is judged in whole"},
	{HPE_INVALID_CONTENT_LENGTH, "Invalid character in Content-Length", false,
	 "a list of equal lengths counts as one (RFC 9112 6.3); others are refused later"},
	{HPE_INVALID_CONTENT_LENGTH, "Empty Content-Length", true, "judged with the whole head"},
	{HPE_INVALID_CONTENT_LENGTH, "Content-Length overflow", true, "judged with the whole head"},
	{HPE_UNEXPECTED_CONTENT_LENGTH, "Duplicate Content-Length", false,
	 "equal repeats count as one (RFC 9112 6.3)"},
	{HPE_INVALID_TRANSFER_ENCODING, "Invalid `Transfer-Encoding` header value", true,
	 "judged with the whole head"},
	{HPE_INVALID_TRANSFER_ENCODING, "Request has invalid `Transfer-Encoding`", false,
	 "llhttp doesn't see `chunked` before a tab, which is white space (RFC 9110 5.5)"},
	{HPE_INVALID_CHUNK_SIZE, "Invalid character in chunk size", false,
	 "white space before ';' is allowed (RFC 9112 7.1.1)"},
	{HPE_STRICT, "Invalid character in chunk extensions", false,
	 "white space around ';' and '=' is allowed (RFC 9112 7.1.1)"},
	{HPE_STRICT, "Invalid character in chunk extensions name", false, "the same"},
	{HPE_STRICT, "Invalid character in chunk extensions value", false, "the same"},
	{HPE_STRICT, "Invalid character in chunk extensions quote value", false, "the same"},
	{HPE_STRICT, "Invalid character in chunk extensions quoted value", false,
	 "backslash escapes and obs-text in quoted strings (RFC 9110 5.6.4)"},
};

static struct outcome ours, theirs;
static struct sl_head head;

/* --- sluice --- */

static void our_body(const char *data, size_t len, const struct sl_framing *f, struct outcome *o)
{
	enum sl_body_event e;
	struct sl_slice s;
	struct sl_body b;
	size_t used;

	sl_body_init(&b, f);
	do {
		e = sl_body_decode(&b, data + o->used, len - o->used, &used, &s);
		o->used += used;
		if (e == SL_BODY_DATA) {
			memcpy(o->content + o->content_len, s.p, s.len);
			o->content_len += s.len;
		}
	} while (e == SL_BODY_DATA || e == SL_BODY_TRAILER);
	o->verdict = e == SL_BODY_END ? TAKEN : e == SL_BODY_MORE ? WAITING : REFUSED;
	o->error = b.error;
}

static enum sl_http_error our_meaning(struct outcome *o, struct sl_framing *f)
{
	struct sl_authority host;
	struct sl_target target;
	struct sl_hop hop;
	enum sl_http_error e = sl_target_parse(&head, &target);

	if (!e)
		e = sl_host_field(&head, &host);
	if (!e)
		e = sl_head_hop(&head, &hop);
	if (!e)
		e = sl_request_framing(&head, f);
	if (e)
		return e;
	snprintf(o->method, sizeof(o->method), "%.*s", (int)head.method_token.len,
		 head.method_token.p);
	o->target = head.target;
	o->minor = head.minor;
	o->framing = f->kind;
	o->length = f->length;
	o->n_fields = head.n_fields;
	for (unsigned i = 0; i < head.n_fields; i++) {
		o->name[i] = head.field[i].name;
		o->value[i] = head.field[i].value;
	}
	o->head_whole = true;
	return SL_HTTP_OK;
}

static void ask_sluice(const char *data, size_t len, struct outcome *o)
{
	static const struct sl_head_limits limits = {INPUT_MAX + 1, INPUT_MAX, FIELDS_MAX};
	struct sl_framing f = {0};
	size_t scanned = 0;
	enum sl_parse r = sl_head_parse_request(data, len, &scanned, &limits, &head);

	*o = (struct outcome){.verdict = r == SL_PARSE_MORE ? WAITING : REFUSED,
			      .error = r == SL_PARSE_BAD ? head.error : SL_HTTP_OK};
	if (r != SL_PARSE_DONE)
		return;
	o->error = our_meaning(o, &f);
	if (o->error)
		return;
	o->verdict = TAKEN;
	o->used = head.len;
	if (head.method != SL_METHOD_CONNECT)
		our_body(data, len, &f, o);
}

/* --- llhttp --- */

static int on_url(llhttp_t *p, const char *at, size_t len)
{
	struct outcome *o = p->data;

	o->target = sl_slice(at, len);
	return 0;
}

static int on_field(llhttp_t *p, const char *at, size_t len)
{
	struct outcome *o = p->data;

	if (!o->head_whole && o->n_fields < FIELDS_MAX)
		o->name[o->n_fields] = sl_slice(at, len);
	return 0;
}

/* White space behind a value is left to the caller by llhttp. */
static int on_value(llhttp_t *p, const char *at, size_t len)
{
	struct outcome *o = p->data;

	while (len && (at[len - 1] == ' ' || at[len - 1] == '\t'))
		len--;
	if (!o->head_whole && o->n_fields < FIELDS_MAX)
		o->value[o->n_fields] = sl_slice(at, len);
	return 0;
}

static int on_value_complete(llhttp_t *p)
{
	struct outcome *o = p->data;

	if (!o->head_whole && o->n_fields < FIELDS_MAX)
		o->n_fields++;
	return 0;
}

static int on_head_complete(llhttp_t *p)
{
	struct outcome *o = p->data;

	o->head_whole = true;
	snprintf(o->method, sizeof(o->method), "%s", llhttp_method_name(p->method));
	o->minor = p->http_minor;
	o->framing = p->flags & F_CHUNKED	   ? SL_FRAMING_CHUNKED
		     : p->flags & F_CONTENT_LENGTH ? SL_FRAMING_LENGTH
						   : SL_FRAMING_NONE;
	o->length = o->framing == SL_FRAMING_LENGTH ? p->content_length : 0;
	return 0;
}

static int on_content(llhttp_t *p, const char *at, size_t len)
{
	struct outcome *o = p->data;

	memcpy(o->content + o->content_len, at, len);
	o->content_len += len;
	return 0;
}

static int on_complete(llhttp_t *p)
{
	return HPE_PAUSED;
}

static void ask_llhttp(const char *data, size_t len, struct outcome *o)
{
	llhttp_settings_t settings;
	llhttp_t parser;
	llhttp_errno_t e;

	llhttp_settings_init(&settings);
	settings.on_url = on_url;
	settings.on_header_field = on_field;
	settings.on_header_value = on_value;
	settings.on_header_value_complete = on_value_complete;
	settings.on_headers_complete = on_head_complete;
	settings.on_body = on_content;
	settings.on_message_complete = on_complete;
	llhttp_init(&parser, HTTP_REQUEST, &settings);
	*o = (struct outcome){0};
	parser.data = o;
	e = llhttp_execute(&parser, data, len);
	o->verdict = e == HPE_OK ? WAITING : e == HPE_PAUSED ? TAKEN : REFUSED;
	o->llhttp_error = e;
	o->reason = e ? llhttp_get_error_reason(&parser) : "";
	if (o->verdict == TAKEN)
		o->used = (size_t)(llhttp_get_error_pos(&parser) - data);
}

/* --- judgement --- */

static void check_same_head(void)
{
	FUZZ_CHECK(!strcmp(ours.method, theirs.method));
	FUZZ_CHECK(sl_slice_eq(ours.target, theirs.target));
	FUZZ_CHECK(ours.minor == theirs.minor);
	/* A CONNECT has no content (RFC 9110 9.3.6), and llhttp may have missed `chunked` there. */
	if (strcmp(ours.method, "CONNECT") != 0)
		FUZZ_CHECK(ours.framing == theirs.framing && ours.length == theirs.length);
	FUZZ_CHECK(ours.n_fields == theirs.n_fields);
	for (unsigned i = 0; i < ours.n_fields; i++) {
		FUZZ_CHECK(sl_slice_eq(ours.name[i], theirs.name[i]));
		FUZZ_CHECK(sl_slice_eq(ours.value[i], theirs.value[i]));
	}
}

static void check_refused_by_us(void)
{
	for (size_t i = 0; i < SL_ARRAY_SIZE(stricter); i++) {
		if (stricter[i].error == ours.error) {
			stricter[i].seen++;
			return;
		}
	}
	fprintf(stderr, "only sluice refuses: %s\n", sl_http_error_name(ours.error));
	abort();
}

/* sluice judges a CR together with the byte behind it. */
static bool only_for_a_final_cr(const char *data, size_t len)
{
	static struct outcome without;

	if (ours.verdict != WAITING || !len || data[len - 1] != '\r')
		return false;
	ask_llhttp(data, len - 1, &without);
	return without.verdict != REFUSED;
}

static void check_refused_by_llhttp(const char *data, size_t len)
{
	if (only_for_a_final_cr(data, len))
		return;
	for (size_t i = 0; i < SL_ARRAY_SIZE(looser); i++) {
		if (looser[i].error != theirs.llhttp_error ||
		    strcmp(looser[i].reason, theirs.reason) != 0)
			continue;
		if (looser[i].later && ours.verdict == TAKEN && !theirs.head_whole)
			break;
		looser[i].seen++;
		return;
	}
	fprintf(stderr, "only llhttp refuses (sluice %s): %s: %s\n",
		ours.verdict == TAKEN ? "takes it" : "waits",
		llhttp_errno_name(theirs.llhttp_error), theirs.reason);
	abort();
}

static void report(void)
{
	for (size_t i = 0; i < SL_ARRAY_SIZE(stricter); i++)
		printf("only sluice refuses %8lu: %s: %s\n", stricter[i].seen,
		       sl_http_error_name(stricter[i].error), stricter[i].why);
	for (size_t i = 0; i < SL_ARRAY_SIZE(looser); i++)
		printf("only llhttp refuses %8lu: %s: %s\n", looser[i].seen, looser[i].reason,
		       looser[i].why);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static bool reporting;

	if (!reporting)
		reporting = !atexit(report);
	if (len > INPUT_MAX)
		return 0;
	ask_sluice((const char *)data, len, &ours);
	ask_llhttp((const char *)data, len, &theirs);
	if (ours.verdict == REFUSED && theirs.verdict != REFUSED)
		check_refused_by_us();
	else if (ours.verdict != REFUSED && theirs.verdict == REFUSED)
		check_refused_by_llhttp((const char *)data, len);
	if (ours.verdict == REFUSED || theirs.verdict == REFUSED)
		return 0;
	FUZZ_CHECK(ours.verdict == theirs.verdict);
	if (ours.head_whole && theirs.head_whole)
		check_same_head();
	FUZZ_CHECK(ours.content_len == theirs.content_len &&
		   !memcmp(ours.content, theirs.content, ours.content_len));
	if (ours.verdict == TAKEN)
		FUZZ_CHECK(ours.used == theirs.used);
	return 0;
}
