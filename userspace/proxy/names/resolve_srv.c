/* SPDX-License-Identifier: BSD-2-Clause */
/* SRV records: the answer section is walked, names are left to c-ares, which follows compression without
 * loops and never leaves the message.
 *
 * Not here: the order of RFC 2782 (weights and priorities become those of servers). */

#include "proxy/names/resolve_srv.h"

#include <ares.h>
#include <errno.h>

#include "base/util.h"

#define HEADER_BYTES 12
#define RECORD_BYTES 10 /* behind the name: type, class, TTL, length */
#define SRV_BYTES    6	/* before the target */

struct reader {
	const unsigned char *message;
	size_t len, at;
};

static unsigned u16(const struct reader *r, size_t at)
{
	return (unsigned)r->message[at] << 8 | r->message[at + 1];
}

static uint32_t u32(const struct reader *r, size_t at)
{
	return (uint32_t)u16(r, at) << 16 | u16(r, at + 2);
}

/* Passes the name; its text goes to *ret_text, to be freed by ares_free_string(), unless that is NULL. */
static int read_name(struct reader *r, char **ret_text)
{
	char *text;
	long n;

	if (r->at >= r->len || ares_expand_name(r->message + r->at, r->message, (int)r->len, &text,
						&n) != ARES_SUCCESS)
		return -EIO;
	r->at += (size_t)n;
	if (ret_text)
		*ret_text = text;
	else
		ares_free_string(text);
	return 0;
}

/* r is at the data. */
static int read_srv(struct reader r, size_t data_len, struct sl_srvs *ret)
{
	struct sl_srv *srv = &ret->srv[ret->n];
	const size_t at = r.at;
	bool usable;
	char *text;

	if (data_len <= SRV_BYTES)
		return -EIO;
	r.at += SRV_BYTES;
	if (read_name(&r, &text) < 0)
		return -EIO;
	usable = r.at == at + data_len;
	if (!usable) {
		ares_free_string(text);
		return -EIO;
	}
	srv->priority = (uint16_t)u16(&r, at);
	srv->weight = (uint16_t)u16(&r, at + 2);
	srv->port = (uint16_t)u16(&r, at + 4);
	usable = srv->port && sl_name_normalise(sl_slice_str(text), srv->target);
	ares_free_string(text);
	ret->n += usable;
	return 0;
}

static int read_record(struct reader *r, struct sl_srvs *ret)
{
	unsigned type, len;
	uint32_t ttl_s;
	size_t at;

	if (read_name(r, NULL) < 0 || r->len - r->at < RECORD_BYTES)
		return -EIO;
	at = r->at;
	type = u16(r, at);
	ttl_s = u32(r, at + 4);
	len = u16(r, at + 8);
	r->at += RECORD_BYTES;
	if (r->len - r->at < len)
		return -EIO;
	/* Above 2^31 is 0 (RFC 2181 section 8). */
	ret->ttl_s = sl_min(ret->ttl_s, ttl_s > INT32_MAX ? 0 : ttl_s);
	if (type == SL_TYPE_SRV && ret->n < SL_SRV_MAX && read_srv(*r, len, ret) < 0)
		return -EIO;
	r->at += len;
	return 0;
}

int sl_srv_parse(const unsigned char *message, size_t len, struct sl_srvs *ret)
{
	struct reader r = {.message = message, .len = len, .at = HEADER_BYTES};
	struct sl_srvs srvs = {.ttl_s = UINT32_MAX};

	if (len < HEADER_BYTES)
		return -EIO;
	for (unsigned i = u16(&r, 4); i; i--) {
		if (read_name(&r, NULL) < 0 || r.len - r.at < 4)
			return -EIO;
		r.at += 4;
	}
	for (unsigned i = u16(&r, 6); i; i--)
		if (read_record(&r, &srvs) < 0)
			return -EIO;
	if (!srvs.n)
		return -ENOENT;
	*ret = srvs;
	return 0;
}
