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

/* Which pair an IPv4 packet belongs to, and from which leg it comes. Two elements a pair; the loader
 * sets max_entries. Preallocated: an insert fails for lack of room, never for lack of memory, and never
 * evicts. Written by the control program only. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 2 * SL_PAIRS_DEFAULT);
	__type(key, struct sl_flow_key);
	__type(value, struct sl_flow);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} flows SEC(".maps");

/* The same for IPv6. Not preallocated, so that hosts with little IPv6 don't pay for it: an insert may
 * fail for lack of memory, too, which leaves the pair copied. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 2 * SL_PAIRS_DEFAULT);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct sl_flow6_key);
	__type(value, struct sl_flow);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} flows6 SEC(".maps");

/* The pairs themselves. An array: a slot stays where it is, so that a program may hold a pointer to
 * it while the pair ends and another takes the slot (the generation tells). */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SL_PAIRS_DEFAULT);
	__type(key, __u32);
	__type(value, struct sl_flow_pair);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} pairs SEC(".maps");

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
