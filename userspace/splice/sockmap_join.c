/* SPDX-License-Identifier: BSD-2-Clause */
/* How a pair comes under the sockmap's program, and how it is left alone again.
 *
 * Invariants:
 * - Both flows are there before a socket is in the map: what arrives meanwhile is passed, and counted.
 * - Both sockets stay in the map until they are closed. A pair that is left is switched to "pass"; who
 *   carries it then tells by the pair's counters what it has relayed, should the pair come back. */

#include <errno.h>
#include <sys/sysinfo.h>

#include "base/util.h"
#include "splice/sockmap.h"

#define MEMORY_SHARE 4 /* at most a fourth of it for pairs, whatever their number */

static uint32_t pairs_used; /* by all instances */
static uint32_t pairs_room; /* of all instances */

uint32_t sl_sockmap_pairs_max(void)
{
	struct sysinfo info;

	if (sysinfo(&info))
		return 1;
	return (uint32_t)sl_min((uint64_t)info.totalram * info.mem_unit / MEMORY_SHARE /
					SL_SOCKMAP_PAIR_BYTES,
				(uint64_t)UINT16_MAX);
}

void sl_sockmap_add_room(int pairs)
{
	__atomic_fetch_add(&pairs_room, (uint32_t)pairs, __ATOMIC_RELAXED);
}

void sl_sockmap_fill(struct sl_map_fill *ret)
{
	const uint32_t room = __atomic_load_n(&pairs_room, __ATOMIC_RELAXED);

	*ret = (struct sl_map_fill){"sockmap", __atomic_load_n(&pairs_used, __ATOMIC_RELAXED),
				    room ? sl_min(room, sl_sockmap_pairs_max()) : 0};
}

/* --- members --- */

static struct sl_sockmap_member *new_member(struct sl_sockmap_engine *e)
{
	struct sl_sockmap_member *m = e->n_free ? sl_slab_get(&e->members) : NULL;

	if (!m)
		return NULL;
	if (__atomic_add_fetch(&pairs_used, 1, __ATOMIC_RELAXED) > sl_sockmap_pairs_max()) {
		__atomic_fetch_sub(&pairs_used, 1, __ATOMIC_RELAXED);
		sl_slab_put(&e->members, m);
		return NULL;
	}
	m->engine = e;
	m->index = e->free[--e->n_free];
	e->member[m->index] = m;
	for (int side = 0; side < 2; side++)
		m->half[side].flow = &e->maps.flow[2 * m->index + (uint32_t)side];
	return m;
}

void sl_sockmap_free_member(struct sl_sockmap_member *m)
{
	struct sl_sockmap_engine *e = m->engine;

	sl_sockmap_maps_remove(&e->maps, 2 * m->index);
	sl_sockmap_maps_remove(&e->maps, 2 * m->index + 1);
	e->member[m->index] = NULL;
	e->free[e->n_free++] = m->index;
	sl_slab_put(&e->members, m);
	__atomic_fetch_sub(&pairs_used, 1, __ATOMIC_RELAXED);
}

/* --- entering --- */

static int learn_sockets(struct sl_sockmap_member *m, struct sl_pair *p, const char **ret_reason)
{
	struct sl_endpoint endpoint;

	for (int side = 0; side < 2; side++) {
		int r = p->stream[side]->ops->endpoint(p->stream[side], &endpoint);

		*ret_reason = "a side has no socket";
		if (r || endpoint.fd < 0)
			return -EOPNOTSUPP;
		m->half[side].fd = endpoint.fd;
		r = sl_sockmap_fix_buffers(endpoint.fd);
		*ret_reason = r == -EFBIG ? "bulk: a receive buffer has grown"
					  : "a socket's buffers can't be fixed";
		if (r)
			return -EOPNOTSUPP;
	}
	return 0;
}

/* What waits in pending counts as passed. */
static int take_stock(struct sl_sockmap_member *m, struct sl_pair *p, enum sl_side side)
{
	struct sl_sockmap_half *h = &m->half[side];
	uint32_t waits = p->pending[side] ? sl_buf_len(p->pending[side]) : 0;
	int r = sl_sockmap_taken(h->fd, &h->taken);

	if (!r)
		r = sl_sockmap_written(h->fd, &h->given);
	if (r)
		return r;
	h->origin = p->from[side].bytes;
	h->settled = waits;
	return sl_sockmap_maps_prepare(&m->engine->maps, 2 * m->index + (uint32_t)side, h->fd,
				       waits);
}

