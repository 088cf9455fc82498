/* SPDX-License-Identifier: BSD-2-Clause */
/* The admin commands, and opening and closing of both addresses. A command is a row of the table: a
 * name and a function from a request to a payload. */

#include "proxy/observe/control.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/util.h"
#include "proxy/observe/admin_json.h"
#include "proxy/observe/admin_socket.h"
#include "proxy/observe/metrics.h"
#include "proxy/observe/service.h"

#define CLIENTS	    16
#define DEADLINE_MS 5000
#define LINE_BYTES  (64 * 1024)
#define BACKLOG	    32

struct sl_control {
	struct sl_control_source source;
	struct sl_admin_socket socket;
	struct sl_service *admin, *metrics;
	struct sl_addr metrics_addr;
	struct sl_metrics_site site;
	int admin_fd, metrics_fd; /* the services'; -1: none */
	bool handed_over;
};

static const char admin_refusal[] = "{\"ok\": false, \"error\": \"too many clients\"}\n";

/* --- commands --- */

struct problem {
	char text[512];
};

SL_PRINTF(2, 3) static json_t *fail(struct problem *p, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(p->text, sizeof(p->text), fmt, ap);
	va_end(ap);
	return NULL;
}

/* Every command checks its arguments strictly: a key that it doesn't know is refused. */
static bool no_arguments(json_t *request, struct problem *p)
{
	if (json_object_size(request) == 1)
		return true;
	fail(p, "the command takes no arguments");
	return false;
}

static json_t *run_ping(struct sl_control *c, json_t *request, struct problem *p)
{
	return no_arguments(request, p) ? json_string("pong") : NULL;
}

static json_t *run_version(struct sl_control *c, json_t *request, struct problem *p)
{
	return no_arguments(request, p) ? json_string(SLUICE_VERSION) : NULL;
}

static json_t *run_stats(struct sl_control *c, json_t *request, struct problem *p)
{
	const char *command;
	int buckets = 0;
	json_error_t e;

	if (json_unpack_ex(request, &e, JSON_STRICT, "{s:s, s?b}", "command", &command, "buckets",
			   &buckets) < 0)
		return fail(p, "%s", e.text);
	return sl_admin_stats(&c->source, buckets);
}

static json_t *run_flows(struct sl_control *c, json_t *request, struct problem *p)
{
	struct sl_flow_filter filter;

	if (sl_flow_filter_read(request, &filter, p->text, sizeof(p->text)) < 0)
		return NULL;
	return sl_admin_flows(&c->source, &filter);
}

#define BOUND_MAX_MS (86400000 * (json_int_t)30)

/* timeout_ms, if it is given: not negative, and not too long to be meant. */
static bool read_bound(json_t *request, json_int_t timeout, uint64_t *ret_ms, struct problem *p)
{
	*ret_ms = (uint64_t)timeout;
	if (!json_object_get(request, "timeout_ms") || (timeout >= 0 && timeout <= BOUND_MAX_MS))
		return true;
	fail(p, "timeout_ms must be 0 (no bound) to 30 days");
	return false;
}

static json_t *run_drain(struct sl_control *c, json_t *request, struct problem *p)
{
	const char *command;
	uint64_t bound_ms;
	json_error_t e;
	json_int_t timeout = -1;
	int now = 0;

	if (json_unpack_ex(request, &e, JSON_STRICT, "{s:s, s?b, s?I}", "command", &command, "now",
			   &now, "timeout_ms", &timeout) < 0)
		return fail(p, "%s", e.text);
	if (!read_bound(request, timeout, &bound_ms, p))
		return NULL;
	c->source.drain(c->source.owner, now, timeout < 0 ? NULL : &bound_ms);
	return json_string(now ? "stopping" : "draining");
}

static json_t *run_drain_listener(struct sl_control *c, json_t *request, struct problem *p)
{
	const char *command, *listener;
	struct sl_config_error error;
	json_int_t timeout = -1;
	uint64_t bound_ms;
	json_error_t e;
	int r;

	if (json_unpack_ex(request, &e, JSON_STRICT, "{s:s, s:s, s?I}", "command", &command,
			   "listener", &listener, "timeout_ms", &timeout) < 0)
		return fail(p, "%s", e.text);
	if (!read_bound(request, timeout, &bound_ms, p))
		return NULL;
	r = c->source.drain_listener(c->source.owner, listener, timeout < 0 ? NULL : &bound_ms,
				     &error);
	if (r < 0)
		return fail(p, "%s", error.text);
	return json_string(r ? "draining already" : "draining");
}

static json_t *run_enable_listener(struct sl_control *c, json_t *request, struct problem *p)
{
	const char *command, *listener;
	struct sl_config_error error;
	json_error_t e;

	if (json_unpack_ex(request, &e, JSON_STRICT, "{s:s, s:s}", "command", &command, "listener",
			   &listener) < 0)
		return fail(p, "%s", e.text);
	if (c->source.enable_listener(c->source.owner, listener, &error) < 0)
		return fail(p, "%s", error.text);
	return json_string("enabled");
}

