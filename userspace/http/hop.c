/* SPDX-License-Identifier: BSD-2-Clause */
/* What a head says about its connection, and which fields stop here (RFC 9110 7.6.1).
 *
 * Invariant: naming a field in Connection never removes what frames or routes the message. */

#include "http/head.h"

#include "base/util.h"

struct options {
	unsigned n;
	bool close, keep_alive, upgrade, te;
};

static enum sl_http_error connection_options(struct sl_slice list, struct options *o)
{
	struct sl_slice m;

	while (sl_list_next(&list, &m)) {
		if (!sl_is_token(m) || ++o->n > SL_CONNECTION_OPTIONS_MAX)
			return SL_HTTP_BAD_CONNECTION;
		o->close |= sl_slice_eq_nocase(m, SL_SLICE("close"));
		o->keep_alive |= sl_slice_eq_nocase(m, SL_SLICE("keep-alive"));
		o->upgrade |= sl_slice_eq_nocase(m, SL_SLICE("upgrade"));
		o->te |= sl_slice_eq_nocase(m, SL_SLICE("te"));
	}
	return SL_HTTP_OK;
}

static bool lists(struct sl_slice list, struct sl_slice word)
{
	struct sl_slice m;

	while (sl_list_next(&list, &m))
		if (sl_slice_eq_nocase(m, word))
			return true;
	return false;
}

/* Expect has one defined member (RFC 9110 10.1.1). */
static enum sl_http_error expectation(struct sl_slice list, bool *ret)
{
	struct sl_slice m;

	while (sl_list_next(&list, &m)) {
		if (!sl_slice_eq_nocase(m, SL_SLICE("100-continue")))
			return SL_HTTP_BAD_EXPECT;
		*ret = true;
	}
	return SL_HTTP_OK;
}

enum sl_http_error sl_head_hop(const struct sl_head *h, struct sl_hop *ret)
{
	bool upgrade = false, trailers = false, expect = false, request = !h->status;
	struct options o = {0};
	enum sl_http_error e = SL_HTTP_OK;

	for (unsigned i = 0; i < h->n_fields && !e; i++) {
		const struct sl_field *f = &h->field[i];

		if (f->id == SL_FIELD_CONNECTION)
			e = connection_options(f->value, &o);
		else if (f->id == SL_FIELD_UPGRADE)
			upgrade |= f->value.len > 0;
		else if (f->id == SL_FIELD_TE)
			trailers |= lists(f->value, SL_SLICE("trailers"));
		else if (f->id == SL_FIELD_EXPECT && request)
			e = expectation(f->value, &expect);
	}
	if (e)
		return e;
	*ret = (struct sl_hop){
		.persistent = !o.close && (h->minor || o.keep_alive),
		.upgrade = upgrade && o.upgrade && h->minor,
		.te_trailers = trailers && o.te,
		.expect_continue = expect && h->minor,
	};
	return SL_HTTP_OK;
}

/* Walks by commas alone: sl_head_hop() refused whatever is not a list of tokens. */
static bool named_by(struct sl_slice list, struct sl_slice name)
{
	const char *p = list.p, *end = list.p + list.len;

	while (p < end) {
		const char *comma = memchr(p, ',', (size_t)(end - p));
		const char *stop = comma ? comma : end;

		while (p < stop && (*p == ' ' || *p == '\t'))
			p++;
		while (stop > p && (stop[-1] == ' ' || stop[-1] == '\t'))
			stop--;
		if (sl_slice_eq_nocase(sl_slice(p, (size_t)(stop - p)), name))
			return true;
		p = comma ? comma + 1 : end;
	}
	return false;
}

bool sl_head_drops(const struct sl_head *h, const struct sl_field *f)
{
	switch (f->id) {
	case SL_FIELD_CONNECTION:
	case SL_FIELD_HTTP2_SETTINGS:
	case SL_FIELD_KEEP_ALIVE:
	case SL_FIELD_PROXY_AUTHENTICATE:
	case SL_FIELD_PROXY_AUTHORIZATION:
	case SL_FIELD_PROXY_CONNECTION:
	case SL_FIELD_TE:
	case SL_FIELD_UPGRADE:
		return true;
	case SL_FIELD_CONTENT_LENGTH:
	case SL_FIELD_HOST:
	case SL_FIELD_TRANSFER_ENCODING:
	case SL_FIELD_VIA:
		return false;
	default:
		break;
	}
	for (unsigned i = 0; i < h->n_fields; i++)
		if (h->field[i].id == SL_FIELD_CONNECTION && named_by(h->field[i].value, f->name))
			return true;
	return false;
}
