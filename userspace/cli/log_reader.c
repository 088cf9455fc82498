/* SPDX-License-Identifier: BSD-2-Clause */
/* The window holds what was read and not yet understood; a record always fits into it. Without a header
 * in front nothing is taken for a record. */

#include "cli/log_reader.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/util.h"
#include "proxy/observe/access_binary.h"

#define WINDOW_BYTES (256 * 1024)
#define MAGIC_LEN    8

struct reader {
	int fd;
	const char *name;
	FILE *complaints;
	char *window;
	size_t at, len;	 /* window[at..len) is left */
	uint64_t offset; /* of window[at] in the input */
	bool ended;	 /* no more input */
	bool damaged;
	enum state {
		STATE_BEGIN,   /* a header has to come */
		STATE_RECORDS, /* records, or another header */
		STATE_SEEK,    /* behind damage: whatever is no header is left out */
	} state;
};

static void skip(struct reader *r, size_t n)
{
	r->at += n;
	r->offset += n;
}

/* 0 or -errno. */
static int refill(struct reader *r)
{
	ssize_t n;

	memmove(r->window, r->window + r->at, r->len - r->at);
	r->len -= r->at;
	r->at = 0;
	do
		n = read(r->fd, r->window + r->len, WINDOW_BYTES - r->len);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	r->len += (size_t)n;
	r->ended = n == 0;
	return 0;
}

/* True at the next thing that begins as a header does. Keeps what may be the first bytes of one. */
static bool seek_header(struct reader *r)
{
	const char *p = r->window + r->at, *found;
	size_t left = r->len - r->at;

	found = memmem(p, left, sl_access_header, MAGIC_LEN);
	if (found)
		skip(r, (size_t)(found - p));
	else
		skip(r, left - sl_min(left, r->ended ? 0 : (size_t)MAGIC_LEN - 1));
	return found;
}

static const char *explain(const struct reader *r, enum sl_access_read what)
{
	if (what == SL_ACCESS_READ_VERSION)
		return "written by a later version of sluice";
	if (what == SL_ACCESS_READ_MORE && r->state == STATE_RECORDS)
		return "it ends in the middle of a record";
	if (r->state == STATE_RECORDS)
		return "damaged; what follows is left out up to where sluice opened the file again";
	return "not a binary access log of sluice";
}

static void complain(struct reader *r, enum sl_access_read what)
{
	fprintf(r->complaints, "sluice log: %s: byte %" PRIu64 ": %s\n", r->name, r->offset,
		explain(r, what));
	r->damaged = true;
	r->state = STATE_SEEK;
	skip(r, 1);
}

/* Takes what the window begins with. False: that takes more input. */
static bool step(struct reader *r, void (*each)(void *arg, const struct sl_access_record *r),
		 void *arg)
{
	struct sl_access_record record;
	enum sl_access_read what;
	size_t len = 0;

	if (r->state == STATE_SEEK) {
		if (!seek_header(r))
			return false;
		r->state = STATE_BEGIN;
	}
	what = sl_access_decode(r->window + r->at, r->len - r->at, &record, &len);
	if (what == SL_ACCESS_READ_MORE && !r->ended)
		return false;
	if (what == SL_ACCESS_READ_HEADER) {
		r->state = STATE_RECORDS;
	} else if (what == SL_ACCESS_READ_RECORD && r->state == STATE_RECORDS) {
		each(arg, &record);
	} else {
		complain(r, what);
		return true;
	}
	skip(r, len);
	return true;
}

int sl_log_read(int fd, const char *name, FILE *complaints,
		void (*each)(void *arg, const struct sl_access_record *r), void *arg)
{
	struct reader r = {.fd = fd, .name = name, .complaints = complaints};
	int error = 0;

	r.window = malloc(WINDOW_BYTES);
	if (!r.window)
		return -ENOMEM;
	while (!error && !r.ended) {
		error = refill(&r);
		while (!error && r.at < r.len && step(&r, each, arg))
			;
	}
	free(r.window);
	return error ? error : r.damaged ? -EBADMSG : 0;
}
