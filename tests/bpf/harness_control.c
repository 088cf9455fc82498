/* SPDX-License-Identifier: BSD-2-Clause */
#include "harness.h"

#include <stdlib.h>
#include <string.h>

int harness_control(struct harness *h, enum sl_control_op op, uint32_t id,
		    const struct sl_flow_pair *pair, uint8_t flags, struct sl_control *ret)
{
	struct sl_control c = {
		.pair = id, .generation = pair->generation, .op = op, .flags = flags};

	for (int i = 0; i < 2; i++) {
		const struct sl_leg *l = &pair->leg[i];
		struct sl_control_leg *to = &c.leg[i];

		memcpy(to->peer, l->peer, 16);
		memcpy(to->local, l->local, 16);
		to->peer_port = l->peer_port;
		to->local_port = l->local_port;
		to->exp = l->exp;
		to->wseq = l->wseq;
		to->options = l->flags & 0xff00;
		to->peer_wscale = l->peer_wscale;
		to->local_wscale = l->local_wscale;
		to->output = l->output;
	}
	if (harness_call(h, &c))
		abort();
	if (ret)
		*ret = c;
	return c.ret;
}
