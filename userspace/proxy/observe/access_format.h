/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_PROXY_ACCESS_FORMAT_H
#define SLUICE_PROXY_ACCESS_FORMAT_H

/* One access record as one line of text, and as the bytes that travel through a ring. docs/operations.md
 * names the fields. */

#include <stddef.h>

#include "proxy/observe/access_log.h"

/* Enough for any packed record, and for any line of one. */
#define SL_ACCESS_PACKED_MAX 4096
#define SL_ACCESS_LINE_MAX   24576

/* The strings of a record, in the order in which they are packed. Their numbers in the binary format are
 * for good. */
#define SL_ACCESS_STRINGS 13
struct sl_access_string {
	unsigned field;
	size_t offset, max;
	bool uri;
};
extern const struct sl_access_string sl_access_strings[SL_ACCESS_STRINGS];

/* Copies the record with its strings, cut to their limits and without userinfo, into buf. Returns the
 * length. */
size_t sl_access_pack(const struct sl_access_record *r, char buf[SL_ACCESS_PACKED_MAX]);
/* The inverse. The slices of *ret point into buf. */
void sl_access_unpack(const char *buf, struct sl_access_record *ret);

/* Writes the line with its line feed, without a NUL; of SL_ACCESS_LOG_BINARY the bytes. Strings must keep their limits (a record that was
 * packed does). Returns the length. */
size_t sl_access_format(enum sl_access_log_format format, const struct sl_access_record *r,
			char line[SL_ACCESS_LINE_MAX]);

#endif
