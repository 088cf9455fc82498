/* SPDX-License-Identifier: BSD-2-Clause */
/* Scalars of the configuration: numbers with units, choices, strings, addresses.
 *
 * A value is read as written, quoted or not; no locale, no octal, no sign, no white space. */

#include "proxy/config/config_yaml.h"
#include "proxy/access/rate.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/addr.h"

struct unit {
	const char *name;
	uint64_t factor;
};

static const struct unit no_units[] = {{"", 1}, {NULL}};
static const struct unit byte_units[] = {
	{"", 1}, {"k", 1024}, {"m", 1024 * 1024}, {"g", 1024 * 1024 * 1024}, {NULL}};
static const struct unit time_units[] = {{"ms", 1},	 {"s", 1000},	  {"m", 60000},
					 {"h", 3600000}, {"d", 86400000}, {NULL}};

static void store(const struct sl_yaml_key *k, void *object, uint64_t v)
{
	char *field = (char *)object + k->offset;

	if (k->size == 1)
		*(uint8_t *)field = (uint8_t)v;
	else if (k->size == 2)
		*(uint16_t *)field = (uint16_t)v;
	else if (k->size == 4)
		*(uint32_t *)field = (uint32_t)v;
	else
		*(uint64_t *)field = v;
}

/* -EINVAL if malformed, -ERANGE if beyond 64 bits. */
static int parse_units(const char *s, const struct unit *units, uint64_t *ret)
{
	uint64_t v = 0;

	if (*s < '0' || *s > '9')
		return -EINVAL;
	for (; *s >= '0' && *s <= '9'; s++)
		if (__builtin_mul_overflow(v, 10, &v) ||
		    __builtin_add_overflow(v, (uint64_t)(*s - '0'), &v))
			return -ERANGE;
	for (; units->name; units++) {
		if (strcmp(units->name, s))
			continue;
		return __builtin_mul_overflow(v, units->factor, ret) ? -ERANGE : 0;
	}
	return -EINVAL;
}

/* In the largest unit that leaves no rest. */
static const char *print_units(uint64_t v, const struct unit *units, char buf[32])
{
	const struct unit *best = units;

	for (; units->name; units++)
		if (v && v % units->factor == 0)
			best = units;
	snprintf(buf, 32, "%llu%s", (unsigned long long)(v / best->factor), best->name);
	return buf;
}

static int read_units(struct sl_yaml *y, const yaml_node_t *n, const struct sl_yaml_key *k,
		      void *object, const struct unit *units, const char *what)
{
	const char *text = sl_yaml_text(n);
	char range[96], from[32], to[32];
	uint64_t v = 0;
	int r = text ? parse_units(text, units, &v) : -EINVAL;

	if (r == -EINVAL)
		return sl_yaml_expected(y, n, what);
	if (r || v < k->min || v > k->max) {
		snprintf(range, sizeof(range), "%s to %s", print_units(k->min, units, from),
			 print_units(k->max, units, to));
		return sl_yaml_expected(y, n, range);
	}
	store(k, object, v);
	return 0;
}

int sl_yaml_read_number(struct sl_yaml *y, const yaml_node_t *n, const struct sl_yaml_key *k,
			void *object)
{
	return read_units(y, n, k, object, no_units, "a number");
}

int sl_yaml_read_bytes(struct sl_yaml *y, const yaml_node_t *n, const struct sl_yaml_key *k,
		       void *object)
{
	return read_units(y, n, k, object, byte_units, "a size such as 64k");
}

int sl_yaml_read_duration(struct sl_yaml *y, const yaml_node_t *n, const struct sl_yaml_key *k,
			  void *object)
{
	return read_units(y, n, k, object, time_units, "a duration such as 10s");
}

/* "0", "1", "0.25", "1.0": at most nine decimals. */
static int parse_fraction(const char *s, double *ret)
{
	double v, place = 0.1;
	int digits = 0;

	if (*s != '0' && *s != '1')
		return -EINVAL;
	v = *s++ - '0';
	if (*s == '.') {
		for (s++; *s >= '0' && *s <= '9' && digits < 9; s++, digits++, place /= 10)
			v += (*s - '0') * place;
		if (!digits)
			return -EINVAL;
	}
	if (*s || v > 1)
		return -EINVAL;
	*ret = v;
	return 0;
}

int sl_yaml_read_fraction(struct sl_yaml *y, const yaml_node_t *n, const struct sl_yaml_key *k,
			  void *object)
{
	const char *text = sl_yaml_text(n);
	double v;

	if (!text || parse_fraction(text, &v))
		return sl_yaml_expected(y, n, "a fraction from 0 to 1 such as 0.25");
	memcpy((char *)object + k->offset, &v, sizeof(v));
	return 0;
}

int sl_yaml_read_bool(struct sl_yaml *y, const yaml_node_t *n, const struct sl_yaml_key *k,
		      void *object)
{
	const char *text = sl_yaml_text(n);
	bool yes = text && !strcmp(text, "true");

	if (!yes && (!text || strcmp(text, "false")))
		return sl_yaml_expected(y, n, "true or false");
	store(k, object, yes);
	return 0;
}

static int fail_choice(struct sl_yaml *y, const yaml_node_t *n, const struct sl_yaml_choice *c)
{
	char what[160] = "one of: ";
	size_t len = strlen(what);
	bool first = true;

	for (; c->name && len < sizeof(what); c++) {
		len += (size_t)snprintf(what + len, sizeof(what) - len, "%s%s", first ? "" : ", ",
					c->name);
		first = false;
	}
	return sl_yaml_expected(y, n, what);
}

