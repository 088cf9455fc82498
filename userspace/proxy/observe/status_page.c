/* SPDX-License-Identifier: BSD-2-Clause */
/* The status page's files, and its figures. Pairs name clients and where they go, so they are told only where
 * the caller says so. */

#include "proxy/observe/status_page.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "proxy/observe/admin_json.h"
#include "status_files.h"

#define FLOWS_SHOWN 50
#define FLOWS_SCAN  10000

const char sl_status_fields[] =
	"Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; img-src "
	"'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors "
	"'none'\r\n"
	"X-Content-Type-Options: nosniff\r\n"
	"Referrer-Policy: no-referrer\r\n"
	"Cross-Origin-Resource-Policy: same-origin\r\n"
	"Cache-Control: no-store\r\n";

static const struct sl_status_file files[] = {
	{"/", "text/html; charset=utf-8", status_status_html, sizeof(status_status_html)},
	{"/status.css", "text/css; charset=utf-8", status_status_css, sizeof(status_status_css)},
	{"/status.js", "text/javascript; charset=utf-8", status_status_js,
	 sizeof(status_status_js)},
	{"/status.svg", "image/svg+xml", status_status_svg, sizeof(status_status_svg)},
};

const struct sl_status_file *sl_status_find(struct sl_slice path)
{
	for (size_t i = 0; i < SL_ARRAY_SIZE(files); i++)
		if (sl_slice_eq(path, sl_slice_str(files[i].path)))
			return &files[i];
	return NULL;
}

static json_t *flows_of(const struct sl_control_source *source)
{
	const struct sl_flow_filter filter = {
		.source = {.any_host = true},
		.target = {.any_host = true},
		.max_age_ms = UINT64_MAX,
		.max_bytes = UINT64_MAX,
		.order = SL_FLOW_BY_BYTES,
		.max = FLOWS_SHOWN,
		.scan = FLOWS_SCAN,
	};

	return sl_admin_flows(source, &filter);
}

int sl_status_json(const struct sl_control_source *source, bool flows, char **ret, size_t *ret_len)
{
	json_t *root = json_object();
	char *text;

	json_object_set_new(root, "stats", sl_admin_stats(source, true));
	json_object_set_new(root, "servers", sl_admin_servers(source));
	json_object_set_new(root, "pools", sl_admin_pools(source));
	json_object_set_new(root, "listeners", sl_admin_listeners(source));
	json_object_set_new(root, "flows", flows ? flows_of(source) : json_null());
	text = json_object_size(root) == 5 ? json_dumps(root, JSON_COMPACT | JSON_ENSURE_ASCII)
					   : NULL;
	json_decref(root);
	if (!text)
		return -ENOMEM;
	*ret = text;
	*ret_len = strlen(text);
	return 0;
}
