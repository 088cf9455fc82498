/* SPDX-License-Identifier: BSD-2-Clause */
/* The command "flows" and its arguments. The command line reads them by the same function before it asks,
 * so both say the same of a mistake. */

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/util.h"
#include "proxy/observe/flow_list.h"

#define MAX_DEFAULT  1000
#define SCAN_DEFAULT 50000

struct reader {
	char *problem;
	size_t size;
};

SL_PRINTF(2, 3) static int wrong(struct reader *r, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(r->problem, r->size, format, args);
	va_end(args);
	return -EINVAL;
}

/* --- one end --- */

/* Digits behind the last colon are a port, unless the whole is an address. */
static struct sl_slice cut_port(struct sl_slice s, unsigned long *ret_port)
{
	const char *colon = memrchr(s.p, ':', s.len);
	size_t head = colon ? (size_t)(colon - s.p) : 0;
	size_t digits = colon ? strspn(colon + 1, "0123456789") : 0;

	*ret_port = 0;
	if (!colon || !digits || digits > 5 || head + 1 + digits != s.len)
		return s;
	*ret_port = strtoul(colon + 1, NULL, 10);
	if (head > 2 && s.p[0] == '[' && s.p[head - 1] == ']')
		return sl_slice(s.p + 1, head - 2);
	return sl_slice(s.p, head);
}

