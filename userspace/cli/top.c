/* SPDX-License-Identifier: BSD-2-Clause */
/* sluice top: the terminal. It draws pages and reads keys; what they mean is top_view.c. Between two rounds
 * of questions it waits in poll(2), so a key acts at once. A sluice that goes away leaves its last
 * figures on the screen, and is asked again. */

#include <errno.h>
#include <getopt.h>
#include <locale.h>
#include <ncurses.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/loop.h"
#include "cli/client.h"
#include "cli/commands.h"
#include "cli/text.h"
#include "cli/top_view.h"

#define EVERY_MS       1000
#define EVERY_LEAST_MS 100
#define ESCAPE	       27

static const char usage[] =
	"Usage: sluice top [--every TIME] [--admin PATH]\n"
	"A screen of rates, latencies, connections, engines, servers, top talkers and refusals.\n"
	"The key ? tells the keys, q quits.\n"
	"  --every TIME      ask every TIME (default 1s, at least 100ms)\n"
	"  -a, --admin PATH  admin socket (default: SLUICE_ADMIN, else /run/sluice/admin.sock)\n";

/* --- the terminal --- */

/* NULL after a message. */
static SCREEN *open_terminal(void)
{
	SCREEN *screen;

	if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO)) {
		fprintf(stderr, "sluice top: needs a terminal; sluice stats and sluice flows "
				"--watch do not\n");
		return NULL;
	}
	setlocale(LC_ALL, "");
	screen = newterm(NULL, stdout, stdin);
	if (!screen) {
		fprintf(stderr, "sluice top: the terminal's kind is not known (TERM)\n");
		return NULL;
	}
	set_escdelay(50);
	cbreak();
	noecho();
	nonl();
	keypad(stdscr, TRUE);
	nodelay(stdscr, TRUE);
	curs_set(0);
	if (has_colors()) {
		start_color();
		use_default_colors();
		init_pair(1, COLOR_RED, -1);
		init_pair(2, COLOR_CYAN, -1);
	}
	return screen;
}

static void close_terminal(SCREEN *screen)
{
	endwin();
	delscreen(screen);
}

static attr_t attributes(enum sl_look look)
{
	switch (look) {
	case SL_LOOK_TITLE:
		return A_BOLD;
	case SL_LOOK_HEADING:
		return has_colors() ? A_BOLD | (attr_t)COLOR_PAIR(2) : A_BOLD;
	case SL_LOOK_SELECTED:
		return A_REVERSE;
	case SL_LOOK_WARNING:
		return has_colors() ? A_BOLD | (attr_t)COLOR_PAIR(1) : A_BOLD;
	case SL_LOOK_FAINT:
		return A_DIM;
	case SL_LOOK_PLAIN:
		break;
	}
	return A_NORMAL;
}

static void draw(struct sl_top *t, const struct sl_facts *f)
{
	static struct sl_page page;
	int rows, columns;

	getmaxyx(stdscr, rows, columns);
	sl_page_begin(&page, (unsigned)rows, (unsigned)columns);
	sl_top_draw(t, f, &page);
	erase();
	for (size_t i = 0; i < page.n; i++) {
		attrset(attributes(page.line[i].look));
		mvaddnstr((int)i, 0, page.line[i].text, columns);
	}
	attrset(A_NORMAL);
	refresh();
}

static int translate(int key)
{
	switch (key) {
	case KEY_UP:
		return SL_KEY_UP;
	case KEY_DOWN:
		return SL_KEY_DOWN;
	case KEY_PPAGE:
		return SL_KEY_PAGE_UP;
	case KEY_NPAGE:
		return SL_KEY_PAGE_DOWN;
	case KEY_HOME:
		return SL_KEY_HOME;
	case KEY_ENTER:
		return '\n';
	case KEY_BACKSPACE:
	case ESCAPE:
		return SL_KEY_BACK;
	default:
		return key;
	}
}

/* --- rounds --- */

/* Reads keys until it is time, or until one of them wants another screen than there is. */
static void wait_for_keys(struct sl_top *t, struct sl_facts *f, const char *admin,
			  uint64_t until_us)
{
	for (;;) {
		uint64_t now_us = sl_clock_us();
		struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
		bool others;
		int key;

		if (now_us >= until_us && !t->paused)
			return;
		/* A signal (the window's size) ends the wait; getch() tells of it. */
		poll(&in, 1, t->paused ? -1 : (int)((until_us - now_us + 999) / 1000));
		if (in.revents & (POLLHUP | POLLERR | POLLNVAL)) {
			t->quit = true;
			return;
		}
		others = false;
		while ((key = getch()) != ERR)
			if (key != KEY_RESIZE)
				others |= sl_top_key(t, f, translate(key));
		if (t->quit)
			return;
		if (others && !f->problem.text[0])
			sl_facts_update_flows(f, admin, sl_top_flows_request(t));
		draw(t, f);
	}
}

static void run(const struct sl_client_options *o, uint64_t every_ms, struct sl_facts *f)
{
	struct sl_top t = {0};

	while (!t.quit) {
		uint64_t start_us = sl_clock_us();

		draw(&t, f);
		wait_for_keys(&t, f, o->admin, start_us + every_ms * 1000);
		if (!t.quit)
			sl_facts_update(f, o->admin, sl_top_flows_request(&t));
	}
	sl_top_free(&t);
}

int sl_cmd_top(int argc, char **argv)
{
	struct sl_client_value every[] = {{"every", required_argument, NULL}, {NULL, 0, NULL}};
	struct sl_client_options o;
	struct sl_facts facts = {0};
	uint64_t every_ms = EVERY_MS;
	int rest, r = sl_client_parse_more(argc, argv, usage, "", every, &o, &rest);
	SCREEN *screen;

	if (r >= 0)
		return r;
	if (rest < argc)
		return sl_client_complain("top", "takes no arguments, only options");
	if (every->value &&
	    (sl_text_read_ms(every->value, &every_ms) < 0 || every_ms < EVERY_LEAST_MS))
		return sl_client_complain("top",
					  "--every: expected a time of at least 100ms, such as 1s");
	if (sl_facts_update(&facts, o.admin, json_pack("{s:s}", "command", "flows")) < 0) {
		fprintf(stderr, "sluice: %s\n", facts.problem.text);
		return SL_EXIT_FAILED;
	}
	screen = open_terminal();
	if (screen) {
		run(&o, every_ms, &facts);
		close_terminal(screen);
	}
	sl_facts_free(&facts);
	return screen ? SL_EXIT_DONE : SL_EXIT_FAILED;
}
