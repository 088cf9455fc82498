/* SPDX-License-Identifier: BSD-2-Clause */
/* Routes and devices, remembered for as long as nothing changes.
 *
 * A way is asked for twice a pair, so it has to be cheap: answers are kept in a small table by address,
 * one for each place, and a device is looked at once. Any notification of the kernel (links, addresses,
 * routes) empties both. Route exceptions (a path MTU that was learnt, a redirect) are notified of by
 * nothing, hence the bound in time.
 *
 * Invariant: a way that is handed out goes over a device with a program of ours.
 *
 * Does not choose how packets leave: packet_outputs.c. */

#include "splice/devices.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/loop.h"
#include "base/util.h"
#include "splice/device.h"
#include "splice/links.h"

#define WAYS	    1024
#define DEVICES_MAX 256
#define KEEP_MS	    10000

/* A device as far as it has been looked at. */
struct known {
	uint32_t ifindex;
	struct sl_way way; /* but for the source */
	int result;	   /* of attaching */
	const char *reason;
};

struct remembered {
	struct sl_addr to, from;
	struct sl_route route;
	uint64_t until_ms; /* 0: nothing is here */
	int result;
};

struct sl_devices {
	struct sl_devices_options options;
	int netlink, notified;
	size_t n;
	struct known known[DEVICES_MAX];
	struct remembered way[WAYS];
};

/* --- devices --- */

static const char *explain(int error)
{
	switch (-error) {
	case EPERM:
	case EACCES:
		return "attaching to its device is not permitted: needs CAP_BPF and CAP_NET_ADMIN";
	case EBUSY:
		return "another program holds the XDP hook of its device";
	case EADDRINUSE:
		return "another sluice's program is attached to its device";
	case ENODEV:
		return "its device has gone";
	default:
		return "its device can't be attached to";
	}
}

static bool is_named(const struct sl_devices *d, const char *name)
{
	const char *const *n = d->options.names;

	while (n && *n && strcmp(*n, name))
		n++;
	return !n || *n;
}

/* XDP that was asked for and is taken by another program: tc is as good, but what that program drops
 * or redirects is not seen. */
static int attach(struct sl_devices *d, struct known *k, const struct sl_device *device)
{
	enum sl_hook hook = sl_device_choose(device, d->options.hook, &k->reason);
	const char *how;
	int r;

	if (hook == SL_HOOK_AUTO)
		return -EOPNOTSUPP;
	r = sl_loader_attach(d->options.folder, device->link.name, hook, &how);
	if (r && d->options.hook == SL_HOOK_AUTO && hook == SL_HOOK_XDP) {
		hook = SL_HOOK_TC;
		r = sl_loader_attach(d->options.folder, device->link.name, hook, &how);
	}
	k->way.hook = hook;
	if (r)
		k->reason = explain(r);
	return r;
}

static int attach_if_wanted(struct sl_devices *d, struct known *k, const struct sl_device *device)
{
	struct sl_attachment a;

	k->way.mtu = device->link.mtu;
	k->way.loopback = device->link.loopback;
	if (!sl_links_find(d->options.folder, k->ifindex, &a)) {
		k->way.hook = a.hook;
		return 0;
	}
	if (is_named(d, device->link.name))
		return attach(d, k, device);
	k->reason = "its device is not one of splice.devices";
	return -EOPNOTSUPP;
}

/* Looked at again behind attaching: a veth with a program takes frames that it did not before. */
static int look_and_attach(struct sl_devices *d, struct known *k)
{
	struct sl_device device;
	int r = sl_device_look(d->netlink, k->ifindex, &device);

	k->reason = explain(-ENODEV);
	if (!r)
		r = attach_if_wanted(d, k, &device);
	if (!r)
		r = sl_device_look(d->netlink, k->ifindex, &device);
	if (r)
		return r;
	k->way.takes_xdp = !device.xdp_known || device.xdp_features & SL_XDP_XMIT;
	k->way.returns_xdp = k->way.takes_xdp || strcmp(device.link.kind, "veth");
	return 0;
}

static const struct known *know(struct sl_devices *d, uint32_t ifindex)
{
	struct known *k = d->known;

	while (k < d->known + d->n && k->ifindex != ifindex)
		k++;
	if (k < d->known + d->n)
		return k;
	if (d->n == DEVICES_MAX)
		d->n = 0;
	k = &d->known[d->n++];
	*k = (struct known){.ifindex = ifindex, .way.ifindex = ifindex};
	k->result = look_and_attach(d, k);
	return k;
}