/* A name with at most one star, which stands before its first dot; not one that is meant to be an address. */
static bool is_name(struct sl_slice s)
{
	static const char letters[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
	size_t star = s.len > 1 && s.p[0] == '*' && s.p[1] == '.';
	bool has_letter = star;

	if (s.len >= sizeof(((struct sl_flow_end *)NULL)->name))
		return false;
	for (size_t i = star; i < s.len; i++) {
		if (!s.p[i] || !strchr(letters, s.p[i]))
			return false;
		has_letter |= s.p[i] != '.' && !(s.p[i] >= '0' && s.p[i] <= '9');
	}
	return has_letter;
}

static int read_end(struct reader *r, const char *key, const char *text, bool may_be_name,
		    struct sl_flow_end *ret)
{
	struct sl_slice whole = sl_slice_str(text), host = whole;
	unsigned long port = 0;

	*ret = (struct sl_flow_end){.any_host = !text};
	if (!text)
		return 0;
	ret->by_address = !sl_cidr_parse(whole, &ret->cidr);
	if (ret->by_address)
		return 0;
	host = cut_port(whole, &port);
	if (port > 65535 || (host.len != whole.len && !port))
		return wrong(r, "%s: a port is 1 to 65535, not \"%s\"", key, text);
	ret->port = (uint16_t)port;
	ret->any_host = port && !host.len;
	ret->by_address = !ret->any_host && !sl_cidr_parse(host, &ret->cidr);
	if (ret->any_host || ret->by_address)
		return 0;
	if (!may_be_name)
		return wrong(r,
			     "%s: expected an address, a prefix without host bits (10.0.0.0/8), or "
			     ":PORT behind them or alone, got \"%.80s\"",
			     key, text);
	if (!is_name(host))
		return wrong(r,
			     "%s: expected a name (example.com, *.example.com), an address, a "
			     "prefix without host bits (10.0.0.0/8), or :PORT behind them or "
			     "alone, got \"%.80s\"",
			     key, text);
	memcpy(ret->name, host.p, host.len);
	return 0;
}

/* --- words and numbers --- */

static int read_order(struct reader *r, const char *word, enum sl_flow_order *ret)
{
	static const char *const words[] = {
		[SL_FLOW_BY_AGE] = "age",
		[SL_FLOW_BY_NEWEST] = "newest",
		[SL_FLOW_BY_BYTES] = "bytes",
		[SL_FLOW_BY_CLIENT_BYTES] = "from-client",
		[SL_FLOW_BY_UPSTREAM_BYTES] = "from-upstream",
		[SL_FLOW_BY_SOURCE] = "source",
		[SL_FLOW_BY_TARGET] = "target",
	};

	for (size_t i = 0; i < SL_ARRAY_SIZE(words); i++) {
		if (!strcmp(word, words[i])) {
			*ret = (enum sl_flow_order)i;
			return 0;
		}
	}
	return wrong(r,
		     "sort: expected age, newest, bytes, from-client, from-upstream, source or "
		     "target, got \"%.40s\"",
		     word);
}

static int read_engine(struct reader *r, const char *word, struct sl_flow_filter *f)
{
	static const char *const words[] = {"copy", "sockmap", "packet", "dpdk"};

	for (size_t i = 0; word && i < SL_ARRAY_SIZE(words); i++) {
		if (!strcmp(word, words[i])) {
			strcpy(f->engine, word);
			return 0;
		}
	}
	return !word ? 0
		     : wrong(r, "engine: expected copy, sockmap, packet or dpdk, got \"%.40s\"",
			     word);
}

static int read_listener(struct reader *r, const char *word, struct sl_flow_filter *f)
{
	if (!word)
		return 0;
	if (!*word || strlen(word) >= sizeof(f->listener))
		return wrong(r, "listener: expected the name of a listener");
	strcpy(f->listener, word);
	return 0;
}

static int read_bound(struct reader *r, const char *key, json_int_t n, json_int_t most,
		      uint32_t *ret)
{
	if (n < 1 || n > most)
		return wrong(r, "%s must be 1 to %" JSON_INTEGER_FORMAT, key, most);
	*ret = (uint32_t)n;
	return 0;
}

static int read_range(struct reader *r, const char *what, json_int_t min, json_int_t max,
		      uint64_t *ret_min, uint64_t *ret_max)
{
	if (min < 0 || max < 0)
		return wrong(r, "%s: numbers below 0 make no sense", what);
	if (min > max)
		return wrong(r, "%s: the least is more than the most, so nothing can match", what);
	*ret_min = (uint64_t)min;
	*ret_max = (uint64_t)max;
	return 0;
}

int sl_flow_filter_read(const json_t *request, struct sl_flow_filter *ret, char *ret_problem,
			size_t size)
{
	const char *command, *source = NULL, *target = NULL, *engine = NULL, *listener = NULL;
	json_int_t max = MAX_DEFAULT, scan = SCAN_DEFAULT, min_age = 0, max_age = INT64_MAX,
		   min_bytes = 0, max_bytes = INT64_MAX;
	struct reader r = {ret_problem, size};
	struct sl_flow_filter f = {0};
	const char *order = "age";
	json_error_t e;
	int error;

	if (json_unpack_ex((json_t *)request, &e, JSON_STRICT,
			   "{s:s, s?I, s?I, s?s, s?s, s?s, s?s, s?s, s?I, s?I, s?I, s?I}",
			   "command", &command, "max", &max, "scan", &scan, "sort", &order,
			   "source", &source, "target", &target, "engine", &engine, "listener",
			   &listener, "min_age_ms", &min_age, "max_age_ms", &max_age, "min_bytes",
			   &min_bytes, "max_bytes", &max_bytes) < 0)
		return wrong(&r, "%s", e.text);
	error = read_bound(&r, "max", max, SL_FLOWS_MAX, &f.max);
	if (!error)
		error = read_bound(&r, "scan", scan, SL_FLOWS_SCAN_MAX, &f.scan);
	if (!error)
		error = read_order(&r, order, &f.order);
	if (!error)
		error = read_end(&r, "source", source, false, &f.source);
	if (!error)
		error = read_end(&r, "target", target, true, &f.target);
	if (!error)
		error = read_engine(&r, engine, &f);
	if (!error)
		error = read_listener(&r, listener, &f);
	if (!error)
		error = read_range(&r, "age", min_age, max_age, &f.min_age_ms, &f.max_age_ms);
	if (!error)
		error = read_range(&r, "bytes", min_bytes, max_bytes, &f.min_bytes, &f.max_bytes);
	if (!error)
		*ret = f;
	return error;
}
