/* SPDX-License-Identifier: BSD-2-Clause */
/* The configuration's life: defaults, reading a file, freeing.
 *
 * A configuration is complete and checked when a caller sees it, and never changes afterwards.
 * Not here: what keys there are (config_schema.c), how YAML is read (config_yaml.c). */

#include "proxy/config/config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/util.h"
#include "proxy/config/config_dpdk.h"
#include "proxy/config/config_route.h"
#include "proxy/config/config_schema.h"
#include "proxy/config/config_upstream.h"

static const struct sl_config defaults = {
	.log_level = SL_LOG_INFO,
	.splice = {.engine = SL_SPLICE_AUTO,
		   .after_bytes = 64 * 1024,
		   .after_ms = 50,
		   .pairs = 65536,
		   .mss = 1400,
		   .time_wait_ms = 60000},
	.dpdk = {.memory = 256 << 20},
	.limits = {.connections = 50000,
		   .head = 16 * 1024,
		   .headers = 100,
		   .memory = 1024 * 1024 * 1024,
		   .rate_keys = 65536},
	.timeouts = {.header = 10000,
		     .body = 30000,
		     .idle = 60000,
		     .connect = 5000,
		     .upstream = 30000,
		     .tunnel = 3600000,
		     .drain = 30000,
		     .upgrade = 3600000},
	.access_log = {.format = SL_ACCESS_LOG_JSON, .sample = 1.0},
	.resolver = {.timeout_ms = 2000,
		     .tries = 2,
		     .cache = 4096,
		     .negative_ttl_ms = 10000,
		     .max_ttl_ms = 3600000},
	.pool = {.idle = 64, .idle_timeout_ms = 30000},
};

static int new_config(const char *file, struct sl_config **ret)
{
	struct sl_config *c = malloc(sizeof(*c));

	if (!c)
		return -ENOMEM;
	*c = defaults;
	c->file = file ? strdup(file) : NULL;
	c->admin = strdup("/run/sluice/admin.sock");
	if ((file && !c->file) || !c->admin ||
	    sl_addr_parse(SL_SLICE("127.0.0.1:9145"), &c->metrics)) {
		sl_config_free(c);
		return -ENOMEM;
	}
	*ret = c;
	return 0;
}

static int out_of_memory(const char *name, struct sl_config_error *ret_error)
{
	snprintf(ret_error->text, sizeof(ret_error->text), "%s: out of memory", name);
	return -ENOMEM;
}

int sl_config_parse(const char *name, const char *text, size_t len, struct sl_config **ret,
		    struct sl_config_error *ret_error)
{
	struct sl_config *c;
	int r;

	if (new_config(name, &c))
		return out_of_memory(name, ret_error);
	r = sl_yaml_load(name, text, len, &sl_config_schema, c, ret_error->text,
			 sizeof(ret_error->text));
	if (r) {
		sl_config_free(c);
		return r;
	}
	*ret = c;
	return 0;
}

/* At most one byte more than allowed, so that the reader sees what is too much. */
static int read_file(const char *file, char *buf, size_t room, size_t *ret_len)
{
	_sl_close_ int fd = open(file, O_RDONLY | O_CLOEXEC);
	size_t len = 0;
	ssize_t n = 1;

	if (fd < 0)
		return -errno;
	while (n && len < room) {
		n = read(fd, buf + len, room - len);
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0)
			len += (size_t)n;
	}
	*ret_len = len;
	return 0;
}

int sl_config_fail(int r, struct sl_config_error *ret_error, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(ret_error->text, sizeof(ret_error->text), fmt, ap);
	va_end(ap);
	return r;
}

int sl_config_load(const char *file, struct sl_config **ret, struct sl_config_error *ret_error)
{
	_sl_free_ char *text = malloc(SL_YAML_BYTES_MAX + 1);
	size_t len = 0;
	int r;

	if (!text)
		return out_of_memory(file, ret_error);
	r = read_file(file, text, SL_YAML_BYTES_MAX + 1, &len);
	if (r) {
		snprintf(ret_error->text, sizeof(ret_error->text), "%s: %s", file, strerror(-r));
		return r;
	}
	return sl_config_parse(file, text, len, ret, ret_error);
}

int sl_config_default(struct sl_config **ret)
{
	static const char text[] =
		"listeners: [{name: forward, listen: \"127.0.0.1:3128\", mode: forward}]";
	struct sl_config_error error;
	struct sl_config *c;

	if (sl_config_parse("built-in", text, sizeof(text) - 1, &c, &error))
		return -ENOMEM; /* the text is good: only memory can have failed */
	free(c->file);
	c->file = NULL;
	*ret = c;
	return 0;
}

static void free_listener(struct sl_listener_config *l)
{
	free(l->name);
	free(l->auth_basic);
	sl_acl_free(l->acl);
	free(l->proxy_from);
	sl_config_free_routes(l);
}

struct sl_config *sl_config_keep(struct sl_config *c)
{
	c->keepers++;
	return c;
}

void sl_config_free(struct sl_config *c)
{
	if (!c || c->keepers--)
		return;
	for (size_t i = 0; i < c->n_listeners; i++)
		free_listener(&c->listeners[i]);
	for (char **s = c->resolver.servers; s && *s; s++)
		free(*s);
	for (char **s = c->splice.devices; s && *s; s++)
		free(*s);
	free(c->splice.devices);
	sl_config_free_dpdk(&c->dpdk);
	for (size_t i = 0; i < c->n_upstreams; i++)
		sl_config_free_upstream(&c->upstreams[i]);
	free(c->upstreams);
	free(c->listeners);
	free(c->resolver.servers);
	free(c->access_log.path);
	free(c->admin);
	free(c->via);
	free(c->user);
	free(c->file);
	free(c);
}
