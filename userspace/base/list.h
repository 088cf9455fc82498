/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_BASE_LIST_H
#define SLUICE_BASE_LIST_H

/* Intrusive doubly linked list. A node that is on no list points to itself, so that
 * sl_list_del() is idempotent. The list never owns its nodes. */

#include <stdbool.h>

#include "base/util.h"

struct sl_list {
	struct sl_list *prev, *next;
};

static inline void sl_list_init(struct sl_list *l)
{
	l->prev = l->next = l;
}

static inline bool sl_list_empty(const struct sl_list *l)
{
	return l->next == l;
}

/* Inserts node before at: at the tail when at is the head. */
static inline void sl_list_add_tail(struct sl_list *at, struct sl_list *node)
{
	node->prev = at->prev;
	node->next = at;
	at->prev->next = node;
	at->prev = node;
}

static inline void sl_list_add(struct sl_list *head, struct sl_list *node)
{
	sl_list_add_tail(head->next, node);
}

static inline void sl_list_del(struct sl_list *node)
{
	node->prev->next = node->next;
	node->next->prev = node->prev;
	sl_list_init(node);
}

#define sl_list_entry(node, type, member) sl_container_of(node, type, member)

#define sl_list_for_each(pos, head) for (pos = (head)->next; pos != (head); pos = pos->next)

/* tmp holds the successor, so that pos may be removed and freed. */
#define sl_list_for_each_safe(pos, tmp, head) \
	for (pos = (head)->next, tmp = pos->next; pos != (head); pos = tmp, tmp = pos->next)

#endif
