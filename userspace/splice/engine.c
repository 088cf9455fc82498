/* SPDX-License-Identifier: BSD-2-Clause */
#include "splice/engine.h"

const char *sl_pair_end_name(enum sl_pair_end e)
{
	static const char *const names[SL_PAIR_END_COUNT] = {
		[SL_PAIR_OPEN] = "open",
		[SL_PAIR_FINISHED] = "done",
		[SL_PAIR_CLIENT_RESET] = "client-reset",
		[SL_PAIR_UPSTREAM_RESET] = "upstream-reset",
		[SL_PAIR_PARTED] = "parted",
		[SL_PAIR_FAILED] = "resources",
	};

	return names[e];
}
