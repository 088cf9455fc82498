/* SPDX-License-Identifier: BSD-2-Clause */
/* Pool of pipes. The kernel may refuse to enlarge a pipe (pipe-user-pages-soft): a smaller one works,
 * with more system calls. */

#include "splice/pipes.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/util.h"

void sl_pipes_init(struct sl_pipes *p, uint32_t limit)
{
	*p = (struct sl_pipes){.limit = limit};
}

static void free_pipe(struct sl_pipes *p, struct sl_pipe *pipe)
{
	sl_close(pipe->in);
	sl_close(pipe->out);
	free(pipe);
	p->made--;
}

void sl_pipes_destroy(struct sl_pipes *p)
{
	while (p->free) {
		struct sl_pipe *pipe = p->free;

		p->free = pipe->next;
		free_pipe(p, pipe);
	}
}

struct sl_pipe *sl_pipes_get(struct sl_pipes *p)
{
	struct sl_pipe *pipe = p->free;
	int fds[2];

	if (pipe) {
		p->free = pipe->next;
		p->n_free--;
		return pipe;
	}
	if (p->made >= p->limit || pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
		return NULL;
	pipe = calloc(1, sizeof(*pipe));
	if (!pipe) {
		sl_close(fds[0]);
		sl_close(fds[1]);
		return NULL;
	}
	pipe->out = fds[0];
	pipe->in = fds[1];
	(void)fcntl(pipe->in, F_SETPIPE_SZ, SL_PIPE_BYTES);
	p->made++;
	return pipe;
}

struct sl_pipe *sl_pipes_put(struct sl_pipes *p, struct sl_pipe *pipe)
{
	if (!pipe)
		return NULL;
	if (pipe->held || p->n_free >= SL_PIPES_KEPT) {
		free_pipe(p, pipe);
		return NULL;
	}
	pipe->next = p->free;
	p->free = pipe;
	p->n_free++;
	return NULL;
}
