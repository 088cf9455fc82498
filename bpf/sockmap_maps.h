/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#ifndef SLUICE_BPF_SOCKMAP_MAPS_H
#define SLUICE_BPF_SOCKMAP_MAPS_H

/* Every map of the sockmap engine; types in <sluice/sockmap.h>. Nothing is pinned: pairs end with their
 * sockets, which end with the process. The loader sets max_entries to two slots a pair. */

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include <sluice/sockmap.h>

#define SL_SOCKMAP_SLOTS_DEFAULT 2048
#define SL_SOCKMAP_EVENTS_BYTES	 (1 << 18) /* 16k records */

/* The sockets, by slot. The kernel takes out those that close. */
struct {
	__uint(type, BPF_MAP_TYPE_SOCKMAP);
	__uint(max_entries, SL_SOCKMAP_SLOTS_DEFAULT);
	__type(key, __u32);
	__type(value, __u64);
} sl_sockets SEC(".maps");

/* The slot of a socket, by its cookie: all that a verdict program knows of it. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, SL_SOCKMAP_SLOTS_DEFAULT);
	__type(key, __u64);
	__type(value, __u32);
} sl_slots SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, SL_SOCKMAP_SLOTS_DEFAULT);
	__type(key, __u32);
	__type(value, struct sl_sockmap_flow);
} sl_flows SEC(".maps");

/* struct sl_sockmap_event */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, SL_SOCKMAP_EVENTS_BYTES);
} sl_passes SEC(".maps");

#endif
