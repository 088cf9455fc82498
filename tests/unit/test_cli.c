/* SPDX-License-Identifier: BSD-2-Clause */
/* What the commands print, from canned payloads, and what they say when nobody listens. */

#include "unit.h"

#include <stdio.h>
#include <string.h>

#include "cli/client.h"
#include "cli/commands.h"
#include "cli/flow_rates.h"
#include "cli/render.h"
#include "cli/suggest.h"
#include "cli/text.h"
#include "fake_control.h"
#include "proxy/observe/admin_json.h"

/* The rendered text; every line at most 100 columns of printable ASCII. */
static char *rendered(void (*render)(const json_t *payload, FILE *f), json_t *payload)
{
	char *text;
	size_t len, column = 0;
	FILE *f = open_memstream(&text, &len);

	render(payload, f);
	json_decref(payload);
	assert_int_equal(fclose(f), 0);
	for (size_t i = 0; i < len; i++) {
		column = text[i] == '\n' ? 0 : column + 1;
		assert_true(column <= 100);
		if (text[i] != '\n')
			assert_in_range((unsigned char)text[i], 0x20, 0x7e);
	}
	return text;
}

static void expect_all(char *text, const char *const *lines, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!strstr(text, lines[i]))
			fail_msg("missing: %s", lines[i]);
	free(text);
}

static void flows_show_both_connections_in_columns(void **state)
{
	static const char text[] =
		"{\"total\":3,\"flows\":["
		"{\"target\":\"example.com:443\",\"age_ms\":3723000,\"client\":\"10.0.0.9:5000\","
		"\"client_local\":\"10.0.0.1:3128\",\"upstream_local\":\"10.0.0.1:4000\","
		"\"upstream\":\"93.184.216.34:443\",\"bytes_from_client\":1536,"
		"\"bytes_from_upstream\":5,\"engine\":\"copy\",\"reason\":\"too young\"},"
		"{\"target\":\"b\",\"age_ms\":100,\"client\":"
		"\"[2001:db8:1111:2222:3333:4444:5555:6666]:65535\",\"client_local\":"
		"\"[2001:db8:1111:2222:3333:4444:5555:6666]:65535\",\"upstream\":null,"
		"\"upstream_local\":null,\"engine\":\"copy\",\"reason\":null}]}";
	static const char *const lines[] = {
		"TARGET               AGE  FROM CLIENT  FROM UPSTR.  ENGINE   REASON\n",
		"example.com:443    1h02m      1.5 KiB          5 B  copy     too young\n",
		"\n  10.0.0.9:5000 -> 10.0.0.1:3128 => 10.0.0.1:4000 -> 93.184.216.34:443\n",
		"b                   0.1s          0 B          0 B  copy     -\n",
		"6666]:65535\n    => - -> -\n",
		"\n2 of 3 pairs (--max N shows more)\n",
	};

	expect_all(rendered(sl_render_flows, json_loads(text, 0, NULL)), lines,
		   SL_ARRAY_SIZE(lines));
}

static void no_flows_are_said_in_words(void **state)
{
	char *text = rendered(sl_render_flows, json_loads("{\"total\":0,\"flows\":[]}", 0, NULL));

	assert_string_equal(text, "0 pairs\n");
	free(text);
}

/* Targets are strangers' bytes: a terminal must not obey them, however long they are. */
static void a_target_cannot_reach_the_terminal(void **state)
{
	struct fake_control fake = {.flows = 1};
	const struct sl_flow_filter filter = {.source = {.any_host = true},
					      .target = {.any_host = true},
					      .max_age_ms = UINT64_MAX,
					      .max_bytes = UINT64_MAX,
					      .max = 10,
					      .scan = 10};
	struct sl_control_source source = fake_source(&fake);
	char *text = rendered(sl_render_flows, sl_admin_flows(&source, &filter));
	json_t *long_one =
		json_pack("{s:i, s:[{s:s%, s:s%}]}", "total", 1, "flows", "target",
			  "cccccccccccccccccccccccccccccccccccccccccccccccc", (size_t)48, "reason",
			  "rrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrr"
			  "rrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrr",
			  (size_t)95);

	assert_non_null(strstr(text, "ex???[ample:443"));
	free(text);
	text = rendered(sl_render_flows, long_one);
	assert_non_null(strstr(text, "\nccccccccccccccccccccccccccccc... "));
	free(text);
}

static void stats_show_rates_percentiles_memory_and_workers(void **state)
{
	static const char *const lines[] = {
		"sluice " SLUICE_VERSION ", up 1h02m, ready\n",
		"\nconnections_accepted_total                    1          0.0/s\n",
		"\nclient_bytes_in_total                      ",
		"\nidle_connection_bytes                     ",
		"\nLATENCY                     COUNT       MEAN        P50        P90        P99",
		"\nrequest_duration               15     478 ms ",
		"\ncopy              0          5          0         77 B          0 B  "
		"available\n",
		"\nsockmap           0          5          0         77 B          0 B  no "
		"CAP_BPF\n",
		"\nWORKER ",
		"\n1              ",
		"names: 11 asked, 12 from the cache, 0 joined, 0 failed, 0 timed out, 13 refused\n",
		"resident",
	};
	struct fake_control fake = {.ready = true};
	struct sl_control_source source = fake_source(&fake);

	expect_all(rendered(sl_render_stats, sl_admin_stats(&source, false)), lines,
		   SL_ARRAY_SIZE(lines));
}

