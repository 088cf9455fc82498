/* SPDX-License-Identifier: BSD-2-Clause */
/* Rates and latencies out of answers, and the pages of `sluice top` in windows of every size. */

#include "unit.h"

#include <stdio.h>
#include <string.h>

#include "cli/facts.h"
#include "cli/top_view.h"
#include "fake_control.h"
#include "proxy/observe/admin_json.h"

static json_t *stats(unsigned uptime_ms, unsigned requests, const char *buckets)
{
	char text[512];

	snprintf(text, sizeof(text),
		 "{\"uptime_ms\":%u,\"counters\":{\"requests_total\":%u},\"workers\":[{\"busy_us\":"
		 "%u}],"
		 "\"histograms\":{\"first_byte\":{\"buckets\":[%s]}}}",
		 uptime_ms, requests, requests * 10, buckets);
	return json_loads(text, 0, NULL);
}

static void rates_need_two_answers_of_one_process(void **state)
{
	struct sl_facts f = {0};

	assert_true(sl_facts_rate(&f, "requests_total") < 0);
	sl_facts_take(&f, stats(1000, 100, ""), NULL, NULL, NULL, NULL);
	assert_true(sl_facts_rate(&f, "requests_total") < 0);
	assert_int_equal(sl_facts_counter(&f, "requests_total"), 100);
	sl_facts_take(&f, stats(1500, 120, ""), NULL, NULL, NULL, NULL);
	assert_true(sl_facts_rate(&f, "requests_total") == 40);
	assert_true(sl_facts_list_rate(&f, "workers", 0, "busy_us") == 400);
	assert_true(sl_facts_rate(&f, "no_such_total") < 0);
	assert_true(sl_facts_list_rate(&f, "workers", 1, "busy_us") < 0);
	/* Started anew. */
	sl_facts_take(&f, stats(200, 7, ""), NULL, NULL, NULL, NULL);
	assert_true(sl_facts_rate(&f, "requests_total") < 0);
	sl_facts_take(&f, stats(1200, 8, ""), NULL, NULL, NULL, NULL);
	assert_true(sl_facts_rate(&f, "requests_total") == 1);
	sl_facts_free(&f);
}

static void latencies_are_those_of_the_window(void **state)
{
	struct sl_facts f = {0};
	struct sl_latency l;

	sl_facts_take(&f, stats(1000, 0, "[9,50],[100,1]"), NULL, NULL, NULL, NULL);
	sl_facts_latency(&f, "first_byte", &l);
	assert_int_equal(l.count, 0);
	/* 98 samples of at most 10 us, one of 100, one of 5000 are new; the old 50 of 9 us are not. */
	sl_facts_take(&f, stats(2000, 0, "[9,50],[10,98],[100,2],[5000,1]"), NULL, NULL, NULL,
		      NULL);
	sl_facts_latency(&f, "first_byte", &l);
	assert_int_equal(l.count, 100);
	assert_int_equal(l.p50_us, 10);
	assert_int_equal(l.p99_us, 100);
	sl_facts_latency(&f, "no_such", &l);
	assert_int_equal(l.count, 0);
	/* After ten more answers these samples are old. */
	for (unsigned i = 0; i < SL_FACTS_KEPT; i++)
		sl_facts_take(&f, stats(3000 + 1000 * i, 0, "[9,50],[10,98],[100,2],[5000,1]"),
			      NULL, NULL, NULL, NULL);
	assert_int_equal(sl_facts_window_ms(&f), 10000);
	sl_facts_latency(&f, "first_byte", &l);
	assert_int_equal(l.count, 0);
	sl_facts_free(&f);
}

static void take_fakes(struct sl_facts *f)
{
	struct fake_control fake = {.flows = 30, .ready = true};
	struct sl_control_source source = fake_source(&fake);
	struct sl_flow_filter filter = {.source = {.any_host = true},
					.target = {.any_host = true},
					.max_age_ms = UINT64_MAX,
					.max_bytes = UINT64_MAX,
					.max = 100,
					.scan = 100};

	sl_facts_take(f, sl_admin_stats(&source, true), sl_admin_flows(&source, &filter),
		      sl_admin_servers(&source), sl_admin_listeners(&source),
		      sl_admin_pools(&source));
}

/* Whatever the size, no line is too long or has a byte that a terminal would obey. */
static void pages_fit_into_every_window(void **state)
{
	struct sl_page *p = calloc(1, sizeof(*p));
	struct sl_facts f = {0};
	struct sl_top t = {0};

	take_fakes(&f);
	for (const char *keys = "of\nlvprw?o"; *keys; keys++) {
		sl_top_key(&t, &f, *keys);
		for (unsigned rows = 0; rows < 60; rows += rows < 26 ? 1 : 9) {
			for (unsigned columns = 0; columns < 130; columns += 13) {
				sl_page_begin(p, rows, columns);
				sl_top_draw(&t, &f, p);
				assert_true(p->n <= rows);
				for (size_t i = 0; i < p->n; i++) {
					assert_true(strlen(p->line[i].text) <= columns);
					for (const char *c = p->line[i].text; *c; c++)
						assert_in_range((unsigned char)*c, 0x20, 0x7e);
				}
			}
		}
	}
	sl_top_free(&t);
	sl_facts_free(&f);
	free(p);
}

static enum sl_look look_of(const struct sl_page *p, const char *text)
{
	for (size_t i = 0; i < p->n; i++)
		if (strstr(p->line[i].text, text))
			return p->line[i].look;
	fail_msg("no line has: %s", text);
	return SL_LOOK_PLAIN;
}

