/* SPDX-License-Identifier: BSD-2-Clause */
/* The payloads of the admin socket that other tests don't look into. */

#include "unit.h"

#include "fake_control.h"
#include "proxy/observe/admin_json.h"

static void buckets_of_histograms_come_when_they_are_asked_for(void **state)
{
	struct fake_control fake = {.ready = true};
	struct sl_control_source source = fake_source(&fake);
	json_t *with = sl_admin_stats(&source, true), *without = sl_admin_stats(&source, false);
	json_t *h = json_object_get(json_object_get(with, "histograms"), "request_duration");
	json_t *pair, *buckets = json_object_get(h, "buckets");
	json_int_t samples = 0, top = -1;
	size_t i;

	json_array_foreach(buckets, i, pair)
	{
		assert_true(json_integer_value(json_array_get(pair, 0)) > top);
		top = json_integer_value(json_array_get(pair, 0));
		samples += json_integer_value(json_array_get(pair, 1));
	}
	assert_int_equal(samples, 15);
	assert_int_equal(samples, json_integer_value(json_object_get(h, "count")));
	h = json_object_get(json_object_get(without, "histograms"), "request_duration");
	assert_non_null(h);
	assert_null(json_object_get(h, "buckets"));
	json_decref(with);
	json_decref(without);
}

static void listeners_are_told_with_what_they_hold(void **state)
{
	struct fake_control fake = {.ready = true};
	struct sl_control_source source = fake_source(&fake);
	json_t *list = sl_admin_listeners(&source);
	char *text = json_dumps(list, JSON_COMPACT);

	assert_string_equal(text, "[{\"listener\":\"egress\",\"mode\":\"forward\","
				  "\"listen\":\"[::1]:3128\",\"state\":\"up\","
				  "\"connections\":3,\"limit\":100,\"accepted\":70,"
				  "\"requests\":60,\"refused\":5,\"refusals\":{"
				  "\"limit\":0,\"listener\":5,\"source\":0,\"memory\":0,"
				  "\"proxy-header\":0,\"hello\":0,\"bad\":0,\"denied\":0,"
				  "\"auth\":0,\"rate\":0,\"concurrent\":0}}]");
	free(text);
	json_decref(list);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(buckets_of_histograms_come_when_they_are_asked_for),
		cmocka_unit_test(listeners_are_told_with_what_they_hold),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