static void pools_show_connections_and_who_waits(void **state)
{
	struct fake_control fake = {0};
	struct sl_control_source source = fake_source(&fake);
	static const char *const lines[] = {
		"UPSTREAM       SERVER                  IN USE    IDLE     MAX      REUSED    "
		"OPENED"
		"   REUSE\n"
		"app            10.0.0.1:80                  2       3    1024          30        "
		"10"
		"   75.0%\n"
		"\n"
		"UPSTREAM       WAITING   QUEUE      WAITED   REFUSED TIMED OUT\n"
		"none                 0       0           0         0         0\n"
		"app                  1     256           9         8         7\n"
		"\n"
		"UPSTREAM       CLOSED, BY REASON\n"
		"app            worn 6 idle 5\n"
		"2 upstreams\n",
	};

	expect_all(rendered(sl_render_pools, sl_admin_pools(&source)), lines, SL_ARRAY_SIZE(lines));
}

static void an_empty_answer_is_shown_without_harm(void **state)
{
	free(rendered(sl_render_stats, json_object()));
	free(rendered(sl_render_flows, json_object()));
	free(rendered(sl_render_word, json_object()));
}

static void figures_have_units(void **state)
{
	char b[SL_TEXT_MAX];

	assert_string_equal(sl_text_bytes(0, b), "0 B");
	assert_string_equal(sl_text_bytes(1023, b), "1023 B");
	assert_string_equal(sl_text_bytes(1024, b), "1.0 KiB");
	assert_string_equal(sl_text_bytes(1048575, b), "1.0 MiB");
	assert_string_equal(sl_text_bytes(UINT64_MAX, b), "16.0 EiB");
	assert_string_equal(sl_text_us(0, b), "-");
	assert_string_equal(sl_text_us(999, b), "999 us");
	assert_string_equal(sl_text_us(1500, b), "1.50 ms");
	assert_string_equal(sl_text_us(2500000, b), "2.50 s");
	assert_string_equal(sl_text_us(3600000000, b), "60 m");
	assert_string_equal(sl_text_age(950, b), "0.9s");
	assert_string_equal(sl_text_age(59999, b), "59s");
	assert_string_equal(sl_text_age(3599000, b), "59m59s");
	assert_string_equal(sl_text_age(90061000, b), "1d01h");
}

static void near_words_are_near(void **state)
{
	assert_int_equal(sl_word_distance("stats", "stats"), 0);
	assert_int_equal(sl_word_distance("stat", "stats"), 1);
	assert_int_equal(sl_word_distance("satts", "stats"), 1);
	assert_int_equal(sl_word_distance("flow", "flaws"), 2);
	assert_int_equal(sl_word_distance("", "run"), 3);
	assert_true(sl_word_distance("a-very-long-word-that-is-no-command", "run") > 100);
}

static void run_words(int (*run)(int argc, char **argv), int argc, const char *const *words,
		      int want)
{
	char *argv[8];

	for (int i = 0; i < argc; i++)
		argv[i] = (char *)words[i];
	argv[argc] = NULL;
	assert_int_equal(run(argc, argv), want);
}

static void wrong_usage_is_exit_2_and_silence_exit_1(void **state)
{
	static const char *const option[] = {"stats", "--frobnicate"};
	static const char *const other[] = {"stats", "--max", "3"};
	static const char *const number[] = {"flows", "--max", "0"};
	static const char *const extra[] = {"drain", "now"};
	static const char *const drains[][4] = {
		{"drain", "listener", "web", "--now"},
		{"drain", "listener", "web", "more"},
		{"drain", "--timeout", "10", "--no-wait"},
		{"drain", "--wait", "--no-wait", "--json"},
		{"drain", "--wait=0", "listener", "web"},
		{"drain", "--wait=soon", "listener", "web"},
		{"drain", "server", "app/10.0.0.1:80", "--wait"},
		{"drain", "--json", "listener", "--no-wait"},
	};
	static const char *const two[] = {"log-level", "info", "debug"};
	static const char *const value[] = {"stats", "--admin"};
	static const char *const nobody[] = {"stats", "--admin", "/nonexistent/admin.sock"};

	run_words(sl_cmd_stats, 2, option, SL_EXIT_USAGE);
	run_words(sl_cmd_stats, 3, other, SL_EXIT_USAGE);
	run_words(sl_cmd_flows, 3, number, SL_EXIT_USAGE);
	run_words(sl_cmd_drain, 2, extra, SL_EXIT_USAGE);
	for (size_t i = 0; i < SL_ARRAY_SIZE(drains); i++)
		run_words(sl_cmd_drain, 4, drains[i], SL_EXIT_USAGE);
	run_words(sl_cmd_log_level, 3, two, SL_EXIT_USAGE);
	run_words(sl_cmd_stats, 2, value, SL_EXIT_USAGE);
	run_words(sl_cmd_stats, 3, nobody, SL_EXIT_FAILED);
}

