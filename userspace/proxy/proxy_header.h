/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_PROXY_PROXY_HEADER_H
#define SLUICE_PROXY_PROXY_HEADER_H

/* The PROXY protocol's header, versions 1 and 2 (haproxy's proxy-protocol.txt): before a connection's own
 * bytes, a proxy says whose connection it is. Sans-IO, strict: what the text does not allow is refused.
 * Who may send one is not decided here: accept it from configured addresses only, and from those always. */

#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/slice.h"

/* Version 1 has 107 bytes at most; version 2 is bounded by what it may carry in TLVs. */
#define SL_PROXY_HEADER_MAX 1024

enum sl_proxy_result {
	SL_PROXY_MORE, /* no fault so far, but not all is there */
	SL_PROXY_OK,
	SL_PROXY_MALFORMED, /* or none at all */
	SL_PROXY_TOO_LARGE,
};

struct sl_proxy_header {
	size_t len; /* bytes to step over */
	/* AF_UNSPEC where the sender speaks for itself (LOCAL) or can't tell (UNKNOWN, a family other
	 * than IPv4 and IPv6): the connection's own addresses count. */
	struct sl_addr src, dst;
	struct sl_slice tlvs; /* extensions of version 2, into the bytes that were read */
};

/* bytes: what has arrived, from the connection's first byte on. */
enum sl_proxy_result sl_proxy_header_read(struct sl_slice bytes, struct sl_proxy_header *ret);

/* Writes the header of a connection from src to dst; returns the length. Addresses of different
 * families, or none, become UNKNOWN or LOCAL. tlvs: of a header that was read, passed on as far as there
 * is room but for a checksum, which would be another's, and padding. */
size_t sl_proxy_header_write_v1(char out[SL_PROXY_HEADER_MAX], const struct sl_addr *src,
				const struct sl_addr *dst);
size_t sl_proxy_header_write_v2(char out[SL_PROXY_HEADER_MAX], const struct sl_addr *src,
				const struct sl_addr *dst, struct sl_slice tlvs);

#endif
