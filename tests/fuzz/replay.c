/* SPDX-License-Identifier: BSD-2-Clause */
/* Runs a fuzz target without libFuzzer: replay DIR COUNT runs every file in DIR, then COUNT inputs
 * mutated from them; replay FILE runs that one. Deterministic: the same files and count give the
 * same inputs, whatever the machine. Mutations know lines and the target's words, so that inputs
 * stay close to the language. An input that fails is printed in hex. */

#include "fuzz.h"

#include <dirent.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/util.h"

#define SEEDS_MAX 512
#define INPUT_MAX 4096

struct input {
	size_t len;
	uint8_t data[INPUT_MAX];
};

static const char *const no_words[] = {NULL};
extern const char *const fuzz_words[] __attribute__((weak));

static struct input *seeds[SEEDS_MAX];
static unsigned n_seeds;
static struct input current;
static unsigned long round_nr;

static void print_input(int sig)
{
	static const char hex[] = "0123456789abcdef";

	dprintf(2, "signal %d in round %lu with this input:\n", sig, round_nr);
	for (size_t i = 0; i < current.len; i++)
		dprintf(2, "%c%c", hex[current.data[i] >> 4], hex[current.data[i] & 15]);
	dprintf(2, "\n");
	signal(sig, SIG_DFL);
	raise(sig);
}

static void load(const char *path)
{
	FILE *f = fopen(path, "rb");
	struct input *in = calloc(1, sizeof(*in));

	if (!f || !in || n_seeds == SEEDS_MAX) {
		fprintf(stderr, "%s: can't be read, or one too many\n", path);
		exit(1);
	}
	in->len = fread(in->data, 1, sizeof(in->data), f);
	fclose(f);
	seeds[n_seeds++] = in;
}

static int visible(const struct dirent *d)
{
	return d->d_name[0] != '.';
}

/* Files in the order of their names, or the one file. */
static void load_all(const char *path)
{
	struct dirent **names;
	char file[4096];
	int n = scandir(path, &names, visible, alphasort);

	if (n < 0) {
		load(path);
		return;
	}
	for (int i = 0; i < n; i++) {
		snprintf(file, sizeof(file), "%s/%s", path, names[i]->d_name);
		load(file);
		free(names[i]);
	}
	free(names);
}

static size_t below(uint64_t *rng, size_t n)
{
	return n ? fuzz_random(rng) % n : 0;
}

static void cut(struct input *in, size_t at, size_t n)
{
	n = sl_min(n, in->len - at);
	memmove(in->data + at, in->data + at + n, in->len - at - n);
	in->len -= n;
}

static void insert(struct input *in, size_t at, const void *p, size_t n)
{
	n = sl_min(n, INPUT_MAX - in->len);
	memmove(in->data + at + n, in->data + at, in->len - at);
	memcpy(in->data + at, p, n);
	in->len += n;
}

/* A line of the input, its LF included. */
static size_t pick_line(const struct input *in, uint64_t *rng, size_t *ret_len)
{
	size_t at = below(rng, in->len), end = at;

	while (at && in->data[at - 1] != '\n')
		at--;
	while (end < in->len && in->data[end] != '\n')
		end++;
	*ret_len = sl_min(end + 1, in->len) - at;
	return at;
}

static void mutate_bytes(struct input *in, uint64_t *rng)
{
	static const uint8_t telling[] = "\r\n\t \0:,;=\"\\/@[]#?%*+-.0159aAfFgG\x7f\x80\xff";
	uint8_t byte = telling[below(rng, sizeof(telling) - 1)];
	size_t at = below(rng, in->len);

	switch (below(rng, 5)) {
	case 0:
		if (in->len)
			in->data[at] ^= (uint8_t)(1U << below(rng, 8));
		break;
	case 1:
		if (in->len)
			in->data[at] = byte;
		break;
	case 2:
		insert(in, at, &byte, 1);
		break;
	case 3:
		cut(in, at, 1 + below(rng, 4));
		break;
	default:
		in->len = at;
		break;
	}
}

static void mutate_lines(struct input *in, uint64_t *rng)
{
	const struct input *other = seeds[below(rng, n_seeds)];
	size_t len, other_len, other_at = pick_line(other, rng, &other_len);
	size_t at = pick_line(in, rng, &len);

	switch (below(rng, 3)) {
	case 0:
		cut(in, at, len);
		break;
	case 1:
		cut(in, at, len);
		insert(in, at, other->data + other_at, other_len);
		break;
	default:
		insert(in, at, other->data + other_at, other_len);
		break;
	}
}

static void mutate_words(struct input *in, uint64_t *rng)
{
	const char *const *words = fuzz_words ? fuzz_words : no_words;
	size_t n = 0, at = below(rng, in->len);
	const char *word;

	while (words[n])
		n++;
	if (!n)
		return;
	word = words[below(rng, n)];
	if (below(rng, 2))
		cut(in, at, strlen(word));
	insert(in, at, word, strlen(word));
}

static void mutate(struct input *in, uint64_t *rng)
{
	for (size_t n = 1 + below(rng, 4); n; n--) {
		switch (below(rng, 4)) {
		case 0:
			mutate_lines(in, rng);
			break;
		case 1:
			mutate_words(in, rng);
			break;
		default:
			mutate_bytes(in, rng);
			break;
		}
	}
}

/* From memory of exactly the input's size, so that a sanitizer sees a read behind its end. */
static void run(void)
{
	_sl_free_ uint8_t *copy = malloc(current.len ? current.len : 1);

	memcpy(copy, current.data, current.len);
	LLVMFuzzerTestOneInput(copy, current.len);
}

int main(int argc, char **argv)
{
	unsigned long count = argc > 2 ? strtoul(argv[2], NULL, 10) : 0;
	uint64_t rng = 1;

	if (argc < 2)
		return 2;
	load_all(argv[1]);
	if (!n_seeds)
		return 1;
	signal(SIGABRT, print_input);
	for (unsigned i = 0; i < n_seeds; i++) {
		current = *seeds[i];
		run();
	}
	for (round_nr = 1; round_nr <= count; round_nr++) {
		current = *seeds[below(&rng, n_seeds)];
		mutate(&current, &rng);
		run();
	}
	printf("%u seeds and %lu mutations\n", n_seeds, count);
	for (unsigned i = 0; i < n_seeds; i++)
		free(seeds[i]);
	return 0;
}
