/* SPDX-License-Identifier: BSD-2-Clause */
/* Keeps the verifier's last word out of the log that libbpf prints with a program that was refused:
 *
 *     prog 'NAME': -- BEGIN PROG LOAD LOG --
 *     (its instructions, what is known of registers)
 *     the reason
 *     processed 9 insns (limit 1000000) ...
 *     -- END PROG LOAD LOG --
 *
 * It does not judge: the error code of the load does. */

#include "splice/libbpf_words.h"

#include <bpf/libbpf.h>
#include <linux/capability.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/util.h"

#define LOG_BEGIN "-- BEGIN PROG LOAD LOG --\n"
#define LOG_END	  "-- END PROG LOAD LOG --"

static _Thread_local char refusal[160];
static _Thread_local libbpf_print_fn_t spoke;

static bool is_statistics(const char *line)
{
	return !strncmp(line, "processed ", 10) || !strncmp(line, "verification time ", 18) ||
	       !strncmp(line, "stack depth ", 12);
}

/* Of *log, which is changed. */
static const char *last_word(char *log)
{
	const char *last = "it does not say why";
	char *rest, *line = strtok_r(log, "\n", &rest);

	for (; line; line = strtok_r(NULL, "\n", &rest))
		if (!is_statistics(line))
			last = line;
	return last;
}

/* The verifier asks for less of who has CAP_PERFMON, and does not name it. */
static const char *lack(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {0};
	const uint32_t sys_admin = 1u << CAP_SYS_ADMIN, perfmon = 1u << (CAP_PERFMON - 32);

	if (syscall(SYS_capget, &header, data) || data[0].effective & sys_admin ||
	    data[1].effective & perfmon)
		return "";
	return "needs CAP_PERFMON: ";
}

static void keep(char *text)
{
	char *log = strstr(text, LOG_BEGIN), *end = strstr(text, LOG_END);
	char *name = strchr(text, '\'');

	if (!log || !end || end < log || !name || name > log)
		return;
	log += strlen(LOG_BEGIN);
	*end = 0;
	name[1 + strcspn(name + 1, "'")] = 0;
	snprintf(refusal, sizeof(refusal), "%sthe kernel's verifier refuses %s: %s", lack(),
		 name + 1, last_word(log));
}

SL_PRINTF(2, 0)
static int listen_in(enum libbpf_print_level level, const char *format, va_list args)
{
	char *text;

	if (vasprintf(&text, format, args) < 0)
		return 0;
	keep(text);
	free(text);
	return 0;
}

void sl_libbpf_hush(void)
{
	refusal[0] = 0;
	spoke = libbpf_set_print(listen_in);
}

void sl_libbpf_speak(void)
{
	libbpf_set_print(spoke);
}

const char *sl_libbpf_refusal(void)
{
	return refusal[0] ? refusal : NULL;
}
