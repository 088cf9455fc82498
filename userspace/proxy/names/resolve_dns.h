/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_PROXY_RESOLVE_DNS_H
#define SLUICE_PROXY_RESOLVE_DNS_H

/* What the resolver knows of c-ares: look-ups of one name in one family, and /etc/hosts. Names come
 * in lower case, without a final dot, and made of letters, digits, '-', '_' and '.'. */

#include <stdbool.h>
#include <stdint.h>

#include "proxy/names/resolve.h"
#include "proxy/names/resolve_srv.h"

struct sl_dns;

/* Lives in the asker's object until done or sl_dns_free(). */
struct sl_dns_lookup {
	int family; /* AF_INET or AF_INET6 */
	/* Called once, perhaps before sl_dns_ask() returns, from inside c-ares: must not ask. */
	void (*on_done)(struct sl_dns_lookup *l);
	void *owner;
	struct sl_dns *dns;

	bool done;
	int error; /* as sl_query.on_answer; counts when there are no addresses */
	uint32_t ttl_s;
	struct sl_addrs addrs;
};

int sl_dns_new(struct sl_loop *loop, const struct sl_resolver_config *c, struct sl_dns **ret);
/* Open look-ups are forgotten without on_done. Takes NULL. */
void sl_dns_free(struct sl_dns *d);
void sl_dns_ask(struct sl_dns *d, const char *name, struct sl_dns_lookup *l);

/* A look-up of SRV records, as above. */
struct sl_dns_srv_lookup {
	void (*on_done)(struct sl_dns_srv_lookup *l);
	void *owner;
	struct sl_dns *dns;

	int error;
	struct sl_srvs srvs; /* if error is 0: at least one */
};
void sl_dns_ask_srv(struct sl_dns *d, const char *name, struct sl_dns_srv_lookup *l);

/* What /etc/hosts says; nothing found is n = 0. */
void sl_dns_hosts(struct sl_dns *d, const char *name, struct sl_addrs *ret_v6,
		  struct sl_addrs *ret_v4);

#endif
