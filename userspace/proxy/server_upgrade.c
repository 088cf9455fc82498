/* SPDX-License-Identifier: BSD-2-Clause */
/* Upgrade: this program is started anew, with the same arguments, and takes over.
 *
 *	old                                  new
 *	starts it, listening sockets ──────► reads its configuration, adopts the sockets
 *	leaves spliced pairs, lets  ◄─ TAKE ─ has all but the packet engine
 *	go of the packet engine ─── GIVEN ──► adopts the pairs, starts its workers
 *	stops accepting, drains  ◄─ SERVES ─ accepts
 *
 * Both have the very same listening sockets, so nothing that waits in their queues is lost. Whatever goes
 * wrong before SERVES, the old one goes on (by copying where it had given the engine away).
 *
 * Connections of the old one that are not spliced stay with it until they end, or its bound has passed. */

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "base/util.h"
#include "proxy/notify.h"
#include "proxy/server_state.h"

#define FIRST_FD    3
#define PATIENCE_MS 60000 /* from start to SERVES */
#define GIVEN_MS    15000 /* from TAKE to GIVEN */

enum word {
	TAKE = 'T',
	GIVEN = 'G',
	SERVES = 'S',
};

extern char **environ;

static int say(int fd, enum word word)
{
	char c = (char)word;

	return send(fd, &c, 1, MSG_NOSIGNAL) == 1 ? 0 : -errno;
}

/* --- the old one --- */

/* Descriptors for the new process, moved out of the way of the places that they get there. */
struct parcel {
	int *fd;
	size_t n;
};

static int pack(struct parcel *p, int fd, size_t most)
{
	int moved = fcntl(fd, F_DUPFD_CLOEXEC, FIRST_FD + (int)most);

	if (moved < 0)
		return -errno;
	p->fd[p->n++] = moved;
	return 0;
}

static void unpack(struct parcel *p)
{
	for (size_t i = 0; i < p->n; i++)
		sl_close(p->fd[i]);
	free(p->fd);
}

/* The last one is our end's peer. */
static int pack_all(const struct sl_daemon *s, int peer, struct parcel *p)
{
	size_t most = s->doors.n * s->doors.workers + 3;
	int control[2], r = 0;
	size_t n = sl_control_fds(s->control, control);

	p->fd = calloc(most, sizeof(*p->fd));
	if (!p->fd)
		return -ENOMEM;
	for (size_t i = 0; i < s->doors.n; i++)
		for (uint32_t w = 0; w < s->doors.workers && !r; w++)
			r = pack(p, s->doors.door[i].fd[w], most);
	for (size_t i = 0; i < n && !r; i++)
		r = pack(p, control[i], most);
	return r ? r : pack(p, peer, most);
}

static bool is_ours(const char *variable)
{
	return !strncmp(variable, "LISTEN_", 7) || !strncmp(variable, "SLUICE_UPGRADE=", 15) ||
	       !strncmp(variable, "SLUICE_DRAINED=", 15);
}

/* The environment, with what tells of the parcel. To be freed, but for the strings. */
static char **make_environment(const struct parcel *p, char *drained, char count[32],
			       char upgrade[32])
{
	size_t n = 0, k = 0;
	char **e;

	while (environ[n])
		n++;
	e = calloc(n + 4, sizeof(*e));
	if (!e)
		return NULL;
	for (size_t i = 0; i < n; i++)
		if (!is_ours(environ[i]))
			e[k++] = environ[i];
	snprintf(count, 32, "LISTEN_FDS=%zu", p->n - 1);
	snprintf(upgrade, 32, "SLUICE_UPGRADE=%zu", FIRST_FD + p->n - 1);
	e[k++] = count;
	e[k++] = drained;
	e[k] = upgrade;
	return e;
}

/* The new process has no signal blocked. */
static int spawn(const struct sl_daemon *s, const struct parcel *p, char **environment, pid_t *ret)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	sigset_t none;
	int r;

	sigemptyset(&none);
	posix_spawnattr_init(&attributes);
	posix_spawnattr_setsigmask(&attributes, &none);
	posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
	posix_spawn_file_actions_init(&actions);
	for (size_t i = 0; i < p->n; i++)
		posix_spawn_file_actions_adddup2(&actions, p->fd[i], FIRST_FD + (int)i);
	r = posix_spawn(ret, s->parts->program, &actions, &attributes, s->parts->arguments,
			environment);
	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attributes);
	return -r;
}

static int start(struct sl_daemon *s, int peer)
{
	char count[32], upgrade[32];
	struct parcel p = {0};
	_sl_free_ char *drained = sl_server_drained_variable(s);
	_sl_free_ char **environment = NULL;
	int r = pack_all(s, peer, &p);

	if (!r) {
		environment = drained ? make_environment(&p, drained, count, upgrade) : NULL;
		r = environment ? spawn(s, &p, environment, &s->upgrade.pid) : -ENOMEM;
	}
	unpack(&p);
	return r;
}

void sl_server_end_upgrade(struct sl_daemon *s)
{
	struct sl_upgrade *u = &s->upgrade;

	if (u->io.fd < 0)
		return;
	sl_loop_del(s->loop, &u->io);
	sl_loop_disarm(s->loop, &u->patience);
	u->io.fd = sl_close(u->io.fd);
	u->pid = 0;
}

