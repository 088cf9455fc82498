/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_PROXY_EXPOSITION_H
#define SLUICE_PROXY_EXPOSITION_H

/* Pieces of the Prometheus text, and the part of it that has names of the configuration for labels. */

#include <stdint.h>
#include <stdio.h>

#include "base/histogram.h"
#include "proxy/observe/control.h"

void sl_expo_family(FILE *f, const char *name, const char *type, const char *help);
/* A family with one sample. */
void sl_expo_plain(FILE *f, const char *name, const char *type, const char *help, uint64_t value);
/* Microseconds as seconds, exactly, and the end of the line. */
void sl_expo_seconds(FILE *f, uint64_t us);
void sl_expo_histogram(FILE *f, const char *name, const char *help, const struct sl_histogram *h);
/* NAME="VALUE", the value escaped. */
void sl_expo_label(FILE *f, const char *name, const char *value);

/* By route, upstream, engine and reason. 0 or -ENOMEM. */
int sl_expo_scopes(FILE *f, const struct sl_control_source *source);
/* By listener, server and pool. 0 or -ENOMEM. */
int sl_expo_lists(FILE *f, const struct sl_control_source *source);

#endif
