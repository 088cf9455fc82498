/* SPDX-License-Identifier: BSD-2-Clause */
/* The admin socket seen from the command line: one connection, one request, one line back. */

#include "cli/client.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include "base/util.h"
#include "cli/commands.h"
#include "cli/suggest.h"
#include "cli/text.h"

#define DEFAULT_ADMIN "/run/sluice/admin.sock"
#define TIMEOUT_S     10
#define ANSWER_MAX    ((size_t)256 << 20)

/* --- options --- */

static const struct option long_options[] = {
	{"admin", required_argument, NULL, 'a'}, {"help", no_argument, NULL, 'h'},
	{"json", no_argument, NULL, 'j'},	 {"max", required_argument, NULL, 'm'},
	{"now", no_argument, NULL, 'n'},	 {0},
};

#define OPTIONS_MAX 32
#define OWN_OPTION  256 /* above every letter */

static int complain(const char *command, const char *what, const char *usage)
{
	fprintf(stderr, "sluice %s: %s\n%s", command, what, usage);
	return SL_EXIT_USAGE;
}

int sl_client_complain(const char *command, const char *what)
{
	fprintf(stderr, "sluice %s: %s\n(\"sluice help %s\" says more)\n", command, what, command);
	return SL_EXIT_USAGE;
}

static bool read_number(const char *s, long *ret)
{
	char *end;

	errno = 0;
	*ret = strtol(s, &end, 10);
	return !errno && end != s && !*end && *ret > 0;
}

static const char *default_admin(void)
{
	const char *path = getenv("SLUICE_ADMIN");

	return path && *path ? path : DEFAULT_ADMIN;
}

/* The options of all commands, and behind them the command's own. */
static void join_options(const struct sl_client_value *values, struct option ret[OPTIONS_MAX])
{
	size_t n = SL_ARRAY_SIZE(long_options) - 1;

	memcpy(ret, long_options, sizeof(long_options));
	for (size_t i = 0; values && values[i].name && n + 1 < OPTIONS_MAX; i++)
		ret[n++] = (struct option){values[i].name, values[i].has_arg, NULL,
					   OWN_OPTION + (int)i};
	ret[n] = (struct option){0};
}

/* Whether the letter is allowed: the options of all commands are not all of each. */
static bool takes(const char *allowed, int letter)
{
	return letter == 'a' || letter == 'h' || letter >= OWN_OPTION || strchr(allowed, letter);
}

/* The option that was meant by one that is none: begun with it, or else spelled nearly so. */
static const char *nearest_option(const struct option *o, const char *allowed, const char *word)
{
	const char *nearest = NULL;
	unsigned best = 3; /* further away is no suggestion */

	for (; o->name; o++) {
		unsigned d =
			!strncmp(o->name, word, strlen(word)) ? 0 : sl_word_distance(word, o->name);

		if (d < best && takes(allowed, o->val)) {
			best = d;
			nearest = o->name;
		}
	}
	return nearest;
}

static void say_unknown(const struct option *o, const char *allowed, const char *word, char *ret,
			size_t size)
{
	int len = (int)strcspn(word, "=");
	const char *nearest = NULL;
	char name[32];

	snprintf(name, sizeof(name), "%.*s", len - 2, word + 2);
	if (*name)
		nearest = nearest_option(o, allowed, name);
	snprintf(ret, size,
		 nearest ? "unknown option %.*s; did you mean --%s?" : "unknown option %.*s", len,
		 word, nearest);
}

/* What getopt_long(3) stumbled over: found is '?', ':' or the letter of another command's option. */
static int refuse_option(char **argv, const struct option *o, const char *allowed, int found)
{
	const char *word = argv[optind - 1];
	bool is_long = !strncmp(word, "--", 2);
	char what[160];

	if (found == ':')
		snprintf(what, sizeof(what), "%s wants a value", word);
	else if (found != '?' || (optopt && !is_long))
		snprintf(what, sizeof(what), "unknown option -%c", found == '?' ? optopt : found);
	else if (optopt)
		snprintf(what, sizeof(what), "%.*s takes no value", (int)strcspn(word, "="), word);
	else
		say_unknown(o, allowed, word, what, sizeof(what));
	return sl_client_complain(argv[0], what);
}

