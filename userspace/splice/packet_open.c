/* SPDX-License-Identifier: BSD-2-Clause */
/* Opens what the packet engine's instances share.
 *
 * Invariants:
 * - One process at a time uses a folder of pins (flock on it): the ring buffer has one reader, and
 *   slots that were in use before are known to be a dead process's.
 * - Source ports are outside the system's ephemeral range, because the kernel doesn't know that a
 *   spliced pair's port is taken.
 *
 * Devices are attached to when the first pair uses them: devices.c. */

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>

#include "base/util.h"
#include "splice/loader.h"
#include "splice/packet_shared.h"

#define PORTS_FEW   256u
#define PORTS_BELOW 8192u

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

static int find_ports(void)
{
	FILE *file = fopen("/proc/sys/net/ipv4/ip_local_port_range", "re");
	unsigned first, last;
	int n;

	if (!file)
		return -errno;
	n = fscanf(file, "%u %u", &first, &last);
	fclose(file);
	if (n != 2 || first > last || last > UINT16_MAX)
		return -EPROTO;
	if (UINT16_MAX - last >= PORTS_FEW) {
		sl_packet_shared.port_first = (uint16_t)(last + 1);
		sl_packet_shared.port_last = UINT16_MAX;
	} else if (first >= 1024 + PORTS_FEW) {
		sl_packet_shared.port_first =
			(uint16_t)sl_max(first - sl_min(first, PORTS_BELOW), 1024u);
		sl_packet_shared.port_last = (uint16_t)(first - 1);
	} else {
		return -EADDRNOTAVAIL;
	}
	return 0;
}

/* Configured, or outside the system's range. */
static int choose_ports(void)
{
	const struct sl_packet_config *c = &sl_packet_shared.config;

	if (!c->port_first)
		return find_ports();
	sl_packet_shared.port_first = c->port_first;
	sl_packet_shared.port_last = c->port_last;
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
		r = bpf_map_lookup_batch(s->pins.pairs, seen ? &at : NULL, &at, s->scan.keys,
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

int sl_packet_open_all(int (*on_event)(void *context, void *data, size_t len))
{
	int r = sl_loader_load(SL_LOADER_FOLDER, sl_packet_shared.config.pairs);

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
	r = choose_ports();
	if (r)
		return fail(r, "no ports are left outside net.ipv4.ip_local_port_range");
	sl_packet_shared.port_next = sl_packet_shared.port_first;
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
