/* SPDX-License-Identifier: BSD-2-Clause */
/* Binary access logs: whatever the bytes, the reader stays inside them and gets to the end; what it takes
 * for a record can be written, and reads the same again. */

#include "fuzz.h"

#include <string.h>

#include "proxy/observe/access_binary.h"
#include "proxy/observe/access_format.h"

const char *const fuzz_words[] = {"SLUICELG", "\x01", "\x80", "\xff\xff\xff\xff",
				  "\x20",     "\x21", NULL};

static void check_record(const struct sl_access_record *r)
{
	static char line[SL_ACCESS_LINE_MAX], again[SL_ACCESS_LINE_MAX];
	static char bytes[SL_ACCESS_FRAME_LEN + SL_ACCESS_FIELDS_MAX];
	struct sl_access_record back;
	size_t n = sl_access_encode(r, bytes), len = 0;

	FUZZ_CHECK(n <= sizeof(bytes) && sl_access_frame(bytes, n) == n);
	FUZZ_CHECK(sl_access_decode(bytes, n, &back, &len) == SL_ACCESS_READ_RECORD && len == n);
	len = sl_access_format(SL_ACCESS_LOG_JSON, r, line);
	FUZZ_CHECK(len < sizeof(line) && line[len - 2] == '}');
	FUZZ_CHECK(sl_access_format(SL_ACCESS_LOG_JSON, &back, again) == len);
	FUZZ_CHECK(!memcmp(line, again, len));
	FUZZ_CHECK(sl_access_format(SL_ACCESS_LOG_CLF, r, line) < sizeof(line));
}

/* As the reader does, but with the check made right, which no mutation would find. */
static void check_fields(const uint8_t *data, size_t len)
{
	size_t n = len < SL_ACCESS_FIELDS_MAX ? len : SL_ACCESS_FIELDS_MAX;
	char *frame = malloc(SL_ACCESS_FRAME_LEN + n);
	struct sl_access_record r;
	size_t used;

	sl_access_seal(frame, (const char *)data, n);
	if (sl_access_decode(frame, SL_ACCESS_FRAME_LEN + n, &r, &used) == SL_ACCESS_READ_RECORD)
		check_record(&r);
	free(frame);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	char *copy = malloc(len ? len : 1);
	struct sl_access_record r;
	size_t at = 0, used;

	memcpy(copy, data, len);
	while (at < len) {
		switch (sl_access_decode(copy + at, len - at, &r, &used)) {
		case SL_ACCESS_READ_RECORD:
			check_record(&r);
			at += used;
			break;
		case SL_ACCESS_READ_HEADER:
			FUZZ_CHECK(used == SL_ACCESS_HEADER_LEN);
			at += used;
			break;
		default:
			at++;
		}
		FUZZ_CHECK(at <= len);
	}
	free(copy);
	check_fields(data, len);
	return 0;
}