int sl_client_parse_more(int argc, char **argv, const char *usage, const char *allowed,
			 struct sl_client_value *values, struct sl_client_options *ret,
			 int *ret_rest)
{
	struct option options[OPTIONS_MAX];
	int c;

	*ret = (struct sl_client_options){.admin = default_admin()};
	join_options(values, options);
	optind = 0; /* glibc: start over, also with permutation */
	opterr = 0;
	while ((c = getopt_long(argc, argv, ":a:hjm:n", options, NULL)) != -1) {
		if (c == 'h') {
			fputs(usage, stdout);
			return SL_EXIT_DONE;
		}
		if (c == '?' || c == ':' || !takes(allowed, c))
			return refuse_option(argv, options, allowed, c);
		if (c >= OWN_OPTION)
			values[c - OWN_OPTION].value = optarg ? optarg : "";
		if (c == 'a')
			ret->admin = optarg;
		if (c == 'j')
			ret->json = true;
		if (c == 'n')
			ret->now = true;
		if (c == 'm' && !read_number(optarg, &ret->max))
			return complain(argv[0], "--max wants a number above 0", usage);
	}
	*ret_rest = optind;
	return -1;
}

int sl_client_parse(int argc, char **argv, const char *usage, const char *allowed,
		    struct sl_client_options *ret, int *ret_rest)
{
	return sl_client_parse_more(argc, argv, usage, allowed, NULL, ret, ret_rest);
}

/* --- the connection --- */

static int connect_admin(const char *path)
{
	_sl_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct timeval timeout = {.tv_sec = TIMEOUT_S};
	struct sockaddr_un un = {.sun_family = AF_UNIX};

	if (fd < 0)
		return -errno;
	if (strlen(path) >= sizeof(un.sun_path))
		return -ENAMETOOLONG;
	strcpy(un.sun_path, path);
	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)) < 0 ||
	    connect(fd, (struct sockaddr *)&un, sizeof(un)) < 0)
		return -errno;
	return SL_TAKE_FD(fd);
}

static void explain_connect(const char *path, int error, struct sl_client_problem *p)
{
	if (error == -ENOENT || error == -ECONNREFUSED)
		snprintf(p->text, sizeof(p->text),
			 "nothing listens at %s; is sluice running? (--admin PATH or SLUICE_ADMIN "
			 "name another socket)",
			 path);
	else if (error == -EACCES)
		snprintf(p->text, sizeof(p->text),
			 "%s: permission denied; it belongs to sluice's user", path);
	else
		snprintf(p->text, sizeof(p->text), "%s: %s", path, strerror(-error));
}

static int send_line(int fd, const json_t *request)
{
	_sl_free_ char *text = json_dumps(request, JSON_COMPACT);
	size_t len, sent = 0;

	if (!text)
		return -ENOMEM;
	len = strlen(text);
	text[len++] = '\n'; /* in the place of the NUL */
	while (sent < len) {
		ssize_t n = send(fd, text + sent, len - sent, MSG_NOSIGNAL);

		/* The server may refuse, and say so, before it has read. */
		if (n < 0 && errno == EPIPE)
			return 0;
		if (n < 0)
			return -errno;
		sent += (size_t)n;
	}
	return 0;
}

