/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_SPLICE_LIBBPF_WORDS_H
#define SLUICE_SPLICE_LIBBPF_WORDS_H

/* What libbpf has to say is for developers, but for one thing: why the kernel's verifier refused a
 * program. For the calling thread; hushing does not nest. */

/* Until sl_libbpf_speak() nothing is printed, and what was kept before is forgotten. */
void sl_libbpf_hush(void);
void sl_libbpf_speak(void);
/* One line: which program the verifier refused last since sl_libbpf_hush(), and its last word on it.
 * NULL: none. Stays until the next sl_libbpf_hush(). */
const char *sl_libbpf_refusal(void);

#endif
