/* SPDX-License-Identifier: BSD-2-Clause */
/* Loads and attaches fault.bpf.c, and holds delayed frames back: a thread takes them out of a tap
 * device and puts them on the wire some milliseconds later, whole GSO packets with their checksum
 * state (both sides speak virtio_net_hdr).
 *
 * At most HELD_MAX frames are held; one more is delivered at once. */

#include "fault.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "fault.skel.h"

#define FRAME_MAX    (70 * 1024)
#define HELD_MAX     64
#define DELAY_MIN_US 500
#define DELAY_MAX_US 5000

struct held {
	uint64_t due_us;
	size_t len; /* 0: empty */
	uint8_t *frame;
};

struct fault {
	struct fault_bpf *bpf;
	int tap, wire;
	volatile bool stop;
	bool threaded;
	pthread_t thread;
	unsigned random;
	struct held held[HELD_MAX];
};

static uint64_t now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/* --- delay --- */

/* A frame that the wire refuses is lost, as on any network. */
static void deliver(struct fault *f, const uint8_t *frame, size_t len)
{
	if (send(f->wire, frame, len, 0) < 0 && errno == EBADF)
		f->stop = true;
}

static void hold(struct fault *f, const uint8_t *frame, size_t len)
{
	for (int i = 0; i < HELD_MAX; i++) {
		struct held *h = &f->held[i];

		if (h->len)
			continue;
		memcpy(h->frame, frame, len);
		h->len = len;
		h->due_us = now_us() + DELAY_MIN_US +
			    (unsigned)rand_r(&f->random) % (DELAY_MAX_US - DELAY_MIN_US);
		return;
	}
	deliver(f, frame, len);
}

static void release(struct fault *f, uint64_t until_us)
{
	for (int i = 0; i < HELD_MAX; i++) {
		struct held *h = &f->held[i];

		if (!h->len || h->due_us > until_us)
			continue;
		deliver(f, h->frame, h->len);
		h->len = 0;
	}
}

static void *delay_loop(void *arg)
{
	static _Thread_local uint8_t frame[FRAME_MAX];
	struct fault *f = arg;

	while (!f->stop) {
		struct pollfd p = {.fd = f->tap, .events = POLLIN};
		ssize_t n = 1;

		poll(&p, 1, 1);
		while (n > 0 && p.revents & POLLIN) {
			n = read(f->tap, frame, sizeof(frame));
			if (n > 0)
				hold(f, frame, (size_t)n);
		}
		release(f, now_us());
	}
	release(f, UINT64_MAX);
	return NULL;
}

/* --- setting up --- */

static int open_tap(struct fault *f, unsigned *ret_ifindex)
{
	struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), r;

	f->tap = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
	snprintf(request.ifr_name, IFNAMSIZ, "fault%%d");
	r = ioctl(f->tap, TUNSETIFF, &request);
	if (!r)
		r = ioctl(f->tap, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6);
	if (!r) {
		*ret_ifindex = if_nametoindex(request.ifr_name);
		request.ifr_flags = IFF_UP;
		r = ioctl(fd, SIOCSIFFLAGS, &request);
	}
	r = r ? -errno : 0;
	close(fd);
	return r;
}

static int open_wire(struct fault *f, unsigned ifindex)
{
	struct sockaddr_ll a = {.sll_family = AF_PACKET, .sll_ifindex = (int)ifindex};
	int one = 1, mark = FAULT_MARK, bytes = 8 << 20;

	f->wire = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	if (f->wire < 0 || bind(f->wire, (struct sockaddr *)&a, sizeof(a)) ||
	    setsockopt(f->wire, SOL_PACKET, PACKET_VNET_HDR, &one, sizeof(one)) ||
	    setsockopt(f->wire, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes)) ||
	    setsockopt(f->wire, SOL_SOCKET, SO_MARK, &mark, sizeof(mark)))
		return -errno;
	return 0;
}

