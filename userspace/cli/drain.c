/* SPDX-License-Identifier: BSD-2-Clause */
/* sluice drain: no new connections, those that are open may end; of the whole sluice, a listener or a
 * server. It follows the drain of the first two until nothing is left.
 * sluice enable: the contrary, of a listener or a server. */

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/loop.h"
#include "base/util.h"
#include "cli/client.h"
#include "cli/commands.h"
#include "cli/render.h"
#include "cli/text.h"

#define ASK_EVERY_MS 200
#define SAY_EVERY_MS 1000

static const char usage[] =
	"Usage: sluice drain [OPTIONS]\n"
	"       sluice drain listener NAME [OPTIONS]\n"
	"       sluice drain server UPSTREAM/SERVER [--json] [--admin PATH]\n"
	"Stops accepting; sluice ends when its connections have ended, or at the drain timeout.\n"
	"With a listener: it stops accepting there, answers say \"Connection: close\", and sluice "
	"goes on.\n"
	"With a server: it gets no more requests; those that it has go on.\n"
	"Shows what is left until nothing is; exit code 1 if connections were reset, or are left.\n"
	"  --timeout TIME    reset what is left after so long (default: timeouts.drain; 0s: "
	"never)\n"
	"  --wait[=SECONDS]  follow for so long (default: until it is over)\n"
	"  --no-wait         begin, and do not follow\n"
	"  -n, --now         stop at once: of the whole sluice only\n"
	"  -j, --json        print answers as JSON, one a line\n"
	"  -a, --admin PATH  admin socket (default: SLUICE_ADMIN, else /run/sluice/admin.sock)\n";

static const char enable_usage[] =
	"Usage: sluice enable listener NAME [--json] [--admin PATH]\n"
	"       sluice enable server UPSTREAM/SERVER [--json] [--admin PATH]\n"
	"Makes a drained listener accept again, or sends requests to a drained server again; a "
	"server that\n"
	"was left out for failures is tried at once.\n"
	"  -j, --json        print the answer as JSON\n"
	"  -a, --admin PATH  admin socket (default: SLUICE_ADMIN, else /run/sluice/admin.sock)\n";

void sl_render_word(const json_t *payload, FILE *f)
{
	const char *word = json_string_value(payload);

	fprintf(f, "%s\n", word ? word : "done");
}

/* --- orders --- */

/* argv[0..2): "server", "UPSTREAM/SERVER". */
static int change_server(const struct sl_client_options *o, int argc, char **argv,
			 const char *command, const char *help)
{
	char *slash = argc == 2 ? strchr(argv[1], '/') : NULL;

	if (!slash || strcmp(argv[0], "server")) {
		fprintf(stderr, "sluice: expected: listener NAME, or server UPSTREAM/SERVER\n%s",
			help);
		return SL_EXIT_USAGE;
	}
	return sl_client_show(o,
			      json_pack("{s:s, s:s%, s:s}", "command", command, "upstream", argv[1],
					(size_t)(slash - argv[1]), "server", slash + 1),
			      sl_render_word);
}

int sl_cmd_enable(int argc, char **argv)
{
	struct sl_client_options o;
	int rest, r = sl_client_parse(argc, argv, enable_usage, "j", &o, &rest);

	if (r >= 0)
		return r;
	if (argc - rest == 2 && !strcmp(argv[rest], "listener"))
		return sl_client_show(&o,
				      json_pack("{s:s, s:s}", "command", "enable-listener",
						"listener", argv[rest + 1]),
				      sl_render_word);
	return change_server(&o, argc - rest, argv + rest, "enable-server", enable_usage);
}

/* --- how it goes --- */

struct follow {
	const struct sl_client_options *options;
	const char *listener; /* NULL: the whole sluice */
	uint64_t until_ms;    /* 0: as long as it takes */
	uint64_t said_ms;
	uint64_t left; /* at the latest answer */
	bool rewrites; /* one line of a terminal */
	bool answered;
};

static void pause_for(uint64_t ms)
{
	struct timespec t = {(time_t)(ms / 1000), (long)(ms % 1000) * 1000000};

	nanosleep(&t, NULL);
}

static void print_progress(const struct follow *f, const json_t *p)
{
	char age[SL_TEXT_MAX], line[200];
	uint64_t closes_ms = sl_answer_number(p, "closes_in_ms");
	const json_t *ends = json_object_get(p, "ends_in_ms");
	int n = snprintf(line, sizeof(line),
			 "%" PRIu64 " connections left: %" PRIu64 " idle, %" PRIu64
			 " in requests, %" PRIu64 " tunnels",
			 f->left, sl_answer_number(p, "idle"), sl_answer_number(p, "requests"),
			 sl_answer_number(p, "tunnels"));

	if (closes_ms)
		n += snprintf(line + n, sizeof(line) - (size_t)n, "; accepts for %s more",
			      sl_text_age(closes_ms, age));
	if (json_is_integer(ends) && f->left)
		snprintf(line + n, sizeof(line) - (size_t)n, "; reset in %s",
			 sl_text_age((uint64_t)json_integer_value(ends), age));
	printf(f->rewrites ? "\r\033[K%s" : "%s\n", line);
	fflush(stdout);
}

static void say(struct follow *f, const json_t *p, bool last)
{
	uint64_t now = sl_clock_us() / 1000, left = sl_answer_number(p, "connections");
	bool changed = !f->answered || left != f->left;

	f->left = left;
	f->answered = true;
	if (f->options->json && (changed || last)) {
		sl_client_print_line(p, stdout);
		fflush(stdout);
	} else if (!f->options->json && (f->rewrites || last || !f->said_ms ||
					 (changed && now - f->said_ms >= SAY_EVERY_MS))) {
		print_progress(f, p);
		f->said_ms = now;
	}
}

