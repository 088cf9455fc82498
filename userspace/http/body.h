/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_HTTP_BODY_H
#define SLUICE_HTTP_BODY_H

/* Incremental decoder of message bodies in any framing (RFC 9112 6 and 7): yields content as slices
 * into the caller's buffer, without copying. Strict about chunked: 1*HEXDIG sizes of at most 15
 * digits, CRLF only, extensions well-formed, bounded and dropped, trailers parsed as fields. */

#include <stdint.h>

#include "http/head.h"

struct sl_body {
	enum sl_framing_kind kind;
	uint8_t state;		  /* private: where in the chunked grammar */
	uint8_t size_digits;	  /* private */
	enum sl_http_error error; /* with SL_BODY_BAD */
	uint64_t remaining;	  /* of the body (length) or of the current chunk */
	uint64_t content_bytes;	  /* content yielded so far */
	uint32_t extension_bytes; /* private: of the whole body, bounded */
};

enum sl_body_event {
	SL_BODY_MORE,	 /* everything usable was consumed; call again with more bytes */
	SL_BODY_DATA,	 /* *ret_data is content */
	SL_BODY_TRAILER, /* *ret_data is the whole trailer section, final empty line included; may be
			    just CRLF. The body has ended. Only after chunked bodies. */
	SL_BODY_END,	 /* the body has ended; bytes not consumed belong to the next message */
	SL_BODY_BAD,	 /* b->error; the message can't be completed */
};

/* Most bytes of chunk extensions in a whole body, and of a trailer section. */
#define SL_BODY_EXTENSION_BYTES_MAX 4096
#define SL_BODY_TRAILER_BYTES_MAX   4096

void sl_body_init(struct sl_body *b, const struct sl_framing *f);

/* Consumes from data[0..len) up to and including one event. Returns the event; *ret_used is the
 * number of bytes consumed, which may be positive with every event. An incomplete trailer section
 * is left unconsumed (SL_BODY_MORE) until it is whole or over its limit. After SL_BODY_TRAILER and
 * after the last byte of a length body the next call gives SL_BODY_END with nothing consumed.
 * SL_FRAMING_CLOSE never ends by itself: end of input is the caller's to judge. */
enum sl_body_event sl_body_decode(struct sl_body *b, const char *data, size_t len, size_t *ret_used,
				  struct sl_slice *ret_data);

/* True once no further byte of this message can follow. */
bool sl_body_ended(const struct sl_body *b);

/* Parses a whole trailer section into fields (h->field, h->n_fields, h->len).
 * 0 or SL_HTTP_BAD_TRAILER / SL_HTTP_TOO_MANY_FIELDS. */
enum sl_http_error sl_trailer_parse(struct sl_slice section, struct sl_head *h);

#endif
