/* SPDX-License-Identifier: BSD-2-Clause */
/* Listening descriptors: opened all or none, and closed when no worker polls them any more (that is for
 * the caller to know).
 *
 * A listening socket that closes resets what is in its queue, and there is always a moment between the last
 * accept and the close. A shut door drops SYNs: whoever sends one tries again after a second, and is
 * refused then. */

#include "proxy/doors.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/util.h"

static struct sl_door *find(const struct sl_doors *d, const struct sl_addr *addr)
{
	for (size_t i = 0; i < d->n; i++)
		if (sl_addr_eq(&d->door[i].addr, addr))
			return &d->door[i];
	return NULL;
}

/* Drops segments with SYN and without ACK. */
static void shut(int fd)
{
	static struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 13),
		BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 0x12),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0x02, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, 0),
		BPF_STMT(BPF_RET | BPF_K, 0xffffffff),
	};
	const struct sock_fprog program = {SL_ARRAY_SIZE(code), code};

	setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program));
}

/* Nothing happens if it was not shut. */
static void unshut(int fd)
{
	int unused = 0;

	setsockopt(fd, SOL_SOCKET, SO_DETACH_FILTER, &unused, sizeof(unused));
}

static void close_door(struct sl_door *door, uint32_t workers)
{
	for (uint32_t i = 0; door->lent && i < workers; i++)
		unshut(door->fd[i]);
	for (uint32_t i = 0; door->fd && i < workers; i++)
		sl_close(door->fd[i]);
	free(door->fd);
}

static int change(const struct sl_doors *d, struct sl_door *door, const struct sl_listen_options *o)
{
	struct sl_listen_options one = *o;
	int r = 0;

	one.adopt = true;
	for (uint32_t i = 0; i < d->workers && !r; i++) {
		one.fd = door->fd[i];
		unshut(one.fd);
		r = d->listen(&one, &door->fd[i]);
	}
	return r;
}

/* One that came with the process, with its queue. Of a socket that can't be opened once more, workers
 * share the queue. */
static int open_one(const struct sl_doors *d, const struct sl_listen_options *o, int first,
		    bool *lent, int *ret)
{
	struct sl_listen_options options = *o;
	int fd = sl_inherited_take(d->inherited, &o->addr), r;

	*lent |= fd >= 0 && d->inherited->upgrade < 0;
	if (fd < 0) {
		r = d->listen(o, ret);
		if (r != -EADDRINUSE || first < 0)
			return r;
		fd = fcntl(first, F_DUPFD_CLOEXEC, 0);
	}
	if (fd < 0)
		return -errno;
	unshut(fd); /* by a process that was killed meanwhile */
	options.adopt = true;
	options.fd = fd;
	r = d->listen(&options, ret);
	if (r < 0)
		sl_close(fd);
	return r;
}

static int open_door(const struct sl_doors *d, const struct sl_listen_options *o,
		     struct sl_door *ret)
{
	struct sl_door door = {.addr = o->addr, .fd = calloc(d->workers, sizeof(*door.fd))};
	int r = door.fd ? 0 : -ENOMEM;
	uint32_t n = 0;

	for (; n < d->workers && !r; n += !r)
		r = open_one(d, o, n ? door.fd[0] : -1, &door.lent, &door.fd[n]);
	if (r < 0) {
		close_door(&door, n);
		return r;
	}
	*ret = door;
	return 0;
}

int sl_doors_open(struct sl_doors *d, const struct sl_listen_options *o)
{
	struct sl_door *grown, *known = find(d, &o->addr);
	int r;

	if (!d->listen)
		return 0;
	if (known)
		return change(d, known, o);
	grown = reallocarray(d->door, d->n + 1, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	d->door = grown;
	r = open_door(d, o, &d->door[d->n]);
	d->n += !r;
	return r;
}

void sl_doors_shut(const struct sl_doors *d, const struct sl_addr *addr)
{
	const struct sl_door *door = find(d, addr);

	for (uint32_t i = 0; door && i < d->workers; i++)
		shut(door->fd[i]);
}

bool sl_doors_is_lent(const struct sl_doors *d, const struct sl_addr *addr)
{
	const struct sl_door *door = find(d, addr);

	return door && door->lent;
}

int sl_doors_fd(const struct sl_doors *d, const struct sl_addr *addr, uint32_t worker)
{
	const struct sl_door *door = find(d, addr);

	return door ? door->fd[worker] : -1;
}

void sl_doors_keep(struct sl_doors *d, bool (*wanted)(const void *arg, const struct sl_addr *addr),
		   const void *arg)
{
	size_t n = 0;

	for (size_t i = 0; i < d->n; i++) {
		if (wanted(arg, &d->door[i].addr))
			d->door[n++] = d->door[i];
		else
			close_door(&d->door[i], d->workers);
	}
	d->n = n;
}

void sl_doors_close(struct sl_doors *d)
{
	for (size_t i = 0; i < d->n; i++)
		close_door(&d->door[i], d->workers);
	free(SL_TAKE_PTR(d->door));
	d->n = 0;
}
