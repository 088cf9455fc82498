/* SPDX-License-Identifier: BSD-2-Clause */
/* The access log's rings and its thread.
 *
 * The thread drains the rings every few milliseconds while there is traffic, and sleeps without a
 * timeout when a whole interval brought nothing. Only then does a producer pay a system call, to wake
 * it. A file that fails keeps the thread's buffer full and is tried again at growing intervals; the
 * rings fill up meanwhile, and what finds no room is dropped and counted.
 *
 * Records are never mixed or cut across files: after a reopen, one that was written in part is written
 * again as a whole. */

#include "proxy/observe/access_log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>

#include "base/log.h"
#include "base/loop.h"
#include "base/ring.h"
#include "base/util.h"
#include "proxy/observe/access_binary.h"
#include "proxy/observe/access_format.h"

#define RING_BYTES	 (1 << 20)
#define BUFFER_BYTES	 (128 * 1024)
#define NAP_MS		 10
#define RETRY_FIRST_MS	 50
#define RETRY_LONGEST_MS 1000
#define PUMP_ROUNDS	 16
#define CLOSE_WAIT_US	 1000000
/* What a pipe or terminal that polls writable takes without blocking. */
#define BLOCKING_CHUNK	 4096

struct producer {
	struct sl_ring *ring;
	uint64_t random;
} __attribute__((aligned(64)));

struct sl_access_log {
	struct sl_access_log_config config;
	int fd;
	bool regular;
	int wakeup; /* eventfd */
	pthread_t thread;
	bool asleep, reopen, stop; /* atomic */
	uint64_t written, failed;  /* the thread's; others read relaxed */
	char *buffer;		   /* records; buffer[done..len) is still to be written */
	size_t whole, done, len;   /* buffer[..whole) are records that are written as a whole */
	size_t header_left;	   /* of a binary file's header, which comes first */
	int retry_ms;		   /* 0: the last write succeeded */
	uint32_t n_producers;
	struct producer producer[];
};

static void bump(uint64_t *counter, uint64_t n)
{
	__atomic_store_n(counter, *counter + n, __ATOMIC_RELAXED);
}

/* --- workers' side --- */