static json_t *run_drain_progress(struct sl_control *c, json_t *request, struct problem *p)
{
	const char *command, *listener = NULL;
	struct sl_drain_progress progress;
	json_error_t e;

	if (json_unpack_ex(request, &e, JSON_STRICT, "{s:s, s?s}", "command", &command, "listener",
			   &listener) < 0)
		return fail(p, "%s", e.text);
	if (c->source.drain_progress(c->source.owner, listener, &progress) < 0)
		return fail(p, "there is no such listener");
	return sl_admin_drain_progress(&progress);
}

static json_t *run_servers(struct sl_control *c, json_t *request, struct problem *p)
{
	return no_arguments(request, p) ? sl_admin_servers(&c->source) : NULL;
}

static json_t *run_listeners(struct sl_control *c, json_t *request, struct problem *p)
{
	return no_arguments(request, p) ? sl_admin_listeners(&c->source) : NULL;
}

static json_t *run_pools(struct sl_control *c, json_t *request, struct problem *p)
{
	return no_arguments(request, p) ? sl_admin_pools(&c->source) : NULL;
}

static json_t *set_server(struct sl_control *c, json_t *request, struct problem *p, bool drained)
{
	const char *command, *upstream, *server;
	json_error_t e;

	if (json_unpack_ex(request, &e, JSON_STRICT, "{s:s, s:s, s:s}", "command", &command,
			   "upstream", &upstream, "server", &server) < 0)
		return fail(p, "%s", e.text);
	if (c->source.drain_server(c->source.owner, upstream, server, drained) < 0)
		return fail(p, "there is no such server");
	return json_string(drained ? "drained" : "enabled");
}

static json_t *run_drain_server(struct sl_control *c, json_t *request, struct problem *p)
{
	return set_server(c, request, p, true);
}

static json_t *run_enable_server(struct sl_control *c, json_t *request, struct problem *p)
{
	return set_server(c, request, p, false);
}

static json_t *run_reopen_logs(struct sl_control *c, json_t *request, struct problem *p)
{
	if (!no_arguments(request, p))
		return NULL;
	c->source.reopen_logs(c->source.owner);
	return json_true();
}

static json_t *run_reload(struct sl_control *c, json_t *request, struct problem *p)
{
	struct sl_config_error error;

	if (!no_arguments(request, p))
		return NULL;
	if (c->source.reload(c->source.owner, &error) < 0)
		return fail(p, "%s", error.text);
	return json_string("reloaded");
}

static json_t *run_upgrade(struct sl_control *c, json_t *request, struct problem *p)
{
	struct sl_config_error error;

	if (!no_arguments(request, p))
		return NULL;
	if (c->source.upgrade(c->source.owner, &error) < 0)
		return fail(p, "%s", error.text);
	return json_string("upgrading");
}

static json_t *run_log_level(struct sl_control *c, json_t *request, struct problem *p)
{
	const char *command, *name = NULL;
	enum sl_log_level level;
	json_error_t e;

	if (json_unpack_ex(request, &e, JSON_STRICT, "{s:s, s?s}", "command", &command, "level",
			   &name) < 0)
		return fail(p, "%s", e.text);
	if (name && sl_log_level_parse(name, &level) < 0)
		return fail(p, "the level must be error, warning, info or debug");
	if (name)
		sl_log_set_level(level);
	return json_string(sl_log_level_name(sl_log_level()));
}

static const struct {
	const char *name;
	/* The payload, or NULL with *p set (left empty: memory or the workers failed). */
	json_t *(*run)(struct sl_control *c, json_t *request, struct problem *p);
} commands[] = {
	{"drain", run_drain},
	{"drain-listener", run_drain_listener},
	{"enable-listener", run_enable_listener},
	{"drain-progress", run_drain_progress},
	{"flows", run_flows},
	{"log-level", run_log_level},
	{"ping", run_ping},
	{"stats", run_stats},
	{"reload", run_reload},
	{"upgrade", run_upgrade},
	{"reopen-logs", run_reopen_logs},
	{"version", run_version},
	{"servers", run_servers},
	{"listeners", run_listeners},
	{"pools", run_pools},
	{"drain-server", run_drain_server},
	{"enable-server", run_enable_server},
};

static json_t *run_command(struct sl_control *c, const char *name, json_t *request,
			   struct problem *p)
{
	for (size_t i = 0; i < SL_ARRAY_SIZE(commands); i++)
		if (!strcmp(name, commands[i].name))
			return commands[i].run(c, request, p);
	return fail(p, "unknown command");
}

/* --- lines --- */

static json_t *answer_to(struct sl_control *c, const char *line, size_t len)
{
	struct problem p = {"internal error"};
	json_t *payload, *request;
	const char *name;
	json_error_t e;

	request = json_loadb(line, len, JSON_REJECT_DUPLICATES, &e);
	name = json_string_value(json_object_get(request, "command"));
	if (!request)
		payload = fail(&p, "not JSON: %s", e.text);
	else if (!name)
		payload = fail(&p, "a request is an object with the string \"command\"");
	else
		payload = run_command(c, name, request, &p);
	payload = payload ? json_pack("{s:b, s:o}", "ok", true, name, payload)
			  : json_pack("{s:b, s:s}", "ok", false, "error", p.text);
	json_decref(request);
	return payload;
}

