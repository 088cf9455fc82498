/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_CLI_RENDER_H
#define SLUICE_CLI_RENDER_H

/* Payloads of the admin socket as tables of at most 100 columns. What is missing in the payload is
 * shown as 0 or "-". */

#include <jansson.h>
#include <stdio.h>

void sl_render_stats(const json_t *payload, FILE *f);
void sl_render_loop(const json_t *payload, FILE *f);
void sl_render_flows(const json_t *payload, FILE *f);
void sl_render_servers(const json_t *payload, FILE *f);
void sl_render_pools(const json_t *payload, FILE *f);
/* A payload that is one word. */
void sl_render_word(const json_t *payload, FILE *f);

#endif
