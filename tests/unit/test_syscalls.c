/* SPDX-License-Identifier: BSD-2-Clause */
/* cli/syscalls: what is not on the list is refused, in every thread. */

#include "unit.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/syscalls.h"

static int go;

static bool is_refused(long result)
{
	return result < 0 && errno == EPERM;
}

/* The exit status: what was not as it must be. */
static int try_calls(void)
{
	if (!is_refused(mount("none", "/nonexistent", "tmpfs", 0, NULL)))
		return 1;
	if (!is_refused(ptrace(PTRACE_TRACEME, 0, NULL, NULL)))
		return 2;
	if (!is_refused(syscall(__NR_unshare, 0)) || !is_refused(syscall(__NR_setns, -1, 0)))
		return 3;
	if (!is_refused(syscall(__NR_io_uring_setup, 0, NULL)) ||
	    !is_refused(syscall(__NR_perf_event_open, NULL, 0, 0, -1, 0)))
		return 4;
#ifdef __x86_64__
	if (!is_refused(syscall(0x40000000 | __NR_getpid))) /* x32 */
		return 5;
#endif
	return close(dup(0)) < 0 || getppid() <= 0 ? 6 : 0;
}

static void *other_thread(void *arg)
{
	while (!__atomic_load_n(&go, __ATOMIC_ACQUIRE))
		sched_yield();
	*(int *)arg = try_calls();
	return NULL;
}

static int confined_child(void)
{
	pthread_t thread;
	int other = -1;

	if (pthread_create(&thread, NULL, other_thread, &other) ||
	    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || sl_syscalls_confine())
		return 10;
	__atomic_store_n(&go, 1, __ATOMIC_RELEASE);
	pthread_join(thread, NULL);
	if (other)
		return 20 + other;
	return sl_syscalls_confine() ? 11 : try_calls(); /* once more is no mistake */
}

static void what_is_not_listed_is_refused(void **state)
{
	pid_t pid = fork();
	int status;

	if (!pid)
		_exit(confined_child());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_not_listed_is_refused),
	};

	return cmocka_run_group_tests_name("syscalls", tests, NULL, NULL);
}
