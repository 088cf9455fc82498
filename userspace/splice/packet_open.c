/* SPDX-License-Identifier: BSD-2-Clause */
/* Opens what the packet engine's instances share.
 *
 * Invariants:
 * - One process at a time uses a folder of pins (flock on it): the ring buffer has one reader, and
 *   slots that were in use before are known to be a dead process's.
 * - One process at a time splices in a network namespace, and its source ports are ones that the
 *   kernel hands to nobody (packet_ports.h).
 *
 * Devices are attached to when the first pair uses them: devices.c. */

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>

#include "base/util.h"
#include "splice/libbpf_words.h"
#include "splice/loader.h"
#include "splice/packet_ports.h"
#include "splice/packet_shared.h"

static int open_devices(void)
{
	const struct sl_devices_options o = {.folder = SL_LOADER_FOLDER,
					     .names = sl_packet_shared.config.devices,
					     .hook = sl_packet_shared.config.hook};

	return sl_devices_open(&o, &sl_packet_shared.devices);
}

static int lock_folder(void)
{
	sl_packet_shared.folder = open(SL_LOADER_FOLDER, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (sl_packet_shared.folder < 0)
		return -errno;
	return flock(sl_packet_shared.folder, LOCK_EX | LOCK_NB) < 0 ? -errno : 0;
}

static int choose_ports(const char **ret_reason)
{
	struct sl_packet_shared *s = &sl_packet_shared;
	struct sl_packet_ports ports = {s->config.port_first, s->config.port_last};
	int r = sl_packet_claim_namespace(&s->claim);

	*ret_reason = "another sluice splices in this network namespace";
	if (r)
		return r;
	r = sl_packet_choose_ports(&ports);
	*ret_reason =
		"no ports are left outside net.ipv4.ip_local_port_range: configure splice.ports";
	if (r == -EADDRINUSE)
		*ret_reason = "splice.ports are in net.ipv4.ip_local_port_range: add them to "
			      "net.ipv4.ip_local_reserved_ports";
	if (r)
		return r;
	s->port_first = s->port_next = ports.first;
	s->port_last = ports.last;
	return 0;
}

/* A pair that was not spliced: its sockets are gone. They were in repair mode if the process died while
 * it armed the pair, and then said nothing to their peers. */
static void end_leftover(uint32_t i, const struct sl_flow_pair *pair)
{
	uint16_t both = pair->leg[0].flags & pair->leg[1].flags;
	uint16_t either = pair->leg[0].flags | pair->leg[1].flags;
	struct sl_control c = {.op = SL_CONTROL_DISARM, .pair = i, .generation = pair->generation};

	if (pair->state == SL_FLOW_ARMED && !sl_pins_control(&sl_packet_shared.pins, &c) && c.ret) {
		sl_packet_set_use(i, USE_LEFT); /* a packet was faster: it is spliced */
		return;
	}
	sl_packet_free(i);
	if (both & SL_LEG_SEEN && !(either & (SL_LEG_FIN | SL_LEG_RST)))
		sl_packet_reset_peers(pair);
}

/* What is found in a slot: nobody uses it now but the packets of a pair that was left. */
static void take_stock(uint32_t i, const struct sl_flow_pair *pair)
{
	sl_packet_shared.slot[i].generation = pair->generation;
	if (pair->state != SL_FLOW_FREE)
		sl_packet_shared.mark = i + 1;
	switch (pair->state) {
	case SL_FLOW_FREE:
		break;
	case SL_FLOW_ACTIVE:
		sl_packet_set_use(i, USE_LEFT);
		break;
	case SL_FLOW_CLOSED:
		sl_packet_cool(i);
		break;
	case SL_FLOW_WATCH:
	case SL_FLOW_ARMED:
		end_leftover(i, pair);
		break;
	default:
		sl_packet_free(i);
	}
}

static int allocate_slots(void)
{
	struct sl_packet_shared *s = &sl_packet_shared;

	s->slot = calloc(s->pins.slots, sizeof(*s->slot));
	s->scan.pairs = calloc(SL_PACKET_SCAN_BATCH, sizeof(*s->scan.pairs));
	s->scan.keys = calloc(SL_PACKET_SCAN_BATCH, sizeof(*s->scan.keys));
	if (!s->slot || !s->scan.pairs || !s->scan.keys)
		return -ENOMEM;
	memset(s->uses, 0, sizeof(s->uses));
	s->uses[USE_FREE] = s->pins.slots;
	s->free = s->cooling = SL_PACKET_NONE;
	s->mark = 0;
	return 0;
}

/* What is free is linked so that low slots come first. */
static void link_free(void)
{
	sl_packet_shared.free = SL_PACKET_NONE;
	for (uint32_t i = sl_packet_shared.pins.slots; i--;)
		if (sl_packet_shared.slot[i].use == USE_FREE)
			sl_packet_put_free(i);
}

static int read_slots(void)
{
	struct sl_packet_shared *s = &sl_packet_shared;
	uint32_t at = 0, seen = 0, n;
	int r = allocate_slots();

	if (r)
		return r;
	while (!r && seen < s->pins.slots) {
		n = SL_PACKET_SCAN_BATCH;
		r = bpf_map_lookup_batch(s->pins.flows, seen ? &at : NULL, &at, s->scan.keys,
					 s->scan.pairs, &n, NULL);
		if (r && errno != ENOENT)
			return -errno;
		for (uint32_t i = 0; i < n; i++)
			if (s->scan.keys[i] < s->pins.slots)
				take_stock(s->scan.keys[i], &s->scan.pairs[i]);
		seen += n;
	}
	link_free();
	return 0;
}

/* A call that changes nothing: there is no such slot. */
static int try_control(void)
{
	struct sl_control c = {.pair = sl_packet_shared.pins.slots, .op = SL_CONTROL_RELEASE};
	int r = sl_pins_control(&sl_packet_shared.pins, &c);

	return r ? r : c.ret == -ENOENT ? 0 : -EPROTO;
}

static int fail(int r, const char *reason)
{
	sl_packet_shared.reason = reason;
	return r;
}

/* XDP that is configured is loaded now: a worker that attaches to a device would have to wait for it. */
static int load_programs(void)
{
	enum sl_hook hook = sl_packet_shared.config.hook;
	int r = sl_loader_load(SL_LOADER_FOLDER, sl_packet_shared.config.pairs);

	if (!r && (hook == SL_HOOK_XDP || hook == SL_HOOK_XDP_GENERIC))
		r = sl_loader_load_xdp(SL_LOADER_FOLDER);
	return r;
}

int sl_packet_open_all(int (*on_event)(void *context, void *data, size_t len))
{
	int r = load_programs();
	const char *reason;

	if (r && sl_libbpf_refusal())
		return fail(r, sl_libbpf_refusal());
	if (r == -EPERM || r == -EACCES)
		return fail(r, "not permitted: needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN");
	if (r == -EPROTO)
		return fail(r, "another version is loaded: run `sluice unload` first");
	if (r)
		return fail(r, "the BPF programs can't be loaded; is there a bpffs?");
	r = lock_folder();
	if (r)
		return fail(r, "another process uses the packet engine");
	r = open_devices();
	if (r)
		return fail(r, "the kernel does not tell of its devices");
	r = sl_pins_open(SL_LOADER_FOLDER, &sl_packet_shared.pins);
	if (!r)
		r = try_control();
	if (r)
		return fail(r, "the control program does not answer");
	r = choose_ports(&reason);
	if (r)
		return fail(r, reason);
	sl_packet_shared.map_bytes = sl_pins_memory(&sl_packet_shared.pins);
	r = read_slots();
	if (r)
		return fail(r, "the slots can't be read");
	sl_packet_shared.ring =
		ring_buffer__new(sl_packet_shared.pins.events, on_event, NULL, NULL);
	if (!sl_packet_shared.ring)
		return fail(-errno, "the events can't be read");
	sl_packet_shared.reason = "loaded, and the control program answers";
	return 0;
}
