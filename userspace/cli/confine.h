/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_CLI_CONFINE_H
#define SLUICE_CLI_CONFINE_H

/* Least privilege: what sluice keeps once everything is loaded and open. */

#include "proxy/config/config.h"

/* As the configuration says (`user`, `seccomp`); nothing without either. In the first thread, before the
 * workers start: they inherit it, and threads that are there already keep no capability at all.
 * 0 or -errno; the cause is logged. */
int sl_confine(const struct sl_config *c);

#endif
