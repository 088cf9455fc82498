/* SPDX-License-Identifier: BSD-2-Clause */
#include "splice/engine.h"
#include "splice/packet_config.h"
#include "splice/policy.h"

void sl_engine_figures(void (*each)(void *arg, const struct sl_figure *f), void *arg)
{
	sl_policy_figures(each, arg);
	sl_packet_figures(each, arg);
}