/* Before anybody is asked: nobody listens at that socket. */
static void bad_filters_of_flows_are_exit_2(void **state)
{
	static const char *const rows[][2] = {
		{"--source", "example.com"},
		{"--source", "10.0.0.1/8"},
		{"--target", "10.0.0.0/33"},
		{"--engine", "warp"},
		{"--sort", "size"},
		{"--min-age", "10"},
		{"--max-age", "1y"},
		{"--min-bytes", "-1"},
		{"--max-bytes", "1t"},
		{"--max", "100001"},
		{"--scan", "0"},
		{"--watch=0s", NULL},
		{"--watch=99ms", NULL},
		{"--min-bytes", "9999999999999999999g"},
		{"now", NULL},
	};

	for (size_t i = 0; i < SL_ARRAY_SIZE(rows); i++) {
		const char *words[] = {"flows", "--admin", "/nonexistent/admin.sock", rows[i][0],
				       rows[i][1]};

		run_words(sl_cmd_flows, rows[i][1] ? 5 : 4, words, SL_EXIT_USAGE);
	}
}

static void good_filters_of_flows_ask(void **state)
{
	static const char *const words[] = {"flows",
					    "--admin=/nonexistent/admin.sock",
					    "--source=10.0.0.0/8:80",
					    "--min-age=50ms",
					    "--max-bytes=2g",
					    "--watch=100ms",
					    "--sort=bytes"};

	run_words(sl_cmd_flows, SL_ARRAY_SIZE(words), words, SL_EXIT_FAILED);
}

static void rates_are_differences_over_the_flow_s_own_time(void **state)
{
	struct sl_flow_rates rates = {0};
	json_t *first =
		json_loads("{\"flows\":[{\"id\":5,\"age_ms\":1000,\"bytes_from_client\":100,"
			   "\"bytes_from_upstream\":7},{\"id\":4,\"age_ms\":1}]}",
			   0, NULL);
	json_t *then = json_loads("{\"flows\":[{\"id\":6,\"age_ms\":3},"
				  "{\"id\":5,\"age_ms\":3000,\"bytes_from_client\":4100,"
				  "\"bytes_from_upstream\":7}]}",
				  0, NULL);
	json_t *flows = json_object_get(then, "flows"), *known = json_array_get(flows, 1);

	sl_flow_rates_add(&rates, first);
	assert_null(json_object_get(json_array_get(json_object_get(first, "flows"), 0),
				    "rate_from_client"));
	sl_flow_rates_add(&rates, then);
	assert_null(json_object_get(json_array_get(flows, 0), "rate_from_client"));
	assert_int_equal(json_integer_value(json_object_get(known, "rate_from_client")), 2000);
	assert_int_equal(json_integer_value(json_object_get(known, "rate_from_upstream")), 0);
	assert_non_null(json_object_get(known, "rate_from_upstream"));
	sl_flow_rates_free(&rates);
	json_decref(first);
	json_decref(then);
}

static void the_environment_names_the_socket(void **state)
{
	static const char *const words[] = {"flows", "-j"};
	struct sl_client_options o;
	char *argv[] = {(char *)words[0], (char *)words[1], NULL};
	int rest;

	setenv("SLUICE_ADMIN", "/some/where", 1);
	assert_int_equal(sl_client_parse(2, argv, "", "j", &o, &rest), -1);
	assert_string_equal(o.admin, "/some/where");
	assert_true(o.json);
	unsetenv("SLUICE_ADMIN");
	assert_int_equal(sl_client_parse(1, argv, "", "j", &o, &rest), -1);
	assert_string_equal(o.admin, "/run/sluice/admin.sock");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(flows_show_both_connections_in_columns),
		cmocka_unit_test(no_flows_are_said_in_words),
		cmocka_unit_test(a_target_cannot_reach_the_terminal),
		cmocka_unit_test(stats_show_rates_percentiles_memory_and_workers),
		cmocka_unit_test(pools_show_connections_and_who_waits),
		cmocka_unit_test(an_empty_answer_is_shown_without_harm),
		cmocka_unit_test(figures_have_units),
		cmocka_unit_test(near_words_are_near),
		cmocka_unit_test(wrong_usage_is_exit_2_and_silence_exit_1),
		cmocka_unit_test(bad_filters_of_flows_are_exit_2),
		cmocka_unit_test(good_filters_of_flows_ask),
		cmocka_unit_test(rates_are_differences_over_the_flow_s_own_time),
		cmocka_unit_test(the_environment_names_the_socket),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
