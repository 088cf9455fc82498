/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_TESTS_FAKE_DNS_H
#define SLUICE_TESTS_FAKE_DNS_H

/* A name server for unit tests, UDP and TCP on a port of 127.0.0.1, in the test's own loop. It knows a
 * table of records and answers as they say. */

#include <stdbool.h>
#include <stdint.h>

#include "base/loop.h"

enum fake_dns_how {
	FAKE_DNS_ANSWER,
	FAKE_DNS_NXDOMAIN,
	FAKE_DNS_SERVFAIL,
	FAKE_DNS_SILENT,
	FAKE_DNS_TRUNCATED, /* TC over UDP, the answer over TCP */
	FAKE_DNS_MANGLED,   /* the answer with some bytes changed, different ones every time */
};

struct fake_dns_record {
	const char *name; /* lower case; "*": any name that has no record of its own */
	int family;	  /* AF_INET (A), AF_INET6 (AAAA), AF_UNSPEC (both) */
	enum fake_dns_how how;
	uint32_t ttl_s, delay_ms;
	const char *addr[3]; /* those of the asked family are answered */
	const char *cname;   /* stands before them, cname_ttl_s long */
	uint32_t cname_ttl_s;
	unsigned many; /* this many generated addresses behind addr[] */
};

struct fake_dns;

/* records are borrowed, n of them. Names without any record are NXDOMAIN, a family without is no
 * data. 0 or -errno. */
int fake_dns_new(struct sl_loop *loop, const struct fake_dns_record *records, size_t n,
		 struct fake_dns **ret);
void fake_dns_free(struct fake_dns *d);
/* "127.0.0.1:PORT" */
char *fake_dns_address(struct fake_dns *d);
/* Questions so far; A and AAAA count apart. */
unsigned fake_dns_asked(const struct fake_dns *d);
unsigned fake_dns_asked_tcp(const struct fake_dns *d);
/* The last name that was asked, in lower case. */
const char *fake_dns_last_name(const struct fake_dns *d);

#endif
