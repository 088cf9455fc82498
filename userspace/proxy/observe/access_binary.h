/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_PROXY_ACCESS_BINARY_H
#define SLUICE_PROXY_ACCESS_BINARY_H

/* The access log's binary format, version 1. All numbers are little-endian.
 *
 *   file    = 1*(header *record)    a header wherever sluice opened the file
 *   header  = "SLUICELG" version[4] zero[4]
 *   record  = length[4] check[4] fields, length being that of the fields (at most 4096), check the
 *             low half of their XXH3 (64 bits, no seed)
 *   fields  = *(tag value), a tag being a varint of 2 * field + kind; kind 0: value is a varint,
 *             kind 1: a varint of its length and so many bytes
 *
 * Varints are those of LEB128. Fields that are zero or empty are left out, unknown ones skipped. */

#include <stddef.h>
#include <stdint.h>

#include "proxy/observe/access_log.h"

#define SL_ACCESS_BINARY_VERSION 1
#define SL_ACCESS_HEADER_LEN	 16
#define SL_ACCESS_FRAME_LEN	 8 /* before the fields */
#define SL_ACCESS_FIELDS_MAX	 4096

extern const char sl_access_header[SL_ACCESS_HEADER_LEN];

/* Writes the record, whose strings must keep their limits. Returns the length. */
size_t sl_access_encode(const struct sl_access_record *r,
			char out[SL_ACCESS_FRAME_LEN + SL_ACCESS_FIELDS_MAX]);

/* Puts frame and fields (len <= SL_ACCESS_FIELDS_MAX, possibly in their place already) into out. */
void sl_access_seal(char *out, const char *fields, size_t len);

enum sl_access_read {
	SL_ACCESS_READ_MORE,   /* what is there is the beginning of something, or nothing */
	SL_ACCESS_READ_RECORD, /* *ret; its slices point into p */
	SL_ACCESS_READ_HEADER,
	SL_ACCESS_READ_VERSION, /* a header of a version that is not understood */
	SL_ACCESS_READ_DAMAGED,
};
/* Reads what begins at p. ret_len: its bytes, for a record or a header. */
enum sl_access_read sl_access_decode(const char *p, size_t len, struct sl_access_record *ret,
				     size_t *ret_len);
/* Bytes of the first record at p, if it is there as a whole; else 0. For what was encoded here. */
size_t sl_access_frame(const char *p, size_t len);

#endif
