/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_PROXY_RESOLVE_SRV_H
#define SLUICE_PROXY_RESOLVE_SRV_H

/* SRV records (RFC 2782) in an answer as it came from the network. */

#include <stddef.h>
#include <stdint.h>

#include "proxy/names/resolve.h"

#define SL_TYPE_SRV 33
#define SL_SRV_MAX  32 /* records of one answer that are used */

struct sl_srv {
	uint16_t priority, weight, port;
	char target[SL_NAME_MAX + 1]; /* lower case, no final dot */
};

struct sl_srvs {
	size_t n;
	uint32_t ttl_s; /* the shortest of the answer */
	struct sl_srv srv[SL_SRV_MAX];
};

/* 0 with at least one record; -ENOENT: none leads anywhere; -EIO: malformed. Records with port 0, with the
 * target "." (no such service) or one that no host is called are left out. */
int sl_srv_parse(const unsigned char *message, size_t len, struct sl_srvs *ret);

#endif
