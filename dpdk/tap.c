/* SPDX-License-Identifier: BSD-2-Clause */
/* Exception devices: made, named, given addresses.
 *
 * A packet socket gets copies: the kernel sees what comes by its device, too, and as the port's addresses
 * are its own now, it would take each segment twice, and reset whom it knows nothing of. So all that
 * arrives at such a device is dropped behind the packet socket, by a BPF program of two instructions at
 * its tcx ingress hook. The link is this process's and ends with it. An XDP socket and a card take
 * frames away by themselves. */

#include "dpdk/tap.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/pkt_cls.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/util.h"
#include "dpdk/eal.h"
#include "splice/netlink.h"

#define TCX_INGRESS 46	 /* enum bpf_attach_type of Linux 6.6; libbpf 1.1 doesn't know it */
#define MTU_MAX	    2000 /* of a frame in one buffer */
#define HWADDR_TYPE 1	 /* ARPHRD_ETHER, whose header clashes with another */

static int fail(char reason[SL_PORT_WORD_MAX], const struct sl_port_config *c, const char *what,
		int r)
{
	snprintf(reason, SL_PORT_WORD_MAX, "%s (for %s): %s: %s", c->tap, c->device, what,
		 strerror(-r));
	return r;
}

static int create(const struct sl_port_config *c, struct sl_tap *t, char reason[SL_PORT_WORD_MAX])
{
	struct ifreq r = {.ifr_flags = (short)(IFF_TAP | IFF_NO_PI | IFF_TUN_EXCL)};

	t->fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (t->fd < 0)
		return fail(reason, c, "/dev/net/tun (stack: kernel needs the module tun)", -errno);
	strncpy(r.ifr_name, c->tap, IFNAMSIZ - 1);
	if (!ioctl(t->fd, TUNSETIFF, &r))
		return 0;
	if (errno == EBUSY)
		return fail(reason, c, "there is such a device: dpdk.ports.tap names another",
			    -errno);
	return fail(reason, c, "no TAP device (it needs CAP_NET_ADMIN)", -errno);
}

/* MAC address, MTU, up. */
static int set_up(const struct sl_port *p, int fd, struct ifreq *r)
{
	r->ifr_hwaddr.sa_family = HWADDR_TYPE;
	memcpy(r->ifr_hwaddr.sa_data, sl_port_mac(p), ETH_ALEN);
	if (ioctl(fd, SIOCSIFHWADDR, r) < 0)
		return -errno;
	r->ifr_mtu = sl_min(sl_port_mtu(p), MTU_MAX);
	if (ioctl(fd, SIOCSIFMTU, r) < 0)
		return -errno;
	r->ifr_flags = IFF_UP;
	return ioctl(fd, SIOCSIFFLAGS, r) < 0 ? -errno : 0;
}

static int add_addresses(const struct sl_port_config *c, uint32_t ifindex,
			 char reason[SL_PORT_WORD_MAX])
{
	_sl_close_ int netlink = -1;
	int r = sl_netlink_open(&netlink);

	for (size_t i = 0; i < c->n_addr && !r; i++)
		r = sl_netlink_add_address(netlink, ifindex, &c->addr[i].addr, c->addr[i].bits);
	if (r)
		return fail(reason, c, "it can't be given the port's addresses", r);
	if (c->gateway4.family != AF_UNSPEC)
		r = sl_netlink_add_gateway(netlink, ifindex, &c->gateway4);
	if (!r && c->gateway6.family != AF_UNSPEC)
		r = sl_netlink_add_gateway(netlink, ifindex, &c->gateway6);
	return r ? fail(reason, c,
			r == -EEXIST
				? "the kernel has a default route already: leave out the gateway"
				: "no route by the gateway",
			r)
		 : 0;
}

static int configure(const struct sl_port *p, struct sl_tap *t, char reason[SL_PORT_WORD_MAX])
{
	const struct sl_port_config *c = sl_port_config(p);
	_sl_close_ int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq r = {0};
	int error;

	strncpy(r.ifr_name, c->tap, IFNAMSIZ - 1);
	error = fd < 0 ? -errno : set_up(p, fd, &r);
	if (error)
		return fail(reason, c, "it can't be set up", error);
	t->ifindex = if_nametoindex(c->tap);
	return add_addresses(c, t->ifindex, reason);
}

/* The kernel's device behind a packet socket. False: there is none. */
static bool find_copied(const struct sl_port_config *c, char ret[IFNAMSIZ])
{
	const char *name = c->device;

	if (sl_eal_is_pci(name))
		return false;
	if (!sl_eal_is_virtual(name)) {
		snprintf(ret, IFNAMSIZ, "%s", name);
		return !strcmp(c->driver, "af_packet");
	}
	name = strncmp(name, "net_af_packet", 13) ? NULL : strstr(name, ",iface=");
	if (!name)
		return false;
	name = strchr(name, '=') + 1;
	snprintf(ret, IFNAMSIZ, "%.*s", (int)strcspn(name, ","), name);
	return true;
}

static int hide(const struct sl_port_config *c, const char *device, struct sl_tap *t,
		char reason[SL_PORT_WORD_MAX])
{
	const struct bpf_insn drop[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = TC_ACT_SHOT},
		{.code = BPF_JMP | BPF_EXIT},
	};
	_sl_close_ int program = bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "sluice_hide",
					       "Dual BSD/GPL", drop, SL_ARRAY_SIZE(drop), NULL);

	if (program < 0)
		return fail(reason, c, "no BPF program to keep its packets from the kernel",
			    -errno);
	t->hidden = bpf_link_create(program, (int)if_nametoindex(device), TCX_INGRESS, NULL);
	if (t->hidden >= 0)
		return 0;
	return fail(
		reason, c,
		"its packets can't be kept from the kernel (tcx: Linux 6.6); use driver: af_xdp",
		-errno);
}

int sl_tap_open(const struct sl_port *p, struct sl_tap *ret, char ret_reason[SL_PORT_WORD_MAX])
{
	const struct sl_port_config *c = sl_port_config(p);
	struct sl_tap t = {.fd = -1, .hidden = -1};
	char device[IFNAMSIZ];
	int r = create(c, &t, ret_reason);

	if (!r && find_copied(c, device))
		r = hide(c, device, &t, ret_reason);
	if (!r)
		r = configure(p, &t, ret_reason);
	if (r)
		sl_tap_close(&t);
	else
		*ret = t;
	return r;
}

void sl_tap_close(struct sl_tap *t)
{
	t->hidden = sl_close(t->hidden);
	t->fd = sl_close(t->fd);
}
