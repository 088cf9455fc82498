/* SPDX-License-Identifier: BSD-2-Clause */
/* Policy: the configured engine if this host has it, else the floor, with the reason shown. */

#include "splice/policy.h"

#include <string.h>

static struct sl_engine *find(const struct sl_engines *engines, const char *name)
{
	for (size_t i = 0; i < engines->n; i++)
		if (engines->engine[i] && !strcmp(engines->engine[i]->ops->name, name))
			return engines->engine[i];
	return NULL;
}

struct sl_choice sl_policy_choose(const struct sl_engines *engines, const char *wanted)
{
	struct sl_engine *floor = engines->engine[0];
	struct sl_engine *engine;

	if (!wanted)
		return (struct sl_choice){floor, "auto: no other engine here"};
	engine = find(engines, wanted);
	if (!engine)
		return (struct sl_choice){floor, "the configured engine is not available"};
	return (struct sl_choice){engine, "configured"};
}
