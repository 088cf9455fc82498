/* SPDX-License-Identifier: BSD-2-Clause */
/* The metrics address speaks just enough HTTP/1: GET and HEAD of a few paths, without request bodies,
 * with persistent connections. Anything that is not understood ends the connection. */

#include "proxy/observe/metrics.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/util.h"
#include "http/head.h"
#include "http/target.h"
#include "proxy/observe/status_page.h"

#define READY_OF "/readyz/" /* LISTENER */
#define REFUSED	 "too many clients\n"
const char sl_metrics_refusal[] = "HTTP/1.1 503 Service Unavailable\r\n"
				  "Content-Type: text/plain\r\n"
				  "Content-Length: 17\r\n"
				  "Retry-After: 1\r\n"
				  "Connection: close\r\n\r\n" REFUSED;
_Static_assert(sizeof(REFUSED) - 1 == 17, "the length above");

static const struct sl_head_limits limits = {
	.head_bytes = SL_METRICS_REQUEST_MAX,
	.start_line_bytes = 2048,
	.fields = 64,
};

struct page {
	unsigned status;
	const char *type;   /* content type */
	char *body;	    /* malloc'd, or: */
	const void *fixed;  /* part of the program */
	const char *fields; /* others, with CRLF, or NULL */
	size_t len;
	bool head_only, close, minor_0;
};

static const char *phrase(unsigned status)
{
	switch (status) {
	case 200:
		return "OK";
	case 404:
		return "Not Found";
	case 405:
		return "Method Not Allowed";
	case 413:
		return "Content Too Large";
	case 414:
		return "URI Too Long";
	case 417:
		return "Expectation Failed";
	case 431:
		return "Request Header Fields Too Large";
	case 500:
		return "Internal Server Error";
	case 501:
		return "Not Implemented";
	case 503:
		return "Service Unavailable";
	case 505:
		return "HTTP Version Not Supported";
	default:
		return "Bad Request";
	}
}

/* A page of one line of text. */
static int set_text(struct page *p, unsigned status, const char *text)
{
	int n = asprintf(&p->body, "%s\n", text);

	if (n < 0) {
		p->body = NULL;
		return -ENOMEM;
	}
	p->status = status;
	p->type = "text/plain; charset=utf-8";
	p->len = (size_t)n;
	return 0;
}

static int set_metrics(struct page *p, const struct sl_control_source *source)
{
	int r = sl_metrics_text(source, &p->body, &p->len);

	if (r < 0)
		return r;
	p->status = 200;
	p->type = "text/plain; version=0.0.4; charset=utf-8";
	return 0;
}

static int set_status(struct page *p, const struct sl_metrics_site *site, bool flows)
{
	int r = sl_status_json(site->source, flows, &p->body, &p->len);

	if (r < 0)
		return r;
	p->status = 200;
	p->type = "application/json";
	p->fields = sl_status_fields;
	return 0;
}

static void set_file(struct page *p, const struct sl_status_file *f)
{
	p->status = 200;
	p->type = f->type;
	p->fixed = f->bytes;
	p->len = f->len;
	p->fields = sl_status_fields;
}

/* Not by another name, which could be anybody's: a page from elsewhere whose name is made to lead here
 * (DNS rebinding) learns nothing of pairs. */
static bool is_asked_plainly(const struct sl_authority *host)
{
	struct sl_addr a;

	return sl_slice_eq_nocase(host->host, SL_SLICE("localhost")) ||
	       !sl_addr_parse_host(host->host, 0, &a);
}

struct asked_listener {
	struct sl_slice name;
	const char *state; /* NULL: there is none of that name */
};

static void match_listener(void *arg, const struct sl_listener_info *l)
{
	struct asked_listener *asked = arg;

	if (sl_slice_eq(asked->name, sl_slice_str(l->name)))
		asked->state = l->state;
}

/* Of a listener alone, for whoever balances by listener. */
static int set_listener_ready(struct page *p, const struct sl_control_source *source,
			      struct sl_slice name)
{
	struct asked_listener asked = {.name = name};

	source->listeners(source->owner, match_listener, &asked);
	if (!asked.state)
		return set_text(p, 404, "there is no such listener");
	return strcmp(asked.state, "up") ? set_text(p, 503, asked.state)
					 : set_text(p, 200, "ready");
}

