/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_SPLICE_SELFTEST_H
#define SLUICE_SPLICE_SELFTEST_H

/* Tries out what the packet engine needs: loads its programs, hands a made-up pair over and lets both
 * hooks rewrite a packet of it, attaches to a loopback device. */

#include <stdbool.h>

/* Each is 0 or -errno; -EPROTO: it ran, and did the wrong thing; -ECANCELED: not tried. */
struct sl_selftest {
	int isolated; /* namespaces of its own: without them nothing is attached */
	int load;
	int control;	 /* watching and arming a pair */
	bool control_tc; /* ... needs a tc program: no locks in "syscall" programs (before Linux 6.6) */
	int tc, xdp;	 /* a rewritten packet */
	int attach;
	char how[48];	   /* it was attached */
	char refusal[160]; /* why it was not loaded, if the verifier refused; else "" */
};

/* In a child process with a network namespace and a bpffs of its own, which end with it; where that is
 * not permitted, in a folder of its own that is removed. */
void sl_selftest_run(struct sl_selftest *ret);

#endif
