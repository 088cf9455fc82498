/* SPDX-License-Identifier: BSD-2-Clause */
/* The Prometheus text is well-formed, and docs/metrics.md names exactly the families that are in it.
 * The document's path comes in SLUICE_SOURCE_ROOT. */

#include "unit.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>

#include "fake_control.h"
#include "proxy/observe/metrics.h"

#define FAMILIES_MAX 256

struct family {
	char name[128], type[16];
	int samples;
	/* histogram, as it is read */
	double last_le, last_count, total;
	bool infinite, sum, count;
};

struct exposition {
	struct family family[FAMILIES_MAX];
	size_t n;
	char *series[4096]; /* names with labels, for duplicates */
	size_t n_series;
};

static struct family *find(struct exposition *e, const char *name)
{
	for (size_t i = 0; i < e->n; i++)
		if (!strcmp(e->family[i].name, name))
			return &e->family[i];
	return NULL;
}

static void read_help(struct exposition *e, const char *line)
{
	struct family *f = &e->family[e->n++];
	int at = 0;

	assert_true(e->n < FAMILIES_MAX);
	assert_int_equal(sscanf(line, "# HELP %127s %n", f->name, &at), 1);
	assert_true(at && line[at]);
	for (const char *p = f->name; *p; p++)
		assert_true(isalnum((unsigned char)*p) || *p == '_');
	for (size_t i = 0; i + 1 < e->n; i++)
		assert_string_not_equal(e->family[i].name, f->name);
}

/* TYPE stands right behind HELP. */
static void read_type(struct exposition *e, const char *line)
{
	struct family *f = &e->family[e->n - 1];
	char name[128];

	assert_int_equal(sscanf(line, "# TYPE %127s %15s", name, f->type), 2);
	assert_string_equal(name, f->name);
	if (!strcmp(f->type, "counter"))
		assert_string_equal(name + strlen(name) - 6, "_total");
	else if (!strcmp(f->type, "histogram"))
		assert_string_equal(name + strlen(name) - 8, "_seconds");
	else
		assert_string_equal(f->type, "gauge");
}

/* The bounds of a series follow one another, whatever other labels it has. */
static void read_histogram_sample(struct family *f, const char *suffix, const char *labels,
				  double value)
{
	const char *at = strstr(labels, "le=\"");
	char le[32];

	f->sum |= !strcmp(suffix, "_sum");
	if (!strcmp(suffix, "_count")) {
		f->count = true;
		assert_true(f->infinite && value == f->total);
		f->infinite = false;
		f->last_le = f->last_count = 0;
	}
	if (strcmp(suffix, "_bucket"))
		return;
	assert_non_null(at);
	assert_int_equal(sscanf(at, "le=\"%31[^\"]\"}", le), 1);
	f->infinite = !strcmp(le, "+Inf");
	assert_true((f->infinite ? INFINITY : atof(le)) > f->last_le);
	assert_true(value >= f->last_count);
	f->last_le = f->infinite ? INFINITY : atof(le);
	f->last_count = f->total = value;
}

/* Samples follow their family's TYPE. */
static void read_sample(struct exposition *e, char *line)
{
	struct family *f = &e->family[e->n - 1];
	char *value = strrchr(line, ' '), *end;
	size_t len = strlen(f->name), name_len;
	double v;

	assert_non_null(value);
	*value++ = 0;
	v = strtod(value, &end);
	assert_true(end != value && !*end && v >= 0);
	for (size_t i = 0; i < e->n_series; i++)
		assert_string_not_equal(e->series[i], line);
	e->series[e->n_series++] = strdup(line);
	name_len = strcspn(line, "{");
	assert_true(name_len >= len && !memcmp(line, f->name, len));
	f->samples++;
	if (!strcmp(f->type, "histogram")) {
		char suffix[16] = "";

		memcpy(suffix, line + len, sl_min(name_len - len, sizeof(suffix) - 1));
		read_histogram_sample(f, suffix, line + name_len, v);
	} else {
		assert_int_equal(name_len, len);
	}
}

static struct exposition *read_metrics(void)
{
	struct fake_control fake = {.ready = true};
	struct sl_control_source source = fake_source(&fake);
	struct exposition *e = calloc(1, sizeof(*e));
	char *text, *rest, *line;
	size_t len;

	assert_int_equal(sl_metrics_text(&source, &text, &len), 0);
	assert_int_equal(text[len - 1], '\n');
	assert_int_equal(strlen(text), len);
	for (rest = text; (line = strsep(&rest, "\n")) && rest;) {
		if (!strncmp(line, "# HELP ", 7))
			read_help(e, line);
		else if (!strncmp(line, "# TYPE ", 7))
			read_type(e, line);
		else
			read_sample(e, line);
	}
	free(text);
	return e;
}

static void free_metrics(struct exposition *e)
{
	for (size_t i = 0; i < e->n_series; i++)
		free(e->series[i]);
	free(e);
}

