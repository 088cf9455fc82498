/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_SPLICE_TALK_H
#define SLUICE_SPLICE_TALK_H

/* Whether a pair is a conversation that pays in an engine which is for conversations (sockmap). Each row of
 * the table in docs/engines.md is a verdict here. */

#include <stdbool.h>
#include <stdint.h>

/* What a pair did in a while, and what the place is like where it did. */
struct sl_talk {
	uint64_t ms;
	uint64_t bytes;	      /* both ways */
	uint64_t messages[2]; /* by the side they came from */
	uint64_t by_hand; /* of the bytes: moved by user space though an engine carries the pair */
	uint32_t host, worker; /* as in struct sl_pressure */
	uint64_t talkers;      /* pairs that the engine carries, this one not counted */
};

enum sl_talk_verdict {
	SL_TALK_PAYS,
	SL_TALK_IDLE,
	SL_TALK_RARE,
	SL_TALK_BULK,
	SL_TALK_ONE_SIDED,
	SL_TALK_BY_HAND,
	SL_TALK_HOST_BUSY,
	SL_TALK_WORKER_BUSY,
	SL_TALK_CROWDED,
	SL_TALK_VERDICTS,
};
/* For people. Static. */
const char *sl_talk_text(enum sl_talk_verdict v);

/* A pair that is carried already is judged less strictly, so that it does not go to and fro. */
enum sl_talk_verdict sl_talk_judge(const struct sl_talk *t, bool carried);

#endif
