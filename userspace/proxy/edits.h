/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_PROXY_EDITS_H
#define SLUICE_PROXY_EDITS_H

/* The operator's changes to the fields of a head. NULL edits change nothing. */

#include <stdbool.h>

#include "base/buffer.h"
#include "base/slice.h"
#include "proxy/config/config.h"

/* True if a field of the message with that name does not go on. */
bool sl_edits_drop(const struct sl_field_edits *e, struct sl_slice name);
/* Writes what is set and added. False if it does not fit. */
bool sl_edits_write(const struct sl_field_edits *e, struct sl_buf *out);

#endif
