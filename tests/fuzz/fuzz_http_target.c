/* SPDX-License-Identifier: BSD-2-Clause */
/* Authorities and targets: what is accepted holds only what its grammar allows, and means the same
 * when written out and read again. First byte: the method. */

#include "fuzz.h"

#include <string.h>

#include "base/addr.h"
#include "http/scan.h"
#include "http/target.h"

const char *const fuzz_words[] = {
	"http://", "https://", "[::1]",	      ":80", ":65536", "127.0.0.1", "0x7f", "@", "*",  "/",
	"?",	   "#",	       "example.com", "..",  "//",     "%",	    "[",    "]", NULL,
};

static struct sl_head head;

static void check_authority(struct sl_slice s, const struct sl_authority *a)
{
	char text[400];
	struct sl_authority again;
	struct sl_addr addr;
	int n;

	FUZZ_CHECK(sl_slice_eq(a->text, s));
	FUZZ_CHECK(a->host.len && a->host.len <= 254);
	FUZZ_CHECK(a->host.p >= s.p && a->host.p + a->host.len <= s.p + s.len);
	FUZZ_CHECK(a->has_port == (a->port != 0));
	for (size_t i = 0; i < a->host.len; i++)
		FUZZ_CHECK(a->host.p[i] > ' ' && !strchr("@/?#\\%,;\"[]", a->host.p[i]));
	if (a->ipv6_literal)
		FUZZ_CHECK(!sl_addr_parse_host(a->host, 0, &addr) && addr.family == AF_INET6);
	n = snprintf(text, sizeof(text), "%s%.*s%s", a->ipv6_literal ? "[" : "", (int)a->host.len,
		     a->host.p, a->ipv6_literal ? "]" : "");
	if (a->has_port)
		n += snprintf(text + n, sizeof(text) - (size_t)n, ":%u", a->port);
	FUZZ_CHECK(!sl_authority_parse(sl_slice(text, (size_t)n), &again));
	FUZZ_CHECK(again.port == a->port && again.has_port == a->has_port);
	FUZZ_CHECK(sl_slice_eq(again.host, a->host));
}

static void check_target(const struct sl_target *t)
{
	struct sl_slice s = head.target;

	FUZZ_CHECK((t->form == SL_TARGET_AUTHORITY) == (head.method == SL_METHOD_CONNECT));
	FUZZ_CHECK(!memchr(s.p, '#', s.len));
	if (t->form == SL_TARGET_ORIGIN)
		FUZZ_CHECK(sl_slice_eq(t->path_query, s) && *s.p == '/');
	if (t->form == SL_TARGET_ASTERISK)
		FUZZ_CHECK(head.method == SL_METHOD_OPTIONS && s.len == 1);
	if (t->form == SL_TARGET_AUTHORITY)
		FUZZ_CHECK(t->authority.has_port);
	if (t->form == SL_TARGET_AUTHORITY || t->form == SL_TARGET_ABSOLUTE)
		check_authority(t->authority.text, &t->authority);
	if (t->form == SL_TARGET_ABSOLUTE) {
		FUZZ_CHECK(t->scheme.len + 3 + t->authority.text.len + t->path_query.len == s.len);
		FUZZ_CHECK(!t->path_query.len || *t->path_query.p == '/' ||
			   *t->path_query.p == '?');
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static const enum sl_method methods[] = {SL_METHOD_GET, SL_METHOD_CONNECT,
						 SL_METHOD_OPTIONS, SL_METHOD_OTHER};
	struct sl_authority a;
	struct sl_target t;
	struct sl_slice s;

	if (!len)
		return 0;
	s = sl_slice((const char *)data + 1, len - 1);
	if (!sl_authority_parse(s, &a))
		check_authority(s, &a);
	if (sl_scan(SL_SCAN_TARGET, s.p, s.len) != s.len)
		return 0; /* no such target comes out of a head */
	head.method = methods[data[0] % 4];
	head.target = s;
	if (!sl_target_parse(&head, &t))
		check_target(&t);
	return 0;
}
