/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_PROXY_AUTH_USERS_H
#define SLUICE_PROXY_AUTH_USERS_H

/* The users file and the field that claims to be one of them.
 *
 * File: one "user:hash" a line, blank lines and lines that begin with '#' are skipped. Hashes are
 * those of crypt(5) that libxcrypt calls strong ($y$, $gy$, $2b$, $2y$, $7$, $6$); others
 * ($apr1$, $1$, $5$, DES) are errors. At most 1 MiB; no user twice. */

#include <stddef.h>

#include "base/slice.h"
#include "proxy/access/auth.h"

#define SL_AUTH_PASSWORD_MAX 512 /* crypt(3)'s own limit */
#define SL_AUTH_HASH_MAX     383

struct sl_auth_user {
	const char *name, *hash; /* in text */
	unsigned line;
};

struct sl_auth_users {
	struct sl_auth_user *user; /* sorted by name */
	size_t n;
	char *text; /* the file, in memory that core dumps leave out */
};

/* -errno, or -EINVAL with the line's number in *ret_line (0 for other errors). */
int sl_auth_users_load(const char *path, struct sl_auth_users *ret, unsigned *ret_line);
void sl_auth_users_free(struct sl_auth_users *u);
/* NULL if unknown. */
const struct sl_auth_user *sl_auth_users_find(const struct sl_auth_users *u, const char *name);

struct sl_credentials {
	char user[SL_AUTH_USER_MAX + 1];
	char password[SL_AUTH_PASSWORD_MAX + 1];
};

/* "Basic <base64 of user:password>" (RFC 7617), strictly: canonical base64 with its padding, a
 * non-empty user, no control characters, nothing too long. -EINVAL otherwise. Secret: the caller
 * wipes *ret. */
int sl_credentials_parse(struct sl_slice value, struct sl_credentials *ret);

#endif
