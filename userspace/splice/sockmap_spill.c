/* SPDX-License-Identifier: BSD-2-Clause */
/* Relief for the kernel: a sender of tiny segments to a stalled reader fills the kernel's memory with
 * buffers that weigh many times their bytes (some 2 KiB for each of a sockmap's messages). Read into one
 * buffer here they weigh what they are. Reading opens the window, though, so it is made as small as
 * it gets before: what was offered still comes, and has room here.
 *
 * Invariant: spilled bytes come behind the pending buffer's and before all that the kernel has. */

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "splice/sockmap.h"

/* More than was ever offered: the window is at most the receive buffer. */
#define SPILL_BYTES (2 * SL_SOCKMAP_RECEIVE_BYTES)

static void start(struct sl_sockmap_half *h)
{
	const int least = 1; /* the kernel makes some 2 KiB of it */
	socklen_t len = sizeof(h->spill.window_clamp);

	h->spill.data = malloc(SPILL_BYTES);
	if (!h->spill.data)
		return;
	if (!getsockopt(h->fd, IPPROTO_TCP, TCP_WINDOW_CLAMP, &h->spill.window_clamp, &len))
		setsockopt(h->fd, IPPROTO_TCP, TCP_WINDOW_CLAMP, &least, sizeof(least));
}

void sl_sockmap_spill(struct sl_sockmap_half *h, struct sl_stream *s)
{
	struct sl_sockmap_spill *spill = &h->spill;
	ssize_t n = 1;

	if (!spill->data)
		start(h);
	if (!spill->data)
		return;
	while (n > 0 && spill->end < SPILL_BYTES) {
		n = s->ops->read(s, spill->data + spill->end, SPILL_BYTES - spill->end);
		if (n > 0) {
			spill->end += (uint32_t)n;
			h->taken += (uint64_t)n;
		}
	}
}

void sl_sockmap_spill_consume(struct sl_sockmap_half *h, uint32_t n)
{
	h->spill.start += n;
	if (h->spill.start == h->spill.end)
		sl_sockmap_spill_free(h);
}

void sl_sockmap_spill_free(struct sl_sockmap_half *h)
{
	if (!h->spill.data)
		return;
	if (h->spill.window_clamp)
		setsockopt(h->fd, IPPROTO_TCP, TCP_WINDOW_CLAMP, &h->spill.window_clamp,
			   sizeof(h->spill.window_clamp));
	free(h->spill.data);
	h->spill = (struct sl_sockmap_spill){0};
}