/* Reads up to the line feed. 0 and the text without it, or -errno. */
static int receive_line(int fd, char **ret, size_t *ret_len)
{
	_sl_free_ char *text = NULL;
	size_t len = 0, cap = 0;

	for (;;) {
		char *grown, *end;
		ssize_t n;

		if (len == cap) {
			cap = cap ? cap * 2 : 65536;
			grown = cap > ANSWER_MAX ? NULL : realloc(text, cap);
			if (!grown)
				return -EMSGSIZE;
			text = grown;
		}
		n = recv(fd, text + len, cap - len, 0);
		if (n <= 0)
			return n ? -errno : -ECONNRESET;
		end = memchr(text + len, '\n', (size_t)n);
		len += (size_t)n;
		if (end) {
			*ret_len = (size_t)(end - text);
			*ret = SL_TAKE_PTR(text);
			return 0;
		}
	}
}

static int exchange(const char *admin, const json_t *request, char **ret, size_t *ret_len,
		    struct sl_client_problem *p)
{
	_sl_close_ int fd = connect_admin(admin);
	int r;

	if (fd < 0) {
		explain_connect(admin, fd, p);
		return -1;
	}
	r = send_line(fd, request);
	if (!r)
		r = receive_line(fd, ret, ret_len);
	if (r < 0)
		snprintf(p->text, sizeof(p->text), "%s: %s", admin,
			 r == -EAGAIN ? "no answer in time" : strerror(-r));
	return r < 0 ? -1 : 0;
}

/* The answer's payload as a new reference, or NULL. */
static json_t *payload_of(const json_t *answer, const char *command, struct sl_client_problem *p)
{
	const char *error = json_string_value(json_object_get(answer, "error"));
	json_t *payload = json_object_get(answer, command);

	if (json_is_true(json_object_get(answer, "ok")) && payload)
		return json_incref(payload);
	snprintf(p->text, sizeof(p->text), "%s", error ? error : "the answer makes no sense");
	return NULL;
}

int sl_client_ask(const char *admin, json_t *request, json_t **ret,
		  struct sl_client_problem *ret_problem)
{
	const char *command = json_string_value(json_object_get(request, "command"));
	_sl_free_ char *text = NULL;
	json_t *answer, *payload = NULL;
	size_t len = 0;

	snprintf(ret_problem->text, sizeof(ret_problem->text), "out of memory");
	if (command && !exchange(admin, request, &text, &len, ret_problem)) {
		answer = json_loadb(text, len, 0, NULL);
		payload = payload_of(answer, command, ret_problem);
		json_decref(answer);
	}
	json_decref(request);
	if (!payload)
		return -1;
	*ret = payload;
	return 0;
}

int sl_client_call(const char *admin, json_t *request, json_t **ret)
{
	struct sl_client_problem p;
	int r = sl_client_ask(admin, request, ret, &p);

	if (r < 0)
		fprintf(stderr, "sluice: %s\n", p.text);
	return r;
}

int sl_client_show(const struct sl_client_options *o, json_t *request,
		   void (*print)(const json_t *payload, FILE *f))
{
	json_t *payload;

	if (sl_client_call(o->admin, request, &payload) < 0)
		return SL_EXIT_FAILED;
	if (o->json) {
		json_dumpf(payload, stdout, JSON_INDENT(2) | JSON_ENCODE_ANY | JSON_ENSURE_ASCII);
		fputc('\n', stdout);
	} else {
		print(payload, stdout);
	}
	json_decref(payload);
	if (fflush(stdout) || ferror(stdout)) {
		fprintf(stderr, "sluice: can't write: %s\n", strerror(errno));
		return SL_EXIT_FAILED;
	}
	return SL_EXIT_DONE;
}

void sl_client_print_line(const json_t *payload, FILE *f)
{
	json_dumpf(payload, f, JSON_COMPACT | JSON_ENCODE_ANY | JSON_ENSURE_ASCII);
	fputc('\n', f);
}

uint64_t sl_answer_number(const json_t *o, const char *key)
{
	return (uint64_t)json_integer_value(json_object_get(o, key));
}

const char *sl_answer_text(const json_t *o, const char *key, size_t width, char buf[64])
{
	const char *s = json_string_value(json_object_get(o, key));

	return sl_text_safe(s ? s : "-", width, buf, 64);
}
