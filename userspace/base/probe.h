/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_BASE_PROBE_H
#define SLUICE_BASE_PROBE_H

/* Static probes (USDT) of the provider "sluice", for bpftrace(8), perf(1) and systemtap: a nop each until
 * somebody attaches, and nothing at all where <sys/sdt.h> (systemtap-sdt-dev) was missing at build time.
 * docs/operations.md names their arguments, which are part of the program's interface: ids are those of
 * `sluice flows`, strings end with NUL, addresses are struct sockaddr. Arguments are values that are
 * there anyway: nothing is computed for a probe. */

#if __has_include(<sys/sdt.h>)
#include <sys/sdt.h>
#define SL_PROBE2(name, a, b)		  DTRACE_PROBE2(sluice, name, a, b)
#define SL_PROBE3(name, a, b, c)	  DTRACE_PROBE3(sluice, name, a, b, c)
#define SL_PROBE4(name, a, b, c, d)	  DTRACE_PROBE4(sluice, name, a, b, c, d)
#define SL_PROBE6(name, a, b, c, d, e, f) DTRACE_PROBE6(sluice, name, a, b, c, d, e, f)
#else
#define SL_PROBE2(name, a, b)	    ((void)(a), (void)(b))
#define SL_PROBE3(name, a, b, c)    ((void)(a), (void)(b), (void)(c))
#define SL_PROBE4(name, a, b, c, d) ((void)(a), (void)(b), (void)(c), (void)(d))
#define SL_PROBE6(name, a, b, c, d, e, f) \
	((void)(a), (void)(b), (void)(c), (void)(d), (void)(e), (void)(f))
#endif

#endif
