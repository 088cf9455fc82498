/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_CLI_SUGGEST_H
#define SLUICE_CLI_SUGGEST_H

/* How many letters must be added, dropped, replaced or swapped with their neighbour to turn one short
 * word into the other; a large number for words longer than 31 bytes. */
unsigned sl_word_distance(const char *a, const char *b);

#endif
