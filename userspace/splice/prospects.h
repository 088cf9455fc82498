/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_SPLICE_PROSPECTS_H
#define SLUICE_SPLICE_PROSPECTS_H

/* Whether a tunnel to an address will live long enough to be worth what an engine must do before it
 * connects: judged by the tunnels before it. An address has credit: each preparation takes one, each
 * tunnel that was worth it gives many, and a little comes back with time, so that nothing is forgotten
 * for ever and short tunnels alone can't waste more than that. */

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"

#define SL_PROSPECTS_ADDRESSES 1024 /* that are remembered; who shares a place begins anew */

#define SL_PROSPECTS_START 64 /* credit of an address that is not known */
#define SL_PROSPECTS_EARN  64 /* by a tunnel that was worth it */
#define SL_PROSPECTS_MAX   640
#define SL_PROSPECTS_PER_S 20 /* that come back, up to SL_PROSPECTS_START */

struct sl_prospect {
	uint64_t address;  /* its hash; 0: none */
	uint64_t since_ms; /* up to when time has given credit */
	uint32_t credit;
};

/* Of one worker. Zeroed before it is used. */
struct sl_prospects {
	struct sl_prospect known[SL_PROSPECTS_ADDRESSES];
};

/* The address by which tunnels are told apart; never 0. */
uint64_t sl_prospects_address(const struct sl_addr *a);
/* Whether a tunnel to there should be prepared. */
bool sl_prospects_good(struct sl_prospects *p, uint64_t address, uint64_t now_ms);
/* It was. */
void sl_prospects_spend(struct sl_prospects *p, uint64_t address, uint64_t now_ms);
/* A tunnel to there was worth it, or would have been. */
void sl_prospects_earn(struct sl_prospects *p, uint64_t address, uint64_t now_ms);

#endif
