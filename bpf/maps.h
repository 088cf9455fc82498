/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#ifndef SLUICE_BPF_MAPS_H
#define SLUICE_BPF_MAPS_H

/* Every map of the packet engine. All programs include this file and share the maps through their
 * pins (/sys/fs/bpf/sluice/NAME by default); the types are in <sluice/flow.h>. */

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include <sluice/flow.h>

#define SL_PAIRS_DEFAULT 65536
#define SL_EVENTS_BYTES	 (1 << 20) /* 64k records */

/* The pairs. An array: a slot stays where it is, so that a program may hold a pointer to it while the
 * pair ends and another takes the slot (the generation tells). The loader sets max_entries. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SL_PAIRS_DEFAULT);
	__type(key, __u32);
	__type(value, struct sl_flow_pair);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} flows SEC(".maps");

/* Which pair a packet belongs to, and from which leg it comes: buckets of <sluice/index.h>, as many as
 * the loader finds right. Written by the control program only. "mmapable" makes the kernel begin it at a
 * page, so that no bucket lies in two cache lines. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, SL_PAIRS_DEFAULT / 2);
	__type(key, __u32);
	__type(value, struct sl_bucket);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} buckets SEC(".maps");

/* Written once by the loader. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct sl_index_secret);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} secret SEC(".maps");

/* Packets, bytes and incidents by reason, per CPU; user space sums them up. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct sl_counters);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} counters SEC(".maps");

/* What happened to pairs: struct sl_event, to the control plane. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, SL_EVENTS_BYTES);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} events SEC(".maps");

/* Written once by the loader, read by whoever adopts the maps. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct sl_layout);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} layout SEC(".maps");

#endif
