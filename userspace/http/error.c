/* SPDX-License-Identifier: BSD-2-Clause */
/* Names and statuses of the reasons for refusing a message. */

#include "http/head.h"

static const struct {
	const char *name;
	unsigned status;
} errors[SL_HTTP_ERROR_COUNT] = {
	[SL_HTTP_OK] = {"ok", 200},
	[SL_HTTP_BAD_START_LINE] = {"bad-start-line", 400},
	[SL_HTTP_BAD_METHOD] = {"bad-method", 400},
	[SL_HTTP_BAD_TARGET] = {"bad-target", 400},
	[SL_HTTP_BAD_VERSION] = {"bad-version", 505},
	[SL_HTTP_HTTP2_PREFACE] = {"http2-preface", 505},
	[SL_HTTP_BAD_STATUS] = {"bad-status", 400},
	[SL_HTTP_BAD_FIELD_NAME] = {"bad-field-name", 400},
	[SL_HTTP_BAD_FIELD_VALUE] = {"bad-field-value", 400},
	[SL_HTTP_OBS_FOLD] = {"obs-fold", 400},
	[SL_HTTP_BARE_CR] = {"bare-cr", 400},
	[SL_HTTP_BARE_LF] = {"bare-lf", 400},
	[SL_HTTP_START_LINE_TOO_LONG] = {"start-line-too-long", 414},
	[SL_HTTP_HEAD_TOO_LARGE] = {"head-too-large", 431},
	[SL_HTTP_TOO_MANY_FIELDS] = {"too-many-fields", 431},
	[SL_HTTP_BAD_CONTENT_LENGTH] = {"bad-content-length", 400},
	[SL_HTTP_LENGTH_AND_ENCODING] = {"length-and-encoding", 400},
	[SL_HTTP_BAD_TRANSFER_ENCODING] = {"bad-transfer-encoding", 400},
	[SL_HTTP_UNKNOWN_TRANSFER_ENCODING] = {"unknown-transfer-encoding", 501},
	[SL_HTTP_BAD_HOST] = {"bad-host", 400},
	[SL_HTTP_BAD_CONNECTION] = {"bad-connection", 400},
	[SL_HTTP_BAD_EXPECT] = {"bad-expect", 417},
	[SL_HTTP_BAD_CHUNK_SIZE] = {"bad-chunk-size", 400},
	[SL_HTTP_BAD_CHUNK_EXTENSION] = {"bad-chunk-extension", 400},
	[SL_HTTP_BAD_CHUNK_DATA] = {"bad-chunk-data", 400},
	[SL_HTTP_BAD_TRAILER] = {"bad-trailer", 400},
};

const char *sl_http_error_name(enum sl_http_error e)
{
	return (unsigned)e < SL_HTTP_ERROR_COUNT ? errors[e].name : "unknown";
}

unsigned sl_http_error_status(enum sl_http_error e)
{
	return (unsigned)e < SL_HTTP_ERROR_COUNT ? errors[e].status : 400;
}
