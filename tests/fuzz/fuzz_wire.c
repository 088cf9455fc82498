/* SPDX-License-Identifier: BSD-2-Clause */
/* What strangers on a port's wire say: neighbours, and the options of their segments. */

#include "fuzz.h"

#include <string.h>

#include "dpdk/neighbours.h"
#include "dpdk/tcp_options.h"

static void check_word(const uint8_t *frame, size_t len)
{
	struct sl_neighbour_word w;

	if (!sl_neighbour_read(frame, len, &w))
		return;
	FUZZ_CHECK(!(w.mac[0] & 1));
	FUZZ_CHECK(memcmp(w.mac, (uint8_t[ETH_ALEN]){0}, ETH_ALEN));
}

static void check_options(const uint8_t *packet, size_t len)
{
	struct sl_tcp_block block[SL_TCP_BLOCKS_MAX];
	struct sl_tcp_view v;
	size_t rest;
	unsigned n;

	if (!sl_tcp_look(packet, len, &v))
		return;
	rest = len - (size_t)(v.tcp - packet);
	sl_tcp_permits_sack(v.tcp, rest);
	n = sl_tcp_sacked(v.tcp, rest, block);
	FUZZ_CHECK(n <= SL_TCP_BLOCKS_MAX);
	for (unsigned i = 0; i < n; i++)
		FUZZ_CHECK((int32_t)(block[i].right - block[i].left) > 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	/* An allocation of its own, so that a byte too far is seen; its IP header is aligned as drivers do. */
	uint8_t *room = malloc(len + 2), *frame = room + 2;

	memcpy(frame, data, len);
	check_word(frame, len);
	if (len > 2 * ETH_ALEN + 2)
		check_options(frame + 2 * ETH_ALEN + 2, len - 2 * ETH_ALEN - 2);
	free(room);
	return 0;
}
