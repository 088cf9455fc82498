/* SPDX-License-Identifier: BSD-2-Clause */
/* PROXY headers: a verdict never changes with more bytes, and what was read is the same when written and
 * read again. */

#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "proxy/proxy_header.h"

const char *const fuzz_words[] = {"PROXY ",   "TCP4 ", "TCP6 ",	    "UNKNOWN", "\r\n",
				  " ",	      "65535", "127.0.0.1", "::1",     "0",
				  "\x21\x11", "\x20",  "ffff:",	    NULL};

static enum sl_proxy_result read_exact(const uint8_t *data, size_t len, struct sl_proxy_header *ret)
{
	char *copy = malloc(len ? len : 1);
	enum sl_proxy_result r;

	memcpy(copy, data, len);
	r = sl_proxy_header_read(sl_slice(copy, len), ret);
	free(copy);
	return r;
}

static void check_again(const struct sl_proxy_header *h, const char *text, size_t len)
{
	struct sl_proxy_header again = {0};

	FUZZ_CHECK(sl_proxy_header_read(sl_slice(text, len), &again) == SL_PROXY_OK);
	FUZZ_CHECK(again.len == len);
	FUZZ_CHECK(sl_addr_eq(&again.src, &h->src) && sl_addr_eq(&again.dst, &h->dst));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct sl_proxy_header h = {0}, shorter = {0};
	enum sl_proxy_result r = read_exact(data, len, &h), before;
	char text[SL_PROXY_HEADER_MAX];

	before = read_exact(data, len / 2, &shorter);
	FUZZ_CHECK(before == SL_PROXY_MORE || before == r);
	if (r != SL_PROXY_OK)
		return 0;
	FUZZ_CHECK(h.len && h.len <= len && h.src.family == h.dst.family);
	if (h.src.family == AF_UNSPEC)
		return 0;
	sl_proxy_header_read(sl_slice((const char *)data, len),
			     &h); /* the copy is gone, its TLVs with it */
	check_again(&h, text, sl_proxy_header_write_v1(text, &h.src, &h.dst));
	check_again(&h, text, sl_proxy_header_write_v2(text, &h.src, &h.dst, h.tlvs));
	return 0;
}
