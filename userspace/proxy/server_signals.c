/* SPDX-License-Identifier: BSD-2-Clause */
/* Signals of the process. They come as events of the control thread's loop. */

#include "proxy/server_state.h"

#include <errno.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>

#include "base/util.h"

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
			sl_server_drain(s, s->config->timeouts.drain, true);
		break;
	case SIGQUIT:
		sl_server_drain(s, 0, true);
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
