/* SPDX-License-Identifier: BSD-2-Clause */
/* Field names that matter, and field syntax shared by several.
 *
 * Look-up: length and first letter leave at most one candidate, then one comparison decides. The
 * compiler refuses two names with the same key, and a test finds a name without one. */

#include "http/field.h"

#include "base/util.h"
#include "http/scan.h"

static const struct sl_slice names[SL_FIELD_COUNT] = {[SL_FIELD_OTHER] = {"", 0},
#define X(id, name) [SL_FIELD_##id] = {name, sizeof(name) - 1},
						      SL_FIELDS(X)
#undef X
};

#define KEY(len, letter) ((unsigned)(len) << 8 | (unsigned char)(letter))

static enum sl_field_id candidate(struct sl_slice name)
{
	switch (KEY(name.len, sl_ascii_lower(name.p[0]))) {
	case KEY(2, 't'):
		return SL_FIELD_TE;
	case KEY(3, 'v'):
		return SL_FIELD_VIA;
	case KEY(4, 'd'):
		return SL_FIELD_DATE;
	case KEY(4, 'h'):
		return SL_FIELD_HOST;
	case KEY(6, 'e'):
		return SL_FIELD_EXPECT;
	case KEY(6, 's'):
		return SL_FIELD_SERVER;
	case KEY(7, 'r'):
		return SL_FIELD_REFERER;
	case KEY(7, 't'):
		return SL_FIELD_TRAILER;
	case KEY(7, 'u'):
		return SL_FIELD_UPGRADE;
	case KEY(9, 'f'):
		return SL_FIELD_FORWARDED;
	case KEY(10, 'c'):
		return SL_FIELD_CONNECTION;
	case KEY(10, 'k'):
		return SL_FIELD_KEEP_ALIVE;
	case KEY(10, 'u'):
		return SL_FIELD_USER_AGENT;
	case KEY(12, 'c'):
		return SL_FIELD_CONTENT_TYPE;
	case KEY(12, 'm'):
		return SL_FIELD_MAX_FORWARDS;
	case KEY(12, 'x'):
		return SL_FIELD_X_REQUEST_ID;
	case KEY(14, 'c'):
		return SL_FIELD_CONTENT_LENGTH;
	case KEY(14, 'h'):
		return SL_FIELD_HTTP2_SETTINGS;
	case KEY(15, 'x'):
		return SL_FIELD_X_FORWARDED_FOR;
	case KEY(16, 'p'):
		return SL_FIELD_PROXY_CONNECTION;
	case KEY(17, 't'):
		return SL_FIELD_TRANSFER_ENCODING;
	case KEY(17, 'x'):
		return SL_FIELD_X_FORWARDED_PROTO;
	case KEY(18, 'p'):
		return SL_FIELD_PROXY_AUTHENTICATE;
	case KEY(19, 'p'):
		return SL_FIELD_PROXY_AUTHORIZATION;
	default:
		return SL_FIELD_OTHER;
	}
}

enum sl_field_id sl_field_lookup(struct sl_slice name)
{
	enum sl_field_id id = name.len ? candidate(name) : SL_FIELD_OTHER;

	return sl_slice_eq_nocase(name, names[id]) ? id : SL_FIELD_OTHER;
}

const char *sl_field_name(enum sl_field_id id)
{
	return (unsigned)id < SL_FIELD_COUNT ? names[id].p : "";
}

bool sl_field_is_framing(enum sl_field_id id)
{
	return id == SL_FIELD_CONTENT_LENGTH || id == SL_FIELD_TRANSFER_ENCODING;
}

/* Names without an id of their own that have no business in a trailer section: authentication,
 * conditions and controls of the request, control data of the response, how to read the content. */
static const char *const no_trailers[] = {
	"Age",
	"Authorization",
	"Cache-Control",
	"Content-Encoding",
	"Content-Range",
	"Cookie",
	"Expires",
	"If-Match",
	"If-Modified-Since",
	"If-None-Match",
	"If-Range",
	"If-Unmodified-Since",
	"Location",
	"Pragma",
	"Range",
	"Retry-After",
	"Set-Cookie",
	"Vary",
	"WWW-Authenticate",
	"X-Forwarded-Host",
	"X-Forwarded-Proto",
	"X-Forwarded-Port",
	"X-Real-IP",
};

bool sl_field_forbidden_in_trailer(enum sl_field_id id, struct sl_slice name)
{
	switch (id) {
	case SL_FIELD_OTHER:
		break;
	case SL_FIELD_REFERER:
	case SL_FIELD_SERVER:
	case SL_FIELD_USER_AGENT:
	case SL_FIELD_X_REQUEST_ID:
		return false;
	default:
		return true;
	}
	for (size_t i = 0; i < SL_ARRAY_SIZE(no_trailers); i++)
		if (sl_slice_eq_nocase(name, sl_slice_str(no_trailers[i])))
			return true;
	return false;
}

bool sl_is_token(struct sl_slice s)
{
	return s.len && sl_scan(SL_SCAN_TOKEN, s.p, s.len) == s.len;
}

/* The length of s up to its first comma that is not quoted. An unclosed quote runs to the end. */
static size_t member_len(struct sl_slice s)
{
	bool quoted = false;
	size_t i;

	for (i = 0; i < s.len && (quoted || s.p[i] != ','); i++) {
		if (s.p[i] == '"')
			quoted = !quoted;
		else if (quoted && s.p[i] == '\\' && i + 1 < s.len)
			i++;
	}
	return i;
}

static struct sl_slice trim(struct sl_slice s)
{
	while (s.len && (*s.p == ' ' || *s.p == '\t'))
		s = sl_slice(s.p + 1, s.len - 1);
	while (s.len && (s.p[s.len - 1] == ' ' || s.p[s.len - 1] == '\t'))
		s.len--;
	return s;
}

bool sl_list_next(struct sl_slice *list, struct sl_slice *ret_member)
{
	while (list->len) {
		size_t n = member_len(*list);
		struct sl_slice member = trim(sl_slice(list->p, n));
		size_t used = sl_min(n + 1, list->len);

		*list = sl_slice(list->p + used, list->len - used);
		if (member.len) {
			*ret_member = member;
			return true;
		}
	}
	return false;
}