int sl_yaml_read_choice(struct sl_yaml *y, const yaml_node_t *n, const struct sl_yaml_key *k,
			void *object)
{
	const char *text = sl_yaml_text(n);
	const struct sl_yaml_choice *c = k->choices;

	while (text && c->name && strcmp(c->name, text))
		c++;
	if (!text || !c->name)
		return fail_choice(y, n, k->choices);
	store(k, object, c->value);
	return 0;
}

static bool is_printable(const char *s)
{
	for (; *s; s++)
		if ((unsigned char)*s < ' ' || *s == 127)
			return false;
	return true;
}

int sl_yaml_read_string(struct sl_yaml *y, const yaml_node_t *n, const struct sl_yaml_key *k,
			void *object)
{
	const char *text = sl_yaml_text(n);
	char *copy, **field = (char **)((char *)object + k->offset);

	if (!text || !is_printable(text))
		return sl_yaml_expected(y, n, "a string without control characters");
	if (strlen(text) < k->min || strlen(text) > k->max)
		return sl_yaml_fail(y, n, "expected %llu to %llu bytes, got %zu",
				    (unsigned long long)k->min, (unsigned long long)k->max,
				    strlen(text));
	copy = strdup(text);
	if (!copy)
		return sl_yaml_no_memory(y);
	free(*field);
	*field = copy;
	return 0;
}

int sl_yaml_read_path(struct sl_yaml *y, const yaml_node_t *n, const struct sl_yaml_key *k,
		      void *object)
{
	const char *text = sl_yaml_text(n);

	if (!text || *text != '/')
		return sl_yaml_expected(y, n, "an absolute path");
	return sl_yaml_read_string(y, n, k, object);
}

/* Letters, digits, '-' and '_' in labels of 1 to 63 bytes; lower case. */
static bool is_host_name(const char *s)
{
	size_t label = 0;

	for (; *s; s++) {
		bool dot = *s == '.';

		if (!dot && !(*s >= 'a' && *s <= 'z') && !(*s >= '0' && *s <= '9') && *s != '-' &&
		    *s != '_')
			return false;
		if ((dot && !label) || ++label > 64)
			return false;
		if (dot)
			label = 0;
	}
	return label > 0 && label <= 63;
}

int sl_yaml_read_host(struct sl_yaml *y, const yaml_node_t *n, const struct sl_yaml_key *k,
		      void *object)
{
	const char *text = sl_yaml_text(n);
	char name[256], **field = (char **)((char *)object + k->offset);
	size_t len = text ? strlen(text) : 0;

	if (len && text[len - 1] == '.')
		len--;
	if (!len || len >= sizeof(name))
		return sl_yaml_expected(y, n, "a host name or *.suffix");
	for (size_t i = 0; i < len; i++)
		name[i] = sl_ascii_lower(text[i]);
	name[len] = '\0';
	if (!is_host_name(strncmp(name, "*.", 2) ? name : name + 2))
		return sl_yaml_expected(y, n, "a host name or *.suffix");
	*field = strdup(name);
	return *field ? 0 : sl_yaml_no_memory(y);
}

#define RATE_MAX 1000000

static const struct sl_yaml_key rate_keys[] = {
	{SL_YAML_FIELD("rate", sl_yaml_read_number, struct sl_rate, per_second), .min = 1,
	 .max = RATE_MAX, .required = true},
	{SL_YAML_FIELD("burst", sl_yaml_read_number, struct sl_rate, burst), .min = 1,
	 .max = RATE_MAX},
};

/* A second's worth at once, unless told. */
static int check_rate(struct sl_yaml *y, const yaml_node_t *n, void *object)
{
	struct sl_rate *rate = object;

	if (!rate->burst)
		rate->burst = rate->per_second;
	return 0;
}

static const struct sl_yaml_map rate_map = {rate_keys, SL_ARRAY_SIZE(rate_keys), check_rate};

int sl_yaml_read_rate(struct sl_yaml *y, const yaml_node_t *n, const struct sl_yaml_key *k,
		      void *object)
{
	const struct sl_yaml_key rate = {.map = &rate_map, .offset = k->offset};

	return sl_yaml_read_map(y, n, &rate, object);
}

/* Letters, digits, '.', '_', '-': it becomes a label of metrics and a word of logs. */
int sl_yaml_read_name(struct sl_yaml *y, const yaml_node_t *n, const struct sl_yaml_key *k,
		      void *object)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				      "0123456789._-";
	const char *text = sl_yaml_text(n);

	if (!text || !*text || text[strspn(text, allowed)])
		return sl_yaml_expected(y, n, "a name of letters, digits, '.', '_' and '-'");
	return sl_yaml_read_string(y, n, k, object);
}

int sl_yaml_read_address(struct sl_yaml *y, const yaml_node_t *n, const struct sl_yaml_key *k,
			 void *object)
{
	const char *text = sl_yaml_text(n);
	struct sl_addr a;

	if (!text || sl_addr_parse(sl_slice_str(text), &a) || !sl_addr_port(&a))
		return sl_yaml_expected(y, n, "address:port such as 127.0.0.1:3128 or [::1]:3128");
	sl_addr_unmap(&a);
	memcpy((char *)object + k->offset, &a, sizeof(a));
	return 0;
}