static void give_up(struct sl_daemon *s, const char *why)
{
	pid_t pid = s->upgrade.pid;

	sl_error("upgrade: %s; this process goes on%s", why,
		 s->upgrade.engine_given ? ", without the packet engine" : "");
	s->upgrades_failed++;
	sl_server_end_upgrade(s);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static void out_of_patience(struct sl_timer *t)
{
	struct sl_upgrade *u = sl_container_of(t, struct sl_upgrade, patience);

	give_up(sl_container_of(u, struct sl_daemon, upgrade), "the new process does not serve");
}

static void leave_pairs(struct sl_worker *w, void *arg)
{
	const struct sl_daemon *s = arg;

	sl_worker_leave_pairs(w);
	if (s->parts->hand_over)
		s->parts->hand_over(w->loop);
}

static void give_engine(struct sl_daemon *s)
{
	for (uint32_t i = 0; i < s->n_workers; i++)
		sl_worker_call(s->worker[i], leave_pairs, s);
	if (s->parts->hand_over)
		s->parts->hand_over(NULL);
	s->upgrade.engine_given = true;
	if (say(s->upgrade.io.fd, GIVEN) < 0)
		give_up(s, "the new process has ended");
}

static void mark(struct sl_worker *w, void *arg)
{
	w->handed_over = true;
}

static void retire(struct sl_daemon *s)
{
	char text[32];

	sl_info("upgrade: process %d serves now", (int)s->upgrade.pid);
	snprintf(text, sizeof(text), "MAINPID=%d", (int)s->upgrade.pid);
	sl_notify(text, -1);
	s->retired = true;
	sl_server_end_upgrade(s);
	sl_server_stop_checks(s);
	sl_control_hand_over(s->control);
	sl_control_close(SL_TAKE_PTR(s->control));
	for (uint32_t i = 0; i < s->n_workers; i++)
		sl_worker_call(s->worker[i], mark, NULL);
	sl_server_drain(s, s->config->timeouts.upgrade, true);
}

static void word_came(struct sl_io *io, uint32_t events)
{
	struct sl_upgrade *u = sl_container_of(io, struct sl_upgrade, io);
	struct sl_daemon *s = sl_container_of(u, struct sl_daemon, upgrade);
	char c;
	ssize_t n = recv(io->fd, &c, 1, MSG_DONTWAIT);

	if (n == 1 && c == TAKE)
		give_engine(s);
	else if (n == 1 && c == SERVES)
		retire(s);
	else if (n >= 0 || errno != EAGAIN)
		give_up(s, "the new process has ended");
}

/* The new process, and our end of what joins us. */
static int start_joined(struct sl_daemon *s, int *ret)
{
	_sl_close_ int ours = -1, theirs = -1;
	int ends[2], r;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
		return -errno;
	ours = ends[0];
	theirs = ends[1];
	r = start(s, theirs);
	if (!r)
		*ret = SL_TAKE_FD(ours);
	return r;
}

static int begin(struct sl_daemon *s, struct sl_config_error *ret_error)
{
	struct sl_upgrade *u = &s->upgrade;
	int fd = -1, r;

	if (s->draining || u->io.fd >= 0)
		return sl_config_fail(-EBUSY, ret_error, "sluice is draining, or upgrades already");
	if (!s->doors.listen)
		return sl_config_fail(-EOPNOTSUPP, ret_error,
				      "this transport's connections can't be handed over, so this "
				      "process goes on: drain and restart it");
	r = start_joined(s, &fd);
	if (r < 0)
		return sl_config_fail(r, ret_error, "%s: %s", s->parts->program, strerror(-r));
	*u = (struct sl_upgrade){.pid = u->pid, .io = {.fd = fd, .on_event = word_came}};
	sl_timer_init(&u->patience, out_of_patience);
	sl_loop_arm(s->loop, &u->patience, PATIENCE_MS);
	return sl_loop_add(s->loop, &u->io, EPOLLIN);
}

int sl_server_upgrade(struct sl_daemon *s, struct sl_config_error *ret_error)
{
	int r = begin(s, ret_error);

	if (r < 0) {
		sl_error("upgrade: %s", ret_error->text);
		s->upgrades_failed++;
		return r;
	}
	sl_info("upgrade: process %d is to take over", (int)s->upgrade.pid);
	return 0;
}

/* --- the new one --- */

int sl_server_take_engine(struct sl_daemon *s)
{
	struct pollfd p = {.fd = s->inherited.upgrade, .events = POLLIN};
	char c = 0;
	int r;

	if (p.fd < 0)
		return 0;
	r = say(p.fd, TAKE);
	if (!r && (poll(&p, 1, GIVEN_MS) != 1 || recv(p.fd, &c, 1, 0) != 1 || c != GIVEN))
		r = -ETIMEDOUT;
	if (r < 0)
		sl_error("upgrade: the old process does not hand over: %s", strerror(-r));
	return r;
}

int sl_server_tell_serving(struct sl_daemon *s)
{
	int r = s->inherited.upgrade < 0 ? 0 : say(s->inherited.upgrade, SERVES);
	size_t n;

	if (r < 0)
		return r;
	n = sl_inherited_close(&s->inherited);
	if (n)
		sl_warning("%zu sockets came with the process that nothing is configured for", n);
	return 0;
}
