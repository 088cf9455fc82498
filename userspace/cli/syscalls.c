/* SPDX-License-Identifier: BSD-2-Clause */
/* The list of system calls that sluice may need once it serves: descriptors, sockets, memory, threads,
 * time, files by path, bpf(2), and what starts another sluice in an upgrade. Not on it, among others:
 * ptrace, mount, unshare, setns, setuid and its kin, keyctl, kexec, modules, reboot, userfaultfd,
 * perf_event_open, io_uring, process_vm_*.
 *
 * A classic BPF program made here, of two instructions a call: the list is the whole of it, so there is no
 * need for a library. */

#include "cli/syscalls.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/util.h"

#if defined(__x86_64__)
#define ARCHITECTURE AUDIT_ARCH_X86_64
#define FOREIGN	     0x40000000 /* x32 calls count from here */
#elif defined(__aarch64__)
#define ARCHITECTURE AUDIT_ARCH_AARCH64
#define FOREIGN	     0x80000000
#else
#define ARCHITECTURE 0
#define FOREIGN	     0
#endif

// clang-format off
static const unsigned allowed[] = {
	__NR_accept, __NR_accept4, __NR_bind, __NR_bpf, __NR_brk, __NR_capget, __NR_capset,
	__NR_clock_getres, __NR_clock_gettime, __NR_clock_nanosleep, __NR_clone, __NR_clone3,
	__NR_close, __NR_close_range, __NR_connect, __NR_dup, __NR_dup3, __NR_epoll_create1,
	__NR_epoll_ctl, __NR_epoll_pwait, __NR_epoll_pwait2, __NR_eventfd2, __NR_execve,
	__NR_exit, __NR_exit_group, __NR_faccessat, __NR_faccessat2, __NR_fallocate,
	__NR_fchmod, __NR_fchmodat, __NR_fchown, __NR_fchownat, __NR_fcntl, __NR_fdatasync,
	__NR_flock, __NR_fstat, __NR_fstatfs, __NR_fsync, __NR_ftruncate, __NR_futex,
	__NR_getcwd, __NR_getdents64, __NR_getegid, __NR_geteuid, __NR_getgid, __NR_getgroups,
	__NR_getpeername, __NR_getpgid, __NR_getpid, __NR_getppid, __NR_getpriority,
	__NR_getrandom, __NR_getresgid, __NR_getresuid, __NR_getrlimit, __NR_getrusage,
	__NR_getsid, __NR_getsockname, __NR_getsockopt, __NR_gettid, __NR_gettimeofday,
	__NR_getuid, __NR_ioctl, __NR_kill, __NR_linkat, __NR_listen, __NR_lseek, __NR_madvise,
	__NR_membarrier, __NR_mkdirat, __NR_mlock, __NR_mlock2, __NR_mmap, __NR_mprotect,
	__NR_mremap, __NR_msync, __NR_munlock, __NR_munmap, __NR_nanosleep, __NR_newfstatat,
	__NR_openat, __NR_openat2, __NR_pipe2, __NR_ppoll, __NR_prctl, __NR_pread64,
	__NR_preadv, __NR_prlimit64, __NR_pselect6, __NR_pwrite64, __NR_pwritev, __NR_read,
	__NR_readlinkat, __NR_readv, __NR_recvfrom, __NR_recvmmsg, __NR_recvmsg, __NR_renameat,
	__NR_renameat2, __NR_restart_syscall, __NR_rseq, __NR_rt_sigaction, __NR_rt_sigpending,
	__NR_rt_sigprocmask, __NR_rt_sigreturn, __NR_rt_sigsuspend, __NR_rt_sigtimedwait,
	__NR_sched_get_priority_max, __NR_sched_get_priority_min, __NR_sched_getaffinity,
	__NR_sched_getparam, __NR_sched_getscheduler, __NR_sched_setaffinity, __NR_sched_yield, __NR_seccomp,
	__NR_sendfile, __NR_sendmmsg, __NR_sendmsg, __NR_sendto, __NR_set_robust_list,
	__NR_set_tid_address, __NR_setitimer, __NR_setpriority, __NR_setrlimit,
	__NR_setsockopt, __NR_shutdown, __NR_sigaltstack, __NR_signalfd4, __NR_socket,
	__NR_socketpair, __NR_splice, __NR_statfs, __NR_statx, __NR_symlinkat, __NR_sysinfo,
	__NR_tee, __NR_tgkill, __NR_timer_create, __NR_timer_delete, __NR_timer_settime,
	__NR_timerfd_create, __NR_timerfd_settime, __NR_tkill, __NR_umask, __NR_uname,
	__NR_unlinkat, __NR_utimensat, __NR_vmsplice, __NR_wait4, __NR_waitid, __NR_write,
	__NR_writev,
	/* what some architectures have no more */
#ifdef __NR_access
	__NR_access,
#endif
#ifdef __NR_arch_prctl
	__NR_arch_prctl,
#endif
#ifdef __NR_chmod
	__NR_chmod,
#endif
#ifdef __NR_dup2
	__NR_dup2,
#endif
#ifdef __NR_epoll_create
	__NR_epoll_create,
#endif
#ifdef __NR_epoll_wait
	__NR_epoll_wait,
#endif
#ifdef __NR_fork
	__NR_fork,
#endif
#ifdef __NR_getdents
	__NR_getdents,
#endif
#ifdef __NR_lstat
	__NR_lstat,
#endif
#ifdef __NR_mkdir
	__NR_mkdir,
#endif
#ifdef __NR_open
	__NR_open,
#endif
#ifdef __NR_pipe
	__NR_pipe,
#endif
#ifdef __NR_poll
	__NR_poll,
#endif
#ifdef __NR_readlink
	__NR_readlink,
#endif
#ifdef __NR_rename
	__NR_rename,
#endif
#ifdef __NR_select
	__NR_select,
#endif
#ifdef __NR_stat
	__NR_stat,
#endif
#ifdef __NR_time
	__NR_time,
#endif
#ifdef __NR_unlink
	__NR_unlink,
#endif
#ifdef __NR_vfork
	__NR_vfork,
#endif
};
// clang-format on

#define HEAD 4

static void write_head(struct sock_filter f[HEAD])
{
	const struct sock_filter head[HEAD] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCHITECTURE, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
	};

	for (size_t i = 0; i < HEAD; i++)
		f[i] = head[i];
}

/* By the process that this one takes over from: filters stay, and another one would only cost. */
static bool is_confined(void)
{
	return syscall(__NR_sched_setattr, 0, NULL, 0) < 0 && errno == EPERM;
}

int sl_syscalls_confine(void)
{
	struct sock_filter f[HEAD + 2 * SL_ARRAY_SIZE(allowed) + 1];
	struct sock_fprog program = {.len = SL_ARRAY_SIZE(f), .filter = f};
	size_t n = HEAD;

	if (!ARCHITECTURE)
		return -EOPNOTSUPP;
	if (is_confined())
		return 0;
	write_head(f);
	for (size_t i = 0; i < SL_ARRAY_SIZE(allowed); i++) {
		f[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, allowed[i], 0, 1);
		f[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	}
	f[n] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM);
	/* the first thread that can't follow is told by its id: none can be missing */
	return syscall(__NR_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program)
		       ? -EPERM
		       : 0;
}