int sl_devices_find(struct sl_devices *d, uint32_t ifindex, struct sl_way *ret,
		    const char **ret_reason)
{
	const struct known *k = know(d, ifindex);

	if (k->result)
		*ret_reason = k->reason;
	else
		*ret = k->way;
	return k->result;
}

/* --- ways --- */

static uint32_t mix(uint32_t hash, const struct sl_addr *a)
{
	const uint8_t *byte =
		a->family == AF_INET6 ? a->in6.sin6_addr.s6_addr : (const uint8_t *)&a->in.sin_addr;

	for (int i = 0; i < (a->family == AF_INET6 ? 16 : 4); i++)
		hash = (hash ^ byte[i]) * 16777619u;
	return hash;
}

static bool is_same(const struct remembered *w, const struct sl_addr *to,
		    const struct sl_addr *from)
{
	return sl_addr_eq_host(&w->to, to) && w->from.family == (from ? from->family : AF_UNSPEC) &&
	       (!from || sl_addr_eq_host(&w->from, from)) &&
	       (to->family != AF_INET6 || w->to.in6.sin6_scope_id == to->in6.sin6_scope_id);
}

static const struct remembered *route_to(struct sl_devices *d, const struct sl_addr *to,
					 const struct sl_addr *from)
{
	uint32_t hash = mix(2166136261u, to);
	uint64_t now_ms = sl_clock_us() / 1000;
	struct remembered *w;

	if (from)
		hash = mix(hash, from);
	w = &d->way[(hash ^ hash >> 16) % WAYS];
	if (w->until_ms > now_ms && is_same(w, to, from))
		return w;
	*w = (struct remembered){.to = *to, .until_ms = now_ms + KEEP_MS};
	if (from)
		w->from = *from;
	w->result = sl_netlink_route(d->netlink, to, from, &w->route);
	return w;
}

int sl_devices_reach(struct sl_devices *d, const struct sl_addr *to, const struct sl_addr *from,
		     struct sl_way *ret, const char **ret_reason)
{
	const struct remembered *w = route_to(d, to, from);
	struct sl_way way;
	int r = w->result;

	if (r)
		*ret_reason = "there is no route to a peer";
	else
		r = sl_devices_find(d, w->route.ifindex, &way, ret_reason);
	if (r)
		return r;
	way.source = w->route.source;
	if (way.source.family == AF_INET6 && IN6_IS_ADDR_LINKLOCAL(&way.source.in6.sin6_addr))
		way.source.in6.sin6_scope_id = way.ifindex;
	if (w->route.mtu)
		way.mtu = sl_min(way.mtu, w->route.mtu);
	*ret = way;
	return 0;
}

/* --- changes --- */

static int attach_named(void *context, const struct sl_link *l)
{
	struct sl_devices *d = context;

	if (l->up && is_named(d, l->name))
		know(d, l->ifindex);
	return 0;
}

/* The question is asked on a socket of its own: its callback asks others. */
static void attach_listed(struct sl_devices *d)
{
	_sl_close_ int fd = -1;

	if (!sl_netlink_open(&fd))
		sl_netlink_links(fd, attach_named, d);
}

void sl_devices_changed(struct sl_devices *d)
{
	if (!sl_netlink_changed(d->notified))
		return;
	d->n = 0;
	memset(d->way, 0, sizeof(d->way));
	if (d->options.names)
		attach_listed(d);
}

bool sl_devices_attach_all(struct sl_devices *d)
{
	size_t before = d->n;

	if (!d->options.names)
		attach_listed(d);
	return d->n != before;
}

int sl_devices_fd(const struct sl_devices *d)
{
	return d->notified;
}

void sl_devices_close(struct sl_devices *d)
{
	if (!d)
		return;
	sl_close(d->netlink);
	sl_close(d->notified);
	free(d);
}

int sl_devices_open(const struct sl_devices_options *o, struct sl_devices **ret)
{
	struct sl_devices *d = calloc(1, sizeof(*d));
	int r;

	if (!d)
		return -ENOMEM;
	d->options = *o;
	d->netlink = d->notified = -1;
	r = sl_netlink_watch(&d->notified);
	if (!r)
		r = sl_netlink_open(&d->netlink);
	if (r) {
		sl_devices_close(d);
		return r;
	}
	if (o->names)
		attach_listed(d);
	*ret = d;
	return 0;
}
