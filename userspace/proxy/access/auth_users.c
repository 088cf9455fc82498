/* SPDX-License-Identifier: BSD-2-Clause */
/* Users and their hashes from a file; credentials from a field value.
 *
 * Passwords pass through here only on the stack, and are wiped. Hashes are where they were read to, and nowhere
 * else: whoever has one may guess at its password. Not here: verification (auth.c). */

#include "proxy/access/auth_users.h"

#include <crypt.h>
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/util.h"

#define FILE_MAX   (1024 * 1024)
#define TEXT_BYTES (FILE_MAX + 4096) /* room to see that it is longer, and for a NUL */

void sl_auth_users_free(struct sl_auth_users *u)
{
	if (u->text)
		munmap(u->text, TEXT_BYTES);
	free(u->user);
	*u = (struct sl_auth_users){0};
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct sl_auth_user *)a)->name,
		      ((const struct sl_auth_user *)b)->name);
}

const struct sl_auth_user *sl_auth_users_find(const struct sl_auth_users *u, const char *name)
{
	struct sl_auth_user key = {.name = name};

	return u->n ? bsearch(&key, u->user, u->n, sizeof(key), by_name) : NULL;
}

static bool has_control(const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)s[i] < ' ' || s[i] == 127)
			return true;
	return false;
}

static int grow(struct sl_auth_users *u)
{
	struct sl_auth_user *grown;

	if (u->n & (u->n - 1)) /* doubles at powers of two */
		return 0;
	grown = reallocarray(u->user, u->n ? 2 * u->n : 1, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	u->user = grown;
	return 0;
}

/* line ends with NUL instead of its newline. 0 (also for a line to skip), -EINVAL, -ENOMEM. */
static int add_line(struct sl_auth_users *u, char *line, size_t len, unsigned number)
{
	char *colon = memchr(line, ':', len);
	size_t name_len = colon ? (size_t)(colon - line) : 0;

	if (!len || *line == '#')
		return 0;
	if (!name_len || name_len > SL_AUTH_USER_MAX || has_control(line, len) ||
	    len - name_len - 1 > SL_AUTH_HASH_MAX || crypt_checksalt(colon + 1) != CRYPT_SALT_OK)
		return -EINVAL;
	if (grow(u))
		return -ENOMEM;
	*colon = '\0';
	u->user[u->n++] = (struct sl_auth_user){line, colon + 1, number};
	return 0;
}

static int sort_users(struct sl_auth_users *u, unsigned *ret_line)
{
	if (u->n)
		qsort(u->user, u->n, sizeof(*u->user), by_name);
	for (size_t i = 1; i < u->n; i++) {
		if (by_name(&u->user[i - 1], &u->user[i]))
			continue;
		*ret_line = sl_max(u->user[i - 1].line, u->user[i].line);
		return -EINVAL;
	}
	return 0;
}

static int parse_users(struct sl_auth_users *u, size_t len, unsigned *ret_line)
{
	unsigned number = 1;

	for (size_t at = 0; at < len; number++) {
		char *line = u->text + at, *end = memchr(line, '\n', len - at);
		size_t line_len = end ? (size_t)(end - line) : len - at;
		int r;

		line[line_len] = '\0';
		r = add_line(u, line, line_len, number);
		if (r) {
			*ret_line = r == -EINVAL ? number : 0;
			return r;
		}
		at += line_len + 1;
	}
	return sort_users(u, ret_line);
}

/* Without stdio, whose buffers would keep parts of it. */
static int read_text(int fd, char *text, size_t *ret_len)
{
	size_t len = 0;
	ssize_t n;

	do {
		n = read(fd, text + len, FILE_MAX + 1 - len);
		if (n < 0 && errno != EINTR)
			return -errno;
		len += n > 0 ? (size_t)n : 0;
	} while (n && len <= FILE_MAX);
	if (len > FILE_MAX)
		return -EFBIG;
	*ret_len = len;
	return 0;
}

static int load_users(int fd, struct sl_auth_users *u, unsigned *ret_line)
{
	char *text =
		mmap(NULL, TEXT_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	size_t len = 0;
	int r;

	if (text == MAP_FAILED)
		return -errno;
	u->text = text;
	madvise(text, TEXT_BYTES, MADV_DONTDUMP);
	r = read_text(fd, text, &len);
	return r ? r : parse_users(u, len, ret_line);
}

int sl_auth_users_load(const char *path, struct sl_auth_users *ret, unsigned *ret_line)
{
	_sl_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct sl_auth_users u = {0};
	int r;

	*ret_line = 0;
	if (fd < 0)
		return -errno;
	r = load_users(fd, &u, ret_line);
	if (r) {
		sl_auth_users_free(&u);
		return r;
	}
	*ret = u;
	return 0;
}

/* RFC 7617: "Basic" 1*SP token68. */
static int strip_scheme(struct sl_slice *value)
{
	static const struct sl_slice scheme = SL_SLICE("Basic ");

	if (value->len < scheme.len || !sl_slice_eq_nocase(sl_slice(value->p, scheme.len), scheme))
		return -EINVAL;
	*value = sl_slice(value->p + scheme.len, value->len - scheme.len);
	while (value->len && *value->p == ' ')
		*value = sl_slice(value->p + 1, value->len - 1);
	return 0;
}

static int split_credentials(const char *text, size_t len, struct sl_credentials *ret)
{
	const char *colon = memchr(text, ':', len);
	size_t user_len = colon ? (size_t)(colon - text) : 0;
	size_t password_len = colon ? len - user_len - 1 : 0;

	if (!user_len || user_len > SL_AUTH_USER_MAX || password_len > SL_AUTH_PASSWORD_MAX ||
	    has_control(text, len))
		return -EINVAL;
	memcpy(ret->user, text, user_len);
	ret->user[user_len] = '\0';
	memcpy(ret->password, colon + 1, password_len);
	ret->password[password_len] = '\0';
	return 0;
}

int sl_credentials_parse(struct sl_slice value, struct sl_credentials *ret)
{
	char text[SL_AUTH_USER_MAX + 1 + SL_AUTH_PASSWORD_MAX];
	const char *end;
	size_t len;
	int r = strip_scheme(&value);

	if (r || !value.len)
		return -EINVAL;
	/* libsodium refuses stray bits, missing padding and every foreign character */
	if (sodium_base642bin((unsigned char *)text, sizeof(text), value.p, value.len, NULL, &len,
			      &end, sodium_base64_VARIANT_ORIGINAL) ||
	    end != value.p + value.len)
		r = -EINVAL;
	else
		r = split_credentials(text, len, ret);
	sodium_memzero(text, sizeof(text));
	return r;
}
