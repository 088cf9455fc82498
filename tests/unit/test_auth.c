/* SPDX-License-Identifier: BSD-2-Clause */
/* proxy/auth: credentials, users, cache, and checks that run in the thread. */

#include "unit.h"

#include <crypt.h>
#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "proxy/access/auth.h"
#include "proxy/access/auth_cache.h"
#include "proxy/access/auth_users.h"

/* --- credentials --- */

static int credentials(const char *value, struct sl_credentials *ret)
{
	return sl_credentials_parse(sl_slice_str(value), ret);
}

static void good_credentials_are_split_at_the_first_colon(void **state)
{
	static const struct {
		const char *value, *user, *password;
	} rows[] = {
		{"Basic YTpi", "a", "b"},
		{"basic YTpi", "a", "b"},
		{"BASIC   YTpi", "a", "b"},
		{"Basic YTo=", "a", ""},
		{"Basic YTpiOmM=", "a", "b:c"},
		{"Basic YTrDvCA=", "a", "\xc3\xbc "},
		{"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", "Aladdin", "open sesame"},
	};
	struct sl_credentials c;

	for (size_t i = 0; i < SL_ARRAY_SIZE(rows); i++) {
		assert_int_equal(credentials(rows[i].value, &c), 0);
		assert_string_equal(c.user, rows[i].user);
		assert_string_equal(c.password, rows[i].password);
	}
}

static void malformed_credentials_are_refused(void **state)
{
	static const char *const bad[] = {
		"",
		"Basic",
		"Basic ",
		"BasicYTpi",
		"Bearer YTpi",
		"Basic YTpi ",
		" Basic YTpi",
		"Basic YTpi=",
		"Basic YTpi====",
		"Basic YT",
		"Basic YTo",
		"Basic YTo==",
		"Basic YTp=",
		"Basic YTq=",
		"Basic Y Tpi",
		"Basic\tYTpi",
		"Basic YT\npi",
		"Basic YTpi,x",
		"Basic =",
		"Basic ====",
		"Basic YQ==" /* a */,
		"Basic OmI=" /* :b */,
		"Basic Og==" /* : */,
		"Basic AGE6Yg==" /* \0a:b */,
		"Basic YToAYg==" /* a:\0b */,
		"Basic YQo6Yg==" /* a\n:b */,
		"Basic YTp/" /* a:DEL */,
		"Basic YTp-",
		"Basic YTp_",
	};
	struct sl_credentials c;

	for (size_t i = 0; i < SL_ARRAY_SIZE(bad); i++)
		if (credentials(bad[i], &c) != -EINVAL)
			fail_msg("accepted: %s", bad[i]);
}

/* "Basic " and base64 of user_len x "u", ":", password_len x "p". */
static int credentials_of(size_t user_len, size_t password_len)
{
	char text[1024], value[2048] = "Basic ";
	struct sl_credentials c;

	memset(text, 'p', sizeof(text));
	memset(text, 'u', user_len);
	text[user_len] = ':';
	sodium_bin2base64(value + 6, sizeof(value) - 6, (unsigned char *)text,
			  user_len + 1 + password_len, sodium_base64_VARIANT_ORIGINAL);
	return credentials(value, &c);
}

static void users_and_passwords_have_a_greatest_length(void **state)
{
	assert_int_equal(credentials_of(SL_AUTH_USER_MAX, SL_AUTH_PASSWORD_MAX), 0);
	assert_int_equal(credentials_of(SL_AUTH_USER_MAX + 1, 1), -EINVAL);
	assert_int_equal(credentials_of(1, SL_AUTH_PASSWORD_MAX + 1), -EINVAL);
	assert_int_equal(credentials_of(1, 1000), -EINVAL);
}

/* --- files --- */

#define CHEAP "$6$rounds=1000$salt"
#define SLOW  "$6$rounds=100000$salt"

static char path[64];

static void write_users(const char *text)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

static const char *hashed(const char *password, const char *setting)
{
	return crypt(password, setting);
}

static int make_file(void **state)
{
	strcpy(path, "/tmp/sluice-users-XXXXXX");
	sl_close(mkstemp(path));
	return sodium_init() < 0;
}

static int remove_file(void **state)
{
	return unlink(path);
}

