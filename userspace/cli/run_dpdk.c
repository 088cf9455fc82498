/* SPDX-License-Identifier: BSD-2-Clause */
/* sluice run with transport: dpdk. With the kernel's stack behind the ports, streams are those of the
 * socket transport, which is given the ports as a companion: they come and go with it. */

#include "cli/run_dpdk.h"

#include <string.h>

#include "base/util.h"
#include "dpdk/engine.h"
#include "dpdk/kernel.h"
#include "dpdk/transport.h"
#include "splice/policy.h"
#include "transport/socket.h"

static struct sl_dpdk_config dpdk;
static struct sl_transport_ops kernel_ops; /* the socket transport's, with an end of its own */
static void (*destroy_sockets)(struct sl_transport *t);

static struct sl_port_config translate_port(const struct sl_dpdk_port_section *from)
{
	struct sl_port_config to = {
		.device = from->device,
		.driver = from->driver == SL_DPDK_AF_XDP ? "af_xdp" : "af_packet",
		.n_addr = from->n_addresses,
		.gateway4 = from->gateway,
		.gateway6 = from->gateway6,
		.tap = from->tap,
	};

	for (size_t i = 0; i < from->n_addresses; i++)
		to.addr[i] = (struct sl_port_addr){.addr = from->addresses[i].addr,
						   .bits = from->addresses[i].bits};
	return to;
}

_Static_assert(SL_DPDK_PORTS_MAX <= SL_PORTS_MAX, "more ports in a file than there can be");
_Static_assert(SL_DPDK_ADDRESSES_MAX <= SL_PORT_ADDRS, "more addresses than there can be");

static void tell_figures(void (*each)(void *arg, const struct sl_figure *f), void *arg)
{
	sl_policy_figures(each, arg);
	sl_dpdk_figures(each, arg);
	sl_dpdk_transport_figures(each, arg);
}

static void tell_figures_with_kernel(void (*each)(void *arg, const struct sl_figure *f), void *arg)
{
	sl_policy_figures(each, arg);
	sl_dpdk_figures(each, arg);
	sl_kernel_figures(each, arg);
}

/* --- the kernel's stack behind the ports --- */

static void destroy_with_ports(struct sl_transport *t)
{
	destroy_sockets(t);
	sl_kernel_stop();
}

static int transport_with_ports(struct sl_loop *loop, uint32_t streams, struct sl_transport **ret)
{
	int r = sl_kernel_start(loop, &dpdk);

	if (r)
		return r;
	r = sl_socket_transport_new(loop, streams, ret);
	if (r) {
		sl_kernel_stop();
		return r;
	}
	kernel_ops = *(*ret)->ops;
	destroy_sockets = kernel_ops.destroy;
	kernel_ops.destroy = destroy_with_ports;
	(*ret)->ops = &kernel_ops;
	return 0;
}

/* --- the parts --- */

void sl_run_with_dpdk(const struct sl_config *c, struct sl_server_parts *parts)
{
	static const struct sl_engine_ops *const engines[] = {&sl_copy_engine, &sl_dpdk_engine,
							      NULL};
	const bool kernel = c->dpdk.stack == SL_DPDK_KERNEL;
	const struct sl_dpdk_engine_config engine = {
		.pairs = c->splice.pairs,
		.time_wait_ms = c->splice.time_wait_ms,
		.sockets = kernel,
		.port_first = c->splice.ports.from,
		.port_last = c->splice.ports.to,
		.mss = (uint16_t)c->splice.mss,
	};

	dpdk = (struct sl_dpdk_config){
		.n_ports = c->dpdk.n_ports,
		.memory_mb = (uint32_t)(c->dpdk.memory >> 20),
		.huge_pages = c->dpdk.huge_pages,
		.telemetry = c->dpdk.telemetry,
		.file_prefix = c->dpdk.file_prefix ? c->dpdk.file_prefix : "sluice",
	};
	for (size_t i = 0; i < c->dpdk.n_ports; i++)
		dpdk.port[i] = translate_port(&c->dpdk.ports[i]);
	sl_dpdk_configure(&dpdk);
	sl_dpdk_engine_configure(&engine);
	parts->transport_new = kernel ? transport_with_ports : sl_dpdk_transport_new;
	parts->one_transport = true;
	parts->listen = NULL;
	parts->stream_bytes = kernel ? sl_socket_stream_bytes() : sl_dpdk_stream_bytes();
	parts->engines = engines;
	parts->figures = kernel ? tell_figures_with_kernel : tell_figures;
}
