/* SPDX-License-Identifier: BSD-2-Clause */
/* Trace context of requests. No state, no clock, no lookups by the trace. */

#include "proxy/trace.h"

#include <sodium.h>
#include <string.h>

#define ID_AT	  3
#define ID_LEN	  32
#define PARENT_AT 36
#define FLAGS_AT  53

/* Lower case only. -1: none. */
static int digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool all_digits(const char *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (digit(p[i]) < 0)
			return false;
	return true;
}

static bool all_zero(const char *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (p[i] != '0')
			return false;
	return true;
}

/* What every version has in common. */
static bool is_well_formed(const char *p)
{
	return all_digits(p, 2) && p[2] == '-' && all_digits(p + ID_AT, ID_LEN) && p[35] == '-' &&
	       all_digits(p + PARENT_AT, 16) && p[52] == '-' && all_digits(p + FLAGS_AT, 2) &&
	       !all_zero(p + ID_AT, ID_LEN) && !all_zero(p + PARENT_AT, 16) && memcmp(p, "ff", 2);
}

static bool read_value(struct sl_slice v, struct sl_trace *ret)
{
	bool later;

	if (v.len < SL_TRACEPARENT_LEN || !is_well_formed(v.p))
		return false;
	later = memcmp(v.p, "00", 2);
	if (v.len > SL_TRACEPARENT_LEN && (!later || v.p[SL_TRACEPARENT_LEN] != '-'))
		return false;
	memcpy(ret->text, v.p, SL_TRACEPARENT_LEN);
	ret->sampled = digit(v.p[FLAGS_AT + 1]) & 1;
	if (later) { /* its other flags may mean anything */
		memcpy(ret->text, "00", 2);
		memcpy(ret->text + FLAGS_AT, ret->sampled ? "01" : "00", 2);
	}
	ret->there = ret->came = true;
	return true;
}

void sl_trace_read(const struct sl_head *h, struct sl_trace *ret)
{
	const struct sl_field *found = NULL;
	unsigned seen = 0;

	*ret = (struct sl_trace){0};
	for (unsigned i = 0; i < h->n_fields; i++) {
		if (!sl_slice_eq_nocase(h->field[i].name, SL_SLICE("traceparent")))
			continue;
		found = &h->field[i];
		seen++;
	}
	if (seen == 1)
		read_value(found->value, ret);
}

void sl_trace_make(double sample, struct sl_trace *ret)
{
	uint8_t bytes[24];
	char hex[2 * sizeof(bytes) + 1];

	randombytes_buf(bytes, sizeof(bytes));
	bytes[0] |= 1; /* neither is all zeros */
	bytes[16] |= 1;
	sodium_bin2hex(hex, sizeof(hex), bytes, sizeof(bytes));
	*ret = (struct sl_trace){
		.there = true,
		.sampled = sample >= 1 || randombytes_random() < sample * 4294967296.0,
	};
	memcpy(ret->text, "00-", 3);
	memcpy(ret->text + ID_AT, hex, ID_LEN);
	ret->text[35] = '-';
	memcpy(ret->text + PARENT_AT, hex + ID_LEN, 16);
	memcpy(ret->text + 52, ret->sampled ? "-01" : "-00", 3);
}