static int start_delay(struct fault *f, unsigned ifindex, unsigned *ret_tap)
{
	int r = open_tap(f, ret_tap);

	if (!r)
		r = open_wire(f, ifindex);
	for (int i = 0; !r && i < HELD_MAX; i++) {
		f->held[i].frame = malloc(FRAME_MAX);
		if (!f->held[i].frame)
			r = -ENOMEM;
	}
	if (!r)
		r = -pthread_create(&f->thread, NULL, delay_loop, f);
	f->threaded = !r;
	return r;
}

static int attach(unsigned ifindex, enum bpf_tc_attach_point point,
		  const struct bpf_program *program)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = (int)ifindex, .attach_point = point);
	LIBBPF_OPTS(bpf_tc_opts, opts, .handle = 1, .priority = 1, .flags = BPF_TC_F_REPLACE,
		    .prog_fd = bpf_program__fd(program));
	int r = bpf_tc_hook_create(&hook);

	if (r && r != -EEXIST)
		return r;
	return bpf_tc_attach(&hook, &opts);
}

/* What is sent into a loopback device is what is received from it: once is enough. */
static int attach_both(struct fault *f, const char *device, unsigned ifindex)
{
	int r = attach(ifindex, BPF_TC_EGRESS, f->bpf->progs.fault_out);

	if (r || !strcmp(device, "lo"))
		return r;
	return attach(ifindex, BPF_TC_INGRESS, f->bpf->progs.fault_in);
}

static int set_up(struct fault *f, const char *device, struct fault_share share, uint32_t seed)
{
	unsigned ifindex = if_nametoindex(device);
	int r = 0;

	if (!ifindex)
		return -ENODEV;
	if (share.delay)
		r = start_delay(f, ifindex, &share.tap);
	if (r)
		return r;
	f->bpf = fault_bpf__open();
	if (!f->bpf)
		return -errno;
	f->bpf->rodata->share.lose = share.lose;
	f->bpf->rodata->share.duplicate = share.duplicate;
	f->bpf->rodata->share.delay = share.delay;
	f->bpf->rodata->share.resets = share.resets;
	f->bpf->rodata->share.tap = share.tap;
	f->bpf->rodata->seed = seed;
	f->bpf->rodata->loopback = !strcmp(device, "lo");
	r = fault_bpf__load(f->bpf);
	return r ? r : attach_both(f, device, ifindex);
}

int fault_start(const char *device, struct fault_share share, uint32_t seed, struct fault **ret)
{
	struct fault *f = calloc(1, sizeof(*f));
	int r;

	if (!f)
		return -ENOMEM;
	f->tap = f->wire = -1;
	f->random = seed;
	r = set_up(f, device, share, seed);
	if (r)
		fault_stop(f);
	else
		*ret = f;
	return r;
}

void fault_stop(struct fault *f)
{
	if (!f)
		return;
	f->stop = true;
	if (f->threaded)
		pthread_join(f->thread, NULL);
	for (int i = 0; i < HELD_MAX; i++)
		free(f->held[i].frame);
	if (f->tap >= 0)
		close(f->tap);
	if (f->wire >= 0)
		close(f->wire);
	fault_bpf__destroy(f->bpf);
	free(f);
}

/* --- what happened --- */

struct fault_count fault_count(const struct fault *f)
{
	return f->bpf->bss->count;
}

struct fault_resets fault_resets(const struct fault *f, uint16_t port)
{
	struct fault_resets r = {0};
	uint32_t key = port;

	bpf_map_lookup_elem(bpf_map__fd(f->bpf->maps.resets), &key, &r);
	return r;
}

void fault_forget(struct fault *f, uint16_t port)
{
	struct fault_resets none = {0};
	uint32_t key = port;

	bpf_map_update_elem(bpf_map__fd(f->bpf->maps.resets), &key, &none, BPF_ANY);
}
