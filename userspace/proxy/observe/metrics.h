/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_PROXY_METRICS_H
#define SLUICE_PROXY_METRICS_H

/* The metrics address: Prometheus text (format 0.0.4), the status page, and the answers to HTTP requests. */

#include "proxy/observe/control.h"
#include "proxy/observe/service.h"

/* All families as one malloc'd text. 0 or -ENOMEM. */
int sl_metrics_text(const struct sl_control_source *source, char **ret, size_t *ret_len);

/* What is served, and whether only this host can ask: then pairs are shown on the status page. */
struct sl_metrics_site {
	const struct sl_control_source *source;
	bool local;
};

/* The request callback of the metrics service; owner is the struct sl_metrics_site. */
ssize_t sl_metrics_request(void *owner, const char *data, size_t len, struct sl_answer *ret);

#define SL_METRICS_REQUEST_MAX 8192
/* What a client is sent that is one too many. */
extern const char sl_metrics_refusal[];

#endif
