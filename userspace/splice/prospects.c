/* SPDX-License-Identifier: BSD-2-Clause */
/* Prospects. A place of the table belongs to the address that was asked for last among those that share
 * it. */

#include "splice/prospects.h"

#include <xxhash.h>

#include "base/util.h"

#define MS_PER_CREDIT (1000 / SL_PROSPECTS_PER_S)

uint64_t sl_prospects_address(const struct sl_addr *a)
{
	struct {
		uint8_t host[16];
		uint16_t port;
	} key = {0};
	uint64_t hash;

	key.port = sl_addr_map(a, key.host);
	hash = XXH3_64bits(&key, sizeof(key));
	return hash ? hash : 1;
}

static void pass_time(struct sl_prospect *k, uint64_t now_ms)
{
	uint64_t credits = (now_ms - k->since_ms) / MS_PER_CREDIT;

	k->since_ms += credits * MS_PER_CREDIT;
	if (k->credit < SL_PROSPECTS_START)
		k->credit = (uint32_t)sl_min(k->credit + credits, (uint64_t)SL_PROSPECTS_START);
}

static struct sl_prospect *find(struct sl_prospects *p, uint64_t address, uint64_t now_ms)
{
	struct sl_prospect *k = &p->known[address % SL_PROSPECTS_ADDRESSES];

	if (k->address != address)
		*k = (struct sl_prospect){address, now_ms, SL_PROSPECTS_START};
	pass_time(k, now_ms);
	return k;
}

bool sl_prospects_good(struct sl_prospects *p, uint64_t address, uint64_t now_ms)
{
	return find(p, address, now_ms)->credit > 0;
}

void sl_prospects_spend(struct sl_prospects *p, uint64_t address, uint64_t now_ms)
{
	struct sl_prospect *k = find(p, address, now_ms);

	k->credit -= k->credit > 0;
}

void sl_prospects_earn(struct sl_prospects *p, uint64_t address, uint64_t now_ms)
{
	struct sl_prospect *k = find(p, address, now_ms);

	k->credit = sl_min(k->credit + SL_PROSPECTS_EARN, (uint32_t)SL_PROSPECTS_MAX);
}
