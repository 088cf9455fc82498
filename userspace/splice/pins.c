/* SPDX-License-Identifier: BSD-2-Clause */
/* Opens and uses what the loader pinned: maps, counters, the control program. */

#include "splice/pins.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "base/util.h"

int sl_pin_path(char path[SL_PIN_PATH_MAX], const char *folder, const char *name)
{
	int n = snprintf(path, SL_PIN_PATH_MAX, "%s/%s", folder, name);

	return n < 0 || n >= SL_PIN_PATH_MAX ? -ENAMETOOLONG : 0;
}

int sl_pin_open(const char *folder, const char *name)
{
	char path[SL_PIN_PATH_MAX];
	int r = sl_pin_path(path, folder, name);

	if (r)
		return r;
	r = bpf_obj_get(path);
	return r < 0 ? -errno : r;
}

int sl_pin_put(int fd, const char *folder, const char *name)
{
	char path[SL_PIN_PATH_MAX];
	int r = sl_pin_path(path, folder, name);

	if (!r && bpf_obj_pin(fd, path))
		r = -errno;
	return r == -EEXIST ? 0 : r;
}

int sl_pin_layout(const char *folder, struct sl_layout *ret)
{
	_sl_close_ int fd = sl_pin_open(folder, "layout");
	struct sl_layout l;
	uint32_t zero = 0;

	if (fd < 0)
		return fd;
	if (bpf_map_lookup_elem(fd, &zero, &l))
		return -errno;
	if (!l.magic)
		return -ENOENT;
	if (l.magic != SL_LAYOUT_MAGIC || l.version != SL_LAYOUT_VERSION ||
	    l.pair_size != sizeof(struct sl_flow_pair))
		return -EPROTO;
	*ret = l;
	return 0;
}

static bool is_call(int fd)
{
	struct bpf_prog_info info = {0};
	uint32_t len = sizeof(info);

	return !bpf_obj_get_info_by_fd(fd, &info, &len) && info.type == BPF_PROG_TYPE_SYSCALL;
}

int sl_pins_open(const char *folder, struct sl_pins *ret)
{
	struct sl_pins m = {-1, -1, -1, -1, -1, -1};
	const struct {
		const char *name;
		int *fd;
	} pins[] = {{"flows", &m.flows},       {"buckets", &m.buckets}, {"secret", &m.secret},
		    {"counters", &m.counters}, {"events", &m.events},	{"control", &m.control}};
	struct sl_layout l;
	int r = sl_pin_layout(folder, &l);

	for (size_t i = 0; !r && i < SL_ARRAY_SIZE(pins); i++) {
		*pins[i].fd = sl_pin_open(folder, pins[i].name);
		r = *pins[i].fd < 0 ? *pins[i].fd : 0;
	}
	if (r) {
		sl_pins_close(&m);
		return r;
	}
	m.slots = l.pairs;
	m.control_is_call = is_call(m.control);
	*ret = m;
	return 0;
}

void sl_pins_close(struct sl_pins *m)
{
	m->flows = sl_close(m->flows);
	m->buckets = sl_close(m->buckets);
	m->secret = sl_close(m->secret);
	m->counters = sl_close(m->counters);
	m->events = sl_close(m->events);
	m->control = sl_close(m->control);
}

/* What the kernel accounts for a map, bytes. */
static uint64_t map_memory(int fd)
{
	unsigned long long bytes = 0;
	char path[64], line[128];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "memlock: %llu", &bytes) == 1)
			break;
	if (file)
		fclose(file);
	return bytes;
}

uint64_t sl_pins_memory(const struct sl_pins *m)
{
	const int fds[] = {m->flows, m->buckets, m->secret, m->counters, m->events};
	uint64_t bytes = 0;

	for (size_t i = 0; i < SL_ARRAY_SIZE(fds); i++)
		bytes += map_memory(fds[i]);
	return bytes;
}

static int count_pairs(const struct sl_pins *m, uint32_t counts[SL_FLOW_STATES])
{
	enum { BATCH = 1024 };
	_sl_free_ struct sl_flow_pair *pairs = calloc(BATCH, sizeof(*pairs));
	_sl_free_ uint32_t *keys = calloc(BATCH, sizeof(*keys));
	uint32_t at = 0, n, seen = 0;
	int r = 0;

	if (!pairs || !keys)
		return -ENOMEM;
	while (!r && seen < m->slots) {
		n = BATCH;
		r = bpf_map_lookup_batch(m->flows, seen ? &at : NULL, &at, keys, pairs, &n, NULL);
		for (uint32_t i = 0; (!r || errno == ENOENT) && i < n; i++)
			if (pairs[i].state < SL_FLOW_STATES)
				counts[pairs[i].state]++;
		seen += n;
	}
	return r && errno != ENOENT ? -errno : 0;
}

int sl_pins_status(const char *folder, struct sl_pins_status *ret)
{
	struct sl_pins_status s = {0};
	struct sl_pins m;
	int r = sl_pins_open(folder, &m);

	if (r)
		return r;
	s.memory_bytes = sl_pins_memory(&m);
	s.slots = m.slots;
	r = count_pairs(&m, s.pairs);
	sl_pins_close(&m);
	if (!r)
		*ret = s;
	return r;
}

int sl_pins_control(const struct sl_pins *m, struct sl_control *c)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts);

	if (m->control_is_call) {
		opts.ctx_in = c;
		opts.ctx_size_in = sizeof(*c);
	} else {
		opts.data_in = opts.data_out = c;
		opts.data_size_in = opts.data_size_out = sizeof(*c);
		opts.repeat = 1;
	}
	return bpf_prog_test_run_opts(m->control, &opts) ? -errno : 0;
}

int sl_pins_counters(const struct sl_pins *m, struct sl_counter ret[SL_REASON_COUNT])
{
	int cpus = libbpf_num_possible_cpus();
	_sl_free_ struct sl_counters *values = calloc(cpus > 0 ? cpus : 1, sizeof(*values));
	const struct sl_counter *c = (const struct sl_counter *)values;
	const uint32_t only = 0;

	if (cpus < 0 || !values)
		return cpus < 0 ? cpus : -ENOMEM;
	if (bpf_map_lookup_elem(m->counters, &only, values))
		return -errno;
	memset(ret, 0, SL_REASON_COUNT * sizeof(*ret));
	for (int i = 0; i < cpus * SL_REASON_COUNT; i++) {
		ret[i % SL_REASON_COUNT].packets += c[i].packets;
		ret[i % SL_REASON_COUNT].bytes += c[i].bytes;
	}
	return 0;
}

const char *sl_flow_state_name(enum sl_flow_state s)
{
	static const char *const names[] = {"free", "watch", "armed", "active", "closed", "dead"};

	return s < SL_FLOW_STATES ? names[s] : "?";
}
