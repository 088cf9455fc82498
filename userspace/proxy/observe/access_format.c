/* SPDX-License-Identifier: BSD-2-Clause */
/* Access records as bytes and as lines. Every byte of a string that could end a line, a quotation or a
 * word, and every one that is not printable ASCII, is escaped, so no string can forge a record. */

#include "proxy/observe/access_format.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/util.h"
#include "proxy/observe/access_binary.h"

#define CUT_MARK "..."
_Static_assert(sizeof(CUT_MARK) - 1 == SL_ACCESS_MARK_LEN, "as the header says");

/* --- packing --- */

const struct sl_access_string sl_access_strings[SL_ACCESS_STRINGS] = {
	{16, offsetof(struct sl_access_record, listener), SL_ACCESS_STRING_MAX, false},
	{17, offsetof(struct sl_access_record, method), SL_ACCESS_STRING_MAX, false},
	{18, offsetof(struct sl_access_record, target), SL_ACCESS_TARGET_MAX, true},
	{19, offsetof(struct sl_access_record, host), SL_ACCESS_STRING_MAX, false},
	{20, offsetof(struct sl_access_record, user), SL_ACCESS_STRING_MAX, false},
	{21, offsetof(struct sl_access_record, engine), SL_ACCESS_STRING_MAX, false},
	{22, offsetof(struct sl_access_record, reason), SL_ACCESS_STRING_MAX, false},
	{23, offsetof(struct sl_access_record, referer), SL_ACCESS_STRING_MAX, true},
	{24, offsetof(struct sl_access_record, user_agent), SL_ACCESS_STRING_MAX, false},
	{25, offsetof(struct sl_access_record, group), SL_ACCESS_STRING_MAX, false},
	{26, offsetof(struct sl_access_record, server), SL_ACCESS_STRING_MAX, false},
	{27, offsetof(struct sl_access_record, trace_id), 32, false},
	{28, offsetof(struct sl_access_record, span_id), 16, false},
};

#define STRINGS_MAX                                                   \
	(SL_ACCESS_TARGET_MAX + 10 * SL_ACCESS_STRING_MAX + 32 + 16 + \
	 SL_ACCESS_STRINGS * SL_ACCESS_MARK_LEN)
_Static_assert(sizeof(struct sl_access_record) + STRINGS_MAX <= SL_ACCESS_PACKED_MAX,
	       "a packed record must fit");
_Static_assert(6 * STRINGS_MAX + 1024 <= SL_ACCESS_LINE_MAX, "a line must fit, each byte escaped");
_Static_assert(STRINGS_MAX + SL_ACCESS_STRINGS * 4 + 256 <= SL_ACCESS_FIELDS_MAX,
	       "binary fields must fit");

static struct sl_slice *string_of(struct sl_access_record *r, size_t i)
{
	return (struct sl_slice *)((char *)r + sl_access_strings[i].offset);
}

static size_t authority_end(struct sl_slice s, size_t from)
{
	while (from < s.len && !memchr("/?#", s.p[from], 3))
		from++;
	return from;
}

/* Where the userinfo of a request target or URI stands (RFC 3986 3.2.1), with its '@'; empty if there
 * is none. An authority form has no scheme: what is before the first slash is the authority then. */
static struct sl_slice userinfo(struct sl_slice s)
{
	size_t from = 0, end = authority_end(s, 0), at;

	if (end && s.len - end >= 2 && !memcmp(s.p + end - 1, "://", 3)) {
		from = end + 2;
		end = authority_end(s, from);
	}
	for (at = end; at > from && s.p[at - 1] != '@'; at--)
		;
	return at > from ? sl_slice(s.p + from, at - from) : sl_slice(NULL, 0);
}

/* Appends at most max bytes of s, and the mark if there were more. */
static size_t append_cut(char *out, struct sl_slice s, size_t max)
{
	size_t n = sl_min(s.len, max);

	if (n)
		memcpy(out, s.p, n);
	if (n == s.len)
		return n;
	memcpy(out + n, CUT_MARK, strlen(CUT_MARK));
	return n + strlen(CUT_MARK);
}