/* splitmix64: cheap, and good enough to choose lines. */
static uint64_t next_random(struct producer *p)
{
	uint64_t z = p->random += 0x9e3779b97f4a7c15;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

static bool sampled(const struct sl_access_log *l, struct producer *p)
{
	if (l->config.sample >= 1)
		return true;
	return (double)(next_random(p) >> 11) * 0x1p-53 < l->config.sample;
}

static bool always(const struct sl_access_log *l, const struct sl_access_record *r)
{
	const struct sl_access_log_config *c = &l->config;

	return (c->always_errors && r->failed) || (c->always_sampled && r->sampled) ||
	       (c->always_slower_ms && r->duration_us > c->always_slower_ms * 1000ull);
}

static void wake(const struct sl_access_log *l)
{
	uint64_t one = 1;

	if (write(l->wakeup, &one, sizeof(one)) < 0)
		return; /* EAGAIN: the counter is full, so the thread wakes up anyway */
}

bool sl_access_log_push(struct sl_access_log *l, uint32_t worker, const struct sl_access_record *r)
{
	char packed[SL_ACCESS_PACKED_MAX];
	struct producer *p;

	if (!l)
		return true;
	p = &l->producer[worker];
	if (!always(l, r) && !sampled(l, p))
		return true;
	if (!sl_ring_push(p->ring, packed, sl_access_pack(r, packed)))
		return false;
	/* Against the thread's fence: either it finds the record, or we find it asleep. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (__atomic_load_n(&l->asleep, __ATOMIC_RELAXED) &&
	    __atomic_exchange_n(&l->asleep, false, __ATOMIC_RELAXED))
		wake(l);
	return true;
}

uint64_t sl_access_log_dropped(const struct sl_access_log *l)
{
	uint64_t n = 0;

	for (uint32_t i = 0; l && i < l->n_producers; i++)
		n += sl_ring_dropped(l->producer[i].ring);
	return n;
}

uint64_t sl_access_log_written(const struct sl_access_log *l)
{
	return l ? __atomic_load_n(&l->written, __ATOMIC_RELAXED) : 0;
}

uint64_t sl_access_log_failed(const struct sl_access_log *l)
{
	return l ? __atomic_load_n(&l->failed, __ATOMIC_RELAXED) : 0;
}

void sl_access_log_reopen(struct sl_access_log *l)
{
	if (!l)
		return;
	__atomic_store_n(&l->reopen, true, __ATOMIC_RELEASE);
	wake(l);
}

/* --- the thread's side --- */

/* O_NONBLOCK so that a FIFO without a reader can't hang us; it means nothing to regular files. */
static int open_file(const char *path)
{
	int fd = strcmp(path, "-")
			 ? open(path,
				O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOCTTY,
				0640)
			 : fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);

	return fd < 0 ? -errno : fd;
}

static void take_file(struct sl_access_log *l, int fd)
{
	struct stat st;

	sl_close(l->fd);
	l->fd = fd;
	l->regular = !fstat(fd, &st) && S_ISREG(st.st_mode);
	l->header_left = l->config.format == SL_ACCESS_LOG_BINARY ? SL_ACCESS_HEADER_LEN : 0;
}

static void reopen_file(struct sl_access_log *l)
{
	int fd = open_file(l->config.path);

	if (fd < 0) {
		bump(&l->failed, 1);
		sl_warning("access log %s: can't reopen: %s", l->config.path, strerror(-fd));
		return;
	}
	take_file(l, fd);
	l->done = l->whole;
}

/* True if a record was taken off the ring. */
static bool take_record(struct sl_access_log *l, struct sl_ring *ring)
{
	char packed[SL_ACCESS_PACKED_MAX];
	struct sl_access_record r;

	if (!sl_ring_pop(ring, packed, sizeof(packed)))
		return false;
	sl_access_unpack(packed, &r);
	l->len += sl_access_format(l->config.format, &r, l->buffer + l->len);
	return true;
}

static bool buffer_full(const struct sl_access_log *l)
{
	return l->len + SL_ACCESS_LINE_MAX > BUFFER_BYTES;
}

/* Formats records in turn from all rings, until they are empty or the buffer is full. */
static bool drain_rings(struct sl_access_log *l)
{
	bool any = false, more = true;

	while (more) {
		more = false;
		for (uint32_t i = 0; i < l->n_producers && !buffer_full(l); i++)
			more |= take_record(l, l->producer[i].ring);
		any |= more;
	}
	return any;
}

/* Bytes of the first record in there, if it is there as a whole; else 0. */
static size_t record_len(const struct sl_access_log *l, const char *p, size_t len)
{
	const char *end;

	if (l->config.format == SL_ACCESS_LOG_BINARY)
		return sl_access_frame(p, len);
	end = len ? memchr(p, '\n', len) : NULL;
	return end ? (size_t)(end - p) + 1 : 0;
}

/* n more bytes are out: of the header first. */
static void advance(struct sl_access_log *l, size_t n)
{
	size_t header = sl_min(n, l->header_left);
	uint64_t records = 0;

	l->header_left -= header;
	l->done += n - header;
	while ((n = record_len(l, l->buffer + l->whole, l->done - l->whole))) {
		l->whole += n;
		records++;
	}
	bump(&l->written, records);
	l->retry_ms = 0;
}

/* Bytes written, or -errno; -EAGAIN if it would block. */
static ssize_t write_some(struct sl_access_log *l)
{
	struct pollfd room = {.fd = l->fd, .events = POLLOUT};
	const char *p = l->buffer + l->done;
	size_t n = l->len - l->done;

	if (l->header_left) {
		n = l->header_left;
		p = sl_access_header + SL_ACCESS_HEADER_LEN - n;
	}
	if (!l->regular) {
		if (poll(&room, 1, 0) <= 0)
			return -EAGAIN;
		n = sl_min(n, (size_t)BLOCKING_CHUNK);
	}
	n = (size_t)write(l->fd, p, n);
	return n == (size_t)-1 ? -errno : (ssize_t)n;
}

static void note_failure(struct sl_access_log *l, int error)
{
	if (error != -EAGAIN && error != -EINTR) {
		bump(&l->failed, 1);
		if (!l->retry_ms)
			sl_warning("access log %s: %s", l->config.path, strerror(-error));
	}
	l->retry_ms = sl_min(l->retry_ms ? l->retry_ms * 2 : RETRY_FIRST_MS, RETRY_LONGEST_MS);
}

/* 0 when everything is out, or -errno of the write that was not. */
static int flush(struct sl_access_log *l)
{
	while (l->done < l->len) {
		ssize_t n = write_some(l);

		if (n < 0) {
			note_failure(l, (int)n);
			return (int)n;
		}
		advance(l, (size_t)n);
	}
	l->whole = l->done = l->len = 0;
	return 0;
}

static void wait_for_wakeup(struct sl_access_log *l, int timeout_ms)
{
	struct pollfd p = {.fd = l->wakeup, .events = POLLIN};
	uint64_t n;

	if (poll(&p, 1, timeout_ms) > 0 && read(l->wakeup, &n, sizeof(n)) < 0)
		return; /* EAGAIN can't be: we are the only reader */
}

/* Takes what the rings hold and writes it; stops at a failure, and after some rounds so that busy
 * producers can't keep the thread from its other duties. 0 or -errno of the write. */
static int pump(struct sl_access_log *l, bool *ret_taken)
{
	bool more = true;
	int r = 0;

	*ret_taken = false;
	for (int i = 0; i < PUMP_ROUNDS && more && !r; i++) {
		more = drain_rings(l);
		*ret_taken |= more;
		r = flush(l);
	}
	return r;
}

/* After stop: everything out, unless the file fails, or blocks for too long. */
static void finish(struct sl_access_log *l)
{
	uint64_t deadline_us = sl_clock_us() + CLOSE_WAIT_US;
	int r;

	do {
		drain_rings(l);
		r = flush(l);
		if (r == -EAGAIN)
			poll(NULL, 0, NAP_MS);
	} while (l->len ? r == -EAGAIN && sl_clock_us() < deadline_us : drain_rings(l));
}

static void *run(void *arg)
{
	struct sl_access_log *l = arg;
	bool idle = false;

	while (!__atomic_load_n(&l->stop, __ATOMIC_ACQUIRE)) {
		bool taken;
		int r;

		if (idle) {
			__atomic_store_n(&l->asleep, true, __ATOMIC_RELAXED);
			__atomic_thread_fence(__ATOMIC_SEQ_CST);
		}
		if (__atomic_exchange_n(&l->reopen, false, __ATOMIC_ACQUIRE))
			reopen_file(l);
		r = pump(l, &taken);
		if (r < 0)
			wait_for_wakeup(l, l->retry_ms);
		else if (taken || !idle)
			wait_for_wakeup(l, NAP_MS);
		else
			wait_for_wakeup(l, -1);
		__atomic_store_n(&l->asleep, false, __ATOMIC_RELAXED);
		idle = !taken && !r;
	}
	finish(l);
	return NULL;
}

/* --- life --- */

/* Signals belong to the main thread. */
static int start_thread(struct sl_access_log *l)
{
	sigset_t all, old;
	int r;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = -pthread_create(&l->thread, NULL, run, l);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return r;
}

static void free_log(struct sl_access_log *l)
{
	for (uint32_t i = 0; i < l->n_producers; i++)
		sl_ring_free(l->producer[i].ring);
	sl_close(l->wakeup);
	sl_close(l->fd);
	free(l->buffer);
	free(l->config.path);
	free(l);
}

static int make_rings(struct sl_access_log *l, uint32_t workers)
{
	for (uint32_t i = 0; i < workers; i++) {
		struct producer *p = &l->producer[i];
		int r = sl_ring_new(RING_BYTES, &p->ring);

		if (r < 0)
			return r;
		p->random = sl_clock_us() * (i + 1);
		l->n_producers++;
	}
	return 0;
}

static int prepare(struct sl_access_log *l, const struct sl_access_log_config *c, uint32_t workers)
{
	int r;

	l->config = *c;
	l->config.path = strdup(c->path);
	l->buffer = malloc(BUFFER_BYTES);
	if (!l->config.path || !l->buffer)
		return -ENOMEM;
	l->wakeup = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (l->wakeup < 0)
		return -errno;
	r = make_rings(l, workers);
	if (r < 0)
		return r;
	r = open_file(c->path);
	if (r < 0)
		return r;
	take_file(l, r);
	return start_thread(l);
}

int sl_access_log_open(const struct sl_access_log_config *c, uint32_t workers,
		       struct sl_access_log **ret)
{
	size_t size = sizeof(struct sl_access_log) + workers * sizeof(struct producer);
	struct sl_access_log *l = aligned_alloc(64, (size + 63) & ~(size_t)63);
	int r;

	if (!l)
		return -ENOMEM;
	memset(l, 0, size);
	l->fd = l->wakeup = -1;
	r = prepare(l, c, workers);
	if (r < 0) {
		free_log(l);
		return r;
	}
	*ret = l;
	return 0;
}

void sl_access_log_close(struct sl_access_log *l)
{
	if (!l)
		return;
	__atomic_store_n(&l->stop, true, __ATOMIC_RELEASE);
	wake(l);
	pthread_join(l->thread, NULL);
	free_log(l);
}
