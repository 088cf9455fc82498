/* SPDX-License-Identifier: BSD-2-Clause */
/* Own addresses. Addresses that an interface gets later are not known: they are refused only as far as
 * the wildcard rule of acl.h goes. */

#include "proxy/access/own.h"

#include <errno.h>
#include <ifaddrs.h>
#include <stdlib.h>
#include <string.h>

static int add(struct sl_own *own, const struct sl_addr *a)
{
	struct sl_addr *grown = reallocarray(own->addr, own->n + 1, sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	own->addr = grown;
	own->addr[own->n++] = *a;
	return 0;
}

static bool is_wildcard(const struct sl_addr *a)
{
	if (a->family == AF_INET6)
		return IN6_IS_ADDR_UNSPECIFIED(&a->in6.sin6_addr);
	return a->in.sin_addr.s_addr == INADDR_ANY;
}

static int add_interfaces(struct sl_own *own, const struct sl_addr *wildcard)
{
	struct ifaddrs *all, *i;
	struct sl_addr a;
	int r = 0;

	if (getifaddrs(&all) < 0)
		return -errno;
	for (i = all; i && !r; i = i->ifa_next) {
		if (!i->ifa_addr || i->ifa_addr->sa_family != wildcard->family)
			continue;
		memset(&a, 0, sizeof(a));
		memcpy(&a, i->ifa_addr,
		       wildcard->family == AF_INET6 ? sizeof(a.in6) : sizeof(a.in));
		if (a.family == AF_INET6)
			a.in6.sin6_scope_id = 0;
		sl_addr_set_port(&a, sl_addr_port(wildcard));
		r = add(own, &a);
	}
	freeifaddrs(all);
	return r;
}

/* The kernel knows nothing of the addresses of ports that DPDK owns. */
static int add_ports(struct sl_own *own, const struct sl_dpdk_section *d,
		     const struct sl_addr *wildcard)
{
	struct sl_addr a;
	int r = 0;

	for (size_t i = 0; i < d->n_ports; i++)
		for (size_t k = 0; k < d->ports[i].n_addresses && !r; k++) {
			a = d->ports[i].addresses[k].addr;
			if (a.family != wildcard->family)
				continue;
			sl_addr_set_port(&a, sl_addr_port(wildcard));
			r = add(own, &a);
		}
	return r;
}

static int add_listening(struct sl_own *own, const struct sl_config *c, const struct sl_addr *a)
{
	int r = add(own, a);

	if (r || !is_wildcard(a))
		return r;
	r = add_interfaces(own, a);
	return r ? r : add_ports(own, &c->dpdk, a);
}

int sl_own_collect(const struct sl_config *c, struct sl_own *ret)
{
	struct sl_own own = {0};
	int r = 0;

	for (size_t i = 0; i < c->n_listeners && !r; i++)
		r = add_listening(&own, c, &c->listeners[i].listen);
	if (!r && c->metrics.family != AF_UNSPEC)
		r = add_listening(&own, c, &c->metrics);
	if (r < 0) {
		sl_own_free(&own);
		return r;
	}
	*ret = own;
	return 0;
}

void sl_own_free(struct sl_own *own)
{
	free(own->addr);
	*own = (struct sl_own){0};
}
