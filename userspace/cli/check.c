/* SPDX-License-Identifier: BSD-2-Clause */
/* sluice check: reads a configuration and the files of users that it names, and starts nothing. */

#include "cli/check.h"

#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "cli/commands.h"
#include "proxy/access/auth_users.h"

static const struct option options[] = {
	{"config", required_argument, NULL, 'c'},
	{"help", no_argument, NULL, 'h'},
	{0},
};

/* Wanted help goes to stdout, unwanted to stderr. */
static int usage(bool wanted)
{
	fprintf(wanted ? stdout : stderr,
		"Usage: sluice check -c FILE\n"
		"Reads the configuration and the users files that it names; starts nothing.\n");
	return wanted ? SL_EXIT_DONE : SL_EXIT_USAGE;
}

static int check_users(const char *path)
{
	struct sl_auth_users users;
	unsigned line;
	int r = sl_auth_users_load(path, &users, &line);

	if (!r)
		sl_auth_users_free(&users);
	else if (r == -EINVAL)
		fprintf(stderr,
			"%s:%u: expected user:hash with a hash of crypt(5) such as $y$ or "
			"$2y$, each user once\n",
			path, line);
	else
		fprintf(stderr, "%s: %s\n", path, strerror(-r));
	return r;
}

static int check(const struct sl_config *c)
{
	size_t rules = 0;

	for (size_t i = 0; i < c->n_listeners; i++) {
		const struct sl_listener_config *l = &c->listeners[i];

		rules += l->acl ? l->acl->n_rules : 0;
		if (l->auth_basic && check_users(l->auth_basic))
			return SL_EXIT_FAILED;
	}
	printf("%s: ok\n%zu listener%s, %zu access rule%s\n", c->file, c->n_listeners,
	       c->n_listeners == 1 ? "" : "s", rules, rules == 1 ? "" : "s");
	return SL_EXIT_DONE;
}

int sl_load_config(const char *file, struct sl_config **ret)
{
	struct sl_config_error error;
	int r = file ? sl_config_load(file, ret, &error) : sl_config_default(ret);

	if (r < 0)
		fprintf(stderr, "%s\n", file ? error.text : strerror(-r));
	return r;
}

int sl_cmd_check(int argc, char **argv)
{
	const char *file = NULL;
	struct sl_config *c;
	int option, r;

	optind = 0; /* starts anew, whoever parsed before */
	while ((option = getopt_long(argc, argv, "+c:h", options, NULL)) != -1) {
		if (option != 'c' || file)
			return usage(option == 'h');
		file = optarg;
	}
	if (!file || optind != argc)
		return usage(false);
	if (sl_load_config(file, &c) < 0)
		return SL_EXIT_FAILED;
	r = check(c);
	sl_config_free(c);
	return r;
}
