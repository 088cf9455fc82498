/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/util.h"
#include "splice/engine.h"
#include "splice/packet_config.h"
#include "splice/policy.h"
#include "splice/reasons.h"
#include "splice/sockmap.h"

void sl_engine_figures(void (*each)(void *arg, const struct sl_figure *f), void *arg)
{
	struct sl_map_fill maps[2];

	sl_policy_figures(each, arg);
	sl_packet_figures(each, arg);
	sl_packet_fill(&maps[0]);
	sl_sockmap_fill(&maps[1]);
	sl_tell_fill(maps, SL_ARRAY_SIZE(maps), each, arg);
}
