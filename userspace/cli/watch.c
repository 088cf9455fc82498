/* SPDX-License-Identifier: BSD-2-Clause */
/* One picture after the other. Each is rendered whole before a byte of it is written, so that nothing
 * flickers, and old lines are erased one by one. */

#include "cli/watch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "base/util.h"
#include "cli/commands.h"

#define HOME	   "\033[H"
#define ERASE_LINE "\033[K"
#define ERASE_REST "\033[J"

static unsigned window_rows(void)
{
	struct winsize size;

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0 || size.ws_row < 2)
		return 24;
	return size.ws_row;
}

/* The last row stays free: a line feed there would scroll. */
static void write_screen(const char *text)
{
	unsigned left = window_rows() - 1;

	fputs(HOME, stdout);
	while (*text && left--) {
		size_t len = strcspn(text, "\n");

		printf("%.*s" ERASE_LINE "\n", (int)len, text);
		text += len + (text[len] == '\n');
	}
	fputs(ERASE_REST, stdout);
}

static int show(const struct sl_watch *w, const json_t *payload)
{
	_sl_free_ char *text = NULL;
	size_t len;
	FILE *f;

	if (w->options->json) {
		sl_client_print_line(payload, stdout);
		return fflush(stdout) ? -errno : 0;
	}
	f = open_memstream(&text, &len);
	if (!f)
		return -ENOMEM;
	w->print(payload, f);
	if (fclose(f))
		return -ENOMEM;
	if (isatty(STDOUT_FILENO))
		write_screen(text);
	else
		printf("%s\n", text);
	return fflush(stdout) ? -errno : 0;
}

static void pause_for(uint64_t ms)
{
	struct timespec t = {(time_t)(ms / 1000), (long)(ms % 1000) * 1000000};

	nanosleep(&t, NULL);
}

int sl_watch_run(const struct sl_watch *w)
{
	json_t *payload;
	int r = 0;

	for (;;) {
		if (sl_client_call(w->options->admin, json_incref(w->request), &payload) < 0)
			break;
		w->complete(w->owner, payload);
		r = show(w, payload);
		json_decref(payload);
		if (r < 0) {
			fprintf(stderr, "sluice: can't write: %s\n", strerror(-r));
			break;
		}
		pause_for(w->every_ms);
	}
	json_decref(w->request);
	return SL_EXIT_FAILED;
}
