/* SPDX-License-Identifier: BSD-2-Clause */
/* ClientHello: a verdict never changes with more bytes, a name holds only what names may, and where the
 * records are cut makes no difference. */

#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "proxy/client_hello.h"

static enum sl_hello_result read_exact(const uint8_t *data, size_t len, struct sl_hello *ret)
{
	/* An allocation of its own, so that a byte too far is seen. */
	char *copy = malloc(len ? len : 1);
	enum sl_hello_result r;

	memcpy(copy, data, len);
	r = sl_hello_read(sl_slice(copy, len), ret);
	free(copy);
	return r;
}

static void check_name(const struct sl_hello *h)
{
	FUZZ_CHECK(h->name_len > 0);
	for (size_t i = 0; i < h->name_len; i++)
		FUZZ_CHECK(h->name[i] > ' ' && h->name[i] != '/' && h->name[i] != ':' &&
			   (h->name[i] < 'A' || h->name[i] > 'Z'));
	FUZZ_CHECK(h->name[0] != '.' && h->name[h->name_len - 1] != '.');
}

/* The same handshake bytes in records of one byte. */
static void check_other_records(const uint8_t *data, size_t len, const struct sl_hello *want)
{
	uint8_t *out = malloc(len * 6);
	struct sl_hello got = {0};
	size_t n = 0, at = 0;

	while (at + 5 <= len && data[at] == 22) {
		size_t record = (size_t)data[at + 3] << 8 | data[at + 4];

		at += 5;
		for (size_t i = 0; i < record && at < len; i++, at++) {
			static const uint8_t header[] = {22, 3, 1, 0, 1};

			memcpy(out + n, header, 5);
			out[n + 5] = data[at];
			n += 6;
		}
	}
	if (n < SL_HELLO_BYTES_MAX) {
		FUZZ_CHECK(sl_hello_read(sl_slice((char *)out, n), &got) == SL_HELLO_NAME);
		FUZZ_CHECK(got.name_len == want->name_len &&
			   !memcmp(got.name, want->name, got.name_len));
	}
	free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct sl_hello h = {0}, shorter = {0};
	enum sl_hello_result r = read_exact(data, len, &h), before;

	before = read_exact(data, len / 2, &shorter);
	FUZZ_CHECK(before == SL_HELLO_MORE || before == r);
	if (r == SL_HELLO_NAME) {
		check_name(&h);
		check_other_records(data, len, &h);
	}
	return 0;
}
