/* SPDX-License-Identifier: BSD-2-Clause */
/* The judgement on a conversation: a table of limits, one to come in and one to stay. It remembers
 * nothing; the policy does. */

#include "splice/talk.h"

#include "base/util.h"

struct limits {
	uint32_t message_bytes;	 /* at most, on average */
	uint32_t messages_per_s; /* at least */
	uint32_t share;		 /* of the messages, at least 1/share from the quieter side */
	uint32_t host, worker;	 /* percent, at most */
	uint32_t talkers;	 /* beside it, at most */
};

static const struct limits enter = {2048, 20, 4, 20, 70, 7};
static const struct limits stay = {8192, 2, 16, 40, 90, 15};

#define IDLE_MS 10000 /* a conversation may pause for so long */

const char *sl_talk_text(enum sl_talk_verdict v)
{
	static const char *const text[] = {
		[SL_TALK_PAYS] = "small messages to and fro",
		[SL_TALK_IDLE] = "auto: idle",
		[SL_TALK_RARE] = "auto: few messages",
		[SL_TALK_BULK] = "auto: bulk",
		[SL_TALK_ONE_SIDED] = "auto: one side talks",
		[SL_TALK_BY_HAND] = "auto: a peer reads slowly",
		[SL_TALK_HOST_BUSY] = "auto: the host is busy",
		[SL_TALK_WORKER_BUSY] = "auto: the worker is busy",
		[SL_TALK_CROWDED] = "auto: others talk already",
	};

	_Static_assert(SL_ARRAY_SIZE(text) == SL_TALK_VERDICTS, "one text a verdict");
	return text[v];
}

/* What the pair itself is like. */
static enum sl_talk_verdict judge_pair(const struct sl_talk *t, const struct limits *l)
{
	uint64_t messages = t->messages[0] + t->messages[1];
	uint64_t fewer = sl_min(t->messages[0], t->messages[1]);

	if (t->bytes > messages * l->message_bytes)
		return SL_TALK_BULK;
	if (t->by_hand * 2 > t->bytes)
		return SL_TALK_BY_HAND;
	if (messages * 1000 < t->ms * l->messages_per_s)
		return SL_TALK_RARE;
	return fewer * l->share < messages ? SL_TALK_ONE_SIDED : SL_TALK_PAYS;
}

static enum sl_talk_verdict judge_place(const struct sl_talk *t, const struct limits *l)
{
	if (t->host > l->host)
		return SL_TALK_HOST_BUSY;
	if (t->worker > l->worker)
		return SL_TALK_WORKER_BUSY;
	return t->talkers > l->talkers ? SL_TALK_CROWDED : SL_TALK_PAYS;
}

enum sl_talk_verdict sl_talk_judge(const struct sl_talk *t, bool carried)
{
	const struct limits *l = carried ? &stay : &enter;
	enum sl_talk_verdict v;

	if (t->messages[0] + t->messages[1])
		v = judge_pair(t, l);
	else
		v = carried && t->ms < IDLE_MS ? SL_TALK_PAYS : SL_TALK_IDLE;
	return v == SL_TALK_PAYS ? judge_place(t, l) : v;
}
