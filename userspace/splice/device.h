/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_SPLICE_DEVICE_H
#define SLUICE_SPLICE_DEVICE_H

/* What a network device is, and which hook suits it. Needs no privileges. */

#include "splice/loader.h"
#include "splice/netlink.h"

/* What a driver can do at XDP; NETDEV_XDP_ACT_* of linux/netdev.h, which Linux 6.1 lacks. */
enum sl_xdp_feature {
	SL_XDP_BASIC = 1 << 0,	  /* pass, drop, send back */
	SL_XDP_REDIRECT = 1 << 1, /* its packets can be redirected to other devices */
	SL_XDP_XMIT = 1 << 2,	  /* others' packets can be redirected to it */
};

struct sl_device {
	struct sl_link link;
	bool physical;	       /* it has a bus, or a parent that has one */
	bool receives_merged;  /* GRO is on */
	bool xdp_known;	       /* the kernel tells (Linux 6.3) what the driver can do: */
	uint32_t xdp_features; /* enum sl_xdp_feature */
};

/* `netlink` is of sl_netlink_open(). What can't be found out counts as absent. */
int sl_device_look(int netlink, uint32_t ifindex, struct sl_device *ret);

/* The hook for it, and why: as `wanted`, or by its nature for SL_HOOK_AUTO. SL_HOOK_AUTO: none, *ret_why
 * says why not. *ret_why is static. */
enum sl_hook sl_device_choose(const struct sl_device *d, enum sl_hook wanted, const char **ret_why);

#endif
