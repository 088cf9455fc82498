/* SPDX-License-Identifier: BSD-2-Clause */
/* Draws what a tunnel does: sizes from 0 to megabytes, mostly small; pauses from none to some hundred
 * milliseconds; every kind of beginning and ending. */

#include "load.h"

#define SLOW_BYTES_MAX (20 << 10) /* in a tunnel that is slow by intention */

uint64_t random_next(struct random *r)
{
	uint64_t z = (r->state += 0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

uint32_t random_below(struct random *r, uint32_t n)
{
	return n ? (uint32_t)(random_next(r) % n) : 0;
}

static bool one_in(struct random *r, uint32_t n)
{
	return !random_below(r, n);
}

const char *ending_name(enum ending e)
{
	static const char *const names[ENDINGS] = {
		"client-fin",	     "server-fin",   "both-fin",     "client-half-close",
		"server-half-close", "server-close", "client-reset", "server-reset",
		"client-cut",	     "server-cut",
	};

	return names[e];
}

bool plan_resets(const struct plan *p)
{
	return p->ending >= END_RST_CLIENT;
}

static uint32_t draw_bytes(struct random *r, uint32_t max)
{
	static const uint32_t scale[] = {0, 1, 16, 600, 1448, 1500, 6000, 40000};
	uint32_t kind = random_below(r, 12), most;

	if (kind >= 8 && kind < 11)
		most = kind == 8 ? 200000 : 3000;
	else
		most = kind == 11 ? max : scale[kind];
	return random_below(r, (most < max ? most : max) + 1);
}

static uint32_t draw_pause(struct random *r)
{
	switch (random_below(r, 8)) {
	case 0:
	case 1:
	case 2:
		return 0;
	case 3:
		return random_below(r, 5);
	case 4:
		return 15 + random_below(r, 30);
	case 5:
		return random_below(r, 120);
	default:
		return QUIET_MS + random_below(r, 200);
	}
}

static void draw_buffers(struct plan *p, struct random *r)
{
	for (int side = 0; side < 2; side++) {
		if (one_in(r, 24))
			p->receive_buffer[side] = 4096u << random_below(r, 5);
		if (one_in(r, 8))
			p->send_buffer[side] = 4096u << random_below(r, 4);
		p->slow[side] = one_in(r, 16);
	}
}

static bool is_slow(const struct plan *p)
{
	return p->slow[0] || p->slow[1] || p->receive_buffer[0] || p->receive_buffer[1];
}

static void draw_rounds(struct plan *p, const struct mix *mix, struct random *r)
{
	uint32_t most = mix->bytes_max;

	if (is_slow(p) && most > SLOW_BYTES_MAX)
		most = SLOW_BYTES_MAX;
	p->rounds = 1 + random_below(r, ROUNDS_MAX);
	for (uint32_t i = 0; i < p->rounds; i++) {
		struct round *round = &p->round[i];

		round->turn = (enum turn)random_below(r, 3);
		round->bytes[CLIENT] = draw_bytes(r, most);
		round->bytes[SERVER] = draw_bytes(r, most);
		round->pause_ms = draw_pause(r);
	}
	if (mix->quiet)
		p->round[random_below(r, p->rounds)].pause_ms = QUIET_MS + random_below(r, 300);
}

void plan_draw(struct plan *ret, const struct mix *mix, struct random *r)
{
	struct plan p = {0};

	if (!mix->plain)
		draw_buffers(&p, r);
	draw_rounds(&p, mix, r);
	p.head = (enum head)random_below(r, HEADS);
	p.ending = (enum ending)random_below(r, mix->resets ? ENDINGS : END_RST_CLIENT);
	if (p.ending == END_CUT_CLIENT || p.ending == END_CUT_SERVER) {
		struct round *last = &p.round[p.rounds - 1];

		last->turn = TURN_BOTH;
		last->bytes[CLIENT] += 1;
		last->bytes[SERVER] += 1;
		p.cut = random_below(r, last->bytes[p.ending == END_CUT_SERVER] + 1);
	}
	if (p.head == HEAD_EARLY && p.round[0].turn == TURN_SERVER)
		p.round[0].turn = TURN_CLIENT;
	if (p.ending == END_CLOSE_SERVER)
		p.round[p.rounds - 1].turn = TURN_CLIENT;
	p.tail = 1 + draw_bytes(r, 100000);
	p.keepalive = one_in(r, 8);
	if (p.keepalive && one_in(r, 4))
		p.round[0].pause_ms = 2500;
	*ret = p;
}
