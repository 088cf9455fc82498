/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_CLI_WATCH_H
#define SLUICE_CLI_WATCH_H

/* Asking again and again, until a signal or sluice ends it. */

#include <jansson.h>
#include <stdint.h>
#include <stdio.h>

#include "cli/client.h"

struct sl_watch {
	const struct sl_client_options *options;
	json_t *request; /* consumed */
	uint64_t every_ms;
	/* May change the payload before it is printed. */
	void (*complete)(void *owner, json_t *payload);
	void (*print)(const json_t *payload, FILE *f);
	void *owner;
};

/* On a terminal each answer takes the place of the one before, cut at the window's height; elsewhere they
 * follow each other, with --json one a line. Returns the exit code. */
int sl_watch_run(const struct sl_watch *w);

#endif