static size_t append_string(char *out, struct sl_slice s, size_t max, bool uri)
{
	struct sl_slice secret = uri ? userinfo(s) : sl_slice(NULL, 0);
	size_t before, n;

	before = secret.len ? (size_t)(secret.p - s.p) : max;
	if (before >= max)
		return append_cut(out, s, max);
	memcpy(out, s.p, before);
	n = before + secret.len;
	return before + append_cut(out + before, sl_slice(s.p + n, s.len - n), max - before);
}

size_t sl_access_pack(const struct sl_access_record *r, char buf[SL_ACCESS_PACKED_MAX])
{
	struct sl_access_record fixed = *r;
	size_t len = sizeof(fixed);

	for (size_t i = 0; i < SL_ACCESS_STRINGS; i++) {
		struct sl_slice *s = string_of(&fixed, i);
		size_t n = append_string(buf + len, *s, sl_access_strings[i].max,
					 sl_access_strings[i].uri);

		*s = sl_slice(NULL, n);
		len += n;
	}
	memcpy(buf, &fixed, sizeof(fixed));
	return len;
}

void sl_access_unpack(const char *buf, struct sl_access_record *ret)
{
	const char *p = buf + sizeof(*ret);

	memcpy(ret, buf, sizeof(*ret));
	for (size_t i = 0; i < SL_ACCESS_STRINGS; i++) {
		struct sl_slice *s = string_of(ret, i);

		s->p = p;
		p += s->len;
	}
}

/* --- lines --- */

struct line {
	char *p, *end;
};

static void put(struct line *l, const char *bytes, size_t n)
{
	n = sl_min(n, (size_t)(l->end - l->p));
	memcpy(l->p, bytes, n);
	l->p += n;
}

static void put_str(struct line *l, const char *s)
{
	put(l, s, strlen(s));
}

SL_PRINTF(2, 3) static void put_fmt(struct line *l, const char *fmt, ...)
{
	char text[128];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	put_str(l, text);
}

static void put_addr(struct line *l, const struct sl_addr *a)
{
	char text[SL_ADDR_STR_MAX];

	put_str(l, sl_addr_format(a, text));
}

/* A byte above 0x7e stands as the code point of the same number. U+2400 stands for NUL, because many
 * readers refuse an escaped one. */
static void json_byte(struct line *l, unsigned char c)
{
	if (c == '"' || c == '\\')
		put_fmt(l, "\\%c", c);
	else if (!c)
		put_str(l, "\\u2400");
	else if (c < 0x20 || c > 0x7e)
		put_fmt(l, "\\u%04x", c);
	else
		put(l, (const char *)&c, 1);
}

static void json_string(struct line *l, const char *key, struct sl_slice s)
{
	put_fmt(l, ",\"%s\":", key);
	if (!s.len) {
		put_str(l, "null");
		return;
	}
	put_str(l, "\"");
	for (size_t i = 0; i < s.len; i++)
		json_byte(l, (unsigned char)s.p[i]);
	put_str(l, "\"");
}

static void json_number(struct line *l, const char *key, uint64_t value)
{
	put_fmt(l, ",\"%s\":%llu", key, (unsigned long long)value);
}

static void json_addr(struct line *l, const char *key, const struct sl_addr *a)
{
	put_fmt(l, ",\"%s\":", key);
	if (a->family == AF_UNSPEC) {
		put_str(l, "null");
		return;
	}
	put_str(l, "\"");
	put_addr(l, a);
	put_str(l, "\"");
}

static void broken_down(uint64_t us, struct tm *ret)
{
	time_t seconds = (time_t)(us / 1000000);

	gmtime_r(&seconds, ret);
}

