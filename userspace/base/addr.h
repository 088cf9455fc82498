/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_BASE_ADDR_H
#define SLUICE_BASE_ADDR_H

/* Socket addresses (IPv4, IPv6) as values, and CIDR prefixes. */

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/slice.h"

/* family AF_UNSPEC means "no address". Kept at 28 bytes: every stream holds two. */
struct sl_addr {
	union {
		sa_family_t family;
		struct sockaddr sa;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
	};
};

struct sl_cidr {
	struct sl_addr addr; /* host bits cleared, port 0 */
	uint8_t bits;
};

/* "[ffff:...:255.255.255.255]:65535" and a NUL. */
#define SL_ADDR_STR_MAX 56

socklen_t sl_addr_len(const struct sl_addr *a);
/* Host byte order. */
uint16_t sl_addr_port(const struct sl_addr *a);
void sl_addr_set_port(struct sl_addr *a, uint16_t port);
/* Equality of family and address; the port counts only in sl_addr_eq(). */
bool sl_addr_eq(const struct sl_addr *a, const struct sl_addr *b);
bool sl_addr_eq_host(const struct sl_addr *a, const struct sl_addr *b);
/* Turns an IPv4-mapped IPv6 address (RFC 4291 2.5.5.2) into the IPv4 address it stands for, so
 * that access rules can't be evaded by spelling. Leaves others alone. */
void sl_addr_unmap(struct sl_addr *a);
/* The 16 bytes of an address, IPv4 written as an IPv4-mapped IPv6 one. Returns the port as on the wire. */
uint16_t sl_addr_map(const struct sl_addr *a, uint8_t ret[16]);

/* An IPv4 or IPv6 literal without brackets or port; exactly the inet_pton(3) forms.
 * -EINVAL if it is none. */
int sl_addr_parse_host(struct sl_slice s, uint16_t port, struct sl_addr *ret);
/* "1.2.3.4:80", "[::1]:80". -EINVAL if malformed, -ERANGE if the port is not 0..65535. */
int sl_addr_parse(struct sl_slice s, struct sl_addr *ret);
/* Writes "1.2.3.4:80" or "[::1]:80"; returns buf. */
const char *sl_addr_format(const struct sl_addr *a, char buf[SL_ADDR_STR_MAX]);
/* The same without port and brackets. */
const char *sl_addr_format_host(const struct sl_addr *a, char buf[SL_ADDR_STR_MAX]);

/* "10.0.0.0/8", "::1/128" or a bare address (full length). -EINVAL if malformed or if host bits
 * are set. */
int sl_cidr_parse(struct sl_slice s, struct sl_cidr *ret);
bool sl_cidr_contains(const struct sl_cidr *c, const struct sl_addr *a);

#endif