static int finish(const struct follow *f, uint64_t reset, uint64_t kept, bool over)
{
	FILE *to = f->options->json ? stderr : stdout;

	if (f->rewrites)
		putchar('\n');
	if (over && !reset && !kept && !f->options->json)
		fprintf(to, "drained\n");
	if (over && kept)
		fprintf(to, "drained: %" PRIu64 " spliced tunnels go on in the kernel\n", kept);
	if (over && reset)
		fprintf(to, "drained: %" PRIu64 " connections were reset\n", reset);
	if (!over)
		fprintf(to, "still draining\n");
	return over && !reset ? SL_EXIT_DONE : SL_EXIT_FAILED;
}

/* Nobody answers any more. The whole sluice tells of its end before it comes, unless it was told to stop at
 * once meanwhile. */
static int vanished(const struct follow *f, const struct sl_client_problem *p)
{
	if (f->rewrites && f->answered)
		putchar('\n');
	if (!f->listener && f->answered && !f->left)
		return SL_EXIT_DONE;
	if (!f->listener && f->answered)
		fprintf(stderr, "sluice: it has ended; %" PRIu64 " connections were left\n",
			f->left);
	else
		fprintf(stderr, "sluice: %s\n", p->text);
	return SL_EXIT_FAILED;
}

static int follow(struct follow *f)
{
	struct sl_client_problem problem;
	json_t *request, *p;

	for (;;) {
		bool over, in_time;
		uint64_t reset, kept;

		request = json_pack("{s:s}", "command", "drain-progress");
		if (f->listener)
			json_object_set_new(request, "listener", json_string(f->listener));
		if (sl_client_ask(f->options->admin, request, &p, &problem) < 0)
			return vanished(f, &problem);
		over = !strcmp("drained", json_string_value(json_object_get(p, "state")) ?: "");
		reset = sl_answer_number(p, "reset");
		kept = sl_answer_number(p, "kept");
		in_time = !f->until_ms || sl_clock_us() / 1000 < f->until_ms;
		say(f, p, over || !in_time);
		json_decref(p);
		if (over || !in_time)
			return finish(f, reset, kept, over);
		pause_for(ASK_EVERY_MS);
	}
}

/* --- the command --- */

enum {
	TIMEOUT,
	WAIT,
	NO_WAIT,
	OPTIONS,
};

/* "10" as seconds; with a unit as everywhere. */
static int read_wait(const char *s, uint64_t *ret_ms)
{
	if (!sl_text_read_bytes(s, ret_ms) && *s && s[strspn(s, "0123456789")] == '\0') {
		*ret_ms *= 1000;
		return 0;
	}
	return sl_text_read_ms(s, ret_ms);
}

/* -1 to go on, else the exit code. */
static int read_options(const struct sl_client_value v[], uint64_t *ret_timeout_ms,
			uint64_t *ret_wait_ms)
{
	*ret_timeout_ms = *ret_wait_ms = 0;
	if (v[TIMEOUT].value && sl_text_read_ms(v[TIMEOUT].value, ret_timeout_ms) < 0)
		return sl_client_complain("drain", "--timeout: expected a time such as 30s");
	if (v[WAIT].value && v[NO_WAIT].value)
		return sl_client_complain("drain", "either --wait or --no-wait");
	if (v[WAIT].value && *v[WAIT].value &&
	    (read_wait(v[WAIT].value, ret_wait_ms) < 0 || !*ret_wait_ms))
		return sl_client_complain("drain",
					  "--wait: expected seconds, or a time such as 5m");
	return -1;
}

static int drain(const struct sl_client_options *o, const struct sl_client_value v[],
		 const char *listener)
{
	struct follow f = {.options = o, .listener = listener};
	uint64_t timeout_ms, wait_ms;
	json_t *request, *payload;
	int r = read_options(v, &timeout_ms, &wait_ms);

	if (r >= 0)
		return r;
	request = json_pack("{s:s}", "command", listener ? "drain-listener" : "drain");
	if (listener)
		json_object_set_new(request, "listener", json_string(listener));
	else if (o->now)
		json_object_set_new(request, "now", json_true());
	if (v[TIMEOUT].value)
		json_object_set_new(request, "timeout_ms", json_integer((json_int_t)timeout_ms));
	if (v[NO_WAIT].value || o->now)
		return sl_client_show(o, request, sl_render_word);
	if (sl_client_call(o->admin, request, &payload) < 0)
		return SL_EXIT_FAILED;
	json_decref(payload);
	f.rewrites = !o->json && isatty(STDOUT_FILENO);
	f.until_ms = wait_ms ? sl_clock_us() / 1000 + wait_ms : 0;
	return follow(&f);
}

int sl_cmd_drain(int argc, char **argv)
{
	struct sl_client_value v[OPTIONS + 1] = {
		[TIMEOUT] = {"timeout", required_argument},
		[WAIT] = {"wait", optional_argument},
		[NO_WAIT] = {"no-wait", no_argument},
	};
	struct sl_client_options o;
	int rest, r = sl_client_parse_more(argc, argv, usage, "jn", v, &o, &rest);
	bool listener = r < 0 && argc - rest == 2 && !strcmp(argv[rest], "listener");

	if (r >= 0)
		return r;
	if (rest < argc && !listener) {
		if (o.now || v[TIMEOUT].value || v[WAIT].value || v[NO_WAIT].value)
			return sl_client_complain("drain", "a server takes none of these options");
		return change_server(&o, argc - rest, argv + rest, "drain-server", usage);
	}
	if (listener && o.now)
		return sl_client_complain("drain", "--now is of the whole sluice; a listener has "
						   "--timeout 1ms");
	return drain(&o, v, listener ? argv[rest + 1] : NULL);
}
