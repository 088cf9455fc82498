/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_CLI_CHECK_H
#define SLUICE_CLI_CHECK_H

#include "proxy/config/config.h"

/* The configuration of file, or without one (NULL) the default; the caller frees it. 0, or an error,
 * which the file's name, place and reason on stderr explain. */
int sl_load_config(const char *file, struct sl_config **ret);

#endif
