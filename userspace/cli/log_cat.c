/* SPDX-License-Identifier: BSD-2-Clause */
/* sluice log cat: a binary access log as text, whole or what passes the filters. All filters must hold. */

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/util.h"
#include "cli/commands.h"
#include "cli/log_reader.h"
#include "cli/text.h"
#include "proxy/observe/access_format.h"

static const char usage[] =
	"Usage: sluice log cat [FILTERS] [--format json|clf] FILE...\n"
	"Prints access logs that were written with format: binary; - is standard input.\n"
	"  --since TIME      records from then on: 2026-01-31T09:30:00Z, or an age (10m, 2h, 1d)\n"
	"  --until TIME      records up to then\n"
	"  --status LIST     these responses: 404, 5xx, 500-503, or several with commas; 0: none "
	"was sent\n"
	"  --host NAME       requests for this host; *.example.com: for any name below it\n"
	"  --slower TIME     requests that took longer (50ms, 1s)\n"
	"  --failed          5xx, and what did not end well\n"
	"  --format F        json (default) or clf\n";

#define RANGES_MAX 16

struct cat {
	uint64_t since_us, until_us, slower_us;
	struct {
		unsigned from, to;
	} status[RANGES_MAX];
	size_t n_status; /* 0: any */
	const char *host;
	bool failed;
	enum sl_access_log_format format;
	uint64_t now_us;
};

/* --- options --- */

static bool read_time(const struct cat *c, const char *s, uint64_t *ret_us)
{
	struct tm tm = {0};
	const char *end = strptime(s, "%Y-%m-%dT%H:%M:%S", &tm);
	uint64_t ms;

	if (end && !strcmp(end, "Z")) {
		*ret_us = (uint64_t)timegm(&tm) * 1000000;
		return true;
	}
	if (sl_text_read_ms(s, &ms) < 0 || ms > c->now_us / 1000)
		return false;
	*ret_us = c->now_us - ms * 1000;
	return true;
}

/* "404", "5xx", "500-503". */
static bool read_range(const char *s, unsigned *ret_from, unsigned *ret_to)
{
	char more;
	unsigned class;

	if (*s < '0' || *s > '9')
		return false;
	if (strlen(s) == 3 && !strcmp(s + 1, "xx") && s[0] >= '1' && s[0] <= '5') {
		class = (unsigned)(s[0] - '0');
		*ret_from = class * 100;
		*ret_to = class * 100 + 99;
		return true;
	}
	if (sscanf(s, "%3u-%3u%c", ret_from, ret_to, &more) == 2)
		return *ret_from <= *ret_to;
	*ret_to = 0;
	if (sscanf(s, "%3u%c", ret_from, &more) != 1)
		return false;
	*ret_to = *ret_from;
	return true;
}

static bool read_status(struct cat *c, char *list)
{
	for (char *one; (one = strsep(&list, ","));) {
		if (c->n_status == RANGES_MAX ||
		    !read_range(one, &c->status[c->n_status].from, &c->status[c->n_status].to))
			return false;
		c->n_status++;
	}
	return true;
}

static bool read_format(struct cat *c, const char *s)
{
	c->format = strcmp(s, "clf") ? SL_ACCESS_LOG_JSON : SL_ACCESS_LOG_CLF;
	return c->format == SL_ACCESS_LOG_CLF || !strcmp(s, "json");
}

static bool read_option(struct cat *c, int option, char *value)
{
	uint64_t ms;

	switch (option) {
	case 's':
		return read_time(c, value, &c->since_us);
	case 'u':
		return read_time(c, value, &c->until_us);
	case 'S':
		return read_status(c, value);
	case 'H':
		c->host = value;
		return *value;
	case 'l':
		if (sl_text_read_ms(value, &ms) < 0 || ms > UINT32_MAX)
			return false;
		c->slower_us = ms * 1000;
		return true;
	case 'F':
		c->failed = true;
		return true;
	case 'f':
		return read_format(c, value);
	default:
		return false;
	}
}

