/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_PROXY_STATUS_PAGE_H
#define SLUICE_PROXY_STATUS_PAGE_H

/* The status page: files that are part of the program, and the figures that its script asks for. */

#include "base/slice.h"
#include "proxy/observe/control.h"

struct sl_status_file {
	const char *path, *type; /* content type */
	const void *bytes;
	size_t len;
};

/* What browsers are told of the page's files: they load nothing from elsewhere, run no script but the page's
 * own, and show it in no frame. Lines with CRLF. */
extern const char sl_status_fields[];

/* NULL: it is none of the page. */
const struct sl_status_file *sl_status_find(struct sl_slice path);
/* Statistics, servers, pools, listeners, and with `flows` the pairs with the most bytes, as malloc'd JSON. 0
 * or -ENOMEM. */
int sl_status_json(const struct sl_control_source *source, bool flows, char **ret, size_t *ret_len);

#endif
