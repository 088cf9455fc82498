/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_PROXY_OWN_H
#define SLUICE_PROXY_OWN_H

/* Sluice's own listening addresses, for the access rule that forbids proxying to oneself. */

#include <stddef.h>

#include "base/addr.h"
#include "proxy/config/config.h"

struct sl_own {
	struct sl_addr *addr;
	size_t n;
};

/* Listeners and metrics; a wildcard address is listed together with every address that the host's
 * interfaces have now. 0 or -errno. */
int sl_own_collect(const struct sl_config *c, struct sl_own *ret);
void sl_own_free(struct sl_own *own);

#endif