/* The exit code, or -1 to go on. */
static int read_options(struct cat *c, int argc, char **argv)
{
	static const struct option options[] = {{"since", required_argument, NULL, 's'},
						{"until", required_argument, NULL, 'u'},
						{"status", required_argument, NULL, 'S'},
						{"host", required_argument, NULL, 'H'},
						{"slower", required_argument, NULL, 'l'},
						{"failed", no_argument, NULL, 'F'},
						{"format", required_argument, NULL, 'f'},
						{"help", no_argument, NULL, 'h'},
						{0}};
	int option, at;

	optind = 1;
	while (at = 0, (option = getopt_long(argc, argv, "h", options, &at)) >= 0) {
		if (option == 'h') {
			fputs(usage, stdout);
			return SL_EXIT_DONE;
		}
		if (option == '?') {
			fputs(usage, stderr);
			return SL_EXIT_USAGE;
		}
		if (!read_option(c, option, optarg)) {
			fprintf(stderr, "sluice log cat: --%s: what is \"%s\"?\n%s",
				options[at].name, optarg, usage);
			return SL_EXIT_USAGE;
		}
	}
	if (optind < argc)
		return -1;
	fprintf(stderr, "sluice log cat: which file?\n%s", usage);
	return SL_EXIT_USAGE;
}

/* --- records --- */

static bool status_fits(const struct cat *c, unsigned status)
{
	for (size_t i = 0; i < c->n_status; i++)
		if (status >= c->status[i].from && status <= c->status[i].to)
			return true;
	return !c->n_status;
}

static bool host_fits(const struct cat *c, struct sl_slice host)
{
	if (!c->host)
		return true;
	if (!strncmp(c->host, "*.", 2))
		return sl_slice_ends_nocase(host, sl_slice_str(c->host + 1));
	return sl_slice_eq_nocase(host, sl_slice_str(c->host));
}

static void print_record(void *arg, const struct sl_access_record *r)
{
	static char line[SL_ACCESS_LINE_MAX];
	const struct cat *c = arg;

	if (r->start_us < c->since_us || (c->until_us && r->start_us > c->until_us) ||
	    (c->slower_us && r->duration_us <= c->slower_us) || (c->failed && !r->failed) ||
	    !status_fits(c, r->status) || !host_fits(c, r->host))
		return;
	fwrite(line, 1, sl_access_format(c->format, r, line), stdout);
}

static int print_file(struct cat *c, const char *name)
{
	_sl_close_ int fd = -1;
	int r = 0;

	if (strcmp(name, "-")) {
		fd = open(name, O_RDONLY | O_CLOEXEC);
		r = fd < 0 ? -errno : 0;
	}
	if (!r)
		r = sl_log_read(fd < 0 ? STDIN_FILENO : fd, name, stderr, print_record, c);
	if (r < 0 && r != -EBADMSG)
		fprintf(stderr, "sluice log cat: %s: %s\n", name, strerror(-r));
	return r;
}

static int cat(int argc, char **argv)
{
	struct timespec now;
	struct cat c = {0};
	int r, failed = 0;

	clock_gettime(CLOCK_REALTIME, &now);
	c.now_us = (uint64_t)now.tv_sec * 1000000;
	r = read_options(&c, argc, argv);
	if (r >= 0)
		return r;
	for (int i = optind; i < argc; i++)
		failed |= print_file(&c, argv[i]) < 0;
	if (fflush(stdout) || ferror(stdout)) {
		fprintf(stderr, "sluice log cat: standard output: %s\n", strerror(errno));
		failed = 1;
	}
	return failed ? SL_EXIT_FAILED : SL_EXIT_DONE;
}

int sl_cmd_log(int argc, char **argv)
{
	if (argc > 1 && !strcmp(argv[1], "cat"))
		return cat(argc - 1, argv + 1);
	if (argc > 1 && (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"))) {
		fputs(usage, stdout);
		return SL_EXIT_DONE;
	}
	fprintf(stderr, "sluice log: takes the word cat\n%s", usage);
	return SL_EXIT_USAGE;
}
