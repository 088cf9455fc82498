/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_DPDK_PORT_H
#define SLUICE_DPDK_PORT_H

/* Ethernet ports that DPDK owns: the environment (EAL), devices, one queue each way, frames in and
 * out. One process has at most SL_PORTS_MAX of them, all used by one thread.
 *
 * It knows no protocol above Ethernet's addresses: stack.h and lcore.h do. */

#include <net/ethernet.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"

#define SL_PORTS_MAX	 4
#define SL_PORT_ADDRS	 4 /* addresses of a port */
#define SL_PORT_BURST	 64
#define SL_PORT_PRIVATE	 128 /* bytes beside each frame, for the stack */
#define SL_PORT_WORD_MAX 256

struct rte_mbuf;
struct rte_mempool;
struct sl_port;

/* An address of a port and the bits of its network. */
struct sl_port_addr {
	struct sl_addr addr; /* port 0 */
	uint8_t bits;
};

struct sl_port_config {
	/* A PCI address ("0000:03:00.0"), a virtual device as DPDK spells it ("net_pcap0,rx_pcap=..."),
	 * or the name of a kernel's device, which `driver` drives. */
	const char *device;
	const char *driver; /* of a kernel's device: "af_xdp" or "af_packet" */
	struct sl_port_addr addr[SL_PORT_ADDRS];
	size_t n_addr;		 /* IPv4: one at most */
	struct sl_addr gateway4; /* AF_UNSPEC: none */
	struct sl_addr gateway6; /* the same; on the port's wire */
	/* Where the kernel's stack is behind the ports: the name of its device (kernel.h). */
	const char *tap;
};

struct sl_dpdk_config {
	struct sl_port_config port[SL_PORTS_MAX];
	size_t n_ports;
	uint32_t memory_mb;	 /* of DPDK's own */
	bool huge_pages;	 /* false: ordinary memory */
	bool telemetry;		 /* DPDK answers dpdk-telemetry.py */
	const char *file_prefix; /* of DPDK's files, one for each process of a host */
};

struct sl_port_stats {
	uint64_t rx_frames, rx_bytes;
	uint64_t tx_frames, tx_bytes;
	uint64_t tx_dropped; /* the queue was full, or memory was out */
	uint64_t rx_missed;  /* as the device counts: nobody fetched them in time */
	uint64_t tx_errors;  /* the same: it could not send them */
};

/* Starts DPDK and all ports. Once in a process. 0, or -errno with what to do about it in ret_reason. */
int sl_ports_open(const struct sl_dpdk_config *c, char ret_reason[SL_PORT_WORD_MAX]);
/* Stops them. Idempotent. */
void sl_ports_close(void);

unsigned sl_ports_count(void);
struct sl_port *sl_port_get(unsigned i);
/* The port that rte_mbuf.port means; NULL if it is none of ours. */
struct sl_port *sl_port_of(uint16_t id);
unsigned sl_port_index(const struct sl_port *p);
/* Static. */
const struct sl_port_config *sl_port_config(const struct sl_port *p);
const uint8_t *sl_port_mac(const struct sl_port *p);
uint16_t sl_port_mtu(const struct sl_port *p);
/* Readable when frames wait, or -1: the port must be polled. */
int sl_port_fd(const struct sl_port *p);
/* Before and after waiting for the descriptor: some devices have to be told. */
void sl_port_expect(struct sl_port *p, bool waiting);

/* At most SL_PORT_BURST frames that have arrived. The caller owns them. */
unsigned sl_port_receive(struct sl_port *p, struct rte_mbuf **ret);
/* Takes all n frames: what the device has no room for is freed and counted. They leave with the next
 * sl_port_flush(), or before. */
void sl_port_send(struct sl_port *p, struct rte_mbuf **frames, unsigned n);
void sl_port_flush(struct sl_port *p);
/* An empty frame from the pool that all ports use, or NULL. */
struct rte_mbuf *sl_port_frame(void);
/* Whether less than a fourth of the pool was free when frames were received last: who keeps frames for
 * long must not then. */
bool sl_port_frames_are_scarce(void);
/* All frames of the pool, and those that are free. From any thread; about right. */
void sl_port_frames(uint64_t *ret_all, uint64_t *ret_free);

void sl_port_stats(const struct sl_port *p, struct sl_port_stats *ret);

#endif
