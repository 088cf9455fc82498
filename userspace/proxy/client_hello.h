/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_PROXY_CLIENT_HELLO_H
#define SLUICE_PROXY_CLIENT_HELLO_H

/* Reads the server name out of a TLS ClientHello without taking part in TLS (RFC 8446 4.1.2, RFC 6066 3).
 * Sans-IO: it looks at what has arrived so far, from the first byte of the connection on, and never
 * changes it. Call it again with more bytes, and the same beginning, until it says something else than
 * SL_HELLO_MORE. */

#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"

/* A connection that has sent so much without a whole ClientHello is refused. Post-quantum key shares
 * make some 2 KiB usual. */
#define SL_HELLO_BYTES_MAX 16384
#define SL_HELLO_NAME_MAX  255

enum sl_hello_result {
	SL_HELLO_MORE,	    /* no fault so far, but not all is there */
	SL_HELLO_NAME,	    /* *ret holds the name */
	SL_HELLO_NO_NAME,   /* a whole ClientHello without server_name */
	SL_HELLO_NOT_TLS,   /* the first bytes are no handshake record: HTTP, SSH, SSL 2 ... */
	SL_HELLO_MALFORMED, /* lengths that don't fit, a forbidden name, an extension twice */
	SL_HELLO_TOO_LARGE,
};
/* e.g. "hello-malformed"; static. For logs and metrics. */
const char *sl_hello_result_name(enum sl_hello_result r);

/* The name is copied, because it may lie across two records: lower case, without a final dot. With
 * Encrypted Client Hello it is the outer, public one. */
struct sl_hello {
	uint8_t name_len;
	char name[SL_HELLO_NAME_MAX];
};

enum sl_hello_result sl_hello_read(struct sl_slice bytes, struct sl_hello *ret);

/* Fatal alerts in a record of their own (RFC 8446 6.2), for clients that are refused: nobody serves the
 * name; what was sent can't be understood. */
extern const struct sl_slice sl_hello_unrecognized_name;
extern const struct sl_slice sl_hello_decode_error;

#endif
