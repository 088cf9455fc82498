/* SPDX-License-Identifier: BSD-2-Clause */
/* Signals of the process, and the drain: listeners close, connections end when they are idle, and the
 * loop ends with the last one or with the bound. Signals come as events of the control thread's loop. */

#include "proxy/server_state.h"

#include <errno.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>

#include "base/util.h"
#include "proxy/notify.h"

#define DRAIN_CHECK_MS 20
#define ASK_MS	       2000

/* --- drain --- */

/* With adopted tunnels, which have no connection of this process. */
static uint64_t active_connections(const struct sl_daemon *s)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < s->n_workers; i++) {
		const struct sl_stats *stats = &s->worker[i]->stats;

		n += __atomic_load_n(&stats->connections_active, __ATOMIC_RELAXED) +
		     __atomic_load_n(&stats->tunnels_adopted, __ATOMIC_RELAXED);
	}
	return n;
}

static void check_drain(struct sl_timer *t)
{
	struct sl_daemon *s = sl_container_of(t, struct sl_daemon, drain_check);
	uint64_t left = active_connections(s);

	if (left && (!s->drain_until_ms || sl_loop_now_ms(s->loop) < s->drain_until_ms)) {
		sl_loop_arm(s->loop, &s->drain_check, DRAIN_CHECK_MS);
		return;
	}
	if (left)
		sl_warning("drain: time is over, %llu connections are reset",
			   (unsigned long long)left);
	sl_loop_stop(s->loop);
}

static void drain_worker(struct sl_worker *w, void *arg)
{
	sl_worker_drain(w);
}

static void close_listeners(struct sl_daemon *s)
{
	s->closing_listeners = false;
	sl_info("draining %llu connections", (unsigned long long)active_connections(s));
	for (uint32_t i = 0; i < s->n_workers; i++)
		if (sl_worker_ask(s->worker[i], drain_worker, NULL, ASK_MS) < 0)
			sl_error("drain: worker %u does not answer", i);
	if (s->drain_bound_ms)
		s->drain_until_ms = sl_loop_now_ms(s->loop) + s->drain_bound_ms;
	sl_timer_init(&s->drain_check, check_drain);
	sl_loop_arm(s->loop, &s->drain_check, 1);
}

static void delay_passed(struct sl_timer *t)
{
	close_listeners(sl_container_of(t, struct sl_daemon, drain_check));
}

/* Whoever balances by readiness sees it go before a connection is refused. */
void sl_server_drain(struct sl_daemon *s, uint64_t bound_ms)
{
	uint32_t delay = s->retired ? 0 : s->config->timeouts.drain_delay;

	s->drain_bound_ms = bound_ms;
	if (s->draining) {
		if (bound_ms && !s->closing_listeners)
			s->drain_until_ms = sl_loop_now_ms(s->loop) + bound_ms;
		return;
	}
	s->draining = true;
	if (!s->retired)
		sl_notify("STOPPING=1", -1);
	if (!delay) {
		close_listeners(s);
		return;
	}
	sl_info("draining: not ready from now on, listeners close in %u ms", delay);
	s->closing_listeners = true;
	sl_timer_init(&s->drain_check, delay_passed);
	sl_loop_arm(s->loop, &s->drain_check, delay);
}

/* --- signals --- */

void sl_server_reopen_logs(struct sl_daemon *s)
{
	if (s->access_log)
		sl_access_log_reopen(s->access_log);
}

static void handle_signal(struct sl_daemon *s, int signo)
{
	switch (signo) {
	case SIGTERM:
	case SIGINT:
		if (s->draining)
			sl_loop_stop(s->loop);
		else
			sl_server_drain(s, s->config->timeouts.drain);
		break;
	case SIGQUIT:
		sl_server_drain(s, 0);
		break;
	case SIGUSR1:
		sl_server_reopen_logs(s);
		break;
	case SIGUSR2:
		sl_server_upgrade(s, &(struct sl_config_error){{0}}); /* it has been logged */
		break;
	case SIGHUP:
		sl_server_reload(s, &(struct sl_config_error){{0}}); /* it has been logged */
		break;
	}
}

static void signals_event(struct sl_io *io, uint32_t events)
{
	struct sl_daemon *s = sl_container_of(io, struct sl_daemon, signals);
	struct signalfd_siginfo info;

	while (read(io->fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
		handle_signal(s, (int)info.ssi_signo);
}

int sl_server_take_signals(struct sl_daemon *s)
{
	static const int handled[] = {SIGTERM, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2, SIGHUP};
	sigset_t set;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	for (size_t i = 0; i < SL_ARRAY_SIZE(handled); i++)
		sigaddset(&set, handled[i]);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	s->signals.fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (s->signals.fd < 0)
		return -errno;
	s->signals.on_event = signals_event;
	return sl_loop_add(s->loop, &s->signals, EPOLLIN);
}