static void a_bad_line_is_told_by_its_number(void **state)
{
	static const struct {
		const char *text;
		int error;
		unsigned line;
	} rows[] = {
		{"", 0, 0},
		{"# none\n\n", 0, 0},
		{"a:" CHEAP "$x", 0, 0},
		{"a:" CHEAP "$x\n# b\nc:$2y$10$abcdefghijklmnopqrstuu\n", 0, 0},
		{"a:" CHEAP "$x\nb\n", -EINVAL, 2},
		{":" CHEAP "$x\n", -EINVAL, 1},
		{"a:\n", -EINVAL, 1},
		{"a:plain\n", -EINVAL, 1},
		{"a:$apr1$salt$x\n", -EINVAL, 1},
		{"a:$1$salt$x\n", -EINVAL, 1},
		{"a:$5$salt$x\n", -EINVAL, 1},
		{"a:{SHA}x\n", -EINVAL, 1},
		{"\n\na:" CHEAP "$x\r\n", -EINVAL, 3},
		{"a:" CHEAP "$x\nb:" CHEAP "$x\na:" CHEAP "$y\n", -EINVAL, 3},
		{"uuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuu:" CHEAP "$x",
		 -EINVAL, 1},
	};
	struct sl_auth_users u;
	unsigned line;

	for (size_t i = 0; i < SL_ARRAY_SIZE(rows); i++) {
		write_users(rows[i].text);
		if (sl_auth_users_load(path, &u, &line) != rows[i].error || line != rows[i].line)
			fail_msg("%s: line %u", rows[i].text, line);
		if (!rows[i].error)
			sl_auth_users_free(&u);
	}
	assert_int_equal(sl_auth_users_load("/nonexistent", &u, &line), -ENOENT);
	assert_int_equal(line, 0);
}

static void users_are_found_by_their_exact_name(void **state)
{
	struct sl_auth_users u;
	unsigned line;

	write_users("bob:" CHEAP "$b\nal:" CHEAP "$a\ncy:" CHEAP "$c\n");
	assert_int_equal(sl_auth_users_load(path, &u, &line), 0);
	assert_string_equal(sl_auth_users_find(&u, "al")->hash, CHEAP "$a");
	assert_string_equal(sl_auth_users_find(&u, "cy")->hash, CHEAP "$c");
	assert_null(sl_auth_users_find(&u, "Al"));
	assert_null(sl_auth_users_find(&u, "alx"));
	assert_null(sl_auth_users_find(&u, ""));
	sl_auth_users_free(&u);
}

/* --- cache --- */

static void the_cache_forgets_after_its_time_and_when_full(void **state)
{
	struct sl_auth_cache *c = calloc(1, sizeof(*c));
	struct sl_auth_fingerprint f[SL_AUTH_CACHE_WAYS + 1] = {0};

	for (size_t i = 0; i < SL_ARRAY_SIZE(f); i++)
		f[i].bytes[9] = (uint8_t)i + 1; /* all in one set */
	assert_false(sl_auth_cache_find(c, &f[0], 0));
	sl_auth_cache_add(c, &f[0], 1000);
	assert_true(sl_auth_cache_find(c, &f[0], 1000));
	assert_true(sl_auth_cache_find(c, &f[0], 1000 + SL_AUTH_CACHE_MS - 1));
	assert_false(sl_auth_cache_find(c, &f[0], 1000 + SL_AUTH_CACHE_MS));
	for (size_t i = 1; i < SL_ARRAY_SIZE(f); i++)
		sl_auth_cache_add(c, &f[i], 1000 + i);
	assert_false(sl_auth_cache_find(c, &f[0], 1100));
	for (size_t i = 1; i < SL_ARRAY_SIZE(f); i++)
		assert_true(sl_auth_cache_find(c, &f[i], 1100));
	sl_auth_cache_clear(c);
	assert_false(sl_auth_cache_find(c, &f[1], 1100));
	free(c);
}

/* --- checks --- */

struct checker {
	struct sl_auth_check check;
	unsigned called;
	enum sl_auth_verdict verdict;
};

static struct sl_loop *loop;

static void note_verdict(struct sl_auth_check *c, enum sl_auth_verdict v)
{
	struct checker *k = sl_container_of(c, struct checker, check);

	k->called++;
	k->verdict = v;
}

static enum sl_auth_verdict begin(struct sl_auth *a, struct checker *k, const char *plain)
{
	char value[256] = "Basic ";

