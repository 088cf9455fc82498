// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* The control program: user space runs it by BPF_PROG_RUN with a struct sl_control. The loader
 * loads one of two entries: sl_control_call where a "syscall" program may take a spin lock (Linux
 * 6.6), else sl_control_frame, to which the struct comes as a frame. */

#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>

#include "environment.h"

#include <sluice/control.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* Works on a copy: the verifier (Linux 6.18) allows no access through a context pointer that was
 * moved, and the compiler moves it. */
SEC("syscall")
int sl_control_call(struct sl_control *arg)
{
	struct sl_control c = *arg;

	sl_control_run(&c);
	arg->ret = c.ret;
	arg->ret_state = c.ret_state;
	arg->ret_flags = c.ret_flags;
	arg->ret_flipped = c.ret_flipped;
	arg->ret_refusal = c.ret_refusal;
	return 0;
}

/* Works in place: a copy makes the stack too large for the verifier (Linux 6.1, which rounds each
 * function's up to 32 bytes). */
SEC("tc")
int sl_control_frame(struct __sk_buff *ctx)
{
	struct sl_control *c = (void *)(long)ctx->data;

	if ((void *)(c + 1) > (void *)(long)ctx->data_end)
		return TC_ACT_SHOT;
	sl_control_run(c);
	return TC_ACT_OK;
}