static int render(json_t *json, struct sl_answer *ret)
{
	char *text = json_dumps(json, JSON_COMPACT | JSON_ENSURE_ASCII);
	size_t len;

	json_decref(json);
	if (!text)
		return -ENOMEM;
	len = strlen(text);
	text[len] = '\n'; /* in the place of the NUL: an answer is bytes */
	ret->bytes = text;
	ret->len = len + 1;
	return 0;
}

static ssize_t admin_request(void *owner, const char *data, size_t len, struct sl_answer *ret)
{
	const char *end = memchr(data, '\n', len);
	json_t *answer;
	int r;

	if (!end && len < LINE_BYTES)
		return 0;
	if (end) {
		answer = answer_to(owner, data, (size_t)(end - data));
		len = (size_t)(end - data) + 1;
	} else {
		answer = json_pack("{s:b, s:s}", "ok", false, "error", "the line is too long");
		ret->close = true;
	}
	r = render(answer, ret);
	return r < 0 ? r : (ssize_t)len;
}

/* --- life --- */

static int open_admin(struct sl_control *c, struct sl_loop *loop, const char *path)
{
	const struct sl_service_options o = {
		.clients = CLIENTS,
		.request_max = LINE_BYTES,
		.deadline_ms = DEADLINE_MS,
		.refusal = admin_refusal,
		.request = admin_request,
		.owner = c,
	};
	int fd, r;

	fd = sl_inherited_take_path(c->source.inherited, path);
	r = fd < 0 ? sl_admin_socket_listen(path, &c->socket, &fd)
		   : sl_admin_socket_adopt(path, &c->socket);
	if (r < 0)
		return r;
	c->admin_fd = fd;
	r = sl_service_new(loop, fd, &o, &c->admin);
	if (r < 0) {
		sl_admin_socket_remove(&c->socket);
		sl_close(fd);
	}
	return r;
}

static int listen_tcp(struct sl_addr *a)
{
	_sl_close_ int fd = socket(a->family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	socklen_t len = sizeof(*a);
	int one = 1;

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
	    bind(fd, &a->sa, sl_addr_len(a)) < 0 || listen(fd, BACKLOG) < 0 ||
	    getsockname(fd, &a->sa, &len) < 0)
		return -errno;
	return SL_TAKE_FD(fd);
}

static bool is_loopback(const struct sl_addr *a)
{
	if (a->family == AF_INET)
		return ntohl(a->in.sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
	return a->family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&a->in6.sin6_addr);
}

static int open_metrics(struct sl_control *c, struct sl_loop *loop, const struct sl_addr *addr)
{
	const struct sl_service_options o = {
		.clients = CLIENTS,
		.request_max = SL_METRICS_REQUEST_MAX,
		.deadline_ms = DEADLINE_MS,
		.refusal = sl_metrics_refusal,
		.request = sl_metrics_request,
		.owner = &c->site,
	};
	int fd, r;

	if (addr->family == AF_UNSPEC)
		return 0;
	c->metrics_addr = *addr;
	fd = sl_inherited_take(c->source.inherited, addr);
	if (fd < 0)
		fd = listen_tcp(&c->metrics_addr);
	if (fd < 0)
		return fd;
	c->site = (struct sl_metrics_site){&c->source, is_loopback(addr)};
	c->metrics_fd = fd;
	r = sl_service_new(loop, fd, &o, &c->metrics);
	if (r < 0)
		sl_close(fd);
	return r;
}

int sl_control_open(struct sl_loop *loop, const char *admin_path, const struct sl_addr *metrics,
		    const struct sl_control_source *source, struct sl_control **ret)
{
	struct sl_control *c = calloc(1, sizeof(*c));
	int r;

	if (!c)
		return -ENOMEM;
	c->source = *source;
	c->admin_fd = c->metrics_fd = -1;
	r = open_admin(c, loop, admin_path);
	if (!r)
		r = open_metrics(c, loop, metrics);
	if (r < 0) {
		sl_control_close(c);
		return r;
	}
	*ret = c;
	return 0;
}

struct sl_addr sl_control_metrics_addr(const struct sl_control *c)
{
	return c->metrics_addr;
}

size_t sl_control_fds(const struct sl_control *c, int ret[2])
{
	size_t n = 0;

	if (c->admin)
		ret[n++] = c->admin_fd;
	if (c->metrics)
		ret[n++] = c->metrics_fd;
	return n;
}

void sl_control_hand_over(struct sl_control *c)
{
	c->handed_over = true;
}

void sl_control_close(struct sl_control *c)
{
	if (!c)
		return;
	if (c->admin && !c->handed_over)
		sl_admin_socket_remove(&c->socket);
	sl_service_free(c->admin);
	sl_service_free(c->metrics);
	free(c);
}
