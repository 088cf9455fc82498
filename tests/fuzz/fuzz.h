/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_TESTS_FUZZ_H
#define SLUICE_TESTS_FUZZ_H

/* A fuzz target is one file with LLVMFuzzerTestOneInput(), which checks invariants by FUZZ_CHECK()
 * and returns 0. Linked with libFuzzer it explores (-Dfuzz=true, clang); linked with replay.c it
 * runs over its committed seeds and a fixed number of mutations of them, as an ordinary test. */

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* Optional: words of the input's language for replay.c to insert, NULL at the end. */
extern const char *const fuzz_words[];

#define FUZZ_CHECK(cond)                                                                   \
	do {                                                                               \
		if (!(cond)) {                                                             \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #cond); \
			abort();                                                           \
		}                                                                          \
	} while (0)

/* splitmix64: the same sequence everywhere. */
static inline uint64_t fuzz_random(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

/* A seed out of the input itself, for targets that need random choices. */
static inline uint64_t fuzz_hash(const uint8_t *data, size_t len)
{
	uint64_t h = 0xcbf29ce484222325;

	for (size_t i = 0; i < len; i++)
		h = (h ^ data[i]) * 0x100000001b3;
	return h;
}

#endif
