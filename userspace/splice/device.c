/* SPDX-License-Identifier: BSD-2-Clause */
/* What a device is, from rtnetlink, sysfs, ethtool and the kernel's list of XDP features.
 *
 * The choice: XDP treats each packet before an skb exists, so it wins where packets are small and
 * many. At tc, a packet is a GSO super-packet of up to 64 KB where the device merges what it
 * receives, so for bulk tc wins (docs/engines.md has the figures). XDP by itself is chosen only where
 * nothing is lost: hardware whose driver has it, with merging switched off by the administrator. */

#include "splice/device.h"

#include <errno.h>
#include <linux/ethtool.h>
#include <linux/if_arp.h>
#include <linux/if_link.h>
#include <linux/sockios.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/util.h"
#include "splice/xdp_features.h"

static bool is_physical(const char *name)
{
	char path[64];

	snprintf(path, sizeof(path), "/sys/class/net/%s/device", name);
	return !access(path, F_OK);
}

static bool has_gro(const char *name)
{
	_sl_close_ int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ethtool_value value = {.cmd = ETHTOOL_GGRO};
	struct ifreq request = {.ifr_data = (void *)&value};

	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", name);
	return fd >= 0 && !ioctl(fd, SIOCETHTOOL, &request) && value.data;
}

int sl_device_look(int netlink, uint32_t ifindex, struct sl_device *ret)
{
	struct sl_device d = {0};
	int r = sl_netlink_link(netlink, ifindex, &d.link);

	if (r)
		return r;
	d.physical = is_physical(d.link.name);
	d.receives_merged = has_gro(d.link.name);
	d.xdp_known = !sl_xdp_features(ifindex, &d.xdp_features);
	*ret = d;
	return 0;
}

static const char *why_tc(const struct sl_device *d)
{
	const uint32_t all = SL_XDP_BASIC | SL_XDP_REDIRECT | SL_XDP_XMIT;

	if (d->link.loopback)
		return "loopback";
	if (!d->physical)
		return "a virtual device: XDP would switch off or bypass its offloads";
	if (!d->xdp_known)
		return "the kernel doesn't tell whether the driver has XDP";
	if ((d->xdp_features & all) != all)
		return "the driver has no native XDP with redirects";
	if (d->receives_merged)
		return "GRO is on: tc treats merged packets once, XDP each segment";
	return NULL;
}

static enum sl_hook choose_xdp(const struct sl_device *d, const char **ret_why)
{
	*ret_why = "as configured";
	if (d->link.loopback)
		*ret_why = "loopback has no native XDP";
	else if (d->xdp_known && !(d->xdp_features & SL_XDP_BASIC))
		*ret_why = "its driver has no native XDP";
	else
		return SL_HOOK_XDP;
	return SL_HOOK_AUTO;
}

enum sl_hook sl_device_choose(const struct sl_device *d, enum sl_hook wanted, const char **ret_why)
{
	if (d->link.type != ARPHRD_ETHER && d->link.type != ARPHRD_LOOPBACK) {
		*ret_why = "its frames are not Ethernet's";
		return SL_HOOK_AUTO;
	}
	if (wanted == SL_HOOK_XDP)
		return choose_xdp(d, ret_why);
	if (wanted != SL_HOOK_AUTO) {
		*ret_why = "as configured";
		return wanted;
	}
	*ret_why = why_tc(d);
	if (*ret_why)
		return SL_HOOK_TC;
	*ret_why = "hardware with native XDP, and GRO is off";
	return SL_HOOK_XDP;
}
