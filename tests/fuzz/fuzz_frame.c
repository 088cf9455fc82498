/* SPDX-License-Identifier: BSD-2-Clause */
/* Frames from the wire, as the programs and DPDK read and change them: nothing outside of the frame is touched,
 * both ways of parsing agree, and what is sent on is the same segment with a TTL less. */

#include "fuzz.h"

#include <string.h>

#include "frames.h"

#include <sluice/icmp.h>

/* An allocation of its own, so that a byte too far is seen; its IP header is aligned as drivers do. */
static uint8_t *copy_of(const uint8_t *data, size_t len)
{
	uint8_t *room = malloc(len + 2);

	memcpy(room + 2, data, len);
	return room + 2;
}

static void check_plain(uint8_t *frame, size_t len)
{
	struct sl_packet plain = {0}, whole = {0};

	if (sl_packet_glance(&plain, frame, frame + len) != SL_PARSED_PLAIN ||
	    !sl_packet_parse_plain(&plain, frame, frame + len, len))
		return;
	FUZZ_CHECK(sl_packet_parse(&whole, frame, frame + len, len));
	FUZZ_CHECK(!memcmp(&plain, &whole, sizeof(plain)));
}

static void check_error(uint8_t *frame, size_t len)
{
	struct sl_packet p = {0};
	struct sl_icmp_error e = {0};

	if (sl_icmp_parse(&p, &e, frame, frame + len, len))
		FUZZ_CHECK(e.tcp_at + sizeof(struct sl_icmp_tcp) <= len);
}

static void check_splice(uint8_t *frame, size_t len, int version)
{
	struct sl_flow_pair pair = frame_pair(version);
	struct sl_packet before = {0}, after = {0};
	struct sl_change c = {
		.data = frame,
		.end = frame + len,
		.from = &pair.leg[0],
		.to = &pair.leg[1],
		.timestamps = pair.flags & SL_PAIR_TIMESTAMPS,
	};
	uint8_t *old = copy_of(frame, len);

	sl_pair_prepare(&pair);
	c.address_sum = sl_address_sum(&pair, 0);
	if (sl_packet_parse(&before, frame, frame + len, len) && before.version == version &&
	    before.frame_len <= len && !sl_packet_splice(&before, &c, 0)) {
		const size_t payload = before.frame_len - before.payload_len;

		FUZZ_CHECK(sl_packet_parse(&after, frame, frame + len, len));
		FUZZ_CHECK(after.frame_len == before.frame_len);
		FUZZ_CHECK(after.payload_len == before.payload_len);
		FUZZ_CHECK(after.seq_end - after.seq == before.seq_end - before.seq);
		FUZZ_CHECK(after.ttl == before.ttl - 1);
		FUZZ_CHECK(!memcmp(frame + payload, old + payload, len - payload));
	}
	free(old - 2);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	uint8_t *frame = copy_of(data, len);

	check_plain(frame, len);
	check_error(frame, len);
	check_splice(frame, len, 4);
	check_splice(frame, len, 6);
	free(frame - 2);
	return 0;
}
