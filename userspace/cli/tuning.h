/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_CLI_TUNING_H
#define SLUICE_CLI_TUNING_H

/* Limits and settings of the host that matter, judged by what a configuration wants. Reads only. */

#include <stdbool.h>
#include <stddef.h>

#include "proxy/config/config.h"

struct sl_tuning_row {
	char name[48];
	bool known, ok;
	char value[96];	  /* what is set */
	char why[160];	  /* what it is judged by */
	char change[192]; /* if known and not ok: what to do */
};

#define SL_TUNING_ROWS 64

struct sl_tuning {
	struct sl_tuning_row row[SL_TUNING_ROWS];
	size_t n; /* devices that find no room are left out */
};

/* root: "" for this host, else a folder that has proc and sys. */
void sl_tuning_look(const struct sl_config *c, const char *root, struct sl_tuning *ret);

#endif