static void engines_tell_how_full_their_maps_are(void **state)
{
	static const char answer[] =
		"{\"engines\":[{\"name\":\"copy\",\"available\":true},{\"name\":\"packet\","
		"\"available\":true},{\"name\":\"sockmap\",\"available\":true}],\"figures\":{"
		"\"map_used\":{\"pairs\":249,\"sockmap\":91},\"map_limit\":{\"pairs\":1000,"
		"\"sockmap\":100}}}";
	struct sl_page *p = calloc(1, sizeof(*p));
	struct sl_facts f = {0};
	struct sl_top t = {0};

	sl_facts_take(&f, json_loads(answer, 0, NULL), NULL, NULL, NULL, NULL);
	sl_page_begin(p, 24, 80);
	sl_top_draw(&t, &f, p);
	assert_int_equal(look_of(p, "  there"), SL_LOOK_PLAIN);
	assert_int_equal(look_of(p, "  25% full"), SL_LOOK_PLAIN);
	assert_int_equal(look_of(p, "  91% full"), SL_LOOK_WARNING);
	sl_facts_free(&f);
	free(p);
}

static json_t *listeners(unsigned accepted, unsigned refused)
{
	return json_pack("[{s:s, s:s, s:s, s:s, s:i, s:i, s:i, s:i, s:i}]", "listener", "web",
			 "mode", "http", "listen", "0.0.0.0:80", "state", "up", "connections", 7,
			 "limit", 100, "accepted", accepted, "requests", 10 * accepted, "refused",
			 refused);
}

static void listeners_tell_rates_and_refusals(void **state)
{
	struct sl_page *p = calloc(1, sizeof(*p));
	struct sl_facts f = {0};
	struct sl_top t = {.view = SL_TOP_LISTENERS};
	const struct {
		unsigned accepted, refused;
		const char *row;
	} rounds[] = {
		{100, 3, "up            7/100      -      -       3"},
		{150, 3, "up            7/100     50    500       3"},
		{150, 12, "up            7/100      0      0   9.0/s"},
	};

	for (unsigned i = 0; i < SL_ARRAY_SIZE(rounds); i++) {
		sl_facts_take(&f, stats(1000 + 1000 * i, 0, ""), NULL, NULL,
			      listeners(rounds[i].accepted, rounds[i].refused), NULL);
		sl_page_begin(p, 24, 80);
		sl_top_draw(&t, &f, p);
		look_of(p, rounds[i].row);
	}
	sl_facts_free(&f);
	free(p);
}

static void an_answer_of_nothing_is_drawn_without_harm(void **state)
{
	struct sl_page *p = calloc(1, sizeof(*p));
	struct sl_facts f = {0};
	struct sl_top t = {0};

	for (const char *keys = "of\nlvprw\n?ossss"; *keys; keys++) {
		sl_page_begin(p, 24, 80);
		sl_top_draw(&t, &f, p);
		sl_top_key(&t, &f, *keys);
	}
	sl_facts_take(&f, json_object(), json_object(), json_array(), json_array(), json_array());
	sl_page_begin(p, 24, 80);
	sl_top_draw(&t, &f, p);
	assert_int_equal(p->n, 24);
	sl_top_free(&t);
	sl_facts_free(&f);
	free(p);
}

static void a_long_list_scrolls_around_the_selected_row(void **state)
{
	struct sl_page *p = calloc(1, sizeof(*p));
	struct sl_facts f = {0};
	struct sl_top t = {0};
	unsigned selected = 0;

	take_fakes(&f);
	sl_top_key(&t, &f, 'f');
	for (int i = 0; i < 3; i++)
		sl_top_key(&t, &f, SL_KEY_PAGE_DOWN);
	sl_page_begin(p, 24, 80);
	sl_top_draw(&t, &f, p);
	assert_int_equal(t.selected, 29);
	for (size_t i = 0; i < p->n; i++)
		selected += p->line[i].look == SL_LOOK_SELECTED;
	assert_int_equal(selected, 1);
	sl_top_key(&t, &f, SL_KEY_UP);
	assert_int_equal(t.selected, 28);
	for (int i = 0; i < 3; i++)
		sl_top_key(&t, &f, SL_KEY_PAGE_UP);
	assert_int_equal(t.selected, 0);
	sl_top_free(&t);
	sl_facts_free(&f);
	free(p);
}

static void only_another_choice_of_flows_asks_anew(void **state)
{
	struct sl_facts f = {0};
	struct sl_top t = {0};
	json_t *request;

	take_fakes(&f);
	assert_false(sl_top_key(&t, &f, 'l'));
	assert_false(sl_top_key(&t, &f, SL_KEY_DOWN));
	assert_true(sl_top_key(&t, &f, '\n'));
	request = sl_top_flows_request(&t);
	assert_string_equal(json_string_value(json_object_get(request, "listener")), "egress");
	json_decref(request);
	assert_true(sl_top_key(&t, &f, SL_KEY_BACK));
	assert_false(sl_top_key(&t, &f, SL_KEY_BACK));
	assert_int_equal(t.view, SL_TOP_OVERVIEW);
	sl_top_free(&t);
	sl_facts_free(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rates_need_two_answers_of_one_process),
		cmocka_unit_test(latencies_are_those_of_the_window),
		cmocka_unit_test(pages_fit_into_every_window),
		cmocka_unit_test(engines_tell_how_full_their_maps_are),
		cmocka_unit_test(listeners_tell_rates_and_refusals),
		cmocka_unit_test(an_answer_of_nothing_is_drawn_without_harm),
		cmocka_unit_test(a_long_list_scrolls_around_the_selected_row),
		cmocka_unit_test(only_another_choice_of_flows_asks_anew),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
