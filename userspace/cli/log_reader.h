/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_CLI_LOG_READER_H
#define SLUICE_CLI_LOG_READER_H

/* A binary access log, read from a descriptor in pieces: files, pipes, several files one behind the
 * other. Behind damage it goes on at the next header, which is where sluice opened the file again. */

#include <stdbool.h>
#include <stdio.h>

#include "proxy/observe/access_log.h"

/* Calls each for every record that can be read. Tells on `complaints`, with name and offset, what can't be.
 * 0, -EBADMSG if there was damage, or -errno of read(2). */
int sl_log_read(int fd, const char *name, FILE *complaints,
		void (*each)(void *arg, const struct sl_access_record *r), void *arg);

#endif
