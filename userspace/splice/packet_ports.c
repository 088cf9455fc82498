/* SPDX-License-Identifier: BSD-2-Clause */
/* Which source ports the packet engine takes, and that nobody else here takes the same.
 *
 * The claim is an abstract Unix socket: it belongs to the network namespace, needs no file, and ends
 * with the process. Pairs that a dead process left are the business of whoever has its pins. */

#include "splice/packet_ports.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/util.h"

#define SYSCTL	    "/proc/sys/net/ipv4/"
#define SETTING_MAX 65536 /* bytes of a setting */
#define PORTS	    65536u
#define PORTS_FEW   256u
#define PORTS_BELOW 8192u
#define CLAIM	    "sluice-packet-engine"

/* A setting's text, to be freed. */
static char *read_setting(const char *path)
{
	_sl_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	char *text = calloc(1, SETTING_MAX);
	size_t len = 0;
	ssize_t n = 1;

	while (fd >= 0 && text && n > 0 && len < SETTING_MAX - 1) {
		n = read(fd, text + len, SETTING_MAX - 1 - len);
		len += n > 0 ? (size_t)n : 0;
	}
	return text;
}

/* "A", or "A-B". NULL: malformed. */
static const char *read_range(const char *at, unsigned long *ret_first, unsigned long *ret_last)
{
	char *end;

	*ret_first = *ret_last = strtoul(at, &end, 10);
	if (end == at)
		return NULL;
	if (*end == '-') {
		at = end + 1;
		*ret_last = strtoul(at, &end, 10);
	}
	return end == at || *ret_first > *ret_last || *ret_last >= PORTS ? NULL : end;
}

/* Whether `list` ("8080,9000-9100") covers the range. */
static bool covers(const char *list, unsigned first, unsigned last)
{
	unsigned long from, to;
	unsigned next = first; /* lists are sorted, as the kernel writes them */

	while (next <= last && list && (list = read_range(list, &from, &to))) {
		if (from <= next && next <= to)
			next = (unsigned)to + 1;
		list = *list == ',' ? list + 1 : NULL;
	}
	return next > last;
}

/* Above the range if enough are there, else below. */
static int find_outside(unsigned first, unsigned last, struct sl_packet_ports *ports)
{
	if (PORTS - 1 - last >= PORTS_FEW) {
		ports->first = (uint16_t)(last + 1);
		ports->last = PORTS - 1;
	} else if (first >= 1024 + PORTS_FEW) {
		ports->first = (uint16_t)sl_max(first - sl_min(first, PORTS_BELOW), 1024u);
		ports->last = (uint16_t)(first - 1);
	} else {
		return -EADDRNOTAVAIL;
	}
	return 0;
}

/* What of the configured ports lies in the kernel's range must be reserved. */
static int check_configured(unsigned first, unsigned last, const char *reserved,
			    const struct sl_packet_ports *ports)
{
	unsigned from = sl_max((unsigned)ports->first, first);
	unsigned to = sl_min((unsigned)ports->last, last);

	return from > to || covers(reserved, from, to) ? 0 : -EADDRINUSE;
}

int sl_packet_choose_ports_from(const char *range, const char *reserved,
				struct sl_packet_ports *ports)
{
	unsigned first, last;

	if (!range || sscanf(range, "%u %u", &first, &last) != 2 || first > last || last >= PORTS)
		return -EPROTO;
	if (ports->first)
		return check_configured(first, last, reserved, ports);
	return find_outside(first, last, ports);
}

int sl_packet_choose_ports(struct sl_packet_ports *ports)
{
	_sl_free_ char *range = read_setting(SYSCTL "ip_local_port_range");
	_sl_free_ char *reserved = read_setting(SYSCTL "ip_local_reserved_ports");

	return sl_packet_choose_ports_from(range, reserved, ports);
}

int sl_packet_claim_namespace(int *ret_fd)
{
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	_sl_close_ int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	memcpy(name.sun_path + 1, CLAIM, strlen(CLAIM));
	if (fd < 0 || bind(fd, (struct sockaddr *)&name,
			   (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(CLAIM))))
		return -errno;
	*ret_fd = SL_TAKE_FD(fd);
	return 0;
}