/* host NULL: asked as a proxy is, so there is no page. */
static int set_path(struct page *p, const struct sl_metrics_site *site,
		    const struct sl_authority *host, struct sl_slice path)
{
	const struct sl_control_source *source = site->source;
	const struct sl_status_file *file = host ? sl_status_find(path) : NULL;

	if (file) {
		set_file(p, file);
		return 0;
	}
	if (host && sl_slice_eq(path, SL_SLICE("/status.json")))
		return set_status(p, site, site->local && is_asked_plainly(host));
	if (sl_slice_eq(path, SL_SLICE("/metrics")))
		return set_metrics(p, source);
	if (sl_slice_eq(path, SL_SLICE("/healthz")))
		return set_text(p, 200, "ok");
	if (sl_slice_eq(path, SL_SLICE("/readyz")))
		return source->ready(source->owner) ? set_text(p, 200, "ready")
						    : set_text(p, 503, "not ready");
	if (path.len > strlen(READY_OF) && !memcmp(path.p, READY_OF, strlen(READY_OF)))
		return set_listener_ready(
			p, source,
			sl_slice(path.p + strlen(READY_OF), path.len - strlen(READY_OF)));
	return set_text(p, 404, "not found: try /, /metrics, /healthz or /readyz");
}

static struct sl_slice without_query(struct sl_slice s)
{
	const char *mark = s.len ? memchr(s.p, '?', s.len) : NULL;

	return mark ? sl_slice(s.p, (size_t)(mark - s.p)) : s;
}

/* The first rule that the request breaks, or SL_HTTP_OK. */
static enum sl_http_error check(const struct sl_head *h, struct sl_authority *ret_host,
				struct sl_target *ret_target, struct sl_framing *ret_framing,
				struct sl_hop *ret_hop)
{
	enum sl_http_error e = sl_host_field(h, ret_host);

	if (!e)
		e = sl_request_framing(h, ret_framing);
	if (!e)
		e = sl_head_hop(h, ret_hop);
	if (!e)
		e = sl_target_parse(h, ret_target);
	return e;
}

static int set_error(struct page *p, enum sl_http_error e)
{
	p->close = true;
	return set_text(p, sl_http_error_status(e), sl_http_error_name(e));
}

static int answer_head(struct page *p, const struct sl_metrics_site *site, const struct sl_head *h)
{
	struct sl_framing framing;
	struct sl_target target;
	struct sl_hop hop;
	struct sl_authority host = {0};
	enum sl_http_error e = check(h, &host, &target, &framing, &hop);

	p->minor_0 = h->minor == 0;
	p->head_only = h->method == SL_METHOD_HEAD;
	if (e)
		return set_error(p, e);
	p->close = !hop.persistent;
	if (framing.kind == SL_FRAMING_CHUNKED || framing.length) {
		p->close = true;
		return set_text(p, 413, "no request body, please");
	}
	if (h->method != SL_METHOD_GET && h->method != SL_METHOD_HEAD)
		return set_text(p, 405, "only GET and HEAD");
	return set_path(p, site, target.form == SL_TARGET_ORIGIN ? &host : NULL,
			without_query(target.path_query));
}

static int render(const struct page *p, struct sl_answer *ret)
{
	size_t len, body = p->head_only ? 0 : p->len;
	char date[40], *bytes = NULL;
	time_t now = time(NULL);
	struct tm tm;
	FILE *f = open_memstream(&bytes, &len);

	if (!f)
		return -ENOMEM;
	gmtime_r(&now, &tm);
	strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S GMT", &tm);
	fprintf(f, "HTTP/1.1 %u %s\r\nDate: %s\r\n", p->status, phrase(p->status), date);
	fprintf(f, "Content-Type: %s\r\nContent-Length: %zu\r\n", p->type, p->len);
	if (p->status == 405)
		fprintf(f, "Allow: GET, HEAD\r\n");
	if (p->close || p->minor_0)
		fprintf(f, "Connection: %s\r\n", p->close ? "close" : "keep-alive");
	fprintf(f, "%s\r\n", p->fields ? p->fields : "");
	fwrite(p->fixed ? p->fixed : p->body, 1, body, f);
	if (fclose(f)) {
		free(bytes);
		return -ENOMEM;
	}
	*ret = (struct sl_answer){.bytes = bytes, .len = len, .close = p->close};
	return 0;
}

ssize_t sl_metrics_request(void *owner, const char *data, size_t len, struct sl_answer *ret)
{
	_sl_free_ struct sl_head *h = malloc(sizeof(*h));
	struct page p = {0};
	size_t scanned = 0, used = len;
	enum sl_parse parsed;
	int r;

	if (!h)
		return -ENOMEM;
	parsed = sl_head_parse_request(data, len, &scanned, &limits, h);
	if (parsed == SL_PARSE_MORE)
		return 0;
	if (parsed == SL_PARSE_BAD) {
		r = set_error(&p, h->error);
	} else {
		used = h->len;
		r = answer_head(&p, owner, h);
	}
	if (!r)
		r = render(&p, ret);
	free(p.body);
	return r < 0 ? r : (ssize_t)used;
}