	*k = (struct checker){.check = {.loop = loop, .on_verdict = note_verdict}};
	sodium_bin2base64(value + 6, sizeof(value) - 6, (const unsigned char *)plain, strlen(plain),
			  sodium_base64_VARIANT_ORIGINAL);
	return sl_auth_verify(a, sl_slice_str(value), &k->check);
}

static void turn_until_called(struct checker *k)
{
	for (int i = 0; !k->called && i < 500; i++)
		sl_loop_turn(loop, 20);
	assert_int_equal(k->called, 1);
}

static enum sl_auth_verdict verify(struct sl_auth *a, const char *plain)
{
	struct checker k;
	enum sl_auth_verdict v = begin(a, &k, plain);

	if (v != SL_AUTH_PENDING)
		return v;
	assert_int_equal(k.called, 0);
	turn_until_called(&k);
	assert_null(k.check.pending);
	return k.verdict;
}

static struct sl_auth *open_users(const char *setting)
{
	char text[1024];
	struct sl_auth *a;
	unsigned line;

	snprintf(text, sizeof(text), "al:%s\n", hashed("secret", setting));
	write_users(text);
	assert_int_equal(sl_auth_open(path, &a, &line), 0);
	assert_int_equal(sl_loop_new(&loop), 0);
	return a;
}

static void close_users(struct sl_auth *a)
{
	sl_loop_free(loop);
	sl_auth_close(a);
}

static void only_the_right_password_passes(void **state)
{
	struct sl_auth *a = open_users(CHEAP);

	assert_int_equal(verify(a, "al:Secret"), SL_AUTH_DENIED);
	assert_int_equal(verify(a, "al:"), SL_AUTH_DENIED);
	assert_int_equal(verify(a, "al:secret "), SL_AUTH_DENIED);
	assert_int_equal(verify(a, "bob:secret"), SL_AUTH_DENIED);
	assert_int_equal(verify(a, "al:secret"), SL_AUTH_OK);
	close_users(a);
	sl_auth_close(NULL);
}

static void malformed_credentials_are_denied_without_a_check(void **state)
{
	struct sl_auth *a = open_users(CHEAP);
	struct checker k;

	assert_int_equal(begin(a, &k, "nocolon"), SL_AUTH_DENIED);
	assert_string_equal(k.check.user, "");
	assert_int_equal(sl_auth_verify(a, sl_slice(NULL, 0), &k.check), SL_AUTH_DENIED);
	sl_auth_cancel(&k.check);
	close_users(a);
}

static void a_verified_user_is_remembered_and_a_wrong_one_is_not(void **state)
{
	struct sl_auth *a = open_users(CHEAP);
	struct checker k;

	assert_int_equal(verify(a, "al:secret"), SL_AUTH_OK);
	assert_int_equal(begin(a, &k, "al:secret"), SL_AUTH_OK);
	assert_string_equal(k.check.user, "al");
	assert_int_equal(verify(a, "al:wrong"), SL_AUTH_DENIED);
	assert_int_equal(begin(a, &k, "al:wrong"), SL_AUTH_PENDING);
	sl_auth_cancel(&k.check);
	close_users(a);
}

static void a_file_without_users_denies_everybody(void **state)
{
	struct sl_auth *a;
	unsigned line;

	write_users("# nobody\n");
	assert_int_equal(sl_auth_open(path, &a, &line), 0);
	assert_int_equal(sl_loop_new(&loop), 0);
	assert_int_equal(verify(a, "al:secret"), SL_AUTH_DENIED);
	close_users(a);
}

static void reloading_changes_users_and_forgets_the_old(void **state)
{
	struct sl_auth *a = open_users(CHEAP);
	char text[1024];
	unsigned line;

	assert_int_equal(verify(a, "al:secret"), SL_AUTH_OK);
	write_users("broken\n");
	assert_int_equal(sl_auth_reload(a, &line), -EINVAL);
	assert_int_equal(line, 1);
	assert_int_equal(verify(a, "al:secret"), SL_AUTH_OK);
	snprintf(text, sizeof(text), "bob:%s\n", hashed("b", CHEAP));
	write_users(text);
	assert_int_equal(sl_auth_reload(a, &line), 0);
	assert_int_equal(verify(a, "al:secret"), SL_AUTH_DENIED);
	assert_int_equal(verify(a, "bob:b"), SL_AUTH_OK);
	close_users(a);
}

