/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
#ifndef SLUICE_BPF_SOCKMAP_KERNEL_H
#define SLUICE_BPF_SOCKMAP_KERNEL_H

/* The fields of the kernel's structs that the verdict program reads; libbpf finds their real offsets when
 * it loads the program (CO-RE). A kernel without one of them refuses the program. */

#include <linux/types.h>

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

typedef struct {
	int counter;
} atomic_t;

struct sock {
	struct {
		atomic_t rmem_alloc;
	} sk_backlog;
	int sk_sndbuf;
	int sk_wmem_queued;
	void *sk_user_data;
};

struct inet_sock {
	struct sock sk;
};

struct inet_connection_sock {
	struct inet_sock icsk_inet;
};

struct tcp_sock {
	struct inet_connection_sock inet_conn;
	__u32 write_seq;
};

struct sk_buff_head {
	__u32 qlen;
};

/* What a socket in a sockmap has in sk_user_data, beside flags in the lowest bits. */
struct sk_psock {
	struct sk_buff_head ingress_skb;
};

#pragma clang attribute pop

#define SL_SK_USER_DATA_FLAGS 7ul

#endif
