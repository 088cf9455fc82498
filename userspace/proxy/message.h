/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_PROXY_MESSAGE_H
#define SLUICE_PROXY_MESSAGE_H

/* What an intermediary does with message heads: understands a parsed head, and writes the head that goes
 * on (RFC 9110 section 7, RFC 9112). Pure functions: no I/O, no state. */

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/buffer.h"
#include "http/body.h"
#include "http/head.h"
#include "http/target.h"
#include "proxy/config/config.h"
#include "proxy/edits.h"
#include "proxy/trace.h"

/* A request as the proxy understands it. Slices point into the head's bytes. */
struct sl_request {
	enum sl_method method;
	uint8_t minor;
	struct sl_framing framing;
	struct sl_hop hop;
	struct sl_target target;
	struct sl_authority authority; /* of the target; host.len 0 in origin form */
	struct sl_authority host;      /* of the Host field; host.len 0 if absent or empty */
	uint16_t port;		       /* to connect to */
	bool upgrade;		       /* may become a tunnel by 101 */
	struct sl_slice upgrade_value;
	bool has_max_forwards;
	uint32_t max_forwards;
};

/* 0 and *ret, or why the request is refused. */
enum sl_http_error sl_request_inspect(const struct sl_head *h, struct sl_request *ret);

/* True if a Via field of the head names us: the request has been here before. */
bool sl_request_loops(const struct sl_head *h, const char *pseudonym);

/* What the proxy adds. */
struct sl_forwarding {
	const char *pseudonym; /* in Via */
	enum sl_forwarded forwarded;
	bool forwarded_trust;
	struct sl_addr client;
	struct sl_slice host; /* instead of the request's; len 0: that */
	size_t path_cut;      /* bytes of the path that path_prefix replaces */
	struct sl_slice path_prefix;
	const struct sl_field_edits *edits; /* may be NULL */
	const struct sl_trace *trace;	    /* NULL: its fields are like any others */
	struct sl_slice request_id;	    /* for requests without; len 0: none */
};

/* Writes the head to send upstream, in origin form. False if it does not fit. */
bool sl_request_write(const struct sl_head *h, const struct sl_request *r,
		      const struct sl_forwarding *f, struct sl_buf *out);

/* Via, whose version is that of the message received, and the empty line. */
bool sl_message_end_head(struct sl_buf *out, unsigned minor, const char *pseudonym);

/* A response as the proxy understands it. */
struct sl_response {
	uint16_t status;
	struct sl_framing framing;
	bool persistent; /* the upstream connection may be used again afterwards */
	bool interim;	 /* 1xx but 101 */
};

/* 0 and *ret, or why the response is invalid. */
enum sl_http_error sl_response_inspect(const struct sl_head *h, enum sl_method request_method,
				       struct sl_response *ret);

/* How the response goes to the client. */
struct sl_response_plan {
	bool chunked;			    /* the body goes out chunked */
	bool close;			    /* the connection ends with this response */
	const struct sl_field_edits *edits; /* may be NULL */
};

/* Writes the head to send to the client. False if it does not fit. */
bool sl_response_write(const struct sl_head *h, const struct sl_response *r,
		       const struct sl_response_plan *plan, const char *pseudonym,
		       struct sl_buf *out);

/* Moves a body from one framing to another: decodes what arrived, encodes what goes on. */
struct sl_mover {
	struct sl_body body;
	bool chunked;  /* encode as chunked; else as it is */
	bool complete; /* the whole body, with its end, has been encoded */
	enum sl_http_error error;
};

void sl_mover_init(struct sl_mover *m, const struct sl_framing *f, bool chunked);
/* Encodes from `in` (consumed) to `out` as much as fits. False if the body is malformed:
 * m->error. */
bool sl_mover_move(struct sl_mover *m, struct sl_buf *in, struct sl_buf *out);
/* True if all of `in` is body that leaves as it came: the caller may pass the buffer on instead of
 * copying. It is accounted then. */
bool sl_mover_passes(struct sl_mover *m, const struct sl_buf *in);
/* The source ended. True if the body was complete thereby (then a chunked end is written, if there
 * is room: else false is returned with m->error SL_HTTP_OK, call again); false if it was cut. */
bool sl_mover_end(struct sl_mover *m, struct sl_buf *out);

#endif