static void the_text_is_well_formed(void **state)
{
	struct exposition *e = read_metrics();

	assert_true(e->n > 60);
	for (size_t i = 0; i < e->n; i++) {
		struct family *f = &e->family[i];

		assert_true(f->samples > 0);
		if (!strcmp(f->type, "histogram"))
			assert_true(f->sum && f->count);
	}
	assert_int_equal(find(e, "sluice_engine_available")->samples, 2);
	assert_int_equal(find(e, "sluice_worker_turns_total")->samples, 2);
	free_metrics(e);
}

static void the_figures_are_the_source_s(void **state)
{
	struct fake_control fake = {.ready = true};
	struct sl_control_source source = fake_source(&fake);
	static const char *const lines[] = {
		"\nsluice_connections_done_total 2\n",
		"\nsluice_request_duration_seconds_bucket{le=\"0.0001\"} 5\n", /* 1 3 9 27 81 */
		"\nsluice_request_duration_seconds_bucket{le=\"+Inf\"} 15\n",
		"\nsluice_request_duration_seconds_sum 7.174453\n",
		"\nsluice_resolver_cached_total 12\n",
		"\nsluice_engine_available{engine=\"sockmap\"} 0\n",
		"\nsluice_engine_client_bytes_total{engine=\"copy\"} 77\n",
		"\nsluice_worker_turns_total{worker=\"1\"} 101\n",
		"\nsluice_worker_busy_seconds_total{worker=\"0\"} 1.500000\n",
		"\nsluice_uptime_seconds 3723.000000\n",
		"\nsluice_ready 1\n",
		"\nsluice_log_records_total 44\n",
		"\nsluice_route_responses_total{listener=\"web\",route=\"a.test/\\\"x\\\\\","
		"class=\"2xx\"} 2\n",
		"\nsluice_upstream_responses_total{upstream=\"app\",class=\"5xx\"} 1\n",
		"\nsluice_upstream_request_duration_seconds_bucket{upstream=\"app\",le=\"0.00025\"}"
		" 2\n",
		"\nsluice_upstream_request_duration_seconds_bucket{upstream=\"app\",le=\"0.0005\"} "
		"3\n",
		"\nsluice_upstream_request_duration_seconds_sum{upstream=\"app\"} 0.000751\n",
		"\nsluice_upstream_queue_wait_seconds_bucket{upstream=\"app\",le=\"3600\"} 0\n",
		"\nsluice_upstream_queue_wait_seconds_bucket{upstream=\"app\",le=\"+Inf\"} 1\n",
		"\nsluice_upstream_connect_duration_seconds_count{upstream=\"app\"} 0\n",
		"\nsluice_route_request_duration_seconds_count{listener=\"egress\",route=\"*\"} "
		"0\n",
		"\nsluice_engine_tunnel_duration_seconds_sum{engine=\"copy\"} 1.000000\n",
		"\nsluice_ended_total{reason=\"queue-timeout\"} 1\n",
		"\nsluice_ended_total{reason=\"other\"} 0\n",
		"\nsluice_listener_connections{listener=\"egress\"} 3\n",
		"\nsluice_listener_drained{listener=\"egress\"} 0\n",
		"\nsluice_listener_accepted_total{listener=\"egress\"} 70\n",
		"\nsluice_listener_requests_total{listener=\"egress\"} 60\n",
		"\nsluice_listener_refused_total{listener=\"egress\",reason=\"listener\"} 5\n",
		"\nsluice_listener_refused_total{listener=\"egress\",reason=\"proxy-header\"} 0\n",
		"\nsluice_server_leased{upstream=\"app\",server=\"10.0.0.1:80\"} 2\n",
		"\nsluice_server_opened_total{upstream=\"app\",server=\"10.0.0.1:80\"} 10\n",
		"\nsluice_server_reused_total{upstream=\"app\",server=\"10.0.0.1:80\"} 30\n",
		"\nsluice_server_failures_total{upstream=\"app\",server=\"10.0.0.1:80\"} 5\n",
		"\nsluice_pool_connections_limit{upstream=\"none\"} 1\n",
		"\nsluice_pool_waiting{upstream=\"app\"} 1\n",
		"\nsluice_pool_waiting_limit{upstream=\"app\"} 256\n",
		"\nsluice_pool_waits_total{upstream=\"app\"} 9\n",
		"\nsluice_pool_refused_total{upstream=\"app\",reason=\"full\"} 8\n",
		"\nsluice_pool_refused_total{upstream=\"app\",reason=\"timeout\"} 7\n",
		"\nsluice_pool_closed_total{upstream=\"app\",reason=\"spent\"} 0\n",
		"\nsluice_pool_closed_total{upstream=\"app\",reason=\"worn\"} 6\n",
		"\nsluice_pool_closed_total{upstream=\"app\",reason=\"idle\"} 5\n",
		"\nsluice_build_info{version=\"" SLUICE_VERSION "\"} 1\n",
	};
	char *text;
	size_t len;

	assert_int_equal(sl_metrics_text(&source, &text, &len), 0);
	for (size_t i = 0; i < SL_ARRAY_SIZE(lines); i++)
		if (!strstr(text, lines[i]))
			fail_msg("missing: %s", lines[i]);
	free(text);
}

