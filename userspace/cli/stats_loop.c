/* SPDX-License-Identifier: BSD-2-Clause */
/* sluice stats --loop: where the workers' time went since the start, and what ran in it. */

#include <inttypes.h>
#include <stdio.h>

#include "base/util.h"
#include "cli/client.h"
#include "cli/render.h"
#include "cli/text.h"

static double percent(uint64_t part, uint64_t all)
{
	return all ? 100.0 * (double)part / (double)all : 0;
}

/* What of the loop's time is none of these is its own work: waking up, wheels, lists. */
static void print_time(FILE *f, size_t i, const json_t *w, const json_t *l)
{
	uint64_t wait = sl_answer_number(l, "wait_us"), busy = sl_answer_number(w, "busy_us");
	uint64_t all = wait + busy;
	char p50[SL_TEXT_MAX], p99[SL_TEXT_MAX], longest[SL_TEXT_MAX];

	fprintf(f, "%-6zu %7.2f%% %7.2f%% %7.2f%% %7.2f%% %12" PRIu64 " %10s %10s %12s\n", i,
		percent(wait, all), percent(sl_answer_number(l, "io_us"), all),
		percent(sl_answer_number(l, "timer_us"), all),
		percent(sl_answer_number(l, "task_us"), all), sl_answer_number(w, "turns"),
		sl_text_us(sl_answer_number(l, "turn_p50_us"), p50),
		sl_text_us(sl_answer_number(l, "turn_p99_us"), p99),
		sl_text_us(sl_answer_number(w, "longest_us"), longest));
}

static void print_counts(FILE *f, size_t i, const json_t *w, const json_t *l)
{
	static const char *const keys[] = {"readable", "writable", "hangups", "stale",
					   "timers",   "posted",   "deferred"};

	fprintf(f, "%-6zu %12" PRIu64, i, sl_answer_number(w, "events"));
	for (size_t k = 0; k < SL_ARRAY_SIZE(keys); k++)
		fprintf(f, " %10" PRIu64, sl_answer_number(l, keys[k]));
	fputc('\n', f);
}

void sl_render_loop(const json_t *payload, FILE *f)
{
	const json_t *workers = json_object_get(payload, "workers");
	json_t *w;
	size_t i;

	fprintf(f, "%-6s %8s %8s %8s %8s %12s %10s %10s %12s\n", "WORKER", "WAITING", "I/O",
		"TIMERS", "TASKS", "TURNS", "TURN P50", "TURN P99", "LONGEST TURN");
	json_array_foreach((json_t *)workers, i, w) print_time(f, i, w, json_object_get(w, "loop"));
	fprintf(f, "\n%-6s %12s %10s %10s %10s %10s %10s %10s %10s\n", "WORKER", "EVENTS",
		"READABLE", "WRITABLE", "HANGUPS", "STALE", "TIMERS", "POSTED", "DEFERRED");
	json_array_foreach((json_t *)workers, i, w)
		print_counts(f, i, w, json_object_get(w, "loop"));
}