/* Both flows are there before a socket is in the map: what arrives meanwhile is passed, and counted. */
static int insert(struct sl_sockmap_member *m, struct sl_pair *p, const char **ret_reason)
{
	int r;

	for (int side = 0; side < 2; side++) {
		r = take_stock(m, p, side);
		*ret_reason = r == -EAGAIN ? "busy: bytes are on their way"
					   : "the state of a socket can't be read";
		if (r)
			return r == -EAGAIN ? r : -EOPNOTSUPP;
	}
	for (int side = 0; side < 2; side++) {
		r = sl_sockmap_maps_insert(&m->engine->maps, 2 * m->index + (uint32_t)side,
					   m->half[side].fd);
		*ret_reason = "the kernel refuses a socket (its peer may have finished)";
		if (!r)
			continue;
		m->broken = side > 0;
		return -EOPNOTSUPP;
	}
	return 0;
}

static void set_mode(struct sl_sockmap_member *m, enum sl_sockmap_mode mode)
{
	for (int side = 0; side < 2; side++)
		__atomic_store_n(&m->half[side].flow->mode, mode, __ATOMIC_SEQ_CST);
}

/* Only one socket is in the map: it has to stay, and another engine carries the pair. */
static void leave_broken(struct sl_sockmap_member *m, struct sl_pair *p)
{
	set_mode(m, SL_SOCKMAP_PASS);
	for (int side = 0; side < 2; side++)
		sl_sockmap_free_buffers(m->half[side].fd);
	p->member = m;
	p->plain_io = true;
	sl_sockmap_kick(m->half[SL_CLIENT].fd);
}

static int enter_first(struct sl_sockmap_engine *e, struct sl_pair *p, const char **ret_reason)
{
	struct sl_sockmap_member *m = new_member(e);
	int r;

	*ret_reason = "as many pairs as memory allows";
	if (!m)
		return -ENOSPC;
	r = learn_sockets(m, p, ret_reason);
	if (!r)
		r = insert(m, p, ret_reason);
	if (!r) {
		p->member = m;
		p->plain_io = true;
		return 0;
	}
	if (m->broken) {
		leave_broken(m, p);
		return r;
	}
	for (int side = 0; side < 2; side++)
		if (m->half[side].fd > 0)
			sl_sockmap_free_buffers(m->half[side].fd);
	sl_sockmap_free_member(m);
	return r;
}

/* Who carried the pair in between has relayed passed bytes, and tells by p->from how many. */
static void catch_up(struct sl_sockmap_member *m, struct sl_pair *p, enum sl_side side)
{
	struct sl_sockmap_half *h = &m->half[side];
	uint64_t known = h->origin + h->flow->redirected + h->flow->relayed;
	uint64_t more = p->from[side].bytes - known;

	h->taken += more + (p->pending[side] ? sl_buf_len(p->pending[side]) : 0);
	m->half[sl_other_side(side)].given += more;
	h->flow->relayed += more;
	h->settled = !sl_sockmap_in_step(h);
}

static int enter_again(struct sl_sockmap_member *m, struct sl_pair *p, const char **ret_reason)
{
	int r;

	*ret_reason = "the kernel refused a socket";
	if (m->broken)
		return -EOPNOTSUPP;
	for (int side = 0; side < 2; side++) {
		r = sl_sockmap_fix_buffers(m->half[side].fd);
		*ret_reason = r == -EFBIG ? "bulk: a receive buffer has grown"
					  : "a socket's buffers can't be fixed";
		if (r)
			return -EOPNOTSUPP;
	}
	for (int side = 0; side < 2; side++)
		catch_up(m, p, side);
	set_mode(m, SL_SOCKMAP_REDIRECT);
	return 0;
}

int sl_sockmap_enter(struct sl_sockmap_engine *e, struct sl_pair *p, const char **ret_reason)
{
	if (p->input_ended[SL_CLIENT] || p->input_ended[SL_UPSTREAM]) {
		*ret_reason = "a peer has finished already";
		return -EOPNOTSUPP;
	}
	return p->member ? enter_again(p->member, p, ret_reason) : enter_first(e, p, ret_reason);
}

/* --- leaving --- */

/* After this the kernel redirects nothing more: the program runs under the socket's lock, which the
 * system call takes, so that one that was running has ended. */
static int stop_redirecting(struct sl_sockmap_member *m)
{
	uint64_t unused;
	bool closed;
	int r = 0;

	set_mode(m, SL_SOCKMAP_PASS);
	for (int side = 0; side < 2 && !r; side++)
		r = sl_sockmap_arrived(m->half[side].fd, &unused, &closed);
	return r;
}

static int settle_both(struct sl_sockmap_member *m)
{
	for (int side = 0; side < 2; side++)
		if (sl_sockmap_settle(m, side) || !sl_sockmap_in_step(&m->half[side]))
			return -EAGAIN;
	return 0;
}

int sl_sockmap_leave(struct sl_sockmap_member *m)
{
	if (stop_redirecting(m) || settle_both(m))
		return -EAGAIN;
	for (int side = 0; side < 2; side++)
		sl_sockmap_free_send_buffer(m->half[side].fd);
	return 0;
}
