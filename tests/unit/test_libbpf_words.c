/* SPDX-License-Identifier: BSD-2-Clause */
/* splice/libbpf_words.c: what is kept of what libbpf prints. */

#include "unit.h"

#include <bpf/libbpf.h>
#include <stdarg.h>

#include "splice/libbpf_words.h"

/* As libbpf does. */
static void say(const char *format, ...)
{
	libbpf_print_fn_t print = libbpf_set_print(NULL);
	va_list args;

	libbpf_set_print(print);
	va_start(args, format);
	print(LIBBPF_WARN, format, args);
	va_end(args);
}

/* Without the privilege that it may lack, which the test may or may not have. */
static const char *said(const char *text)
{
	const char *refusal, *lack = "needs CAP_PERFMON: ";

	sl_libbpf_hush();
	say("%s", text);
	sl_libbpf_speak();
	refusal = sl_libbpf_refusal();
	return refusal && !strncmp(refusal, lack, strlen(lack)) ? refusal + strlen(lack) : refusal;
}

static void the_verifiers_last_word_is_kept(void **state)
{
	assert_string_equal(
		said("libbpf: prog 'verdict': -- BEGIN PROG LOAD LOG --\n"
		     "0: R1=ctx(off=0,imm=0)\ninvalid bpf_context access off=200 size=8\n"
		     "verification time 12 usec\nstack depth 0\n"
		     "processed 1 insns (limit 1000000) max_states_per_insn 0\n"
		     "-- END PROG LOAD LOG --\n"),
		"the kernel's verifier refuses verdict: invalid bpf_context access off=200 size=8");
}

static void an_empty_log_is_told_as_such(void **state)
{
	assert_string_equal(
		said("libbpf: prog 'p': -- BEGIN PROG LOAD LOG --\n-- END PROG LOAD LOG --\n"),
		"the kernel's verifier refuses p: it does not say why");
}

static void other_words_are_not_kept(void **state)
{
	assert_null(said("libbpf: prog 'p': BPF program load failed: Operation not permitted\n"));
	assert_null(said("-- END PROG LOAD LOG --\n-- BEGIN PROG LOAD LOG --\n"));
	assert_null(said("-- BEGIN PROG LOAD LOG --\n'-- END PROG LOAD LOG --\n"));
	assert_null(said(""));
}

static void a_long_line_is_cut(void **state)
{
	char text[2000] = "prog 'p': -- BEGIN PROG LOAD LOG --\n";
	size_t n = strlen(text);

	memset(text + n, 'x', 1000);
	strcpy(text + n + 1000, "\n-- END PROG LOAD LOG --\n");
	assert_true(strlen(said(text)) < 160);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_verifiers_last_word_is_kept),
		cmocka_unit_test(an_empty_log_is_told_as_such),
		cmocka_unit_test(other_words_are_not_kept),
		cmocka_unit_test(a_long_line_is_cut),
	};

	return cmocka_run_group_tests_name("libbpf words", tests, NULL, NULL);
}
