/* SPDX-License-Identifier: BSD-2-Clause */
/* The sockmap engine's kernel side: loads the verdict program and its maps, and puts sockets in and out.
 *
 * Nothing is pinned or shared: what one instance loads is gone with it. */

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "base/util.h"
#include "splice/libbpf_words.h"
#include "splice/sockmap.h"

#include "sockmap.skel.h"

static size_t flow_bytes(const struct sl_sockmap_maps *m)
{
	return sizeof(struct sl_sockmap_flow) * 2 * m->pairs;
}

static int load(struct sl_sockmap_maps *m)
{
	m->skeleton = sockmap__open();
	if (!m->skeleton)
		return -errno;
	bpf_map__set_max_entries(m->skeleton->maps.sl_sockets, 2 * m->pairs);
	bpf_map__set_max_entries(m->skeleton->maps.sl_slots, 2 * m->pairs);
	bpf_map__set_max_entries(m->skeleton->maps.sl_flows, 2 * m->pairs);
	return sockmap__load(m->skeleton);
}

static int map_flows(struct sl_sockmap_maps *m)
{
	void *p = mmap(NULL, flow_bytes(m), PROT_READ | PROT_WRITE, MAP_SHARED,
		       bpf_map__fd(m->skeleton->maps.sl_flows), 0);

	if (p == MAP_FAILED)
		return -errno;
	m->flow = p;
	return 0;
}

static int attach(struct sl_sockmap_maps *m)
{
	int program = bpf_program__fd(m->skeleton->progs.sl_sockmap_verdict);

	return bpf_prog_attach(program, m->sockets, BPF_SK_SKB_STREAM_VERDICT, 0) ? -errno : 0;
}

static int fail(struct sl_sockmap_maps *m, int r, const char *reason, const char **ret_reason)
{
	sl_sockmap_maps_close(m);
	*ret_reason = reason;
	return r;
}

int sl_sockmap_maps_open(uint32_t pairs, int (*on_event)(void *context, void *data, size_t len),
			 void *context, struct sl_sockmap_maps *ret, const char **ret_reason)
{
	struct sl_sockmap_maps m = {.pairs = pairs};
	int r;

	sl_libbpf_hush();
	r = load(&m);
	sl_libbpf_speak();
	if (r && sl_libbpf_refusal())
		return fail(&m, r, sl_libbpf_refusal(), ret_reason);
	if (r == -EPERM)
		return fail(&m, r, "not permitted: needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN",
			    ret_reason);
	if (r)
		return fail(&m, r, "the kernel refuses the BPF program", ret_reason);
	m.sockets = bpf_map__fd(m.skeleton->maps.sl_sockets);
	m.slots = bpf_map__fd(m.skeleton->maps.sl_slots);
	r = attach(&m);
	if (r)
		return fail(&m, r, "the BPF program can't be attached to its map", ret_reason);
	r = map_flows(&m);
	if (r)
		return fail(&m, r, "the flows can't be mapped", ret_reason);
	m.ring = ring_buffer__new(bpf_map__fd(m.skeleton->maps.sl_passes), on_event, context, NULL);
	if (!m.ring)
		return fail(&m, -errno, "the events can't be read", ret_reason);
	*ret = m;
	return 0;
}

void sl_sockmap_maps_close(struct sl_sockmap_maps *m)
{
	ring_buffer__free(SL_TAKE_PTR(m->ring));
	if (m->flow)
		munmap(SL_TAKE_PTR(m->flow), flow_bytes(m));
	sockmap__destroy(SL_TAKE_PTR(m->skeleton));
}

int sl_sockmap_maps_prepare(struct sl_sockmap_maps *m, uint32_t slot, int fd, uint64_t passed)
{
	struct sl_sockmap_flow flow = {.passed = passed, .rebase = 1};
	uint64_t cookie;
	socklen_t len = sizeof(cookie);

	if (getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &len) < 0)
		return -errno;
	flow.cookie = cookie;
	m->flow[slot] = flow;
	return bpf_map_update_elem(m->slots, &cookie, &slot, BPF_NOEXIST) ? -errno : 0;
}

int sl_sockmap_maps_insert(struct sl_sockmap_maps *m, uint32_t slot, int fd)
{
	uint64_t value = (uint64_t)fd;

	return bpf_map_update_elem(m->sockets, &slot, &value, BPF_NOEXIST) ? -errno : 0;
}

void sl_sockmap_maps_remove(struct sl_sockmap_maps *m, uint32_t slot)
{
	uint64_t cookie = m->flow[slot].cookie;

	if (!cookie)
		return;
	bpf_map_delete_elem(m->sockets, &slot); /* fails if it is closed already, as is usual */
	bpf_map_delete_elem(m->slots, &cookie);
	m->flow[slot].cookie = 0;
}
