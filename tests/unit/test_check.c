/* SPDX-License-Identifier: BSD-2-Clause */
/* sluice check: exit codes, and what it says where. */

#include "unit.h"

#include <stdio.h>
#include <string.h>

#include "cli/commands.h"

#define GOOD "listeners:\n- {name: a, listen: \"127.0.0.1:1\", mode: forward"

static char file[64], users[64], out[1024], err[1024];

static void read_back(int fd, char text[1024])
{
	ssize_t n = pread(fd, text, 1023, 0);

	assert_true(n >= 0);
	text[n] = '\0';
}

static void write_file(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	fclose(f);
}

/* Runs the command with its output and errors caught. */
static int run(int argc, char **argv)
{
	FILE *caught[2] = {tmpfile(), tmpfile()};
	int saved[2] = {dup(1), dup(2)}, r;

	fflush(NULL);
	dup2(fileno(caught[0]), 1);
	dup2(fileno(caught[1]), 2);
	r = sl_cmd_check(argc, argv);
	fflush(NULL);
	for (int i = 0; i < 2; i++) {
		dup2(saved[i], i + 1);
		close(saved[i]);
	}
	read_back(fileno(caught[0]), out);
	read_back(fileno(caught[1]), err);
	fclose(caught[0]);
	fclose(caught[1]);
	return r;
}

static int check(const char *text)
{
	char *argv[] = {"check", "-c", file, NULL};

	write_file(file, text);
	return run(3, argv);
}

static void a_good_file_is_ok_and_summed_up(void **state)
{
	char text[128];

	assert_int_equal(check(GOOD ", acl: [{allow: {}}, {deny: {}}]}\n"), SL_EXIT_DONE);
	snprintf(text, sizeof(text), "%s: ok\n1 listener, 2 access rules\n", file);
	assert_string_equal(out, text);
	assert_string_equal(err, "");
}

static void a_bad_file_is_told_by_its_place_on_stderr(void **state)
{
	char text[128];

	assert_int_equal(check(GOOD ", colour: red}\n"), SL_EXIT_FAILED);
	snprintf(text, sizeof(text), "%s:2:51: listeners[0]: unknown key 'colour', expected", file);
	assert_memory_equal(err, text, strlen(text));
	assert_string_equal(out, "");
}

static void files_of_users_are_checked_too(void **state)
{
	char text[256], expected[128];

	snprintf(text, sizeof(text), GOOD ", auth: {basic: %s}}\n", users);
	write_file(users, "al:$6$salt$x\nbob:plain\n");
	assert_int_equal(check(text), SL_EXIT_FAILED);
	snprintf(expected, sizeof(expected), "%s:2: expected user:hash", users);
	assert_memory_equal(err, expected, strlen(expected));
	write_file(users, "al:$6$salt$x\n");
	assert_int_equal(check(text), SL_EXIT_DONE);
	unlink(users);
	assert_int_equal(check(text), SL_EXIT_FAILED);
	snprintf(expected, sizeof(expected), "%s: No such file or directory\n", users);
	assert_string_equal(err, expected);
}

static void wrong_usage_is_exit_code_2(void **state)
{
	char *none[] = {"check", NULL}, *no_value[] = {"check", "-c", NULL};
	char *unknown[] = {"check", "-x", NULL}, *extra[] = {"check", "-c", file, "y", NULL};
	char *twice[] = {"check", "-c", file, "-c", file, NULL};

	assert_int_equal(run(1, none), SL_EXIT_USAGE);
	assert_string_equal(err,
			    "Usage: sluice check -c FILE\n"
			    "Reads the configuration and the users files that it names; starts "
			    "nothing.\n");
	assert_int_equal(run(2, no_value), SL_EXIT_USAGE);
	assert_int_equal(run(2, unknown), SL_EXIT_USAGE);
	assert_int_equal(run(4, extra), SL_EXIT_USAGE);
	assert_int_equal(run(5, twice), SL_EXIT_USAGE);
}

static int make_files(void **state)
{
	strcpy(file, "/tmp/sluice-check-XXXXXX");
	strcpy(users, "/tmp/sluice-users-XXXXXX");
	sl_close(mkstemp(file));
	sl_close(mkstemp(users));
	return 0;
}

static int remove_files(void **state)
{
	unlink(file);
	unlink(users);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_good_file_is_ok_and_summed_up),
		cmocka_unit_test(a_bad_file_is_told_by_its_place_on_stderr),
		cmocka_unit_test(files_of_users_are_checked_too),
		cmocka_unit_test(wrong_usage_is_exit_code_2),
	};

	return cmocka_run_group_tests(tests, make_files, remove_files);
}
