/* SPDX-License-Identifier: BSD-2-Clause */
/* Responses that sluice makes itself: short, with a body that says why, and never with a word that the
 * client sent. */

#include "proxy/conn.h"

#include <stdio.h>
#include <time.h>

const char *sl_status_reason(unsigned status)
{
	static const struct {
		unsigned status;
		const char *reason;
	} reasons[] = {
		{200, "OK"},
		{301, "Moved Permanently"},
		{302, "Found"},
		{303, "See Other"},
		{307, "Temporary Redirect"},
		{308, "Permanent Redirect"},
		{400, "Bad Request"},
		{403, "Forbidden"},
		{404, "Not Found"},
		{405, "Method Not Allowed"},
		{407, "Proxy Authentication Required"},
		{408, "Request Timeout"},
		{410, "Gone"},
		{413, "Content Too Large"},
		{414, "URI Too Long"},
		{417, "Expectation Failed"},
		{429, "Too Many Requests"},
		{431, "Request Header Fields Too Large"},
		{500, "Internal Server Error"},
		{501, "Not Implemented"},
		{502, "Bad Gateway"},
		{503, "Service Unavailable"},
		{504, "Gateway Timeout"},
		{505, "HTTP Version Not Supported"},
		{508, "Loop Detected"},
	};

	for (size_t i = 0; i < SL_ARRAY_SIZE(reasons); i++)
		if (reasons[i].status == status)
			return reasons[i].reason;
	return "Error";
}

struct sl_slice sl_reply_refusal(void)
{
	return SL_SLICE("HTTP/1.1 503 Service Unavailable\r\n"
			"Retry-After: 1\r\n"
			"Content-Type: text/plain\r\n"
			"Content-Length: 20\r\n"
			"Connection: close\r\n"
			"\r\n"
			"Service Unavailable\n");
}

/* RFC 9110 5.6.7. */
static void format_date(char *buf, size_t size)
{
	time_t now = time(NULL);
	struct tm tm;

	gmtime_r(&now, &tm);
	strftime(buf, size, "%a, %d %b %Y %H:%M:%S GMT", &tm);
}

static bool write_reply(struct sl_conn *c, unsigned status, const char *extra, const char *text)
{
	bool head_only = c->x && c->x->request.method == SL_METHOD_HEAD;
	char date[40];

	format_date(date, sizeof(date));
	return sl_buf_printf(c->out,
			     "HTTP/1.1 %u %s\r\nDate: %s\r\nServer: sluice\r\n%s"
			     "Content-Type: text/plain\r\nContent-Length: %zu\r\n%s\r\n%s%s",
			     status, sl_status_reason(status), date, extra ? extra : "",
			     strlen(text) + 1, c->closing ? "Connection: close\r\n" : "",
			     head_only ? "" : text, head_only ? "" : "\n");
}

/* Whether what follows on the connection may be something else than a request: a body that nobody will
 * read, or the first bytes of a tunnel, sent before its refusal was known, which a stranger behind the
 * client may have chosen. */
static bool hides_next_request(const struct sl_conn *c)
{
	return !c->x || !c->x->to_upstream.complete || c->x->request.method == SL_METHOD_CONNECT;
}

void sl_reply(struct sl_conn *c, unsigned status, const char *extra, const char *text)
{
	struct sl_worker *w = c->worker;

	if (c->x && c->x->passthrough) { /* it is not HTTP that the client speaks */
		sl_conn_close(c, SL_CLOSE_RESET);
		return;
	}
	if (hides_next_request(c) || c->x->request.minor == 0 || sl_listener_ends(c->listener))
		c->closing = true;
	if (!c->out)
		c->out = sl_buf_get(&w->buffers);
	if (!c->out || !write_reply(c, status, extra, text ? text : sl_status_reason(status))) {
		sl_conn_count_refused(c, SL_REFUSED_MEMORY);
		sl_conn_close(c, SL_CLOSE_RESET);
		return;
	}
	if (c->x)
		c->x->status = (uint16_t)status;
	sl_count(w->stats.responses_own_total, 1);
	sl_conn_set_state(c, SL_CONN_REPLY);
	sl_conn_arm(c, sl_conn_config(c)->timeouts.body);
	sl_conn_schedule(c);
}

/* In origin form the proxy itself is the origin (RFC 9112 3.2.1): it has one resource. */
void sl_reply_own_resource(struct sl_conn *c)
{
	struct sl_request *r = &c->x->request;
	bool root = sl_slice_eq(r->target.path_query, SL_SLICE("/"));

	c->x->reason = "own";
	if (r->method == SL_METHOD_OPTIONS)
		sl_reply(c, 200, "Allow: GET, HEAD, OPTIONS\r\n", "sluice");
	else if (r->method != SL_METHOD_GET && r->method != SL_METHOD_HEAD)
		sl_reply(c, 405, "Allow: GET, HEAD, OPTIONS\r\n", NULL);
	else if (root)
		sl_reply(c, 200, NULL, "This is sluice, a forward proxy.");
	else
		sl_reply(c, 404, NULL, NULL);
}