static void format_json(struct line *l, const struct sl_access_record *r)
{
	char time[40];
	struct tm tm;

	broken_down(r->start_us, &tm);
	strftime(time, sizeof(time), "%Y-%m-%dT%H:%M:%S", &tm);
	put_fmt(l, "{\"time\":\"%s.%06uZ\"", time, (unsigned)(r->start_us % 1000000));
	json_string(l, "listener", r->listener);
	json_addr(l, "client", &r->client);
	json_string(l, "user", r->user);
	json_string(l, "method", r->method);
	json_string(l, "target", r->target);
	json_string(l, "host", r->host);
	if (r->http)
		put_fmt(l, ",\"protocol\":\"HTTP/1.%u\"", r->minor);
	json_number(l, "status", r->status);
	json_number(l, "bytes_in", r->bytes_in);
	json_number(l, "bytes_out", r->bytes_out);
	json_number(l, "duration_us", r->duration_us);
	json_number(l, "queue_us", r->queue_us);
	json_number(l, "connect_us", r->connect_us);
	json_number(l, "first_byte_us", r->first_byte_us);
	json_addr(l, "upstream", &r->upstream);
	json_string(l, "upstream_name", r->group);
	json_string(l, "server", r->server);
	put_fmt(l, ",\"reused\":%s", r->reused ? "true" : "false");
	json_string(l, "engine", r->engine);
	json_string(l, "reason", r->reason);
	json_string(l, "trace_id", r->trace_id);
	json_string(l, "span_id", r->span_id);
	json_string(l, "referer", r->referer);
	json_string(l, "user_agent", r->user_agent);
	put_str(l, "}");
}

static void clf_escape(struct line *l, struct sl_slice s, const char *also)
{
	for (size_t i = 0; i < s.len; i++) {
		unsigned char c = (unsigned char)s.p[i];

		if (c < 0x20 || c > 0x7e || c == '"' || c == '\\' || strchr(also, c))
			put_fmt(l, "\\x%02x", c);
		else
			put(l, &s.p[i], 1);
	}
}

/* One word: free of spaces, never empty, and "-" only for "nothing". */
static void clf_word(struct line *l, struct sl_slice s)
{
	if (!s.len)
		put_str(l, "-");
	else
		clf_escape(l, s, s.len == 1 ? " -" : " ");
}

static void clf_quoted(struct line *l, struct sl_slice s)
{
	put_str(l, " \"");
	if (s.len)
		clf_escape(l, s, s.len == 1 ? "-" : "");
	else
		put_str(l, "-");
	put_str(l, "\"");
}

static void clf_extra(struct line *l, const struct sl_access_record *r)
{
	clf_quoted(l, r->listener);
	put_str(l, " ");
	if (r->upstream.family == AF_UNSPEC)
		put_str(l, "-");
	else
		put_addr(l, &r->upstream);
	put_fmt(l, " %s", r->reused ? "reused" : "new");
	clf_quoted(l, r->engine);
	clf_quoted(l, r->reason);
	put_fmt(l, " %llu %llu %llu %llu", (unsigned long long)r->bytes_in,
		(unsigned long long)r->duration_us, (unsigned long long)r->connect_us,
		(unsigned long long)r->first_byte_us);
	clf_quoted(l, r->group);
	clf_quoted(l, r->server);
	put_fmt(l, " %llu", (unsigned long long)r->queue_us);
	clf_quoted(l, r->host);
	clf_quoted(l, r->trace_id);
	clf_quoted(l, r->span_id);
}

static void format_clf(struct line *l, const struct sl_access_record *r)
{
	char text[SL_ADDR_STR_MAX];
	struct tm tm;

	put_str(l, sl_addr_format_host(&r->client, text));
	put_str(l, " - ");
	clf_word(l, r->user);
	broken_down(r->start_us, &tm);
	strftime(text, sizeof(text), " [%d/%b/%Y:%H:%M:%S +0000] \"", &tm);
	put_str(l, text);
	clf_word(l, r->method);
	put_str(l, " ");
	clf_word(l, r->target);
	if (r->http)
		put_fmt(l, " HTTP/1.%u", r->minor);
	put_fmt(l, "\" %u %llu", r->status, (unsigned long long)r->bytes_out);
	clf_quoted(l, r->referer);
	clf_quoted(l, r->user_agent);
	clf_extra(l, r);
}

size_t sl_access_format(enum sl_access_log_format format, const struct sl_access_record *r,
			char line[SL_ACCESS_LINE_MAX])
{
	struct line l = {line, line + SL_ACCESS_LINE_MAX - 1};

	if (format == SL_ACCESS_LOG_BINARY)
		return sl_access_encode(r, line);
	if (format == SL_ACCESS_LOG_JSON)
		format_json(&l, r);
	else
		format_clf(&l, r);
	*l.p++ = '\n';
	return (size_t)(l.p - line);
}