/* The hash takes long enough that the reload comes while it runs: the old file's yes must not count. */
static void a_reload_during_a_check_decides_by_the_new_users(void **state)
{
	struct sl_auth *a = open_users(SLOW);
	struct checker k;
	unsigned line;

	assert_int_equal(begin(a, &k, "al:secret"), SL_AUTH_PENDING);
	nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
	write_users("bob:" CHEAP "$x\n");
	assert_int_equal(sl_auth_reload(a, &line), 0);
	turn_until_called(&k);
	assert_int_equal(k.verdict, SL_AUTH_DENIED);
	assert_int_equal(begin(a, &k, "al:secret"), SL_AUTH_PENDING);
	sl_auth_cancel(&k.check);
	close_users(a);
}

static void a_full_queue_is_busy_and_recovers(void **state)
{
	struct sl_auth *a = open_users(SLOW);
	static struct checker k[SL_AUTH_QUEUE_MAX];
	struct checker more;

	for (size_t i = 0; i < SL_ARRAY_SIZE(k); i++)
		assert_int_equal(begin(a, &k[i], "al:wrong"), SL_AUTH_PENDING);
	assert_int_equal(begin(a, &more, "al:wrong"), SL_AUTH_BUSY);
	sl_auth_cancel(&more.check);
	for (size_t i = 1; i < SL_ARRAY_SIZE(k); i++)
		sl_auth_cancel(&k[i].check);
	assert_int_equal(begin(a, &more, "al:secret"), SL_AUTH_PENDING);
	turn_until_called(&more);
	assert_int_equal(more.verdict, SL_AUTH_OK);
	assert_int_equal(k[0].called, 1);
	assert_int_equal(k[1].called, 0);
	close_users(a);
}

/* Cancels at every stage: queued, running, done but not told. */
static void after_a_cancel_nobody_is_called(void **state)
{
	struct sl_auth *a = open_users(CHEAP);
	struct checker k;

	for (long us = 0; us < 4000; us += 50) {
		assert_int_equal(begin(a, &k, "al:wrong"), SL_AUTH_PENDING);
		nanosleep(&(struct timespec){.tv_nsec = us * 1000}, NULL);
		sl_auth_cancel(&k.check);
		sl_auth_cancel(&k.check);
		assert_null(k.check.pending);
		memset(&k.check, 0xee, sizeof(k.check)); /* it is gone */
		sl_loop_turn(loop, 0);
		assert_int_equal(k.called, 0);
	}
	assert_int_equal(verify(a, "al:secret"), SL_AUTH_OK);
	close_users(a);
}

static void closing_does_not_wait_for_the_queue(void **state)
{
	struct sl_auth *a = open_users(SLOW);
	static struct checker k[100];

	for (size_t i = 0; i < SL_ARRAY_SIZE(k); i++)
		assert_int_equal(begin(a, &k[i], "al:wrong"), SL_AUTH_PENDING);
	for (size_t i = 0; i < SL_ARRAY_SIZE(k); i++)
		sl_auth_cancel(&k[i].check);
	close_users(a);
	for (size_t i = 0; i < SL_ARRAY_SIZE(k); i++)
		assert_int_equal(k[i].called, 0);
}

#define WITH_FILE(test) cmocka_unit_test_setup_teardown(test, make_file, remove_file)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good_credentials_are_split_at_the_first_colon),
		cmocka_unit_test(malformed_credentials_are_refused),
		cmocka_unit_test(users_and_passwords_have_a_greatest_length),
		WITH_FILE(a_bad_line_is_told_by_its_number),
		WITH_FILE(users_are_found_by_their_exact_name),
		cmocka_unit_test(the_cache_forgets_after_its_time_and_when_full),
		WITH_FILE(only_the_right_password_passes),
		WITH_FILE(malformed_credentials_are_denied_without_a_check),
		WITH_FILE(a_verified_user_is_remembered_and_a_wrong_one_is_not),
		WITH_FILE(a_file_without_users_denies_everybody),
		WITH_FILE(reloading_changes_users_and_forgets_the_old),
		WITH_FILE(a_reload_during_a_check_decides_by_the_new_users),
		WITH_FILE(a_full_queue_is_busy_and_recovers),
		WITH_FILE(after_a_cancel_nobody_is_called),
		WITH_FILE(closing_does_not_wait_for_the_queue),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