/* Rows of the table look like: | `name` | type | meaning | */
static void every_metric_is_documented_and_every_documented_one_is_there(void **state)
{
	const char *root = getenv("SLUICE_SOURCE_ROOT");
	struct exposition *e = read_metrics();
	char path[4096], line[1024], name[128], type[16];
	size_t documented = 0;
	FILE *f;

	assert_non_null(root);
	snprintf(path, sizeof(path), "%s/docs/metrics.md", root);
	f = fopen(path, "re");
	assert_non_null(f);
	while (fgets(line, sizeof(line), f)) {
		struct family *family;

		if (sscanf(line, "| `%127[a-z0-9_]` | %15[a-z] |", name, type) != 2 ||
		    (strncmp(name, "sluice_", 7) && strncmp(name, "process_", 8)))
			continue;
		family = find(e, name);
		if (!family)
			fail_msg("documented, but not there: %s", name);
		assert_string_equal(family->type, type);
		family->samples = -1; /* seen */
		documented++;
	}
	fclose(f);
	for (size_t i = 0; i < e->n; i++)
		if (e->family[i].samples != -1)
			fail_msg("not documented: %s", e->family[i].name);
	assert_int_equal(documented, e->n);
	free_metrics(e);
}

static void names_beyond_the_limit_share_a_row(void **state)
{
	struct sl_scopes *s = calloc(1, sizeof(*s)), *sum = calloc(1, sizeof(*sum));
	const struct sl_scope_table *t = &sum->kind[SL_SCOPE_UPSTREAM];
	struct sl_scope_event e = {.listener = "l", .reason = "done", .status = 200};
	char name[32];

	e.upstream = name;
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < SL_SCOPE_ROWS + 10; i++) {
			snprintf(name, sizeof(name), "upstream-%d", i);
			sl_scopes_count(s, &e);
		}
	}
	sl_scopes_merge(sum, s);
	sl_scopes_merge(sum, s);
	assert_int_equal(t->n, SL_SCOPE_ROWS);
	for (uint32_t i = 0; i < t->n; i++) {
		snprintf(name, sizeof(name), "upstream-%d", i);
		assert_string_equal(t->row[i].name, name);
		assert_int_equal(t->row[i].n, 4);
	}
	assert_int_equal(t->other.n, 40);
	assert_int_equal(sum->kind[SL_SCOPE_ROUTE].n, 1);
	free(s);
	free(sum);
}

static void a_name_too_long_is_cut(void **state)
{
	struct sl_scopes *s = calloc(1, sizeof(*s));
	const struct sl_scope_table *t = &s->kind[SL_SCOPE_UPSTREAM];
	struct sl_scope_event e = {.listener = "l", .reason = "done"};
	char name[300];

	memset(name, 'n', sizeof(name));
	name[sizeof(name) - 1] = 0;
	e.upstream = e.path = e.host = name;
	sl_scopes_count(s, &e);
	name[200] = 'x';
	sl_scopes_count(s, &e);
	assert_int_equal(t->n, 1);
	assert_int_equal(t->row[0].n, 2);
	assert_int_equal(strlen(t->row[0].name), SL_SCOPE_NAME_MAX - 1);
	free(s);
}

static void merging_sums_and_keeps_the_largest_constant(void **state)
{
	struct sl_stats *to = aligned_alloc(64, sizeof(*to)),
			*from = aligned_alloc(64, sizeof(*to));

	memset(to, 0, sizeof(*to));
	memset(from, 0, sizeof(*from));
	for (uint64_t i = 1; i <= 3; i++) {
		from->requests_total = i;
		from->connections_active = 10 * i;
		from->idle_connection_bytes = 900 - i;
		sl_histogram_add(&from->first_byte, 1000);
		sl_stats_merge(to, from);
	}
	assert_int_equal(to->requests_total, 6);
	assert_int_equal(to->connections_active, 60);
	assert_int_equal(to->idle_connection_bytes, 899);
	assert_int_equal(to->first_byte.count, 6);
	free(to);
	free(from);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_text_is_well_formed),
		cmocka_unit_test(the_figures_are_the_source_s),
		cmocka_unit_test(every_metric_is_documented_and_every_documented_one_is_there),
		cmocka_unit_test(names_beyond_the_limit_share_a_row),
		cmocka_unit_test(a_name_too_long_is_cut),
		cmocka_unit_test(merging_sums_and_keeps_the_largest_constant),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
