/* SPDX-License-Identifier: BSD-2-Clause */
/* Nanoseconds a packet by BPF_PROG_TEST_RUN, over an empty program of the same type. Not a test.
 *
 * The pair's legs mirror each other, so that a rewritten packet is the same flow's again, but for
 * its TTL, which ends a round after 250 packets; the lower decile of many rounds counts. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <arpa/inet.h>

#include <bpf/bpf.h>
#include <linux/bpf.h>

#include "base/util.h"
#include "harness.h"

#define ROUNDS	41 /* each waits for two RCU grace periods at XDP */
#define PACKETS 250

static int compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

/* Lower decile of the rounds' mean times, ns: what the machine's other work disturbs least.
 * *ret_verdict is the last packet's. */
static uint32_t measure(int program, const struct frame *f, uint32_t *ret_verdict)
{
	static uint32_t ns[ROUNDS];
	uint8_t in[FRAME_MAX], out[FRAME_MAX];
	size_t len = frame_write(f, in);

	for (int i = 0; i < ROUNDS; i++) {
		LIBBPF_OPTS(bpf_test_run_opts, o, .data_in = in, .data_size_in = len,
			    .data_out = out, .data_size_out = sizeof(out), .repeat = PACKETS);

		if (bpf_prog_test_run_opts(program, &o))
			return 0;
		ns[i] = o.duration;
		*ret_verdict = o.retval;
	}
	qsort(ns, ROUNDS, sizeof(ns[0]), compare);
	return ns[ROUNDS / 10];
}

static int empty_program(enum bpf_prog_type type)
{
	const struct bpf_insn code[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .imm = 2},
		{.code = BPF_JMP | BPF_EXIT},
	};

	return bpf_prog_load(type, "empty", "GPL", code, SL_ARRAY_SIZE(code), NULL);
}

static struct sl_flow_pair mirror(int version)
{
	struct sl_flow_pair p = frame_pair(version);

	p.leg[0].wseq = p.leg[1].exp = p.leg[0].ack;
	p.leg[1].wseq = p.leg[0].exp;
	p.leg[1].end = p.leg[1].exp;
	p.leg[1].ack = p.leg[1].wseq;
	p.leg[1].edge = p.leg[1].ack + 65535;
	memcpy(p.leg[1].local, p.leg[0].peer, 16);
	memcpy(p.leg[1].peer, p.leg[0].local, 16);
	p.leg[1].local_port = p.leg[0].peer_port;
	p.leg[1].peer_port = p.leg[0].local_port;
	return p;
}

static void measure_rows(struct harness *h, int hook, uint32_t base)
{
	static const uint32_t edges[] = {1, 2, 3, 4, 5, 6};
	static const char *const names[] = {"data, timestamps", "data, no options",
					    "ACK, timestamps, 3 SACK blocks", "ACK, SACK alone",
					    "not ours"};

	for (int version = 4; version <= 6; version += 2) {
		struct sl_flow_pair p = mirror(version);

		harness_install(h, 1, &p);
		for (size_t row = 0; row < SL_ARRAY_SIZE(names); row++) {
			struct frame f = frame_from(&p, 0);
			uint32_t verdict = 0, ns;

			f.ttl = 255;
			f.options = row == 1 ? 0 : row == 3 ? 1 : row == 2 ? 6 : 3;
			if (row == 2) {
				f.option[3] = f.option[4] = frame_nop();
				f.option[5] = frame_sack(3, edges);
			} else if (row == 3) {
				f.option[0] = frame_sack(1, edges);
			} else if (row == 4) {
				f.sport = 1;
			}
			f.payload = row == 2 || row == 3 ? 0 : 1400;
			harness_install(h, 1, &p);
			ns = measure(h->program[hook], &f, &verdict);
			printf("%-4s IPv%d %-32s %4u ns, over empty %4d ns (verdict %d)\n",
			       hooks[hook].name, version, names[row], ns, (int)(ns - base),
			       (int)verdict);
		}
	}
}

int main(void)
{
	static const enum bpf_prog_type types[] = {BPF_PROG_TYPE_SCHED_CLS, BPF_PROG_TYPE_XDP};
	struct harness h;

	if (harness_open(&h, 65536))
		return HARNESS_SKIP;
	for (int hook = 0; hook < 2; hook++) {
		_sl_close_ int empty = empty_program(types[hook]);
		struct sl_flow_pair p = mirror(4);
		struct frame f = frame_from(&p, 0);
		uint32_t verdict = 0, base = measure(empty, &f, &verdict);

		printf("%-4s empty %37u ns\n", hooks[hook].name, base);
		measure_rows(&h, hook, base);
	}
	harness_close(&h);
	return 0;
}
