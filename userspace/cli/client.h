/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SLUICE_CLI_CLIENT_H
#define SLUICE_CLI_CLIENT_H

/* What the commands that talk to a running sluice share: their options, and the admin socket. */

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct sl_client_options {
	const char *admin; /* path of the admin socket */
	bool json;	   /* --json, -j */
	bool now;	   /* --now, -n */
	long max;	   /* --max N, -m N; 0 if not given */
};

/* Reads the options out of `allowed` (short letters; admin and help are always allowed) and leaves the
 * first argument that is none at argv[*ret_rest]. -1 to go on, else the exit code: after --help, or
 * after a mistake, for which usage was printed. */
int sl_client_parse(int argc, char **argv, const char *usage, const char *allowed,
		    struct sl_client_options *ret, int *ret_rest);

/* An option of one command alone. */
struct sl_client_value {
	const char *name; /* long, without dashes; NULL ends a list */
	int has_arg;	  /* as in getopt_long(3) */
	const char
		*value; /* what was given, "" without an argument; NULL: the option was not given */
};

/* The same with options of the command's own, whose values are put into `values`. */
int sl_client_parse_more(int argc, char **argv, const char *usage, const char *allowed,
			 struct sl_client_value *values, struct sl_client_options *ret,
			 int *ret_rest);
/* Says what is wrong with the arguments, and how to get help. Returns the exit code for that. */
int sl_client_complain(const char *command, const char *what);

struct sl_client_problem {
	char text[400];
};

/* Sends one request (consumed) and waits for its answer. 0 and the payload, or -1 and why. */
int sl_client_ask(const char *admin, json_t *request, json_t **ret,
		  struct sl_client_problem *ret_problem);
/* Sends one request (consumed) and waits for its answer. 0 and the payload, or -1 after a message on
 * stderr. */
int sl_client_call(const char *admin, json_t *request, json_t **ret);

/* The same for commands that print what comes back: the payload as JSON, or by `print`. Returns the
 * exit code. */
int sl_client_show(const struct sl_client_options *o, json_t *request,
		   void (*print)(const json_t *payload, FILE *f));

/* Prints a payload as one line of JSON. */
void sl_client_print_line(const json_t *payload, FILE *f);

/* Members of an answer: a number (0 if there is none), and a text of at most width < 64 bytes, safe for a
 * terminal ("-" if there is none). */
uint64_t sl_answer_number(const json_t *o, const char *key);
const char *sl_answer_text(const json_t *o, const char *key, size_t width, char buf[64]);

#endif
