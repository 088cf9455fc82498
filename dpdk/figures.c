/* SPDX-License-Identifier: BSD-2-Clause */
/* What ports and the stack count, as metrics. Counters have one writer, the worker, and are read without
 * a lock. */

#include "dpdk/kernel.h"
#include "dpdk/port.h"
#include "dpdk/stack.h"
#include "dpdk/transport.h"
#include "splice/engine.h"

#include <stddef.h>

#include "base/util.h"

static const struct port_row {
	const char *name, *help;
	size_t offset;
} port_rows[] = {
	{"dpdk_port_received_frames_total", "Frames that came by a port",
	 offsetof(struct sl_port_stats, rx_frames)},
	{"dpdk_port_received_bytes_total", "Bytes of them",
	 offsetof(struct sl_port_stats, rx_bytes)},
	{"dpdk_port_missed_frames_total", "Frames that nobody fetched in time",
	 offsetof(struct sl_port_stats, rx_missed)},
	{"dpdk_port_sent_frames_total", "Frames that left by a port",
	 offsetof(struct sl_port_stats, tx_frames)},
	{"dpdk_port_sent_bytes_total", "Bytes of frames to be sent",
	 offsetof(struct sl_port_stats, tx_bytes)},
	{"dpdk_port_dropped_frames_total", "Frames that a full queue had no room for",
	 offsetof(struct sl_port_stats, tx_dropped)},
	{"dpdk_port_send_errors_total", "Frames that the device could not send",
	 offsetof(struct sl_port_stats, tx_errors)},
};

struct row {
	const char *value;
	size_t offset;
};

static const struct row stack_drops[] = {
	{"not ours", offsetof(struct sl_stack_stats, not_ours)},
	{"malformed", offsetof(struct sl_stack_stats, malformed)},
	{"no memory", offsetof(struct sl_stack_stats, no_memory)},
};

static const struct row kernel_frames[] = {
	{"to the kernel", offsetof(struct sl_kernel_stats, to_kernel)},
	{"from the kernel", offsetof(struct sl_kernel_stats, from_kernel)},
};

static const struct row kernel_drops[] = {
	{"not ours", offsetof(struct sl_kernel_stats, not_ours)},
	{"malformed", offsetof(struct sl_kernel_stats, malformed)},
	{"refused", offsetof(struct sl_kernel_stats, refused)},
	{"no memory", offsetof(struct sl_kernel_stats, no_memory)},
};

static uint64_t at(const void *stats, size_t offset)
{
	return *(const uint64_t *)((const char *)stats + offset);
}

static void tell_ports(void (*each)(void *arg, const struct sl_figure *f), void *arg)
{
	struct sl_port_stats stats[SL_PORTS_MAX];

	for (unsigned i = 0; i < sl_ports_count(); i++)
		sl_port_stats(sl_port_get(i), &stats[i]);
	for (size_t k = 0; k < SL_ARRAY_SIZE(port_rows); k++)
		for (unsigned i = 0; i < sl_ports_count(); i++) {
			const struct sl_figure f = {port_rows[k].name,
						    "counter",
						    port_rows[k].help,
						    "device",
						    sl_port_config(sl_port_get(i))->device,
						    at(&stats[i], port_rows[k].offset)};

			each(arg, &f);
		}
}

static void tell_frames(void (*each)(void *arg, const struct sl_figure *f), void *arg)
{
	struct sl_figure all = {.name = "dpdk_frames",
				.type = "gauge",
				.help = "Frames that DPDK's memory has room for"};
	struct sl_figure left = {
		.name = "dpdk_frames_free",
		.type = "gauge",
		.help = "Of these, frames that neither ports nor connections have"};

	sl_port_frames(&all.n, &left.n);
	each(arg, &all);
	each(arg, &left);
}

/* A sample of f for each row. */
static void tell_rows(struct sl_figure f, const struct row *rows, size_t n, const void *stats,
		      void (*each)(void *arg, const struct sl_figure *f), void *arg)
{
	for (size_t i = 0; i < n; i++) {
		f.value = rows[i].value;
		f.n = at(stats, rows[i].offset);
		each(arg, &f);
	}
}

void sl_kernel_figures(void (*each)(void *arg, const struct sl_figure *f), void *arg)
{
	const struct sl_figure frames = {"dpdk_exception_frames_total", "counter",
					 "Frames between the ports and the kernel", "way"};
	const struct sl_figure drops = {"dpdk_exception_drops_total", "counter",
					"Frames that went no further on that way", "reason"};
	struct sl_kernel_stats stats;

	tell_ports(each, arg);
	tell_frames(each, arg);
	sl_kernel_stats(&stats);
	tell_rows(frames, kernel_frames, SL_ARRAY_SIZE(kernel_frames), &stats, each, arg);
	tell_rows(drops, kernel_drops, SL_ARRAY_SIZE(kernel_drops), &stats, each, arg);
}

void sl_dpdk_transport_figures(void (*each)(void *arg, const struct sl_figure *f), void *arg)
{
	const struct sl_figure drops = {"dpdk_stack_drops_total", "counter",
					"Frames that came to the stack and went no further",
					"reason"};
	struct sl_stack_stats stats;
	struct sl_figure f;

	tell_ports(each, arg);
	tell_frames(each, arg);
	sl_stack_stats(&stats);
	tell_rows(drops, stack_drops, SL_ARRAY_SIZE(stack_drops), &stats, each, arg);
	f = (struct sl_figure){.name = "dpdk_handshakes_lost_total",
			       .type = "counter",
			       .help = "Handshakes that were given up for newer ones",
			       .n = stats.half_open_lost};
	each(arg, &f);
}
