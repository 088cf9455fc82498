/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#ifndef SLUICE_TESTS_FAULT_H
#define SLUICE_TESTS_FAULT_H

/* A bad network at an endpoint's device; shared by its BPF program and the load generator. */

#include <linux/types.h>

#define FAULT_MARK 0x51 /* of packets that have had their share */

/* Of 65536 packets. */
struct fault_share {
	__u32 lose;
	__u32 duplicate;
	__u32 delay;
	__u32 resets; /* of the RSTs, which are lost; nothing else happens to them */
	__u32 tap;    /* ifindex of the device that takes the delayed ones; 0: none is delayed */
};

struct fault_count {
	__u64 lost, lost_resets, duplicated, delayed;
	__u64 resets_out, resets_in;
};

struct fault_resets {
	__u32 out, in;
};

#ifndef __bpf__
#include <stdbool.h>
#include <stdint.h>

struct fault; /* one device of one network namespace */

/* Attaches to `device` of the namespace that the calling thread is in; the qdisc and the filters stay
 * until the device goes. 0 or -errno. */
int fault_start(const char *device, struct fault_share share, uint32_t seed, struct fault **ret);
/* Delivers what is still held. */
void fault_stop(struct fault *f);
struct fault_count fault_count(const struct fault *f);
/* RSTs from and to a port of the endpoint, since the last fault_forget(). */
struct fault_resets fault_resets(const struct fault *f, uint16_t port);
void fault_forget(struct fault *f, uint16_t port);
#endif

#endif
