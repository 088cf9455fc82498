/* SPDX-License-Identifier: BSD-2-Clause */
/* sluice check: reads a configuration and the files of users that it names, and starts nothing. */

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "cli/commands.h"
#include "proxy/auth_users.h"
#include "proxy/config.h"

static int usage(void)
{
	fprintf(stderr, "usage: sluice check -c FILE\n");
	return SL_EXIT_USAGE;
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

int sl_cmd_check(int argc, char **argv)
{
	struct sl_config_error error;
	const char *file = NULL;
	struct sl_config *c;
	int option, r;

	optind = 0; /* starts anew, whoever parsed before */
	while ((option = getopt(argc, argv, "+c:")) != -1) {
		if (option != 'c' || file)
			return usage();
		file = optarg;
	}
	if (!file || optind != argc)
		return usage();
	if (sl_config_load(file, &c, &error)) {
		fprintf(stderr, "%s\n", error.text);
		return SL_EXIT_FAILED;
	}
	r = check(c);
	sl_config_free(c);
	return r;
}
