/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_CLI_SYSCALLS_H
#define SLUICE_CLI_SYSCALLS_H

/* A filter of system calls (seccomp(2)): those on the list pass, all others get EPERM. */

/* For every thread of the process, now and later. Needs no_new_privs. 0, -EOPNOTSUPP (an architecture
 * without a list) or -errno. */
int sl_syscalls_confine(void);

#endif
